"""Converts external ids to item numbers."""

import contextlib
import copy
from collections.abc import Iterable

import numpy as np

from jaxrec.system import arguments
from jaxrec.system.errors import UserError

HALF = 1 << 63  # bound of an int64


class Numbering:
    """The item numbers of a catalogue's external ids.

    The ids of a catalogue are all integers or all text, and an integer has only one printed form. So 7 and "7" are the
    same item in either kind of catalogue, and "07" is another.
    """

    def __init__(self, ids: np.ndarray):
        """
        Args:
            ids: [V] int64 or str, in the order of their numbers, from 1.
        """
        self._number = {id: number for number, id in enumerate(ids.tolist(), 1)}
        self._later: dict = {}  # of ids added later, so that `extended` need not copy the others
        self._kind = int if ids.dtype.kind == "i" else str
        self._dtype = ids.dtype

    def __contains__(self, id):
        return id in self._number or id in self._later

    def own(self, id: int | str) -> int | str:
        """Returns an id in the type of the catalogue: 7 for "7" if that is integers; unchanged if it can't be one."""
        found = arguments.as_id(id, self._kind)
        return id if found is None else found

    def new(self, ids: Iterable, name: str) -> np.ndarray:
        """Returns the ids of items to be added as an array of the type of the catalogue's ids.

        >>> Numbering(np.array([3, 5])).new([7, "8"], "add").tolist()
        [7, 8]

        Args:
            ids: external ids.
            name: the name of the argument, for messages.

        Raises:
            UserError: the catalogue can't have such an id, as " 5" if its ids are integers.
        """
        found = []
        for id in ids:
            own = self.own(id)
            if type(own) is not self._kind or own == "" or (type(own) is int and not -HALF <= own < HALF):
                if own == "":
                    raise UserError(f"{name}: an item has an empty id: give it one")
                kind = "integer" if self._kind is int else "text"
                raise UserError(
                    f"{name}: {arguments.some([id])} is no {kind}, as the ids of all other items are: give it one"
                )
            found.append(own)
        return np.array(found, self._dtype)

    def extended(self, ids: np.ndarray) -> "Numbering":
        """Returns a Numbering with further ids, numbered after the others."""
        other = copy.copy(self)
        first = len(self._number) + len(self._later) + 1
        other._later = self._later | {id: number for number, id in enumerate(ids.tolist(), first)}
        return other

    def numbers(self, ids: Iterable, where: str = "") -> tuple[list[int], list]:
        """Returns the numbers of the known ids, and the unknown ids, in order. `where` begins error messages.

        Raises:
            UserError: an element is not an id, such as a list.
        """
        ids, known, unknown = list(ids), [], []
        if set(map(type, ids)) == {self._kind}:  # the usual case, without Python code for each
            with contextlib.suppress(KeyError):
                return list(map(self._number.__getitem__, ids)), []
        for id in ids:
            id = id.item() if isinstance(id, np.generic) else id
            own = id if type(id) is self._kind else self._own(id, where)
            number = self._number.get(own) or self._later.get(own)
            known.append(number) if number else unknown.append(id)
        return known, unknown

    def known(self, ids: Iterable, name: str, what: str = "in the catalogue") -> list[int]:
        """Returns the numbers of ids, all of which must be known.

        Args:
            ids: external ids.
            name: the name of the argument, for messages.
            what: where they must be known, for messages.

        Raises:
            UserError: one of them is not known.
        """
        numbers, unknown = self.numbers(ids, f"{name}: ")
        if unknown:
            said = arguments.some(unknown[:1])
            raise UserError(f"{name}: {said} is not {what}: leave it out, or give one that is")
        return numbers

    def _own(self, id, where):
        """Returns the id in the type of the catalogue; None for values such as True, or floats that lost digits."""
        if not id.__hash__:
            raise UserError(f"{where}{arguments.some([id])} is no id: give a flat list of texts or integers")
        return arguments.as_id(id, self._kind)

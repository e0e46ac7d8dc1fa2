"""Types of events, such as view, cart and purchase: reads them from a column, and chooses which may be targets."""

import csv
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from jaxrec.data.files.text import shown, some
from jaxrec.data.interactions import Interactions, Types
from jaxrec.data.storage.maps import pieces
from jaxrec.data.storage.spill import MEMORY, Parts
from jaxrec.data.values import codes as coding
from jaxrec.data.values.spellings import MISSING
from jaxrec.system.errors import UserError

MOST = 255  # distinct types in a log


class Column:
    """Collects a column of types, batch by batch. Spaces at the ends are dropped.

    The type is unknown if the value is empty or, unless `keep_na`, a missing-value marker (`spellings.MISSING`).
    """

    def __init__(self, name: str, parts: Parts | None = None, keep_na: bool = False):
        self.name, self.parts, self.keep_na = name, parts or MEMORY.parts("type"), keep_na
        self.missing = {}  # marker -> how many events have it, in order of appearance
        self._codes = {"": 0}  # type -> its code, in order of appearance
        self._files = {}  # type -> the file where it first occurred
        self._counts = np.zeros(MOST + 1, np.int64)

    def add(self, values: pl.Series, file: object) -> None:
        """Adds the values of a batch: text, or numbers that stand for types.

        Raises:
            UserError: if they are neither, too many are distinct, or a number has two spellings, such as 1 and 1.0.
        """
        text = None if values.dtype == pl.Binary else coding.text_of(values)
        if text is None:
            raise UserError(
                f"{file}: column {self.name} holds {values.dtype}: the type of an event is a text or a number"
            )
        text = text.str.strip_chars().fill_null("")
        names = text.unique(maintain_order=True).to_list()
        if missing := [] if self.keep_na else [name for name in names if name in MISSING]:
            self.missing |= {name: self.missing.get(name, 0) + (text == name).sum() for name in missing}
            text = text.set(text.is_in(missing), "")
        new = [name for name in names if name not in self._codes and name not in missing]
        self._codes |= {name: number for number, name in enumerate(new, len(self._codes))}
        self._files |= dict.fromkeys(new, file)
        if len(self._codes) > MOST + 1:
            raise UserError(
                f"{file}: column {self.name} has more than {MOST} different values ({some(list(self._codes)[1:4])}, "
                "...): types of events are few, such as view and purchase: name their column with --type COLUMN, "
                "or none"
            )
        if new:
            self._check_spelling()
        codes = text.replace_strict(self._codes, return_dtype=pl.UInt8).to_numpy()
        self._counts += np.bincount(codes, minlength=MOST + 1)
        self.parts.add(codes)

    def _check_spelling(self) -> None:
        """Checks that no two types are the same number."""
        if found := coding.spelled_twice(self._files):
            code, other = found
            file, before = self._files[code], self._files[other]
            raise UserError(
                f"{file}: column {self.name} holds {shown(code)} beside {shown(other)}"
                f"{f' (in {before})' * (before != file)}: one type may have become two; {coding.CURE}"
            )

    def notes(self) -> list[str]:
        """Returns a note for people if there are missing-value markers."""
        if not self.missing:
            return []
        words, number = some(self.missing), sum(self.missing.values())
        said = f"{self.name}: {words}: missing values, so the types of {number:,} events are not known"
        return [f"{said}; --keep-na-ids takes such words as types"]

    def close(self) -> Types | None:
        """Returns the Types of all values; None if no type is known."""
        if (found := self.decide()) is None:
            return None
        number, names = found
        return Types(number[self.parts.whole()], names)

    def decide(self) -> tuple[np.ndarray, tuple[str, ...]] | None:
        """Returns the type number of each code [codes] uint8, and the types' names; None if no type is known."""
        names = list(self._codes)[1:]
        return _sorted(names, self._counts[: len(names) + 1]) if names else None


def _sorted(names, counts):
    """Returns `translation` to the names that occur, and these names, sorted. counts: [names + 1]"""
    kept = sorted(name for name, count in zip(names, counts[1:], strict=True) if count)
    return translation(names, kept), tuple(kept)


def translation(names: Sequence[str], own: Sequence[str]) -> np.ndarray:
    """Returns the number, from 1, of each name in `own`, or 0 if it isn't there. [names + 1] uint8

    >>> translation(["cart", "view"], ["view"]).tolist()
    [0, 0, 1]
    """
    place = {name: number for number, name in enumerate(own, 1)}
    return np.array([0, *(place.get(name, 0) for name in names)], np.uint8)


def taken(types: Types | None, at: np.ndarray | slice) -> Types | None:
    """Returns the Types of these events, with the same numbering."""
    return None if types is None else types._replace(numbers=np.asarray(types.numbers[at]))


def in_numbers_of(types: Types | None, own: Types | None) -> Types | None:
    """Returns the Types renumbered as in `own`, with 0 for types that it lacks."""
    if types is None or own is None:
        return None
    return Types(translation(types.names, own.names)[types.numbers], own.names, own.asked)


def left(types: Types, counts: np.ndarray) -> tuple[np.ndarray, Types | None]:
    """Drops the types that have no events left; `counts` [names + 1]: the number of events left of each.

    Returns:
        The new number of each old one [names + 1] uint8, and Types without their numbers; None if no type is left.
    """
    number, names = _sorted(types.names, counts)
    none = np.zeros(0, np.uint8)
    if types.asked is None:
        return number, Types(none, names) if names else None
    moved = number[list(types.asked)]
    return number, Types(none, names, tuple(moved[moved > 0].tolist()))


def selected(types: Types | None, keep: np.ndarray) -> Types | None:
    """Returns the Types of the events of a mask [N], without the types that have no event left."""
    if types is None:
        return None
    kept = types.numbers[keep]
    number, found = left(types, np.bincount(kept, minlength=len(types.names) + 1))
    return found and found._replace(numbers=number[kept])


def counts(types: Types) -> dict[str, int]:
    """Returns the number of events of each type, most frequent first."""
    found = np.zeros(len(types.names) + 1, np.int64)
    for part in pieces(types.numbers):
        found += np.bincount(part, minlength=len(found))
    return dict(sorted(zip(types.names, found.tolist()[1:], strict=True), key=lambda pair: -pair[1]))


def named(text: str) -> list[str]:
    """Returns the types in a key's value, such as "purchase, cart"; a type with a comma is in double quotes.

    >>> named('purchase, "cart, again"')
    ['purchase', 'cart, again']
    """
    if not isinstance(text, str):
        raise UserError(f"types of events are one text, such as 'purchase, cart', not of type {type(text).__name__}")
    (row,) = csv.reader([text], skipinitialspace=True) if text.strip() else [[]]
    return [name.strip() for name in row]


def asking(data: Interactions, text: str, key: str = "config.target_types") -> Interactions:
    """Returns the interactions with only events of these types as targets.

    Args:
        text: the types, as for `named`; "" if all events are targets.
        key: the configuration key that names them, for messages.

    Raises:
        UserError: if there are no types, or not these; the message names those that exist.
    """
    names = named(text)
    if not names:
        return data
    if data.types is None:
        raise UserError(
            f"{data.name} has no types of events, and {key} asks for {some(names)}: name their column to prepare.py "
            f"with --type COLUMN, or leave {key} out"
        )
    for name in names:
        if name not in data.types.names:
            there = ", ".join(f"{shown(each)} ({number:,})" for each, number in list(counts(data.types).items())[:30])
            raise UserError(f"{data.name}: {key} asks for {shown(name)}, a type that no event has: there are {there}")
        if names.count(name) > 1:
            raise UserError(f"{key} names {shown(name)} twice: once will do")
    asked = tuple(sorted(data.types.names.index(name) + 1 for name in names))
    return replace(data, types=data.types._replace(asked=asked))


def asked(data: Interactions) -> tuple[str, ...]:
    """Returns the types of the events that may be targets; empty if all events may."""
    if data.types is None or data.types.asked is None:
        return ()
    return tuple(data.types.names[number - 1] for number in data.types.asked)


def targets(data: Interactions) -> np.ndarray | None:
    """Returns which events may be targets, [N] bool; None if all may."""
    if data.types is None or data.types.asked is None:
        return None
    may = np.zeros(MOST + 1, bool)
    may[list(data.types.asked)] = True
    return may[data.types.numbers]


def last_target(data: Interactions, end: np.ndarray) -> np.ndarray:
    """Returns the index of each history's last event before end [U] that may be a target; its start - 1 if none is."""
    start, may = data.offsets[:-1], targets(data)
    if may is None:
        return np.maximum(end, start) - 1
    places = np.append(-1, np.flatnonzero(may))
    return np.maximum(places[np.maximum(np.searchsorted(places, end) - 1, 0)], start - 1)

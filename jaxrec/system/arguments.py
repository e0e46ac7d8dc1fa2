"""What people give from Python, checked: lists of ids, how many items, which checkpoint."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.system.console import printable
from jaxrec.system.errors import UserError

SHOWN, CHARACTERS = 5, 200  # values that an error shows, and how much of them
ORDERED = ("history", "histories", "users", "times", "weights", "types")  # lists whose order counts


def checkpoint_name(checkpoint: object) -> str:
    """A checkpoint as `Checkpoints.choose` takes it: "best", "latest" or the text of a step.

    Raises:
        UserError: it is neither a text nor an integer.

    >>> checkpoint_name("best"), checkpoint_name(64)
    ('best', '64')
    """
    if isinstance(checkpoint, str):
        return str(checkpoint)
    try:
        return str(_integer(checkpoint))
    except (TypeError, ValueError):  # the latter of too many digits to write
        raise UserError(f"checkpoint is {some([checkpoint])}: give 'best', 'latest' or a step, an integer") from None


def count(k: object, which: str = "") -> int:
    """k as an int. `which` begins the message of an error.

    Raises:
        UserError: it is no integer, of Python or NumPy, or below 1.

    >>> count(10)
    10
    """
    try:
        number = _integer(k)
    except TypeError:
        raise UserError(f"{which}k is {some([k])}: give how many items you want, an integer") from None
    if number < 1:
        raise UserError(f"{which}k is {some([number])}: ask for at least one item")
    return number


def id_list(ids: Any, name: str, which: str = "") -> list:
    """These ids as a list, in their order: of a list, an array, a column of a frame, a generator.

    Raises:
        UserError: they are none of these; or a set, where the order counts.
    """
    if isinstance(ids, str | bytes):
        raise UserError(f"{which}a {name} is a list of ids, and this is one text: put it into brackets")
    unordered = isinstance(ids, Mapping) or (name in ORDERED and isinstance(ids, set | frozenset))
    if unordered or not isinstance(ids, Iterable) or (isinstance(ids, np.ndarray) and ids.ndim == 0):
        raise UserError(f"{which}{name} is {some([ids])}: a list of ids is expected")
    return list(ids)


def some(values: Sequence) -> str:
    """The first few values, for a message."""
    return printable(", ".join(map(shown, values[:SHOWN])), CHARACTERS)


def shown(value: object) -> str:
    """What a value is, for a message: Python writes no integer of some thousand digits, alone or within a list."""
    try:
        return repr(value)
    except ValueError:
        return "an integer of many digits" if isinstance(value, int) else f"a {type(value).__name__} of such integers"


def _integer(value):
    """An integer, of Python or NumPy, as an int. Raises TypeError for all else."""
    if isinstance(value, bool | np.bool_):
        raise TypeError
    return operator.index(value)

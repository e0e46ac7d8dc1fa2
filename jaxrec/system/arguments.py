"""Checks arguments from Python: lists of ids, numbers of items, checkpoints."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.system.console import printable
from jaxrec.system.errors import UserError

SHOWN, CHARACTERS = 5, 200  # values shown in an error, and their maximum characters
ORDERED = ("history", "histories", "users", "times", "weights", "types", "user_columns")  # lists whose order matters


def checkpoint_name(checkpoint: object) -> str:
    """Returns a checkpoint for `Checkpoints.choose`: "best", "latest" or a step as text.

    Raises:
        UserError: if it is neither text nor an integer.

    >>> checkpoint_name("best"), checkpoint_name(64)
    ('best', '64')
    """
    if isinstance(checkpoint, str):
        return str(checkpoint)
    try:
        return str(_integer(checkpoint))
    except (TypeError, ValueError):  # ValueError: too many digits to print
        raise UserError(f"checkpoint is {some([checkpoint])}: give 'best', 'latest' or a step, an integer") from None


def count(k: object, which: str = "") -> int:
    """Returns k as an int. `which`: begins the error message.

    Raises:
        UserError: if it is not an integer, of Python or NumPy, or below 1.

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
    """Returns ids as a list, from a list, an array, a column of a frame or a generator.

    Raises:
        UserError: if they are something else, or a set where the order matters.
    """
    if isinstance(ids, str | bytes):
        raise UserError(f"{which}a {name} is a list of ids, and this is one text: put it into brackets")
    unordered = isinstance(ids, Mapping) or (name in ORDERED and isinstance(ids, set | frozenset))
    if unordered or not isinstance(ids, Iterable) or (isinstance(ids, np.ndarray) and ids.ndim == 0):
        raise UserError(f"{which}{name} is {some([ids])}: a list of ids is expected")
    return list(ids)


def some(values: Sequence) -> str:
    """Returns the first few values, for a message."""
    return printable(", ".join(map(shown, values[:SHOWN])), CHARACTERS)


def shown(value: object) -> str:
    """Returns the repr of a value, for a message; Python can't print integers with thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "an integer of many digits" if isinstance(value, int) else f"a {type(value).__name__} of such integers"


def _integer(value):
    """Returns an integer of Python or NumPy as an int. Raises TypeError for anything else."""
    if isinstance(value, bool | np.bool_):
        raise TypeError
    return operator.index(value)

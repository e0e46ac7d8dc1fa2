"""Checks arguments from Python: lists of ids, numbers of items, checkpoints, dates."""

import datetime
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.system.console import printable
from jaxrec.system.errors import UserError

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)
EXACT = 1 << 53  # floats below it are exact integers
LARGE = 10**1000  # bound of ids, since printing huge integers fails
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


def or_best(checkpoint: str | int | None) -> str | int:
    """Returns the checkpoint, or "best" if it is None; step 0 is a checkpoint.

    >>> or_best(None), or_best(0)
    ('best', 0)
    """
    return "best" if checkpoint is None else checkpoint


def count(k: object, which: str = "") -> int:
    """Returns k as an int. `which`: the beginning of the error message.

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


def flag(value: object, name: str, which: str = "") -> bool:
    """Returns a flag as a bool. `which`: the beginning of the error message.

    Raises:
        UserError: if it is neither True nor False, since the text "no" would count as True.
    """
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"{which}{name} is {some([value])}: give True or False")
    return bool(value)


def id_list(ids: Any, name: str, which: str = "") -> list:
    """Returns ids as a list, from a list, an array, a column of a frame or a generator.

    Raises:
        UserError: if they are something else, such as a whole frame, or a set if the order matters.
    """
    if hasattr(ids, "columns"):
        raise UserError(f"{which}{name} is a table: give its column of ids, as frame['item']")
    if hasattr(ids, "to_pylist"):  # a pyarrow array, whose elements aren't Python values
        return ids.to_pylist()
    if isinstance(ids, str | bytes):
        raise UserError(f"{which}a {name} is a list of ids, and this is one text: put it into brackets")
    unordered = isinstance(ids, Mapping) or (name in ORDERED and isinstance(ids, set | frozenset))
    if unordered or not isinstance(ids, Iterable) or (isinstance(ids, np.ndarray) and ids.ndim == 0):
        raise UserError(f"{which}{name} is {some([ids])}: a list of ids is expected")
    return list(ids)


def as_id(id: object, kind: type) -> int | str | None:
    """Returns an id in the type of the known ids, which are all int or all str; None if it can't be one of them.

    An integer is written in one way only, so 7 and "7" are the same id, and "07" is another.

    >>> as_id("7", int), as_id(7.0, str), as_id("07", int), as_id(True, int)
    (7, '7', None, None)
    """
    id = id.item() if isinstance(id, np.generic) else id
    if isinstance(id, float) and id.is_integer() and abs(id) < EXACT:
        id = int(id)
    if isinstance(id, int) and not isinstance(id, bool):
        return kind(int(id)) if abs(id) < LARGE else None
    if not isinstance(id, str):
        return None
    if kind is str:
        return str(id)
    plain = id.isascii() and id.removeprefix("-").isdecimal() and len(id) <= 20
    return int(id) if plain and str(int(id)) == id else None


def microseconds(date: object) -> int | None:
    """Returns the microseconds since 1970 of a date, a datetime or its ISO text; None for anything else.

    Without a time zone, UTC is assumed.

    >>> microseconds("1970-01-02"), microseconds(np.datetime64("1970-01-01T00:00:01")), microseconds(7)
    (86400000000, 1000000, None)
    """
    if is_missing(date):
        return None
    if isinstance(date, np.datetime64):
        date = date.astype("datetime64[us]").item()
    if isinstance(date, str):
        try:
            date = datetime.datetime.fromisoformat(date)
        except ValueError:
            return None
    if isinstance(date, datetime.date) and not isinstance(date, datetime.datetime):
        date = datetime.datetime(date.year, date.month, date.day)
    if not isinstance(date, datetime.datetime):
        return None
    return (date.replace(tzinfo=date.tzinfo or datetime.UTC) - EPOCH) // MICROSECOND


def is_missing(value: object) -> bool:
    """Whether a value is missing: None, NaN, NaT, or pandas' NA.

    >>> [is_missing(value) for value in (None, float("nan"), np.datetime64("NaT"), 0, "")]
    [True, True, True, False, False]
    """
    if value is None:
        return True
    differs = value != value
    return differs is value or (isinstance(differs, bool | np.bool_) and bool(differs))  # NA != NA is NA itself


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

"""Indexes the attributes of items by value, for the `where` filters of requests."""

import math
import re
from collections.abc import Mapping
from functools import partial, reduce
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxrec.system import arguments
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError

SHOWN = 30  # maximum number of values that an error lists
CHARACTERS, LONG = 60, 10_000  # maximum length of a value in an error, and of the whole error
SPARSE = 64  # fewer than 1/SPARSE of all items are sorted; more are marked in an array
BOUNDS = ("below", "above", "at_least", "at_most")
INTEGER, NUMBER, DATE, BOOLEAN, TEXT = "integers", "numbers", "dates", "true or false", "text"


class Attribute(NamedTuple):
    """The values of one column, and the items that have them."""

    kind: str  #: INTEGER, NUMBER, DATE, BOOLEAN or TEXT
    values: np.ndarray  #: [places] ascending: int64, float64, or microseconds since 1970; empty for text
    places: dict  #: text -> its place, ordered by place; empty for other kinds
    offsets: np.ndarray  #: [places + 1]
    items: np.ndarray  #: [N] int32 item numbers; those of place p are items[offsets[p]:offsets[p + 1]], ascending
    total: int  #: V, the number of items
    dated: bool = False  #: whether DATE values are whole days


class Attributes:
    """The attributes of a catalogue's items, each indexed when it is first used."""

    def __init__(self, about: pl.DataFrame | None):
        """
        Args:
            about: a frame of V rows with a column per attribute, or None.
        """
        self._about, self._indexed = about, {}

    def pools(self, where: Mapping, which: str = "") -> list[np.ndarray]:
        """Returns the numbers of the items that match each condition, ascending: a list of [n] int32.

        Args:
            where: {attribute: wanted}, as in `items_with`.
            which: the beginning of an error's message.

        Raises:
            UserError: there is no such attribute, or no item matches.
        """
        try:
            if not isinstance(where, Mapping):
                raise UserError(f"should be a dictionary, such as {{'year': 1994}}, and is {_shown(where)}")
            return [items_with(self._index(name), name, wanted) for name, wanted in where.items()]
        except UserError as error:
            raise UserError(f"{which}where: {printable(str(error), LONG)}") from None

    def _index(self, name):
        columns = [] if self._about is None else self._about.columns
        if self._about is None or name not in columns:
            there = f"there are {', '.join(columns)}" if columns else "the catalogue has none"
            raise UserError(f"items have no attribute {_shown(name)}: {there}")
        if name not in self._indexed:
            self._indexed[name] = index(self._about[name], name)
        return self._indexed[name]


def index(column: pl.Series, name: str = "") -> Attribute:
    """Returns the Attribute of a column of the catalogue. Text such as "A|B" and lists have several values.

    Null, NaN, infinity and empty text don't count as values.

    Raises:
        UserError: the values can't be compared, such as structs.
    """
    values = column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column
    values = values.str.split("|") if values.dtype == pl.String else values
    frame = pl.DataFrame({"value": values.alias("value"), "item": np.arange(1, len(column) + 1, dtype=np.int32)})
    while isinstance(frame["value"].dtype, pl.List | pl.Array):
        frame = frame.explode("value")
    dated = frame["value"].dtype == pl.Date
    kind, plain = _plain(frame["value"], name)
    frame = frame.with_columns(plain.alias("value")).drop_nulls().unique().sort("value", "item")
    if kind == TEXT:
        frame = frame.filter(pl.col("value") != "")
    counts = frame.group_by("value", maintain_order=True).len()
    offsets = np.append(0, np.cumsum(counts["len"].to_numpy().astype(np.int64)))
    text = kind == TEXT
    values = np.empty(0) if text else counts["value"].to_numpy()
    places = {value: place for place, value in enumerate(counts["value"].to_list())} if text else {}
    return Attribute(kind, values, places, offsets, frame["item"].to_numpy(), len(column), dated)


def items_with(attribute: Attribute, name: str, wanted: Any) -> np.ndarray:
    """Returns the numbers of the items that match, ascending. [N] int32

    Args:
        attribute: the Attribute.
        name: its name, for messages.
        wanted: a value; a list of values, any of which may match; or bounds, such as {"at_least": 10, "below": 50}.

    Raises:
        UserError: no item has such a value (the message lists the existing ones), it has the wrong type, or a bound is
            invalid.
    """
    if isinstance(wanted, Mapping):
        return _between(attribute, name, wanted)
    wanted = wanted.tolist() if isinstance(wanted, np.ndarray | np.generic) else wanted
    wanted = wanted if isinstance(wanted, list | tuple | set | frozenset | pl.Series) else [wanted]
    found = [_having(attribute, name, value) for value in wanted]
    return found[0] if len(found) == 1 else _distinct(attribute, np.concatenate([np.empty(0, np.int32), *found]))


def _plain(values: pl.Series, name: str) -> tuple[str, pl.Series]:
    """Returns the kind of these values, and the values in the form in which they are compared."""
    dtype = values.dtype
    if dtype == pl.Null:
        return TEXT, values.cast(pl.String)
    if dtype.is_integer() and dtype not in (pl.UInt64, pl.Int128, getattr(pl, "UInt128", None)):
        return INTEGER, values.cast(pl.Int64)
    if dtype.is_integer():
        small = values.cast(pl.Int64, strict=False)
        return (INTEGER, small) if small.null_count() == values.null_count() else (TEXT, values.cast(pl.String))
    if dtype.is_numeric():
        # by way of text, so that the float32 49.9 equals 49.9
        floats = (values.cast(pl.String) if dtype == pl.Float32 else values).cast(pl.Float64)
        return NUMBER, floats.set(~floats.is_finite().fill_null(False), None)
    if dtype == pl.Boolean:
        return BOOLEAN, values.cast(pl.Int64)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return TEXT, values.cast(pl.String)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return DATE, values.cast(pl.Datetime("us", getattr(dtype, "time_zone", None))).cast(pl.Int64)
    raise UserError(f"{name} holds {dtype}: filters compare numbers, text, true or false, dates, and lists of these")


def _having(attribute: Attribute, name: str, value: Any) -> np.ndarray:
    """Returns the items that have this value."""
    value = value.item() if isinstance(value, np.generic) else value
    if attribute.kind == TEXT:
        place = attribute.places.get(_as_text(value, attribute, name))
    else:
        number = _comparable(value, attribute, name)
        place = int(np.searchsorted(attribute.values, number)) if _fits(number, attribute) else len(attribute.values)
        there = place < len(attribute.values) and attribute.values[place] == number
        place = place if there else None
    if place is None:
        raise UserError(f"no item's {name} is {_shown(value)}: {_there(attribute)}")
    return attribute.items[attribute.offsets[place] : attribute.offsets[place + 1]]


def _between(attribute: Attribute, name: str, bounds: Mapping) -> np.ndarray:
    """Returns the items that have a value within all of these bounds."""
    if not bounds or not all(bound in BOUNDS for bound in bounds):
        found = ", ".join(map(_shown, bounds)) or "none of them"
        raise UserError(f"{name}: the bounds are {', '.join(BOUNDS)}, and this has {found}")
    if attribute.kind in (TEXT, BOOLEAN):
        raise UserError(f"{name} is {attribute.kind}, and bounds are for numbers and dates: {_there(attribute)}")
    first, last = 0, len(attribute.values)
    for bound, value in bounds.items():
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or isinstance(value, list | tuple | set | frozenset | Mapping):
            raise UserError(f"{name}: {bound} is {_shown(value)}: a bound is one number or date")
        place = _place(attribute, bound, _comparable(value, attribute, f"{name}: {bound}"))
        first, last = (max(first, place), last) if bound in ("above", "at_least") else (first, min(last, place))
    last = max(first, last)
    return _distinct(attribute, attribute.items[attribute.offsets[first] : attribute.offsets[last]])


def _place(attribute: Attribute, bound: str, number: float) -> int:
    """Returns the place of the first value >= the number, or > the number for `above` and `at_most`."""
    past = bound in ("above", "at_most")
    if attribute.kind != NUMBER and isinstance(number, float) and math.isfinite(number):
        number = math.floor(number) if past else math.ceil(number)  # as floats, integers beyond 2^53 would be inexact
    if not _fits(number, attribute):
        return len(attribute.values) if number > 0 else 0
    return int(np.searchsorted(attribute.values, number, "right" if past else "left"))


def _fits(number: float, attribute: Attribute) -> bool:
    """Whether NumPy can compare this number with the values exactly."""
    if attribute.kind == NUMBER:
        return abs(number) < 1 << 1000 or isinstance(number, float)
    return -(1 << 63) <= number < 1 << 63


def _comparable(value: Any, attribute: Attribute, name: str) -> float:
    """Returns the number that stands for a value in this attribute.

    Text stands for a number only in its printed form ("1994", but not "01994"), and for true or false in any case.
    """
    number = None
    if attribute.kind == BOOLEAN:
        texts = {"true": True, "false": False}
        number = value if isinstance(value, bool) else texts.get(value.lower()) if isinstance(value, str) else None
    elif attribute.kind == DATE:
        number = arguments.microseconds(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        number = _number(value, attribute.kind)
    if number is None or number != number:
        raise UserError(f"{name} is {_shown(value)}, and items have {attribute.kind} there: {_there(attribute)}")
    whole = attribute.kind == INTEGER and isinstance(number, float) and number.is_integer()
    return int(number) if whole else number


def _number(text: str, kind: str) -> float | None:
    """Parses a number in its printed form; returns None if the text is not one."""
    if re.fullmatch(r"0|-?[1-9]\d{0,30}", text, re.ASCII):
        return int(text)
    decimal = kind == NUMBER and re.fullmatch(r"-?(0|[1-9]\d{0,30})\.\d{1,30}", text, re.ASCII)
    return float(text) if decimal else None


def _as_text(value: Any, attribute: Attribute, name: str) -> str:
    """Returns the text that stands for a value; an integer stands for its printed form."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 1 << 100 else ""
    if not isinstance(value, str):
        raise UserError(f"{name} is {_shown(value)}, and items have {attribute.kind} there: {_there(attribute)}")
    return value


def common(pools: list[np.ndarray], total: int) -> np.ndarray:
    """Returns the items that are in every pool, ascending. [[n] int32, ...] without repeats -> [N] int32"""
    if min(map(len, pools)) * SPARSE < total:
        return reduce(partial(np.intersect1d, assume_unique=True), sorted(pools, key=len))
    times = np.zeros(total + 1, np.int32)  # faster than sorting many
    for pool in pools:
        times[pool] += 1
    return np.flatnonzero(times == len(pools)).astype(np.int32)


def _distinct(attribute: Attribute, items: np.ndarray) -> np.ndarray:
    """Returns these items once each, ascending."""
    if len(items) * SPARSE < attribute.total:
        return np.unique(items)
    there = np.zeros(attribute.total + 1, bool)
    there[items] = True
    return np.flatnonzero(there).astype(np.int32)


def _there(attribute: Attribute) -> str:
    """Describes the existing values, as many as fit in a message."""
    total = len(attribute.offsets) - 1
    if attribute.kind != TEXT and total > SHOWN:
        return f"they go from {_said(attribute, attribute.values[0])} to {_said(attribute, attribute.values[-1])}"
    shown = [_said(attribute, value) for value in islice(attribute.places or attribute.values, SHOWN)]
    return f"there are {', '.join(shown) or 'none'}" + (f" and {total - SHOWN:,} more" if total > SHOWN else "")


def _said(attribute: Attribute, value: Any) -> str:
    """Formats a value as a person would write it."""
    if attribute.kind == BOOLEAN:
        return "true" if value else "false"
    if attribute.kind == DATE:
        moment = np.datetime64(int(value), "us")
        return str(moment.astype("datetime64[D]") if attribute.dated else moment.astype("datetime64[s]"))
    return printable(str(value), CHARACTERS)


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 1 << 200:
        return "an integer of many digits"
    return printable(arguments.shown(value), CHARACTERS)

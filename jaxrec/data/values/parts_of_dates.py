"""Columns that together form a date: year, month and day, or date_year and date_month."""

import polars as pl

from jaxrec.data import columns as cols

#: words in the names of such columns -> the part of a date
PARTS = {"year": "year", "yyyy": "year", "month": "month", "mm": "month", "day": "day", "dd": "day"}
RANGES = {"year": (0, 2100), "month": (0, 12), "day": (0, 31)}
OF_OTHERS = {"birth", "born", "release", "released", "expiry"}  # words for dates that aren't an event's


def named(names: list[str], free: list[int]) -> list[int]:
    """Returns which of the columns are named as different parts of one date.

    >>> named(["user", "date_year", "date_month", "pay_day", "model_year"], [1, 2, 3, 4])
    [1, 2]
    """
    kinds: dict[tuple[str, ...], dict[int, str]] = {}
    for at in free:
        if (part := part_of(names[at])) and OF_OTHERS.isdisjoint(part[1]):
            kinds.setdefault(part[1], {})[at] = part[0]
    return [at for found in kinds.values() if len({*found.values()}) > 1 for at in found]


def part_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Returns the part of a date that the last or first word of a name denotes, and the other words; None without.

    >>> part_of("Year"), part_of("date_day"), part_of("dd"), part_of("birthday")
    (('year', ()), ('day', ('date',)), ('day', ()), None)
    """
    words = cols.words(name)
    if words[-1] in PARTS:
        return PARTS[words[-1]], tuple(words[:-1])
    return (PARTS[words[0]], tuple(words[1:])) if words[0] in PARTS else None


def hold(values: pl.Series | None, name: str) -> bool:
    """Returns whether values may be the part of a date that the name of their column denotes."""
    part = part_of(name)
    if values is None or part is None or values.dtype.is_temporal():
        return False
    numbers = values.cast(pl.String).cast(pl.Float64, strict=False)
    whole = (numbers == numbers.floor()) & numbers.is_between(*RANGES[part[0]])
    return not numbers.null_count() and bool(whole.all())

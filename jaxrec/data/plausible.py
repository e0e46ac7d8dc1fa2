"""Detects numbers that are times of another kind than their size says, and times that can hardly be right.

A number like 201710180733 is a date, though it could be milliseconds of 1976; ticks of .NET could be nanoseconds of
1990. Times in the future, and a few from before 1990 in a newer log, are often damaged. All is counted batch by batch.
"""

import datetime
import math
import time
from collections import Counter
from typing import NamedTuple

import numpy as np

LIKELY = 0.95  # minimum share of a column's values that are of another kind
EARLY, MODERN = 631_152_000_000_000, 788_918_400_000_000  # 1990 and 1995 in microseconds
DAY = 86_400_000_000  # microseconds
YEARS = 1995, 2100  # of dates written as numbers, and of ticks
DIGITS = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # of a date as a number -> its strftime format
TICKS = {"ticks of .NET": 621_355_968 * 10**9, "Windows file times": 116_444_736 * 10**9}  # 1970 in each, of 100 ns
PARTS = ((1, 12), (1, 31), (0, 23), (0, 59), (0, 59))  # bounds of month, day, hour, minute and second
UNITS = (1_000_000, 1_000, 1, 0.001)  # microseconds of a unit
DAYS = "days"  # the reading of numbers like 20140401


class Seen(NamedTuple):
    """How many values, read in one way, lie where."""

    early: int = 0  #: before 1990
    modern: int = 0  #: from 1995 on
    late: int = 0  #: in the future


class Plausible:
    """Counts a column's values by when they would be, as they are added.

    Args:
        now: seconds since 1970; None for the current time.
    """

    def __init__(self, now: float | None = None):
        now = time.time() if now is None else now
        self.limit = math.ceil((now * 1e6 + DAY) / DAY) * DAY  # a midnight more than a day from now: the future
        self.rows, self._least, self._most = 0, math.inf, -math.inf
        self._seen: dict[float | str, Seen] = {}  # microseconds of a unit, or DAYS -> counts
        self._kinds: Counter[int | str] = Counter()  # number of digits, or name of ticks -> number of values
        self._first: dict[int | str, int] = {}  # the first of these values

    def add(self, values: np.ndarray, dated: bool) -> None:
        """Adds values: microseconds if `dated`, otherwise numbers of an unknown unit."""
        if not len(values):
            return
        least, most = values.min(), values.max()
        self.rows += len(values)
        self._least, self._most = min(self._least, least), max(self._most, most)
        below = lambda bound: len(values) * (most < bound) if not least < bound <= most else (values < bound).sum()
        number = len(values)
        bounds: dict[float | str, list[float]] = {
            factor: [bound / factor for bound in (EARLY, MODERN, self.limit)] for factor in UNITS
        }
        bounds[DAYS] = [19_900_101, 19_950_101, int(f"{_day(self.limit):%Y%m%d}")]
        for reading, (early, modern, late) in bounds.items() if not dated else [(1, bounds[1])]:
            seen = self._seen.get(reading, Seen())
            found = int(below(early)), number - int(below(modern)), number - int(below(late))
            self._seen[reading] = Seen(*map(sum, zip(seen, found, strict=True)))
        for kind, (low, high) in {} if dated else RANGES.items():
            if least <= high and most >= low:
                self._count(kind, values[(values >= low) & (values <= high)])

    def _count(self, kind: int | str, values: np.ndarray) -> None:
        if isinstance(kind, int):
            values = values[_are_dates(values, kind)]
        self._kinds[kind] += len(values)
        if len(values):
            self._first.setdefault(kind, int(values[0]))

    def misread(self, name: str, unit: str, factor: float) -> str:
        """Returns why a column is no number of units but dates or ticks, and a cure; "" if it may be one."""
        kind = next((kind for kind, count in self._kinds.items() if count >= LIKELY * self.rows), None)
        if kind is None:
            return ""
        value = self._first[kind]
        told = f"{name} is {value}: in {unit}, that is {date(value * factor)}; "
        if isinstance(kind, int):
            moment = _written(value)
            seconds = "; if it is in seconds, --time-format '%s'" if factor == UNITS[0] else ""
            return f"{told}as a date, {moment}: name its form, --time-format '{DIGITS[kind]}'{seconds}"
        begin = TICKS[kind]
        moment = date((value - begin) // 10)
        return (
            f"{told}as {kind}, {moment}: write it in seconds, ({name} - {begin}) / 10000000, or take the order of the "
            "file with --time none"
        )

    def notes(self, name: str, reading: float | str, dates: tuple[str, str]) -> list[str]:
        """Returns notes about times that can hardly be right.

        Args:
            name: the column.
            reading: microseconds of the column's unit, or DAYS.
            dates: the first and the last time, for people.
        """
        early, modern, late = self._seen.get(reading, Seen())
        rows = lambda number: f"{number:,} of {self.rows:,} times lie"
        found = []
        if early and modern > self.rows / 2:
            cure = "if they are damaged or stand for missing ones, --since 1990-01-01 leaves them out"
            found.append(f"{name}: {rows(early)} before 1990, from {dates[0]}, most others after 1995: {cure}")
        if late == self.rows and late:
            found.append(f"{name}: all times lie in the future, from {dates[0]}: check their unit")
        elif late:
            cure = f"if they are damaged, --until {_day(self.limit)} leaves them out"
            found.append(f"{name}: {rows(late)} in the future, up to {dates[1]}: {cure}")
        return found

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self._least, self._most


def compact(values: np.ndarray) -> bool:
    """Returns whether nearly all values are dates with a time of day as numbers, such as 201710180733.

    >>> compact(np.array([201710180733, 201710190000])), compact(np.array([1508311980]))
    (True, False)
    """
    return any(_are_dates(values, digits).mean() >= LIKELY for digits in DIGITS) if len(values) else False


def date(micro: float) -> str:
    """Formats a time in microseconds.

    >>> date(1_388_534_400_000_000)
    '2014-01-01 00:00:00'
    """
    return str(np.datetime64(int(micro) // 1_000_000, "s")).replace("T", " ")  # datetime only has the years 1 to 9999


def _are_dates(values: np.ndarray, digits: int) -> np.ndarray:
    """Returns where values are dates of so many digits, from hours to seconds, in YEARS."""
    low, high = RANGES[digits]
    good = (values >= low) & (values <= high) & (values == np.floor(values))
    rest = np.where(good, values, low).astype(np.int64)
    for least, most in reversed(PARTS[: digits // 2 - 2]):
        rest, part = np.divmod(rest, 100)
        good &= (part >= least) & (part <= most)
    return good


def _written(value: int) -> str:
    """Formats a date as a number.

    >>> _written(2017101807)
    '2017-10-18 07:00'
    """
    year, month, day, *clock = str(value)[:4], *(str(value)[at : at + 2] for at in range(4, len(str(value)), 2))
    return f"{year}-{month}-{day} {':'.join(clock if clock[1:] else [*clock, '00'])}"


def _day(micro: int) -> datetime.date:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micro)).date()


def _ranges() -> dict[int | str, tuple[int, int]]:
    """Returns {kind: (smallest, largest number)} of YEARS."""
    first, last = YEARS
    found: dict[int | str, tuple[int, int]] = {
        digits: (first * 10 ** (digits - 4), (last + 1) * 10 ** (digits - 4) - 1) for digits in DIGITS
    }
    epoch, second = datetime.datetime(1970, 1, 1), datetime.timedelta(seconds=1)
    since = [(datetime.datetime(year, 1, 1) - epoch) // second for year in (first, last + 1)]
    for name, begin in TICKS.items():
        low, end = (begin + 10_000_000 * seconds for seconds in since)
        found[name] = low, end - 1
    return found


RANGES = _ranges()

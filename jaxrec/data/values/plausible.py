"""Detects numbers that are times of another kind than their size suggests, and times that can hardly be right.

A number like 201710180733 is a date, although it could be milliseconds in 1976; ticks of .NET could be nanoseconds in
1990. Times in the future, and times before 1990 in a newer log, are often damaged. Values are counted batch by batch.
"""

import datetime
import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxrec.data.values import digits
from jaxrec.data.values.digits import DAY, LIKELY

EARLY, MODERN = 631_152_000_000_000, 788_918_400_000_000  # 1990 and 1995 in microseconds
YEARS = 1995, 2100  # years in which ticks are recognised
TICKS = {"ticks of .NET": 621_355_968 * 10**9, "Windows file times": 116_444_736 * 10**9}  # 1970 in units of 100 ns
UNITS = (1_000_000, 1_000, 1, 0.001)  # microseconds per unit


class Seen(NamedTuple):
    """Numbers of values in some periods, if read in one unit."""

    early: int = 0  #: before 1990
    modern: int = 0  #: from 1995 on
    late: int = 0  #: in the future


class Plausible:
    """Counts the values of a column by the period and the kind of time that they would be, batch by batch.

    Args:
        now: seconds since 1970; None for the current time.
    """

    def __init__(self, now: float | None = None):
        now = time.time() if now is None else now
        self.limit = math.ceil((now * 1e6 + DAY) / DAY) * DAY  # a midnight over a day from now: the future
        self.rows, self._least, self._most = 0, math.inf, -math.inf
        self.zeros = 0
        self._seen: dict[float, Seen] = {}  # microseconds per unit -> counts
        self._kinds: Counter[str] = Counter()  # form of dates, or name of ticks -> number of values
        self._first: dict[str, int] = {}  # the first of these values

    def add(self, values: np.ndarray, dated: bool) -> None:
        """Adds values: microseconds if `dated`, otherwise numbers of an unknown unit."""
        if not len(values):
            return
        least, most = values.min(), values.max()
        self.rows += len(values)
        self._least, self._most = min(self._least, least), max(self._most, most)
        below = lambda bound: len(values) * (most < bound) if not least < bound <= most else (values < bound).sum()
        number = len(values)
        for factor in [1] if dated else UNITS:
            early, modern, late = (int(below(bound / factor)) for bound in (EARLY, MODERN, self.limit))
            seen = self._seen.get(factor, Seen())
            self._seen[factor] = Seen(*map(sum, zip(seen, (early, number - modern, number - late), strict=True)))
        if dated:
            return
        self.zeros += int(np.count_nonzero(values == 0)) if least <= 0 else 0
        for kind, (low, high) in RANGES.items():
            if least <= high and most >= low:
                inside = values[(values >= low) & (values <= high)]
                self._count(kind, inside if kind in TICKS else digits.of_form(inside, kind))

    def _count(self, kind: str, values: np.ndarray) -> None:
        self._kinds[kind] += len(values)
        if len(values):
            self._first.setdefault(kind, int(values[0]))

    def misread(self, name: str, unit: str, factor: float) -> str:
        """Returns why a column holds dates or ticks rather than numbers of a unit, and a cure; "" if it doesn't."""
        kinds = self._likely(digits.COMPACT) or self._likely(TICKS)
        if not kinds:
            return ""
        value = self._first[kind := kinds[0]]
        told = f"{name} is {value}: in {unit}, that is {date(value * factor)}; "
        if kind not in TICKS:
            seconds = "; if it is in seconds, --time-format '%s'" if factor == UNITS[0] else ""
            return f"{told}as a date, {digits.shown(value, kind)}: name its form, --time-format '{kind}'{seconds}"
        begin = TICKS[kind]
        moment = date((value - begin) // 10)
        return (
            f"{told}as {kind}, {moment}: write it in seconds, ({name} - {begin}) / 10000000, or take the order of the "
            "file with --time none"
        )

    def turned(self, name: str) -> str:
        """Returns why small numbers are dates like 25122020 rather than an order, and a cure; "" if they aren't."""
        forms = self._likely(digits.TURNED)
        if not forms:
            return ""
        value, named = self._first[forms[0]], " or ".join(f"'{form}'" for form in forms)
        return (
            f"{name} is {value}, as a date {digits.shown(value, forms[0])}, and numbers like it are not in the order "
            f"of their days: name their form, --time-format {named}; if it is in seconds, --time-format '%s'"
        )

    def short(self) -> str:
        """Returns a note about small numbers that may be dates like 251220; "" if they don't look like it."""
        if self._likely([digits.YEARLESS]) and self._most // 100 - self._least // 100 > 1:  # several months
            return "; if they are months and days, write the year before them, as 20250131"
        forms = " or ".join(f"'{form}'" for form in self._likely(digits.SHORT))
        return f"; if they are days, --time-format {forms} reads them" if forms else ""

    def _likely(self, kinds: Iterable[str]) -> list[str]:
        """Returns the kinds that nearly all values except zeros may be; only the most frequent, or several that tie."""
        least = max(LIKELY * (self.rows - self.zeros), 1)
        found = {kind: self._kinds[kind] for kind in kinds if self._kinds[kind] >= least}
        return [kind for kind in found if found[kind] == max(found.values())]

    def notes(self, name: str, factor: float, dates: tuple[str, str]) -> list[str]:
        """Returns notes about times that can hardly be right.

        Args:
            name: the column.
            factor: microseconds per unit of the column.
            dates: the first and the last time, as text.
        """
        early, modern, late = self._seen.get(factor, Seen())
        rows = lambda number: f"{number:,} of {self.rows:,} times lie"
        found = []
        if early and modern:
            cure = "if they are damaged or stand for missing ones, --since 1990-01-01 leaves them out"
            found.append(f"{name}: {rows(early)} before 1990, from {dates[0]}, and {modern:,} after 1995: {cure}")
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


def date(micro: float) -> str:
    """Formats a time in microseconds.

    >>> date(1_388_534_400_000_000)
    '2014-01-01 00:00:00'
    """
    return str(np.datetime64(int(micro) // 1_000_000, "s")).replace("T", " ")  # datetime has only the years 1 to 9999


def _day(micro: int) -> datetime.date:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micro)).date()


def _ranges() -> dict[str, tuple[int, int]]:
    """Returns {kind: (smallest, largest number)} for dates written as numbers and for ticks in YEARS."""
    found = {form: digits.bounds(form) for form in (*digits.COMPACT, *digits.TURNED, *digits.SHORT, digits.YEARLESS)}
    epoch, second = datetime.datetime(1970, 1, 1), datetime.timedelta(seconds=1)
    since = [(datetime.datetime(year, 1, 1) - epoch) // second for year in (YEARS[0], YEARS[1] + 1)]
    for name, begin in TICKS.items():
        low, end = (begin + 10_000_000 * seconds for seconds in since)
        found[name] = low, end - 1
    return found


RANGES = _ranges()

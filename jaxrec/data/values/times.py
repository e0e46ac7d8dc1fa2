"""Converts a column of times in any common form to microseconds, absolute or relative."""

import datetime
from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from jaxrec.data.storage.spill import MEMORY, Parts
from jaxrec.data.values import digits
from jaxrec.data.values.dates import LATEST, Dates
from jaxrec.data.values.digits import DAY, LIKELY
from jaxrec.data.values.forms import forms_of
from jaxrec.data.values.nested import is_opaque
from jaxrec.data.values.plausible import Plausible, date
from jaxrec.data.values.units import RELATIVE, UNITS, Units, unit_of

DATES, DAYS, NUMBERS = "dates", "days", "numbers"  # how times are written; days are numbers like 20140401
FIRST, LAST = 788_918_400, 4_102_444_800  # 1995 and 2100 in seconds: numbers between them are likely times
EPOCH = datetime.datetime(1970, 1, 1)
#: dates that programs give to a time of day without one: those of workbooks, of Python, and 1970-01-01
DAYLESS = [datetime.date.fromisoformat(day) for day in ("1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01")]
WORKBOOKS = DAYLESS[:2]
CLOCK = r"^(?:0 days )?\d{1,2}[:.h]\d\d(?:[:.]\d\d(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?: ?Z|[+-]\d\d:?\d\d)?$"
#: numbers with a decimal comma, or commas between thousands
COMMA = r"^\s*\d+(?:,\d+)+(?:\.\d+)?\s*$"
UNCOMMA = "write it without, its decimals after a point"
FINE = r"[.,]\d{6}\d*[1-9]"  # fractions of seconds with digits below a microsecond
FINE_LENGTH = 23  # bytes of the shortest dates with such a fraction, as 20200913122640.1234567
NANOSECONDS = 10**17  # numbers from here on are times in nanoseconds


class Times:
    """Collects a column of times batch by batch; the unit of numbers is determined from the whole column.

    Args:
        name: the column, for messages.
        format: strftime format of its dates; None to detect it.
        parts: where the values are kept; in memory by default.
        now: current time in seconds since 1970, after which times are in the future; None to read the clock.

    Raises:
        UserError: if the format is invalid.
    """

    def __init__(self, name: str, format: str | None = None, parts: Parts | None = None, now: float | None = None):
        self.name, self.format, self.dates = name, format, Dates(format)
        self.parts = parts or MEMORY.parts("time")
        self.written = None if format is None else DATES  # DATES, DAYS or NUMBERS; None until times are read
        self._most, self._real, self._units = -np.inf, False, Units()
        self.scientific = None  # an example of a number in scientific notation
        self._is_fine = False  # whether any time has digits below a microsecond
        self.mixed = 0  # number of dates in a column of numbers, or of numbers in one of dates
        self._plausible = Plausible(now)
        self._factor: float | None = None  # microseconds per unit, once decided; None if unknown
        self._convert: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def dated(self) -> bool:
        """Whether the column holds dates, in any form."""
        return self.written in (DATES, DAYS)

    def parse(self, values: pl.Series) -> tuple[pl.Series, str]:
        """Converts values to numbers, null where they are not times; dates become Int64 microseconds.

        Returns:
            The numbers (Int64 or Float64), and the reason for nulls.
        """
        if self.written is None:
            self.written = self._form_of(values)
        like = "a date like 2014-04-01T03:00:00Z"
        if self.written == DAYS:
            numbers = _numbers(values)
            found = digits.days(numbers).set((numbers == 0).fill_null(False), 0)  # zero is the first day of 1970
            return found, f"{self.name} is no day like 20140401, as other rows have"
        if self.dated:
            found = self._from_dates(values)
            wrong, what = _misdated(found)
            if what:
                return found.set(wrong, None), f"{self.name} is {what}"
            why = f"{like}, as other rows have" if self.format is None else f"a date like {self.format}"
            return found, f"{self.name} is not {why}"
        found = _numbers(values)
        if found.dtype == pl.Float64 and values.dtype == pl.String and self.scientific is None:
            self.scientific = next(iter(values.filter(found.is_not_null() & values.str.contains("[eE]")).head(1)), None)
        rest = values.filter(found.is_null())
        forms = forms_of(rest.filter(self._from_dates(rest).is_null()))
        cure = f"; or --time-format {forms}" if forms else ": write it as one of these"
        return found, f"{self.name} is no time: neither a number from 0 on nor {like}{cure}"

    def flaws(self, values: pl.Series, found: pl.Series, why: str) -> list[tuple[pl.Series, str]]:
        """Returns (mask, reason) pairs for values that aren't times; counts those in another form as `mixed`.

        Args:
            values: as given to `parse`.
            found: the numbers from `parse`.
            why: the reason from `parse`.
        """
        flaws = [(found.is_null(), why)]
        if self.format is not None or not found.null_count() or is_opaque(values.dtype):
            return flaws
        rest = values.cast(pl.String, strict=False).set(found.is_not_null(), None)
        comma = rest.str.contains(COMMA).fill_null(False)
        if comma.any():
            flaws.insert(0, (comma, f"{self.name} is a number with commas: {UNCOMMA}"))
        number, dated = (_numbers(rest) >= RELATIVE).fill_null(False), Dates().read(rest).is_not_null()
        other = {DATES: number, DAYS: number | dated}.get(self.written or "", dated)
        if other.any():
            self.mixed += int(other.sum())
            unlike = f"{self.name} is no time in the form of the others: numbers in most rows, a date here"
            but = {DATES: f"{why}, but a number", DAYS: why}.get(self.written or "", unlike)
            flaws.insert(0, (other, f"{but}: write all in one form"))
        return flaws

    def add(self, numbers: pl.Series, place: Callable[[int], str] = lambda index: "") -> None:
        """Adds numbers from `parse`, without bad rows. `place`: index -> place of the row, for messages."""
        values = numbers.to_numpy()
        self.parts.add(values)
        self._plausible.add(values, self.dated)
        if not len(values) or self.dated:
            return
        most = float(values.max())
        self._most, self._real = max(self._most, most), self._real or values.dtype.kind == "f"
        is_nano = most >= NANOSECONDS and values.dtype.kind == "i"  # floats of this size are inexact anyway
        self._is_fine = self._is_fine or (is_nano and bool((values % 1000).any()))
        self._units.add(values, place)

    def close(self, relative: bool) -> tuple[np.ndarray, bool, str]:
        """Returns microseconds [N] int64, whether they are relative, and a note; see `decide`."""
        convert, relative, note = self.decide(relative)
        return convert(self.parts.whole()), relative, note

    def decide(self, relative: bool) -> tuple[Callable[[np.ndarray], np.ndarray], bool, str]:
        """Returns the function from values to microseconds (int64), whether times are relative, and a note.

        Args:
            relative: whether the column is known to count from an unknown moment.

        Raises:
            ValueError: if the numbers have two units, are dates or ticks rather than times in a unit, or lie after the
                year 2200.
        """
        self._factor, self._convert, relative, note = self._decided(relative)
        return self._convert, relative, note

    def notes(self) -> list[str]:
        """Returns notes about times that can hardly be right, after `decide` or `close`."""
        if self._factor is None or self._convert is None or not self._plausible.rows:
            return []
        ends = self._convert(np.array(self._plausible.ends, np.float64 if self._real else np.int64))
        kept = "kept to the microsecond: a user's rows within the same one stay in the order of the file"
        return [f"{self.name}: {kept}"] * self._is_fine + self._plausible.notes(
            self.name, self._factor, (date(ends[0]), date(ends[1]))
        )

    def _decided(self, relative: bool) -> tuple[float | None, Callable[[np.ndarray], np.ndarray], bool, str]:
        """Returns the microseconds per unit, None if times are relative, followed by the results of `decide`."""
        if self.dated:
            return 1, lambda values: values, False, f"{self.name}: dates{self._of_dates()}"
        most = self._most
        if most < 0:
            return None, lambda values: values.astype(np.int64), True, ""
        lost = f"; in scientific notation, as {self.scientific}: digits may be lost" if self.scientific else ""
        if relative or most < RELATIVE:
            if not relative and (why := self._plausible.turned(self.name)):
                raise ValueError(why)
            factor = 1_000_000 if most < 2**63 / 1e6 else 1
            note = f"{self.name}: numbers from an unknown moment: an order, no dates{lost}"
            return None, partial(_micro, factor, self._real), True, note + self._plausible.short() * (not relative)
        unit, factor = unit_of(most)
        if why := self._plausible.misread(self.name, unit, factor) or self._units.clash(self.name):
            raise ValueError(why)
        if most * factor > LATEST:
            raise ValueError(
                f"{self.name} is {most:.0f}: in {unit}, that is {date(most * factor)}; write dates as dates, or "
                "name their form, as in --time-format '%Y%m%d%H%M%S'"
            )
        return factor, partial(_micro, factor, self._real), False, f"{self.name}: {unit}{lost}"

    def _of_dates(self) -> str:
        """Returns what the note adds about a column of dates."""
        if self.written == DAYS and self._plausible.rows:
            return f" like {date(self._plausible.ends[1])[:10].replace('-', '')}"
        some = ", some" if self.dates.zoned else ","
        return f"{some} without a zone: taken as UTC" if self.dates.zoneless else ""

    def _form_of(self, values: pl.Series) -> str | None:
        """Returns the most frequent form of the values, DATES, DAYS or NUMBERS; None if there are no times."""
        for part in (values.head(1000), values):
            dates, numbers = self._from_dates(part).count(), _numbers(part).drop_nulls()
            if dates > len(numbers):
                return DATES
            numbers = numbers.filter(numbers != 0)  # zeros stand for missing times
            if days := digits.days(numbers).count():
                return DAYS if days >= len(numbers) / 2 else NUMBERS
            if len(numbers):
                return NUMBERS
        return None  # also if there are only zeros, which are the same in every form

    def _from_dates(self, values: pl.Series) -> pl.Series:
        """Converts dates to microseconds, null where they are not dates."""
        if values.dtype.base_type() is pl.Datetime and values.count():
            self.dates.note_zone(values.dtype.time_zone is not None)  # pyright: ignore[reportAttributeAccessIssue]
        if values.dtype.is_temporal() or is_opaque(values.dtype):
            self._is_fine = self._is_fine or _is_fine(values)
            return _from_temporal(values)
        if values.dtype.is_float() and (whole := values.cast(pl.Int64, strict=False)).eq(values).all():
            values = whole  # so that their text has no decimal point
        text = values.cast(pl.String, strict=False)
        self._is_fine = self._is_fine or _is_fine(text)
        return self.dates.read(text)


def reads_as_times(values: pl.Series) -> bool:
    """Returns whether nearly all values are dates, or numbers that are times from 1995 to 2100 in some unit."""
    if values.dtype.is_temporal():
        return values.dtype.base_type() in (pl.Date, pl.Datetime) and values.count() > 0
    if is_opaque(values.dtype) or values.dtype in (pl.Boolean, pl.Binary):
        return False
    numbers = values
    if not values.dtype.is_numeric():
        values = values.cast(pl.String, strict=False)
        values = values.filter(values.str.strip_chars() != "")
        if len(values) and Dates().read(values).count() >= LIKELY * len(values):
            return True
        numbers = values
    numbers = numbers.cast(pl.Float64, strict=False).drop_nulls()
    if not len(numbers) or len(numbers) < LIKELY * values.count():
        return False
    in_a_unit = (numbers.is_between(FIRST * per_second, LAST * per_second) for per_second in (1, 1e3, 1e6, 1e9))
    if any(each.sum() >= LIKELY * len(each) for each in in_a_unit):
        return True
    return not digits.days(numbers).null_count() or bool(digits.compact(numbers.to_numpy()))


def reads_as_clock(values: pl.Series) -> bool:
    """Returns whether nearly all values are times of day, or small numbers that may be times of day."""
    if values.dtype in (pl.Time, pl.Duration):
        return values.count() > 0
    if is_opaque(values.dtype) or values.dtype in (pl.Boolean, pl.Binary):
        return False
    if values.dtype.is_temporal():
        return _nearly_all(_on(_from_temporal(values), DAYLESS))
    text = values.cast(pl.String, strict=False).str.strip_chars()
    text = text.filter(text != "")
    numbers = text.cast(pl.Float64, strict=False)
    if _nearly_all(numbers.is_between(0, RELATIVE, closed="left")):
        return digits.days(numbers.drop_nulls()).null_count() > 0
    clock = text.str.contains(CLOCK)
    if not _nearly_all(clock | text.str.contains(r"1899|1900|1970|\b(?:99|00|70)\b")):  # a quick test before parsing
        return False
    return _nearly_all(clock | _on(Dates().read(text), DAYLESS).fill_null(False))


def reads_as_days(values: pl.Series, format: str | None = None) -> bool:
    """Returns whether the values are dates without a time of day. `format`: as for `Times`."""
    times = Times("", format)
    found = times.parse(values)[0].drop_nulls()
    if not len(found) or not times.dated:
        numbers = found.to_numpy()
        midnights = (numbers >= RELATIVE) & (numbers % (DAY // 1_000_000) == 0)
        return len(found) > 0 and bool(midnights.all())
    return bool((found % DAY == 0).all())


def _misdated(micro: pl.Series) -> tuple[pl.Series, str]:
    """Returns a mask of dates that can't be those of events, and what they are; "" if there are none."""
    late, dayless = micro > LATEST, _on(micro, WORKBOOKS)
    what = "a time of day without a date, which workbooks put in 1899: join the two" if dayless.any() else ""
    return late | dayless, "no date before the year 2200" if late.any() else what


def _nearly_all(true: pl.Series) -> bool:
    return len(true) > 0 and true.sum() >= LIKELY * len(true)


def _on(micro: pl.Series, days: list[datetime.date]) -> pl.Series:
    """Returns a mask of the times, in microseconds, that are on one of the days."""
    return micro.cast(pl.Datetime("us")).cast(pl.Date).is_in(days)


def _is_fine(dates: pl.Series) -> bool:
    """Returns whether any of the dates, text or of a temporal type, has digits below a microsecond."""
    if dates.dtype == pl.String:
        text = dates.filter(dates.str.len_bytes() >= FINE_LENGTH)
        return len(text) > 0 and bool(text.str.contains(FINE).any())
    is_nano = isinstance(dates.dtype, pl.Datetime) and dates.dtype.time_unit == "ns"
    return is_nano and bool((dates.dt.nanosecond() % 1000 != 0).any())


def _from_temporal(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    return values.dt.epoch("us") if values.dtype.base_type() is pl.Datetime else _nothing(len(values))


def _numbers(values: pl.Series) -> pl.Series:
    """Returns values as Int64 if all times are whole numbers, otherwise as Float64; null where they aren't times."""
    if values.dtype.is_temporal() or is_opaque(values.dtype):
        return _nothing(len(values))
    if not values.dtype.is_numeric():
        text = values.cast(pl.String, strict=False)
        whole = text.cast(pl.Int64, strict=False)
        values = whole if whole.null_count() == text.null_count() else text
    reals = values if values.dtype.is_integer() else values.cast(pl.Float64, strict=False)
    fine = reals.is_between(0, max(UNITS), closed="left").fill_null(False)
    if values.dtype.is_integer() or values.dtype == pl.String:
        whole = values.cast(pl.Int64, strict=False).set(~fine, None)
        if whole.count() == fine.sum():
            return whole
    return reals.set(~fine, None)


def _micro(factor: float, real: bool, values: np.ndarray) -> np.ndarray:
    """Returns microseconds. `real`: whether to compute in floats, since some values of the column are floats."""
    if real:
        return np.round(values.astype(np.float64) * factor).astype(np.int64)
    return values * factor if factor >= 1 else values // 1000


def _nothing(length: int) -> pl.Series:
    return pl.Series([None], dtype=pl.Int64).new_from_index(0, length)

"""A column of times, whatever it is written as -> microseconds, and whether they have a date."""

import datetime

import numpy as np
import polars as pl

RELATIVE = 1e8  # whatever lies below, in seconds before March 1973, counts from an unknown moment
UNITS = {  # numbers below these
    1e11: ("seconds", 1_000_000),
    1e14: ("milliseconds", 1_000),
    1e17: ("microseconds", 1),
    2.0**63: ("nanoseconds", 0.001),
}
LATEST = 7_258_118_400_000_000  # the year 2200
DAY = "%Y-%m-%d"
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%dT%H:%M", DAY)
EPOCH = datetime.datetime(1970, 1, 1)


class Times:
    """Collects a column batch by batch; only the whole of it says which unit its numbers have."""

    def __init__(self, name: str):
        self.name = name  # of the column
        self.parts, self.dated, self.zoneless = [], None, False
        self.formats = FORMATS

    def parse(self, values: pl.Series) -> tuple[pl.Series, str]:
        """Values -> numbers (Int64, Float64; where they are dates Int64 microseconds), null where they are no times.

        Returns them, and what is wrong with those that are null.
        """
        if self.dated is None:
            self.dated = self._has_dates(values)
        like = "a date like 2014-04-01T03:00:00Z"
        if self.dated:
            return self._from_dates(values), f"{self.name} is not {like}, as other rows have"
        return _numbers(values), f"{self.name} is no time: neither a number from 0 on nor {like}"

    def add(self, numbers: pl.Series) -> None:
        """Keep what `parse` made, less the bad rows."""
        self.parts.append(numbers.to_numpy())

    def close(self, relative: bool) -> tuple[np.ndarray, bool, str]:
        """Microseconds [N] int64, whether they are relative, and what to say of it.

        Args:
            relative: whether the column is known to count from an unknown moment.

        Raises:
            ValueError: the numbers have two units; the message names one of each.
        """
        values = np.concatenate(self.parts) if self.parts else np.zeros(0, np.int64)
        self.parts = []
        if self.dated:
            return values, False, f"{self.name}: dates" + (", without a zone: taken as UTC" if self.zoneless else "")
        if not len(values):
            return values.astype(np.int64), True, ""
        most, least = float(values.max()), float(values.min())
        if relative or most < RELATIVE:
            unit, relative = "numbers from an unknown moment: an order, no dates", True
            factor = 1_000_000 if most < 2**63 / 1e6 else 1
        else:
            unit, factor = _unit(most)
            if least >= RELATIVE and _unit(least)[0] != unit:
                one, other = f"in {_unit(least)[0]} in one row ({least:.0f})", f"in {unit} in another ({most:.0f})"
                raise ValueError(f"{self.name} is {one} and {other}: write all in one unit")
            if most * factor > LATEST:
                raise ValueError(
                    f"{self.name} is {most:.0f}: in {unit}, that is {date(most * factor)}; write dates as dates"
                )
        if values.dtype.kind == "f":
            micro = np.round(values * factor).astype(np.int64)
        else:
            micro = values * factor if factor >= 1 else values // 1000
        return micro, relative, f"{self.name}: {unit}"

    def _has_dates(self, values: pl.Series) -> bool | None:
        """Whether there are more dates than numbers; None where there is neither."""
        for part in (values.head(1000), values):
            dates, numbers = self._from_dates(part).count(), _numbers(part).count()
            if dates or numbers:
                return dates > numbers
        return None

    def _from_dates(self, values: pl.Series) -> pl.Series:
        """Dates in ISO 8601 -> microseconds, null where they are none; what fits is tried first next time."""
        if values.dtype.is_temporal() or values.dtype.is_nested():
            return _from_temporal(values)
        values = values.cast(pl.String, strict=False)
        text = values.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T").str.replace(r" ?UTC$", "Z")
        text = text.str.replace(r" ([+-]\d\d)", "$1")
        found = _nothing(len(text))
        fits = []
        for format in self.formats:
            if found.null_count() == values.null_count():
                break
            dates = text.str.to_datetime(format, strict=False, time_unit="us")
            some = dates.count() > 0
            if some and "%#z" not in format and format != DAY:
                self.zoneless = True
            fits += [format] if some else []
            found = found.fill_null(dates.dt.epoch("us")) if some else found
        self.formats = (*fits, *(format for format in self.formats if format not in fits))
        return found


def date(micro: int) -> str:
    """As people read it."""
    return str(np.datetime64(int(micro) // 1_000_000, "s")).replace("T", " ")  # of any year


def _from_temporal(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    return values.dt.epoch("us") if values.dtype.base_type() is pl.Datetime else _nothing(len(values))


def _numbers(values: pl.Series) -> pl.Series:
    """Int64 where all that are times are whole numbers, else Float64; null where they are none."""
    if values.dtype.is_temporal() or values.dtype.is_nested():
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


def _nothing(length: int) -> pl.Series:
    return pl.Series([None], dtype=pl.Int64).new_from_index(0, length)


def _unit(most: float) -> tuple[str, float]:
    return next(unit for bound, unit in UNITS.items() if most < bound)

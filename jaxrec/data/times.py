"""A column of times, whatever it is written as -> microseconds, and whether they have a date."""

import datetime

import numpy as np
import polars as pl

RELATIVE = 1e8  # whatever lies below, in seconds before March 1973, counts from an unknown moment
UNITS = {1e11: ("seconds", 1_000_000), 1e14: ("milliseconds", 1_000), 1e17: ("microseconds", 1), 9.3e18: ("ns", 0.001)}
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
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
        if values.dtype.is_temporal():
            self.dated = True
            return _from_temporal(values), f"{self.name} is no date"
        if values.dtype.is_numeric():
            numbers = values if self.dated is None or not self.dated else values.clear(len(values))
            self.dated = bool(self.dated)
        else:
            numbers = _to_numbers(values)
            if self.dated is None:
                sample = values.head(1000)
                self.dated = self._from_dates(sample).count() > numbers.head(1000).count()
            if self.dated:
                return self._from_dates(values), f"{self.name} is no date like 2014-04-01T03:00:00Z, as other rows have"
        fine = numbers.is_between(0, max(UNITS), closed="left").fill_null(False)
        why = f"{self.name} is no time: neither a number from 0 on nor a date like 2014-04-01T03:00:00Z"
        return numbers.set(~fine, None), why

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
            unit, factor, relative = "numbers from an unknown moment: an order, no dates", 1_000_000, True
        else:
            unit, factor = _unit(most)
            if least >= RELATIVE and _unit(least)[0] != unit:
                one, other = f"in {_unit(least)[0]} in one row ({least:.0f})", f"in {unit} in another ({most:.0f})"
                raise ValueError(f"{self.name} is {one} and {other}: write all in one unit")
        if values.dtype.kind == "f":
            micro = np.round(values * factor).astype(np.int64)
        else:
            micro = values * factor if factor >= 1 else values // 1000
        return micro, relative, f"{self.name}: {unit}"

    def _from_dates(self, values: pl.Series) -> pl.Series:
        """Dates in ISO 8601 -> microseconds, null where they are none; what fits is tried first next time."""
        text = values.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T").str.replace(r" ?UTC$", "Z")
        text = text.str.replace(r" ([+-]\d\d)", "$1")
        found = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(text))
        fits = []
        for format in self.formats:
            if found.null_count() == values.null_count():
                break
            dates = text.str.to_datetime(format, strict=False, time_unit="us")
            some = dates.count() > 0
            if some and "%#z" not in format and format != FORMATS[-1]:
                self.zoneless = True
            fits += [format] if some else []
            found = found.fill_null(dates.dt.epoch("us")) if some else found
        self.formats = (*fits, *(format for format in self.formats if format not in fits))
        return found


def date(micro: int) -> str:
    """As people read it."""
    return str(EPOCH + datetime.timedelta(microseconds=int(micro)))[:19]


def _from_temporal(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if values.dtype.base_type() is not pl.Datetime:
        return pl.Series([None] * len(values), dtype=pl.Int64)
    return values.dt.epoch("us")


def _to_numbers(values: pl.Series) -> pl.Series:
    """Text -> Int64 where all is, else Float64; null where it is no number."""
    whole = values.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == values.null_count() else values.cast(pl.Float64, strict=False)


def _unit(most: float) -> tuple[str, float]:
    return next(unit for bound, unit in UNITS.items() if most < bound)

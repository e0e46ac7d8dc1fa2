"""Columns of codes, such as event types: each code gets one spelling, whatever the type of the column in the file."""

from collections.abc import Iterable

import polars as pl

from jaxrec.data.values.nested import is_opaque
from jaxrec.data.values.spellings import EXACT, FLOAT, INTEGER, integers

#: cure for a code in two spellings
CURE = "write all in one form (in pandas, a column with gaps by .astype('Int64'))"


def text_of(values: pl.Series) -> pl.Series | None:
    """Returns a column as text, null where values are missing; None if its type can't be converted to text.

    Whole floats that are exact, and whole decimals, are written as integers.

    >>> text_of(pl.Series([1.0, 1.5, float("nan")])).to_list()
    ['1', '1.5', None]
    """
    if is_opaque(values.dtype) or values.dtype == pl.Duration:
        return None
    if not values.dtype.is_float():
        try:
            text = values.cast(pl.String)
        except pl.exceptions.PolarsError:  # bytes that are not UTF-8, or Python objects
            return None
        return text.str.replace(r"\.0*$|(\.[0-9]*[1-9])0+$", "${1}") if values.dtype.is_decimal() else text
    values = values.fill_nan(None)
    whole = (values == values.floor()) & (values.abs() < EXACT.get(values.dtype, 2**11))
    numbers = values.set(~whole.fill_null(False), None).cast(pl.Int64, strict=False)
    return numbers.cast(pl.String).fill_null(values.cast(pl.String))


def numbers_of(codes: pl.Series) -> pl.Series:
    """Returns the integers that codes spell, [n] Int64, null for other codes.

    >>> numbers_of(pl.Series(["1", "1.0", "01", "cart"])).to_list()
    [1, 1, 1, None]
    """
    return integers(codes.set(~codes.str.contains(f"{INTEGER}|{FLOAT}").fill_null(False), None))


def spelled_twice(codes: Iterable[str]) -> tuple[str, str] | None:
    """Returns two different codes that spell the same number, the later one first; None if there are none.

    >>> spelled_twice(["1", "2", "1.0"])
    ('1.0', '1')
    """
    codes, first = list(codes), {}
    for code, number in zip(codes, numbers_of(pl.Series(codes, dtype=pl.String)).to_list(), strict=True):
        if number is not None and (other := first.setdefault(number, code)) != code:
            return code, other
    return None


def are_whole(values: pl.Series) -> pl.Series:
    """Returns whether each decimal is a 64-bit integer, [n]; null for null."""
    text = values.cast(pl.String).str.replace(r"\.0*$", "")
    return pl.select(pl.when(text.is_not_null()).then(text.cast(pl.Int64, strict=False).is_not_null())).to_series()

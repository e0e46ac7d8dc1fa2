"""Infers the type of a text column: integers, numbers, booleans or dates, if all values fit; otherwise text."""

import polars as pl

from jaxrec.data.values import spellings

#: texts that mean a missing value in typed columns
MISSING = ["", *spellings.MISSING, "inf", "-inf", "Infinity", "-Infinity"]
INTEGER = r"^(0|-?[1-9][0-9]*)$"  # in canonical form: 007 is text
#: 12E4 is more likely a code than a number, but 1.2E4 and 12E-4 are numbers
NUMBER = r"^-?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|^-?[1-9][0-9]*[eE]-[0-9]+$|" + INTEGER
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z?$"
EXACT = 1 << 53  # larger integers aren't exact as floats


def typed(texts: pl.Series) -> pl.Series:
    """Returns the typed values of a text column, null where missing; the text unchanged if no type fits all values.

    >>> typed(pl.Series(["1994", "", "2001"])).to_list()
    [1994, None, 2001]
    >>> typed(pl.Series(["1994", "007"])).to_list()
    ['1994', '007']
    """
    known = texts.set(texts.is_in(MISSING), None)
    found = known.drop_nulls()
    if not len(found):
        return texts
    for pattern, values_of in KINDS:
        if found.str.contains(pattern).all():
            values = values_of(known)
            if values is not None and values.null_count() == known.null_count():
                return values
    return texts


def _integers(texts):
    return texts.cast(pl.Int64, strict=False)


def _numbers(texts):
    whole = texts.filter(texts.str.contains(INTEGER)).cast(pl.Int64, strict=False)
    if whole.null_count() or (whole.abs() > EXACT).any():
        return None
    numbers = texts.cast(pl.Float64, strict=False)
    return numbers.set(numbers.is_infinite().fill_null(False), None)


def _booleans(texts):
    return texts.str.to_lowercase() == "true"


def _dates(texts):
    return texts.str.to_date("%Y-%m-%d", strict=False)


def _moments(texts):
    zoned = texts.drop_nulls().str.ends_with("Z")
    if zoned.any() and not zoned.all():
        return None
    plain = texts.str.strip_suffix("Z").str.replace(" ", "T")
    moments = plain.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return moments.dt.replace_time_zone("UTC") if zoned.any() else moments


KINDS = (
    (INTEGER, _integers),
    (NUMBER, _numbers),
    ("^(?i:true|false)$", _booleans),
    (DATE, _dates),
    (MOMENT, _moments),
)

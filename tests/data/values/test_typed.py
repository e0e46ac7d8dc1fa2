"""Laws of data.values.typed: text of one kind has its values, and any other stays what it is."""

import datetime

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.values.typed import typed

MISSING = [None, "", "NA", "null", "NaN", "inf", "-inf", "Infinity"]
moments = st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(2200, 1, 1))
KINDS = {
    "integers": (st.integers(-(2**63), 2**63 - 1), str),
    "numbers": (st.floats(-1e15, 1e15).map(lambda x: round(x, 3) + 0.0).filter(lambda x: "e" not in repr(x)), repr),
    "booleans": (st.booleans(), lambda value: str(value).lower()),
    "booleans of Python": (st.booleans(), str),
    "booleans of R": (st.booleans(), lambda value: str(value).upper()),
    "dates": (moments.map(datetime.datetime.date), str),
    "moments": (moments, datetime.datetime.isoformat),
    "moments after a space": (moments, str),
    "moments of a zone": (moments.map(lambda at: at.replace(tzinfo=datetime.UTC)), lambda at: f"{at:%FT%T.%f}Z"),
}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_values_of_one_kind_are_read_among_missing_ones(kind, data):
    values, write = KINDS[kind]
    some = data.draw(st.lists(values, min_size=1, max_size=4))
    missing = data.draw(st.lists(st.sampled_from(MISSING), max_size=3))
    rows = data.draw(st.permutations([*((write(value), value) for value in some), *((text, None) for text in missing)]))
    assert typed(pl.Series([text for text, _ in rows], dtype=pl.String)).to_list() == [value for _, value in rows]


STAY = {
    "a word among numbers": ["1", "x"],
    "codes": ["1", "007"],
    "rounded": ["12E4", "3E5"],
    "too large": ["1", str(2**63)],
    "too large for a float": ["1.5", "1.5e999"],
    "inexact beside floats": ["1.5", str(2**53 + 1)],
    "no day": ["2020-01-01", "2020-02-30"],
    "no moment": ["2020-01-01T00:00:00", "2020-01-01T25:00:00"],
    "finer than a microsecond": ["2020-01-01T00:00:00.1234567"],
    "some with a zone": ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00"],
    "nothing": [None, "", "NaN"],
    "numbers and booleans": ["1", "true"],
}


@pytest.mark.parametrize("texts", STAY.values(), ids=STAY)
def test_text_of_several_kinds_stays_text(texts):
    assert typed(pl.Series(texts, dtype=pl.String)).to_list() == texts

"""Laws of data.values.codes: a code is one text, whatever the type of its column."""

import datetime

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.values.codes import numbers_of, spelled_twice, text_of

OTHERS = {
    "durations": pl.Series([datetime.timedelta(1)]),
    "lists": pl.Series([[1, 2]]),
    "records": pl.Series([{"a": 1}]),
    "bytes": pl.Series([b"\xff"]),
    "objects": pl.Series([object()], dtype=pl.Object),
}


@given(st.lists(st.one_of(st.none(), st.integers(-(2**22), 2**22)), min_size=1, max_size=6), st.integers(2, 6))
def test_a_number_is_one_text_in_columns_of_all_types(quarters, scale):
    """Halves and quarters, which floats hold exactly, and whole ones among them."""
    wanted = [None if each is None else f"{each / 4:.2f}".rstrip("0").rstrip(".") for each in quarters]
    wanted = [each if each != "-0" else "0" for each in wanted]
    values = pl.Series([None if each is None else each / 4 for each in quarters], dtype=pl.Float64)
    for dtype in (pl.Float64, pl.Float32, pl.Decimal(20, scale)):
        assert text_of(values.cast(dtype)).to_list() == wanted, dtype
    whole = pl.Series(quarters, dtype=pl.Int64)
    for dtype in (pl.Int32, pl.Int64, pl.Float64, pl.Float32, pl.Decimal(20, scale), pl.String):
        assert text_of(whole.cast(dtype)).to_list() == whole.cast(pl.String).to_list(), dtype


@pytest.mark.parametrize(("dtype", "bits"), [(pl.Float32, 24), (pl.Float64, 53)])
def test_only_floats_that_lost_no_digit_are_integers(dtype, bits):
    powers = [2.0**power for power in range(63)]
    texts = text_of(pl.Series(powers + [-power for power in powers], dtype=dtype)).to_list()
    assert [text.lstrip("-").isdecimal() for text in texts] == [power < bits for power in range(63)] * 2


@pytest.mark.parametrize("values", OTHERS.values(), ids=OTHERS)
def test_what_is_no_text_has_no_codes(values):
    assert text_of(values) is None


def test_codes_that_stand_for_no_number_are_never_the_same():
    codes = ["cart", "Cart", "1", "2", "1.5", "", "nan"]
    assert spelled_twice(codes) is None and numbers_of(pl.Series(codes)).to_list() == [None, None, 1, 2, *[None] * 3]
    assert spelled_twice([*codes, "02", "01"]) == ("02", "2")

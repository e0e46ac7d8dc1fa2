"""Laws of data.values.units: numbers of two kinds are refused with their places; a few damaged ones are noted."""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings, strategies as st

from jaxrec.data.reading import read
from jaxrec.data.values.dates import LATEST
from jaxrec.data.values.times import Times
from jaxrec.data.values.units import Units
from jaxrec.system.errors import UserError

SECOND = 1_000_000
seconds = st.integers(11 * 10**8, 19 * 10**8)  # 2004 to 2030
small = st.integers(0, 10**8 - 1)


@given(seconds, seconds, st.permutations([10**0, 10**3, 10**6, 10**9]), st.integers(0, 6), st.lists(small, max_size=4))
def test_two_units_are_an_error_whatever_small_numbers_are_among_them(one, other, factors, cut, smalls):
    column = [one * factors[0], *smalls[:2], other * factors[1], *smalls[2:]]
    times = Times("t")
    for rows in (range(cut), range(cut, len(column))):
        part = [column[row] for row in rows if row < len(column)]
        times.written = times.written or ("numbers" if part else None)
        times.add(times.parse(pl.Series(part, dtype=pl.Int64))[0], lambda at, rows=rows: f"row {rows[at]}")
    with pytest.raises(ValueError, match=r"t is in \w+ in one row .* and in \w+ in another .*: write all in") as error:
        times.decide(False)
    for value, row in ((column[0], 0), (column[1 + len(smalls[:2])], 1 + len(smalls[:2]))):
        assert f"({value}, row {row})" in str(error.value)


@given(st.sampled_from([(20200101, "a day"), (43831, "a day as workbooks number them,")]), st.integers(1, 40))
@example((20200101, "a day"), 17)
def test_days_among_times_of_a_unit_are_an_error_unless_they_are_few(kind, others):
    day, what = kind
    column = [1_577_836_800] * (others + 1) + [day, 0]
    times = Times("t", now=2e9)
    times.add(times.parse(pl.Series(column))[0])
    if 1 / len(column) <= 0.05:
        assert times.close(False)[0][-2] == day * SECOND and " 2 of " in times.notes()[0]
    else:
        with pytest.raises(ValueError, match=rf"t is {what} in one row \({day}\) and in seconds in .* one form"):
            times.decide(False)


one_kind = st.tuples(st.sampled_from([0, 5, 43831, 20200101, 10**9, 10**12]), st.integers(1, 30))


@settings(max_examples=100)
@example([(20200101, 9), (43831, 9), (10**9, 9)])
@given(st.lists(one_kind, min_size=1, max_size=4))
def test_a_column_in_batches_is_of_the_kinds_of_the_whole(batches):
    whole, parts, done = Units(), Units(), 0
    whole.add(np.concatenate([[number] * times for number, times in batches]), str)
    for number, times in batches:
        parts.add(np.array([number] * times), lambda at, done=done: str(done + at))
        done += times
    assert parts.clash("t") == whole.clash("t")


@given(st.integers(LATEST // SECOND - 9, 9 * 10**9), st.sampled_from([10**0, 10**3, 10**6, 10**9]))
def test_numbers_after_the_year_2200_are_refused_in_every_unit(second, factor):
    times = Times("t")
    times.add(pl.Series([number := second * factor]))
    if number * (SECOND / factor) <= LATEST:
        assert times.close(False)[0].tolist() == [second * SECOND]
    else:
        with pytest.raises(ValueError, match=r"t is \d+: in \w+, that is 2[2-4]\d\d-.*; write dates as dates"):
            times.decide(False)


@given(st.integers(-3, 3))
def test_numbers_are_an_order_below_the_least_that_is_a_time_of_a_unit(more):
    times = Times("t")
    times.add(pl.Series([10**8 + more]))
    found, relative, _ = times.close(False)
    assert found.tolist() == [(10**8 + more) * SECOND] and relative == (more < 0)


def test_small_numbers_of_many_kinds_are_read_and_said():
    times = Times("t", now=2e9)
    times.add(pl.Series([5, 1000, 99_999_999, 1_600_000_003_000]))
    assert times.decide(False)[2] == "t: milliseconds"
    assert times.notes()[0].startswith("t: 3 of 4 times lie before 1990, from 1970-01-01 00:00:00, and 1 after 1995")


def test_a_missing_date_written_as_zero_is_no_other_unit():
    times = Times("t")
    times.add(pl.Series([0, 1_396_321_200_000]))
    assert times.close(False)[0].tolist() == [0, 1_396_321_200 * SECOND]


def test_two_units_in_two_files_are_named_by_file_and_row(tmp_path):
    head = "user_id,item_id,timestamp\n"
    (tmp_path / "a.csv").write_text(f"{head}1,2,0\n1,3,1600000000\n")
    (tmp_path / "b.csv").write_text(f"{head}1,,5\n1,2,1600000001000\n")
    wanted = r"in seconds in one row \(1600000000, .*a.csv, line 3\) and in milliseconds .*1000, .*b.csv, line 3\)"
    with pytest.raises(UserError, match=wanted):
        read(tmp_path, skip_bad_rows=True)

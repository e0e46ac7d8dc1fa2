"""Laws of data.values.digits: dates written as numbers are read, or refused with the format that reads them."""

import datetime

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.values.times import Times

EPOCH, MICRO = datetime.datetime(1970, 1, 1), datetime.timedelta(microseconds=1)
SECOND = 1_000_000
DAY = 86_400 * SECOND
seconds = st.integers(8 * 10**8, 4 * 10**9)  # 1995 to 2096


def micro(values):
    """Microseconds of a column, whether they are relative, and the note."""
    times = Times("t")
    times.add(times.parse(pl.Series(values))[0])
    found, relative, note = times.close(False)
    return found.tolist(), relative, note


def test_days_as_numbers_are_dates():
    assert micro(pl.Series([20140401, 20140402])) == ([16161 * DAY, 16162 * DAY], False, "t: dates like 20140402")
    assert micro(pl.Series(["20140401"]))[0] == [16161 * DAY]


odd_days = st.sampled_from([20140431, 20141301, 20140100, 5, 1_396_310_400, 20140401.5])


@given(st.lists(st.dates(datetime.date(1950, 1, 1), datetime.date(2100, 12, 31)), min_size=1), st.data())
def test_numbers_that_are_mostly_days_are_days_and_the_others_bad_but_for_zeros(wanted, data):
    wanted = [datetime.datetime.combine(day, datetime.time()) for day in wanted]
    number = lambda day: day.year * 10_000 + day.month * 100 + day.day
    odd = data.draw(st.lists(odd_days, max_size=len(wanted)))
    zeros = data.draw(st.integers(0, 5))
    column = data.draw(st.permutations([*map(number, wanted), *odd, *[0] * zeros]))
    times, is_odd = Times("t"), [value in odd for value in column]
    found, why = times.parse(pl.Series(column, dtype=pl.Float64 if 20140401.5 in odd else pl.Int64))
    assert found.is_null().to_list() == is_odd and why == "t is no day like 20140401, as other rows have"
    assert sorted(found.drop_nulls()) == sorted([*[0] * zeros, *((day - EPOCH) // MICRO for day in wanted)])
    assert times.dated and times.parse(pl.Series([5]))[0].to_list() == [None], "a later batch is read as the first"


def test_zeros_for_missing_times_are_read_and_said_among_days():
    times = Times("t")
    for batch in ([0] * 2000 + [20140401], [0, 20140402]):
        times.add(times.parse(pl.Series(batch))[0])
    found, relative, note = times.close(False)
    assert not relative and note == "t: dates like 20140402" and found[-1] == 16162 * DAY and not found[:2000].any()
    assert times.notes()[0].startswith("t: 2,001 of 2,003 times lie before 1990, from 1970-01-01 00:00:00, and 2 after")


@given(st.sampled_from(["%d%m%Y", "%m%d%Y"]), st.booleans(), st.lists(seconds, min_size=1, max_size=8))
def test_dates_as_numbers_that_end_in_the_year_are_refused_and_a_form_named_reads_them(form, padded, wanted):
    days = [EPOCH + datetime.timedelta(seconds=second) for second in wanted]
    days = [day for day in days if day.year >= 1995] or [EPOCH.replace(year=2020)]
    written = [day.strftime(form) for day in days]
    column = pl.Series(written) if padded else pl.Series(list(map(int, written)))
    with pytest.raises(ValueError, match=r"t is \d{7,8}, as a date \d{4}-.*: name their form, --time-format") as error:
        micro(column)
    forms = str(error.value).partition("--time-format ")[2].partition(";")[0].strip("'").split("' or '")
    assert form in forms
    for each in forms:
        found = Times("t", each).parse(column)[0].to_list()
        assert found == [(datetime.datetime.strptime(day, each) - EPOCH) // MICRO for day in written]
    assert Times("t", "%s").parse(column)[0].to_list() == [int(day) * SECOND for day in written]


@given(st.lists(st.sampled_from([25122020, 31012020, 251220, 130121, 1231]), min_size=1))
def test_numbers_of_a_column_that_counts_from_an_unknown_moment_are_never_dates(numbers):
    times = Times("relative_time")
    times.add(pl.Series(numbers))
    found, relative, note = times.close(True)
    assert found.tolist() == [number * SECOND for number in numbers] and relative
    assert note == "relative_time: numbers from an unknown moment: an order, no dates"


def test_numbers_that_may_be_days_of_six_digits_are_an_order_and_that_is_said():
    note = micro(pl.Series([251299, 20121, 130121]))[2]
    assert note.endswith("an order, no dates; if they are days, --time-format '%d%m%y' reads them")
    assert Times("t", "%d%m%y").parse(pl.Series([20121]))[0].to_list() == [18629 * DAY]
    assert micro(pl.Series([251220, 999999]))[2].endswith("an order, no dates")

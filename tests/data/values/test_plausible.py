"""Laws of data.values.plausible: numbers that aren't times in a unit are refused, and implausible times noted."""

import datetime
import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.filters import Options, apply
from jaxrec.data.reading import read
from jaxrec.data.values.digits import compact
from jaxrec.data.values.plausible import Plausible
from jaxrec.data.values.times import Times, reads_as_times
from jaxrec.system.errors import UserError

EPOCH = datetime.datetime(1970, 1, 1)
NOW = 1_800_000_000  # 2027-01-15
START = 1_508_311_980
days = st.datetimes(datetime.datetime(1995, 1, 1), datetime.datetime(2100, 12, 31))
DIGITS = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%f"}
FACTORS = [10**0, 10**3, 10**6, 10**9]


def collected(values, cuts=(), format=None, now=NOW):
    """The Times of a column in batches."""
    times, edges = Times("at", format, now=now), [0, *sorted(cuts), len(values)]
    for first, last in itertools.pairwise(edges):
        found, why = times.parse(series := pl.Series(values)[first:last])
        assert not found.null_count(), (why, series)
        times.add(found)
    return times


@given(
    st.lists(days, min_size=1, max_size=5),
    st.sampled_from([*DIGITS]),
    st.booleans(),
    st.sampled_from([int, float, str]),
)
def test_dates_with_a_time_of_day_as_numbers_are_refused_and_the_form_named_reads_them(wanted, digits, apart, kind):
    kind = int if digits == 17 and kind is float else kind  # a float keeps 15 digits
    wanted = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in wanted]
    texts = [moment.strftime(DIGITS[digits])[:digits] for moment in wanted]
    numbers = list(map(kind, texts))
    assert compact(np.array(numbers, np.float64)) and reads_as_times(pl.Series(numbers))
    with pytest.raises(ValueError, match=r"that is .*; as a date, .* --time-format '%Y%m%d%H") as error:
        collected(numbers, [1] if apart else []).decide(False)
    form = str(error.value).partition("--time-format '")[2].partition("'")[0]
    assert form == DIGITS[digits]
    back = [datetime.datetime.strptime(text, form) for text in texts]
    found = collected(numbers, format=form).close(False)[0].tolist()
    assert found == [(moment - EPOCH) // datetime.timedelta(microseconds=1) for moment in back]
    if digits == 10:
        assert str(error.value).endswith("; if it is in seconds, --time-format '%s'")
        assert collected(numbers, format="%s").close(False)[0].tolist() == [int(each) * 10**6 for each in numbers]


@given(st.lists(st.integers(788_918_400, NOW), min_size=1, max_size=5), st.sampled_from(FACTORS))
def test_times_until_now_are_neither_refused_nor_said(seconds, factor):
    values = [second * factor for second in seconds]
    times = collected(values)
    assert times.close(False)[0].tolist() == [second * 10**6 for second in seconds]
    assert times.notes() == [] and not compact(np.array(values))


@given(st.lists(days, min_size=1, max_size=5), st.sampled_from([(1, "ticks of .NET"), (1601, "Windows file times")]))
def test_ticks_are_refused_and_the_cure_converts_them(wanted, kind):
    since, name = datetime.datetime(kind[0], 1, 1), kind[1]
    ticks = [(moment - since) // datetime.timedelta(microseconds=1) * 10 for moment in wanted]
    with pytest.raises(ValueError, match=rf"in nanoseconds, that is 19\d\d-.*; as {name}, .* --time none") as error:
        collected(ticks).decide(False)
    begin = int(str(error.value).partition("(at - ")[2].partition(")")[0])
    assert [(each - begin) / 10**7 for each in ticks] == pytest.approx(
        [(each - EPOCH).total_seconds() for each in wanted]
    )


batches = st.lists(st.integers(0, 12), max_size=3)


@given(st.sampled_from(FACTORS), st.integers(0, 4), st.integers(0, 4), batches)
def test_times_far_from_the_others_are_counted_however_they_are_written(factor, early, late, cuts):
    seconds = [*[0, 400_000_000, 631_151_999, 500_000_000][:early], *range(START, START + 12), *[2_147_483_647] * late]
    at = [EPOCH + datetime.timedelta(seconds=second) for second in seconds]
    ways = [[second * factor for second in seconds], [moment.isoformat() + "Z" for moment in at], at]
    if factor == 1:
        ways.append([int(f"{moment:%Y%m%d}") for moment in at])
    for values in ways:
        times = collected(values, [cut for cut in cuts if cut < len(values)])
        times.decide(False)
        said = "\n".join(times.notes())
        assert (f"at: {early} of {len(values)} times lie before 1990, from 1970-01-01 00:00:00" in said) == bool(early)
        assert (f"at: {late} of {len(values)} times lie in the future, up to 2038-01-19" in said) == bool(late)


@given(st.lists(st.integers(0, 631_151_999), min_size=1), st.lists(st.integers(788_918_400, NOW), min_size=1))
def test_old_times_are_said_wherever_there_are_new_ones(old, new):
    dates = [EPOCH + datetime.timedelta(seconds=second) for second in (*old, *new)]
    (note,) = (times := collected(dates)).decide(False) and times.notes()
    assert note.startswith(f"at: {len(old)} of {len(dates)} times lie before 1990, from {min(dates)}, and {len(new)} ")
    alone = collected(dates[: len(old)])
    assert alone.decide(False) and alone.notes() == []


def test_old_logs_and_those_all_in_the_future_are_told_apart():
    new = collected([NOW + 200_000, NOW + 300_000])
    assert new.decide(False) and new.notes() == [
        "at: all times lie in the future, from 2027-01-17 15:33:20: check their unit"
    ]
    for ahead, said in ((86_000, False), (2 * 86_400, True)):  # clocks differ by up to a day
        near = collected([START, NOW + ahead])
        assert near.decide(False) and bool(near.notes()) == said
    unknown = collected([5, 6])
    assert unknown.decide(False)[1] and unknown.notes() == []


@given(st.sampled_from([201710180733, 636_439_512_000_000_000]), st.integers(1, 99))
def test_a_share_of_others_and_zeros_hide_no_dates_and_no_ticks(value, zeros):
    with pytest.raises(ValueError, match=str(value)):
        collected([*[0] * zeros, *[value] * 40, value + 10**11], [zeros]).decide(False)
    assert Plausible(NOW).misread("at", "seconds", 10**6) == ""


@pytest.mark.parametrize(("flag", "odd"), [("since", 12345), ("until", 4_000_000_000)])
def test_the_filter_that_a_note_names_leaves_out_what_it_counts(tmp_path, flag, odd):
    rows = [START, odd, START + 1, START + 2, odd]
    (tmp_path / "a.csv").write_text(
        "user,item,time\n" + "".join(f"1,{at % 3},{time}\n" for at, time in enumerate(rows))
    )
    said = []
    data = read(tmp_path / "a.csv", say=said.append)
    (note,) = [line for line in said if f"--{flag}" in line]
    assert note.startswith("time: 2 of 5 times lie ")
    left = apply(data, Options(**{flag: note.partition(f"--{flag} ")[2].split()[0]}))[0]
    assert len(left.items) == 3


def test_a_column_without_a_known_name_is_found_though_its_dates_are_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,moment\n1,1,201710180733\n1,2,201710190000\n")
    with pytest.raises(UserError, match="moment reads as times: take it with --time moment"):
        read(tmp_path / "a.csv")
    with pytest.raises(UserError, match="--time-format '%Y%m%d%H%M'"):
        read(tmp_path / "a.csv", columns={"time": "moment"})
    assert read(tmp_path / "a.csv", columns={"time": "moment"}, time_format="%Y%m%d%H%M").items.tolist() == [1, 2]


def test_months_and_days_without_a_year_are_no_dates_of_the_year_2000(tmp_path):
    said, days = [], [511, 829, 1111, 1112, 1231, 101]
    (tmp_path / "a.csv").write_text("user,item,time\n" + "".join(f"1,{at},{day}\n" for at, day in enumerate(days)))
    assert read(tmp_path / "a.csv", say=said.append).relative
    assert any("if they are months and days, write the year before them" in line for line in said)
    assert not any("%y%m%d" in line for line in said)

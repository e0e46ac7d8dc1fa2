"""Laws of data.values.times: the same moments give the same microseconds, in any form and any batches."""

import datetime
import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.data.values.plausible import date
from jaxrec.data.values.times import Times, reads_as_clock, reads_as_days, reads_as_times

SECOND = 1_000_000
DAY = 86_400 * SECOND
MICRO = datetime.timedelta(microseconds=1)
EPOCH = datetime.datetime(1970, 1, 1)
TOLEDO = datetime.timezone(datetime.timedelta(hours=2))
#: years of numbers that may be ticks or dates, which are refused: see test_plausible
ODD_YEARS = {1973, 1974, 1976, 1989, 1990, *range(2033, 2037)}
seconds = st.integers(10**8, 4 * 10**9).filter(lambda s: year(s * SECOND) not in ODD_YEARS)  # 1973 to 2096
moments = st.lists(seconds.map(lambda s: s * SECOND), min_size=1, max_size=8)


def year(micro):
    return (EPOCH + datetime.timedelta(microseconds=micro)).year


def split(values, at):
    """A column in two batches."""
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return [series[:at], series[at:]]


def micro(batches, relative=False, times=None):
    """The batches in microseconds, without the bad values, as Log reads them."""
    times = times or Times("t")
    for batch in batches:
        numbers, _ = times.parse(batch)
        times.add(numbers.drop_nulls())
    values, unknown, note = times.close(relative)
    assert values.dtype == np.int64
    return values.tolist(), unknown, note


def iso(moment, zone=None, to="seconds", gap="T"):
    at = EPOCH + datetime.timedelta(microseconds=moment)
    at = at.replace(tzinfo=datetime.UTC).astimezone(zone) if zone else at
    return at.isoformat(gap, to)


def ways(wanted):
    """The moments, of whole seconds, as columns of every kind."""
    texts = {
        "T": [iso(m) for m in wanted],
        "space": [iso(m, gap=" ") for m in wanted],
        "Z": [iso(m) + "Z" for m in wanted],
        "space UTC": [iso(m, gap=" ") + " UTC" for m in wanted],
        "UTC": [iso(m, gap=" ") + "UTC" for m in wanted],
        "+02:00": [iso(m, zone=TOLEDO) for m in wanted],
        "space +0200": [iso(m, zone=TOLEDO, gap=" ").replace("+02:00", " +0200") for m in wanted],
        "ms": [iso(m, to="milliseconds") for m in wanted],
        "µs Z": [iso(m, to="microseconds") + "Z" for m in wanted],
        "ns": [iso(m, to="microseconds") + "000" for m in wanted],
        "padded": [f" {iso(m)} " for m in wanted],
        "mixed": [(iso(m), iso(m, zone=TOLEDO), iso(m) + "Z")[i % 3] for i, m in enumerate(wanted)],
    }
    for name, factor in {"s": 10**6, "ms": 10**3, "µs": 1}.items():
        whole = [m // factor for m in wanted]
        texts |= {f"text {name}": list(map(str, whole)), f"text float {name}": [f"{n}.0" for n in whole]}
        for dtype in (pl.Int64, pl.UInt64, pl.Float64, pl.Decimal(30, 2)):
            yield f"{name} {dtype}", pl.Series(whole, dtype=dtype)
    whole = [m * 1000 for m in wanted]
    texts["text ns"] = list(map(str, whole))
    yield "s UInt32", pl.Series([m // SECOND for m in wanted], dtype=pl.UInt32)
    yield "ns", pl.Series(whole)
    yield "ns float", pl.Series(whole, dtype=pl.Float64)
    for name, written in texts.items():
        yield name, pl.Series(written)
    yield "categorical", pl.Series(texts["Z"], dtype=pl.Categorical)
    yield "categorical s", pl.Series(texts["text s"], dtype=pl.Categorical)
    for unit in ("ms", "us", "ns"):
        plain = pl.Series(wanted).cast(pl.Datetime("us")).cast(pl.Datetime(unit))
        yield f"Datetime {unit}", plain
        for zone in ("UTC", "Asia/Tokyo"):
            yield f"Datetime {unit} {zone}", plain.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


@settings(max_examples=6)
@given(moments, st.integers(0, 8))
def test_the_same_moments_are_the_same_microseconds(wanted, at):
    for name, column in ways(wanted):
        found, relative, note = micro(split(column, at))
        assert found == wanted and not relative, name
        assert note.startswith("t: "), name


@given(st.lists(st.integers(0, 40_000).map(lambda day: day * DAY), min_size=1, max_size=5), st.integers(0, 5))
def test_days_are_their_midnights(wanted, at):
    days = [iso(moment)[:10] for moment in wanted]
    for column in (pl.Series(days), pl.Series(days).str.to_date(), pl.Series([f"{day} 00:00" for day in days])):
        assert micro(split(column, at))[:2] == (wanted, False)


fractions = st.integers(10**14, 4 * 10**15).filter(lambda m: year(m) not in ODD_YEARS)


@given(st.lists(st.tuples(fractions, st.sampled_from([0, 0, 0, 1, 999])), min_size=1, max_size=8), st.integers(0, 8))
def test_fractions_of_a_second_are_kept_to_the_microsecond_and_finer_ones_said(parts, at):
    wanted, below = map(list, zip(*parts, strict=True))
    fine, dates = [m * 1000 + n for m, n in parts], [iso(m, to="microseconds") for m in wanted]
    columns = {
        "µs": pl.Series(wanted),
        "ns": pl.Series(fine),
        "text ns": pl.Series(list(map(str, fine))),
        "ISO": pl.Series(dates),
        "ISO ns": pl.Series([f"{date}{n:03}Z" for date, n in zip(dates, below, strict=True)]),
        "seconds": pl.Series([f"{m // SECOND}.{m % SECOND:06}" for m in wanted]),
        "Decimal": pl.Series([f"{m // SECOND}.{m % SECOND:06}" for m in wanted]).cast(pl.Decimal(30, 6)),
        "Datetime": pl.Series(wanted).cast(pl.Datetime("us")),
        "Datetime ns": pl.Series(fine).cast(pl.Datetime("ns")),
    }
    for name, column in columns.items():
        times = Times("t")
        assert micro(split(column, at), times=times)[:2] == (wanted, False), name
        assert any("t: kept to the microsecond" in note for note in times.notes()) == ("ns" in name and any(below))


BAD = ["-1", "NaN", "inf", "-inf", "abc", "", None, "9223372036854775808", "1e300", "12:30", "2014-13-01", "0x10"]


@given(st.lists(st.one_of(seconds, st.sampled_from(BAD)), max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_bad_ones_are_null_and_change_no_other(column, cuts):
    good = [value for value in column if isinstance(value, int)]
    edges = [0, *sorted(cuts), len(column)]
    for made in (str, lambda s: iso(s * SECOND) + "Z"):
        written = pl.Series([made(v) if isinstance(v, int) else v for v in column], dtype=pl.String)
        found, _, _ = micro([written[a:b] for a, b in itertools.pairwise(edges)])
        assert found == [value * SECOND for value in good]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([-1, None, -(2**63)]),
        pl.Series([2**63, 2**64 - 1], dtype=pl.UInt64),
        pl.Series([math.nan, math.inf, -math.inf, -0.5, 2.0**63]),
        pl.Series([None, None]),
        pl.Series([True, False]),
        pl.Series([[5], [6]]),
        pl.Series([datetime.timedelta(1), None]),
        pl.Series(BAD),
        pl.Series([None], dtype=pl.Datetime("us")),
    ],
    ids=lambda column: str(column.dtype),
)
def test_what_is_no_time_is_null_and_said(column):
    found, why = Times("t").parse(column)
    assert len(found) == len(column) and not found.count() and why.startswith("t is no time")


def test_a_batch_without_times_decides_nothing():
    when = "2014-04-01T03:00:00Z"
    for first in (["", None], [None, None], []):
        assert micro([pl.Series(first, dtype=pl.String), pl.Series([when])])[:2] == ([1396321200 * SECOND], False)
    assert micro([pl.Series([""] * 2000 + [when])])[0] == [1396321200 * SECOND]


@given(st.permutations([pl.Series(["1396321200"]), pl.Series(["2014-04-01"]), pl.Series([EPOCH]), pl.Series([5])]))
def test_dates_and_numbers_in_one_column_are_bad_rows(batches):
    times, first = Times("t"), None
    for batch in batches:
        found, why = times.parse(batch)
        dated = not (batch.dtype.is_integer() or batch[0] == "1396321200")
        first = dated if first is None else first
        assert found.count() == (dated == first)
        assert ("is not a date like" if first else "is no time: neither a number") in why


@given(st.lists(st.integers(0, 10**8 - 1), min_size=1, max_size=5))
def test_small_numbers_count_from_an_unknown_moment(numbers):
    wanted = [number * SECOND for number in numbers]
    found, relative, note = micro([pl.Series(numbers)])
    assert found == wanted and relative and "no dates" in note
    assert micro([pl.Series(numbers, dtype=pl.Int32)])[0] == wanted
    assert micro([pl.Series([1_396_321_200])], relative=True)[1]
    assert micro([pl.Series(["2014-04-01"])], relative=True)[1] is False


def test_a_zone_that_was_not_written_is_said():
    assert micro([pl.Series(["2014-04-01T03:00:00"])])[2] == "t: dates, without a zone: taken as UTC"
    assert micro([pl.Series(["2014-04-01T03:00:00Z"])])[2] == "t: dates"
    assert micro([pl.Series(["2014-04-01"])])[2] == micro([pl.Series([EPOCH.date()])])[2] == "t: dates"


def test_a_zone_that_some_lack_is_said_of_text_and_of_datetimes_alike():
    naive = pl.Series([EPOCH, None])
    zoned = naive.dt.replace_time_zone("Europe/Paris")
    some = "t: dates, some without a zone: taken as UTC"
    assert micro([naive])[2] == "t: dates, without a zone: taken as UTC" and micro([zoned])[2] == "t: dates"
    assert micro([naive, zoned])[2] == micro([zoned, naive])[2] == micro([naive.head(0), zoned, naive])[2] == some
    assert micro([pl.Series(["2014-04-01T03:00:00Z", "2014-04-01T03:00:00"])])[2] == some


@pytest.mark.parametrize("number", ["1600000000,5", "1,234.5", " 1,600,000,000 "])
def test_numbers_with_commas_are_bad_rows_with_their_cure(number):
    times = Times("t")
    found, why = times.parse(values := pl.Series([number, "soon", "1600000000"]))
    (mask, told), _ = times.flaws(values, found, why)
    assert mask.to_list() == [True, False, False]
    assert told == "t is a number with commas: write it without, its decimals after a point"


def test_dates_before_1970_are_dates():
    assert micro([pl.Series(["1969-12-31"])])[:2] == ([-DAY], False)
    assert date(-DAY) == "1969-12-31 00:00:00" and date(1_396_321_200 * SECOND + 1) == "2014-04-01 03:00:00"


def test_relative_times_beyond_what_seconds_can_be_keep_their_order():
    column = Times("relative_timestamp")
    column.add(column.parse(pl.Series([1, 9 * 10**12, 10**13]))[0])
    assert (np.diff(column.close(relative=True)[0]) > 0).all()


def test_a_date_written_as_a_number_is_not_taken_for_milliseconds():
    column = Times("ts")
    column.add(column.parse(pl.Series([20140401123000]))[0])
    with pytest.raises(ValueError, match=r"ts is 20140401123000: in milliseconds, that is 2608-"):
        column.close(relative=False)


@pytest.mark.parametrize("late", ["9999-12-31", datetime.date(9999, 12, 31), datetime.datetime(2201, 1, 1)])
def test_dates_beyond_2200_are_bad(late):
    found, why = Times("t").parse(pl.Series([late, None]))
    assert found[0] is None and why == "t is no date before the year 2200"


@pytest.mark.parametrize("day", ["1899-12-30", "1899-12-31"])
def test_times_of_day_as_workbooks_keep_them_are_bad(day):
    for made in (str, datetime.datetime.fromisoformat):
        found, why = Times("t").parse(pl.Series([made(f"{day} 20:30:00"), made("2024-03-01 20:30:00"), None]))
        assert found.null_count() == 2 and found[1] and why.startswith("t is a time of day without a date")
        mixed = pl.Series([made("9999-12-31 00:00:00"), made(f"{day} 20:30:00")])
        assert Times("t").parse(mixed)[0].null_count() == 2


def test_scientific_times_are_said():
    note = "; in scientific notation, as 1.39631e+0{}: digits may be lost"
    assert micro([pl.Series(["1396310400", "1.39631e+09"])])[2] == "t: seconds" + note.format(9)
    assert micro([pl.Series(["13963104", "1.39631e+07"])])[2].endswith("an order, no dates" + note.format(7))


TIMES = {
    "seconds": pl.Series([1_600_000_000, 1_600_000_001]),
    "text": pl.Series(["1600000000.5", "1600000001"]),
    "milliseconds": pl.Series([1_600_000_000_000]),
    "nanoseconds": pl.Series([1_600_000_000 * 10**9]),
    "floats": pl.Series([1.6e9, 1.5e9]),
    "days": pl.Series([20200101, 20200102]),
    "dates": pl.Series(["2020-01-01"] * 30 + ["?"]),
    "slashes": pl.Series(["2020/01/01 03:04"]),
    "datetimes": pl.Series([EPOCH]),
    "categories": pl.Series(["2020-01-01"], dtype=pl.Categorical),
}
OTHERS = {
    "ids": pl.Series(range(1000)),
    "years": pl.Series([1994, 2001]),
    "ratings": pl.Series([3.5, 5.0]),
    "words": pl.Series(["a", "b"]),
    "half": pl.Series(["2020-01-01", "soon"]),
    "half numbers": pl.Series(["1600000000", "soon"]),
    "versions": pl.Series(["1.2.3"]),
    "hours": pl.Series(["12:30"]),
    "nothing": pl.Series(["", " "]),
    "nulls": pl.Series([None, None]),
    "flags": pl.Series([True]),
    "lists": pl.Series([[1_600_000_000]]),
    "spans": pl.Series([datetime.timedelta(1)]),
    "large": pl.Series([2**62, 5]),
    "one of many": pl.Series([2_017_101_807, 5, 7]),
}


@pytest.mark.parametrize("name", [*TIMES, *OTHERS])
def test_what_reads_as_times(name):
    assert reads_as_times((TIMES | OTHERS)[name]) == (name in TIMES)


CLOCKS = [["20:30", "9:30"], ["08:30:00.5 PM", " "], ["9h30"], ["20.30.00Z"], ["0 days 20:30:00"], [93000], ["0"]]
CLOCKS += [[datetime.time(9, 30)], [datetime.timedelta(1)], [datetime.datetime(1899, 12, 30, 9)]]
CLOCKS += [["1970-01-01T20:30:00Z"], ["1900-01-01 20:30:00"], ["20:30+02:00", "9:30-0530"]]


def test_what_reads_as_a_clock():
    assert all(reads_as_clock(pl.Series(clock)) for clock in CLOCKS)
    no_clocks = {name for name in OTHERS if reads_as_clock(OTHERS[name])}
    assert no_clocks == {"ids", "years", "ratings", "hours", "spans"}, "small numbers may be times of day"
    dates = [column for name, column in TIMES.items() if name != "datetimes"]  # its dates would all be 1970-01-01
    assert not any(map(reads_as_clock, dates)) and reads_as_clock(TIMES["datetimes"])


def test_what_reads_as_days():
    days = {name for name, column in (TIMES | OTHERS).items() if reads_as_days(column)}
    assert days == {"days", "dates", "datetimes", "categories", "half"}
    assert reads_as_days(pl.Series(["13/01/2020"]), "%d/%m/%Y") and not reads_as_days(pl.Series(["13/01/2020"]))
    assert not reads_as_days(pl.Series([0, 86_400])), "midnights of no known day"


KINDS = [
    st.integers(1_400_000_000, 1_500_000_000).map(str),
    st.integers(1, 300).map(lambda quarters: str(1_400_000_000 + quarters / 4)),
    st.integers(0, 40).map(str),
    st.integers(14 * 10**17, 15 * 10**17).map(str),
    st.integers(14 * 10**17, 15 * 10**17).map("{}.5".format),
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(KINDS), min_size=2, max_size=2), st.booleans(), st.data())
def test_parts_of_a_column_are_converted_as_the_whole(kinds, relative, data):
    """Even if some batches hold only whole numbers and others don't."""
    values = [value for kind in kinds for value in data.draw(st.lists(kind, min_size=1, max_size=5))]
    cuts = sorted({0, len(values), *data.draw(st.lists(st.integers(0, len(values)), max_size=3))})
    found = []
    for edges in ([0, len(values)], cuts):
        times, parts = Times("t"), []
        for first, last in itertools.pairwise(edges):
            numbers, _ = times.parse(pl.Series(values[first:last], dtype=pl.String))
            times.add(numbers)
            parts.append(numbers.to_numpy())
        try:
            convert, unknown, note = times.decide(relative)
        except ValueError as error:
            found.append(str(error))
        else:
            found.append((np.concatenate([convert(part) for part in parts]).tolist(), unknown, note))
    assert found[0] == found[1]


@pytest.mark.parametrize("later", [["20200101", "20200102"], ["2020-01-01", "2020-01-02"]])
def test_a_batch_of_zeros_does_not_decide_how_times_are_written(later):
    times = Times("time")
    for batch in (["0", "0"], later):
        found, why = times.parse(pl.Series(batch))
        assert not found.null_count(), why
        times.add(found)
    assert times.close(False)[1:] == (False, "time: dates like 20200102" if "-" not in later[0] else "time: dates")

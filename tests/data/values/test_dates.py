"""Laws of data.values.dates: unambiguous dates are read, and text that could be two days is not a date."""

import datetime

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.reading import read
from jaxrec.data.values.dates import Dates, checked
from jaxrec.data.values.times import Times, reads_as_times
from jaxrec.system.errors import UserError

EPOCH = datetime.datetime(1970, 1, 1)
moments = st.integers(0, 5_680_281_600).map(lambda seconds: EPOCH + datetime.timedelta(seconds=seconds))  # to 2150
DAYS = ["%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%Y-%b-%d"]
CLOCKS = [" %H:%M:%S", " %H:%M", "T%H:%M:%SZ", " %I:%M:%S %p", ", %H:%M:%S GMT", " %H:%M:%S +0000", " %H:%M:%S.000"]
CLOCKS += [" %I:%M:%S\u202f%p", " %I:%M:%S %p GMT", " %I:%M:%S %p GMT+0", " %H:%M:%S UTC+00", ", %I:%M %p UTC"]
WHOLE = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S +0000 %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S UTC %Y",
    "%Y%m%dT%H%M%SZ",
]
WHOLE += ["%Y%m%d %H:%M:%S", "%Y%m%d_%H%M%S", "%Y%m%d %H%M%S"]
WHOLE += ["%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)"]


def micro(moment):
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(DAYS), st.sampled_from(["", *CLOCKS]))
def test_dates_of_one_meaning_are_read_without_a_word(wanted, day, clock):
    if not clock:
        wanted = [moment.replace(hour=0, minute=0, second=0) for moment in wanted]
    elif "%S" not in clock:
        wanted = [moment.replace(second=0) for moment in wanted]
    written = [moment.strftime(day + clock) for moment in wanted]
    assert Dates().read(pl.Series(written)).to_list() == list(map(micro, wanted)), written


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(WHOLE))
def test_dates_as_machines_write_them(wanted, form):
    written = pl.Series([moment.strftime(form) for moment in wanted])
    assert Dates().read(written).to_list() == list(map(micro, wanted))
    assert reads_as_times(written)


@given(moments, st.sampled_from(["%Y%m%dT%H%M", "%Y%m%d %H:%M", "%Y%m%d_%H%M", "%Y%m%dT%H%MZ"]))
def test_a_time_of_day_beside_a_day_without_marks_may_have_no_seconds(wanted, form):
    assert Dates().read(pl.Series([wanted.strftime(form)])).to_list() == [micro(wanted.replace(second=0))]


@given(moments, st.sampled_from(["p.m.", "P.M.", "p. m.", "pm", "PM"]), st.sampled_from([" ", "", "\u202f", "\xa0"]))
def test_halves_of_a_day_are_read_however_they_are_written(wanted, half, gap):
    wanted = wanted.replace(hour=12 + wanted.hour % 12)
    written = pl.Series([f"{wanted:%Y-%m-%d %I:%M:%S}{gap}{half}"])
    assert Dates().read(written).to_list() == [micro(wanted)]
    assert Dates(f"%Y-%m-%d %I:%M:%S{gap and ' '}%p").read(written).to_list() == [micro(wanted)]


AWAY = ["%Y-%m-%d %H:%M:%S {}", "%Y-%m-%dT%H:%M:%S{}", "%d %b %Y %H:%M {}", "%a %b %d %H:%M:%S {} %Y"]
AWAY += ["%a %b %d %Y %H:%M:%S GMT{} (Somewhere)", "%Y/%m/%d %H:%M UTC{}"]
zones = st.integers(-12 * 4, 14 * 4).map(lambda quarters: datetime.timezone(datetime.timedelta(minutes=15 * quarters)))


@given(moments, zones, st.sampled_from(AWAY), st.sampled_from(["%z", "%:z"]))
def test_a_zone_is_taken_off_however_it_is_written(wanted, zone, form, sign):
    local = wanted.replace(second=0, tzinfo=datetime.UTC).astimezone(zone)
    text = f"{local:%z}"
    text = f"{text[:3]}:{text[3:]}" if sign == "%:z" else text
    assert Dates().read(pl.Series([local.strftime(form).format(text)])).to_list() == [micro(wanted.replace(second=0))]


@given(moments, st.integers(-12, 14), st.sampled_from(["+", "+03"]), st.sampled_from([" UTC", "GMT", " GMT"]))
def test_a_zone_of_whole_hours_may_be_written_shortly(wanted, hours, sign, name):
    local = wanted + datetime.timedelta(hours=hours)
    written = pl.Series([f"{local:%Y-%m-%d %H:%M:%S}{name}{hours:{sign}}"])
    assert Dates().read(written).to_list() == [micro(wanted)]


def test_seconds_since_1970_have_a_zone_though_none_is_written():
    times = Times("t", "%s")
    times.add(times.parse(pl.Series(["1396321200"]))[0])
    assert times.close(False)[2] == "t: dates"


MONTHS = {
    "English": "January February March April May June July August September October November December",
    "short": "Jan. Feb. Mar. Apr. May. Jun. Jul. Aug. Sept. Oct. Nov. Dec.",
    "German": "Januar Februar - April - Juni Juli August September - November -",
    "French": "janvier - mars - - - - - septembre octobre novembre -",
    "Swedish": "januari februari mars april - juni juli augusti september - november december",
    "Spanish": "- - marzo - mayo junio julio - septiembre octubre noviembre -",
    "Romanian": "- februarie martie aprilie - - - august septembrie octombrie - decembrie",
}


@pytest.mark.parametrize("language", MONTHS)
def test_names_of_months_that_begin_as_in_english_are_read(language):
    for month, name in enumerate(MONTHS[language].split(), 1):
        if name != "-":
            assert Dates().read(pl.Series([f"3 {name} 2020"])).to_list() == [micro(datetime.datetime(2020, month, 3))]


@pytest.mark.parametrize(
    "text",
    ["1/2/2020", "01/02/2020", "01-02-2020", "13.02.2020", "20-01-02", "1.2.3", "2020/13/01", "2020/01", "Jan 2020",
     "20/1/2", "0001-01-01", "12:30", "2020-01-02-03", "May", "1 Jum 2020", "2020/01/02x",
     "1 marraskuu 2020", "1 mardi 2020"],
)  # fmt: skip
def test_what_could_be_two_days_or_is_none_is_no_date(text):
    assert Dates().read(pl.Series([text])).to_list() == [None]


FORMS = ["%d/%m/%Y", "%m/%d/%Y %H:%M", "%d.%m.%y %H:%M:%S", "%Y%m%d%H%M%S", "%d/%m/%Y %I:%M %p", "%d/%m/%Y %H:%M:%S.%f"]


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(FORMS))
def test_a_form_that_is_named_is_the_only_one(wanted, form):
    wanted = [
        moment.replace(year=2000 + moment.year % 60) for moment in wanted if (moment.month, moment.day) != (2, 29)
    ]
    written = [moment.strftime(form) for moment in wanted]
    back = [datetime.datetime.strptime(text, form) for text in written]
    times = Times("t", form)
    found, why = times.parse(pl.Series([*written, "2020-01-02", None], dtype=pl.String))
    assert found.to_list() == [*map(micro, back), None, None] and why == f"t is not a date like {form}"


def test_a_form_takes_a_zone_and_numbers():
    wanted = micro(datetime.datetime(2020, 1, 2))
    assert Times("t", "%Y%m%d").parse(pl.Series([20200102, 5]))[0].to_list() == [wanted, None]
    found = Times("t", "%d/%m/%Y %H:%M %z").parse(pl.Series(["02/01/2020 02:00 +0200"]))[0]
    assert found.to_list() == [wanted]


@pytest.mark.parametrize("form", ["", "soon", "%H:%M", "%d/%m", "%Q", "%d/%m/%Y %"])
def test_a_form_that_tells_no_date_is_refused(form):
    with pytest.raises(UserError, match="tells no date: write it as strftime does"):
        checked(form)


HOURS = ["%Y%m%d%H", "%d/%m/%Y %Hh", "%H %d.%m.%Y", "%Y-%m-%d %I %p", "%d/%m/%Y %H%%"]


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(HOURS))
def test_a_form_may_have_hours_alone(wanted, form):
    wanted = [moment.replace(minute=0, second=0) for moment in wanted]
    written = pl.Series([moment.strftime(form) for moment in wanted] + ["soon", None])
    assert Dates(form).read(written).to_list() == [*map(micro, wanted), None, None]


MARKS = ["%Y-%m-%d %H:%M:%S,%f", "%d,%m,%Y %H:%M:%S,%f", "%-d-%m-%Y %T-%f %z", "%H:%M:%S:%f%z %Y-%m-%d"]
MARKS += ["%d.%m.%Y %H.%M.%S.%f"]


@given(moments, st.integers(0, 999_999), st.integers(1, 6), st.sampled_from(MARKS))
def test_a_fraction_has_one_to_six_digits_after_any_mark(moment, fraction, digits, form):
    fraction -= fraction % 10 ** (6 - digits)
    wanted = moment.replace(microsecond=fraction, tzinfo=datetime.UTC)
    shown = f"{fraction:06}"
    written = wanted.strftime(form).replace(shown, shown[:digits])
    assert Dates(form).read(pl.Series([written, "soon"])).to_list() == [micro(wanted.replace(tzinfo=None)), None]


@given(st.lists(moments.map(lambda moment: moment.replace(microsecond=0)), min_size=1, max_size=5), st.booleans())
def test_a_value_of_the_other_kind_is_told_apart_from_one_that_is_none(wanted, dated):
    """A date among numbers, or a number among dates."""
    dates, numbers = [moment.isoformat() + "Z" for moment in wanted], [str(10**9 + at) for at in range(len(wanted))]
    first, other = (dates, numbers) if dated else (numbers, dates)
    times = Times("t")
    both, number = [*first, *other, "soon", None], len(wanted)
    for batch, mixed in ((first, 0), (both, number), ([None], number), (both, 2 * number)):
        found, why = times.parse(values := pl.Series(batch, dtype=pl.String))
        assert why.endswith("Z: write it as one of these") or times.dated, "no form reads both"
        *apart, (missing, reason) = times.flaws(values, found, why)
        assert times.mixed == mixed and reason == why and missing.to_list() == found.is_null().to_list()
        if apart:
            ((mask, told),) = apart
            assert values.filter(mask).to_list() == other and told.endswith(": write all in one form")


@given(st.lists(moments, min_size=2, max_size=5), st.integers(0, 10**8 - 1))
def test_a_small_number_among_dates_is_no_time_of_another_kind(wanted, number):
    values = pl.Series([*(f"{moment.isoformat()}Z" for moment in wanted), str(number)])
    found, why = (times := Times("t")).parse(values)
    assert [told for _, told in times.flaws(values, found, why)] == [why] and not times.mixed


def test_a_mixed_column_is_not_cured_by_leaving_out_half_of_it(tmp_path):
    rows = [1_508_311_980, "2017-10-13 19:29:20", 1_508_311_981, "2017-10-13"]
    (tmp_path / "a.csv").write_text("user,item,time\n" + "".join(f"{at},{at},{row}\n" for at, row in enumerate(rows)))
    with pytest.raises(
        UserError,
        match=r"line 3: .* time is no time in the form of the others: numbers in most rows, a date here: write",
    ) as error:
        read(tmp_path / "a.csv")
    last = str(error.value).splitlines()[-1]
    assert last == "Write every time in one form; --on-bad-row skip leaves out those in the other, 2 of the rows"


def test_days_of_the_year_2000_are_numbers_without_its_zeros():
    found = Dates("%y%m%d").read(pl.Series(["101", "1231", "50101", "150101"]))
    assert found.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d").to_list() == [
        "2000-01-01",
        "2000-12-31",
        "2005-01-01",
        "2015-01-01",
    ]


def test_any_number_of_spaces_may_keep_a_line_together():
    one, other = (Dates().read(pl.Series([text])) for text in ("1\xa0April\xa02014", "1 April 2014"))
    assert one.to_list() == other.to_list() and not one.null_count()

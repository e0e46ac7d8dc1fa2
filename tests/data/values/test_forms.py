"""Laws of data.values.forms: text that looks like times is recognised, and the proposed formats read it."""

import datetime

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.values.dates import Dates
from jaxrec.data.values.forms import forms_of, looks_like_times
from jaxrec.data.values.times import Times, reads_as_times

moments = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2149, 12, 31))
CLOCKS = ["", " %H:%M", " %H:%M:%S", "T%H:%M:%S", ", %H:%M", " %H:%M:%S.%f", " %I:%M %p", " %Hh", " %H:%M:%SZ"]


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from("/.-"), st.booleans(), st.sampled_from(CLOCKS))
def test_the_forms_proposed_for_dates_of_two_meanings_read_them(wanted, gap, day_first, clock):
    form = gap.join(["%d", "%m", "%Y"] if day_first else ["%m", "%d", "%Y"]) + clock
    written = pl.Series([moment.strftime(form) for moment in wanted])
    forms = forms_of(written)[1:-1].split("' or '")
    assert form in forms and len(forms) <= 2
    assert all(Dates(each).read(written).null_count() == 0 for each in forms)
    if any(moment.day > 12 for moment in wanted):
        assert forms == [form]
    _, why = Times("t").parse(written)
    assert why.endswith(f"; or --time-format {forms_of(written)}")


#: text that looks like times and isn't read -> the forms proposed
FORMS = {
    "2020-01-28 05:06:00,123": "'%Y-%m-%d %H:%M:%S,%f'",
    "2020-01-28T05": "'%Y-%m-%dT%H'",
    "2020-01-28T05:06:00+01:00[Europe/Berlin]": "'%Y-%m-%dT%H:%M:%S%z[Europe/Berlin]'",
    "28/Oct/2000:13:55:36 -0700": "'%d/%b/%Y:%H:%M:%S %z'",
    "[28/Oct/2000:13:55:36 -0700]": "'[%d/%b/%Y:%H:%M:%S %z]'",
    "28-Jan-20": "'%d-%b-%y'",
    "28-JAN-20 05.06.00 AM": "'%d-%b-%y %I.%M.%S %p'",
    "28JAN2020:05:06:00": "'%d%b%Y:%H:%M:%S'",
    "2020/13/01": "'%Y/%d/%m'",
    "13/01/2020": "'%d/%m/%Y'",
    "1/2/20 03:04": "'%d/%m/%y %H:%M' or '%m/%d/%y %H:%M' or '%y/%m/%d %H:%M'",
    "20/01/05": "'%d/%m/%y' or '%y/%m/%d'",
    "1-2-2020T03:04:05Z": "'%d-%m-%YT%H:%M:%SZ' or '%m-%d-%YT%H:%M:%SZ'",
    "2020-01-28 05:06:00 EST": "",
    "Tue Jan 28 05:06:00 CET 2020": "",
    "01/02/2020 Mon": "",
    "20/13/05": "",
    "20200128T05": "'%Y%m%dT%H'",
    "Tue 28/01/2020": "'%a %d/%m/%Y'",
    "Tue 07/01/2020": "'%a %d/%m/%Y'",
    "Tuesday, 07/01/2020 10:00": "'%A, %d/%m/%Y %H:%M'",
    "13/04/2020 10h30": "'%d/%m/%Y %Hh%M'",
    "13/04/2020 3:04 p.m.": "'%d/%m/%Y %I:%M %p'",
    "13/04/2020 3:04 a. m.": "'%d/%m/%Y %I:%M %p'",
    "13/04/2020 3:04\u202fPM": "'%d/%m/%Y %I:%M %p'",
    "2020-W28": "",
    "2020-W28-3": "",
}


@pytest.mark.parametrize("text", FORMS)
def test_what_looks_like_times_is_known_with_the_forms_that_read_it(text):
    values = pl.Series([f" {text}", "", text, None])
    assert looks_like_times(values) and not reads_as_times(values) and forms_of(values) == FORMS[text]
    for form in FORMS[text][1:-1].split("' or '") if FORMS[text] else ():
        assert Dates(form).read(values).null_count() == 2


OTHERS = ["05:06", "1.2.3", "2020", "2020-01", "2020-01-02-03", "555-12-34", "soon", "May", "May 2020", "12 Monkeys 20"]
OTHERS += ["2020-01-28 Concert in the park", "12 Dec 20 meeting of friends", "1999-W60-x", "12.5", "B/1/2020"]


@pytest.mark.parametrize("text", OTHERS)
def test_what_does_not_look_like_times_has_no_form(text):
    values = pl.Series([text])
    assert not looks_like_times(values) and forms_of(values) == ""
    assert Times("t").parse(values)[1].endswith("Z: write it as one of these") or text in ("2020", "12.5")


def test_the_form_proposed_is_that_which_reads_most():
    rows = ["13/01/2020 10:00:00.5", *["14/01/2020 10:00:00"] * 20]
    assert forms_of(pl.Series(rows)) == "'%d/%m/%Y %H:%M:%S.%f'"
    assert forms_of(pl.Series(["13/01/2020", "14/01/2020", "01/13/2020"])) == "'%d/%m/%Y'"
    assert forms_of(pl.Series(["13/01/2020", "20/13/05", "20/13/06"])) == ""
    assert looks_like_times(pl.Series([*rows, "?"])) and not looks_like_times(pl.Series([*rows, *"???"]))
    assert forms_of(pl.Series([5])) == "" and not looks_like_times(pl.Series([20200101]))

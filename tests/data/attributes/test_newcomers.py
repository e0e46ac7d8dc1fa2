"""Attributes of items added after the training, in the types of JSON."""

import datetime

import polars as pl
import pytest

from jaxrec.data.attributes.newcomers import column
from jaxrec.system.errors import UserError

DAY = datetime.date(2005, 1, 31)
MOMENT = datetime.datetime(2005, 1, 31, 8)


@pytest.mark.parametrize(
    ("given", "dtype", "wanted"),
    [
        ([3, 4.5, None], pl.Float64, [3.0, 4.5, None]),
        ([19.0, 7], pl.Int64, [19, 7]),
        (["War", 5], pl.String, ["War", "5"]),
        ([True, None], pl.Boolean, [True, None]),
        ([[0, 0.5], [1, 2]], pl.List(pl.Float64), [[0.0, 0.5], [1.0, 2.0]]),
        ([[1, 0.5]], pl.Array(pl.Float64, 2), [[1.0, 0.5]]),
        ([["War"], [], None], pl.List(pl.String), [["War"], [], None]),
        (["2005-01-31", DAY], pl.Date, [DAY, DAY]),
        (["2005-01-31T08:00:00", MOMENT], pl.Datetime("us"), [MOMENT, MOMENT]),
        (["2005-01-31T10:00:00+02:00"], pl.Datetime("us"), [MOMENT]),
        (["08:00:00"], pl.Time, [datetime.time(8)]),
    ],
)
def test_a_value_is_taken_in_any_form_that_says_it(given, dtype, wanted):
    found = column("about", given, dtype)
    assert found.to_list() == wanted and found.dtype == dtype


@pytest.mark.parametrize(
    ("odd", "dtype", "cure"),
    [
        ("cheap", pl.Float64, "numbers there: give one"),
        (True, pl.Float64, "numbers there: give one"),
        (10**400, pl.Float64, "numbers there: give one"),
        (1.5, pl.Int64, "integers there: give one"),
        (1, pl.Boolean, "booleans there: give true or false"),
        (20050131, pl.Date, "dates there: write it as 2026-03-02"),
        ("soon", pl.Date, "dates there: write it as 2026-03-02"),
        (1.5, pl.Datetime("us"), "dates there: write it as 2026-03-02T08:00:00"),
        ([0.5, "b"], pl.List(pl.Float64), "List"),
        ("War", pl.List(pl.String), "List"),
        ([["War"]], pl.List(pl.String), "List"),
        ({"a": 1}, pl.List(pl.String), "List"),
        ([1.0, 2.0, 3.0], pl.Array(pl.Float64, 2), "Array"),
    ],
)
def test_what_is_of_another_type_is_named_and_never_taken_for_something_else(odd, dtype, cure):
    with pytest.raises(UserError, match=r"about: price is .*, and items have ") as error:
        column("price", [None, odd], dtype)
    assert cure in str(error.value)


def test_the_forms_that_messages_propose_are_read():
    assert column("at", ["2026-03-02"], pl.Date).to_list() == [datetime.date(2026, 3, 2)]
    assert column("at", ["2026-03-02T08:00:00"], pl.Datetime("ms")).to_list() == [datetime.datetime(2026, 3, 2, 8)]
    assert column("at", ["08:00:00"], pl.Time).to_list() == [datetime.time(8)]

"""Arguments from Python: a date of any type is the same moment, and an id of any type the same id."""

import datetime

import numpy as np
import pandas as pd
import pytest

from jaxrec.system import arguments
from jaxrec.system.errors import UserError

MOMENT = datetime.datetime(2026, 3, 2, 8, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "written",
    [
        *(MOMENT, MOMENT.replace(tzinfo=None), MOMENT.isoformat(), "2026-03-02T10:00+02:00", pd.Timestamp(MOMENT)),
        *(np.datetime64(MOMENT.replace(tzinfo=None), unit) for unit in ("s", "us", "ns")),
    ],
    ids=repr,
)
def test_a_moment_is_read_in_any_form(written):
    assert arguments.microseconds(written) == MOMENT.timestamp() * 1_000_000


@pytest.mark.parametrize("nothing", [None, pd.NaT, np.datetime64("NaT"), "noon", "", 7, datetime.time(8)], ids=repr)
def test_what_is_no_moment_is_none(nothing):
    assert arguments.microseconds(nothing) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_float_is_an_id_up_to_where_each_is_one_integer(sign):
    most = sign * (2**53 - 1)
    assert arguments.as_id(float(most), int) == most and arguments.as_id(np.float64(most), str) == str(most)
    assert arguments.as_id(sign * 2.0**53, int) is None and arguments.as_id(sign * 2**53, int) == sign * 2**53


@pytest.mark.parametrize("ids", [{1}, frozenset([1]), {1: 2}], ids=repr)
def test_a_set_is_a_list_of_ids_only_where_their_order_does_not_matter(ids):
    for name in arguments.ORDERED:
        with pytest.raises(UserError, match=f"{name} is .*: a list of ids is expected"):
            arguments.id_list(ids, name)
    if not isinstance(ids, dict):
        assert arguments.id_list(ids, "candidates") == [1]

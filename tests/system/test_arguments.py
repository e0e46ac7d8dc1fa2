"""Arguments from Python: dates by any of their types are one moment."""

import datetime

import numpy as np
import pandas as pd
import pytest

from jaxrec.system import arguments

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

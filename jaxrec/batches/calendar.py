"""The hour, weekday and month of the times of events."""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

SECOND = 1_000_000  # in the unit of a log's times, which are int64 microseconds
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
UNKNOWN = np.iinfo(np.int64).min  # stands for an unknown time


def hour(times: np.ndarray) -> np.ndarray:
    """Returns the hour of the day, from 1. times: microseconds since 1970."""
    return times % DAY // HOUR + 1


def weekday(times: np.ndarray) -> np.ndarray:
    """Returns the day of the week; Monday is 1. times: microseconds since 1970."""
    return (times // DAY + 3) % 7 + 1  # 1970 began on a Thursday


def month(times: np.ndarray) -> np.ndarray:
    """Returns the month, from 1. times: microseconds since 1970."""
    days = (times // DAY).astype("datetime64[D]")
    return days.astype("datetime64[M]").astype(np.int64) % 12 + 1


def read(what: Callable, times: ArrayLike) -> np.ndarray:
    """Returns `what`, one of the functions above, of times; 0 where they are UNKNOWN.

    >>> read(month, [UNKNOWN, 0, 40 * DAY]).tolist()
    [0, 1, 2]
    """
    times = np.asarray(times)
    known = times != UNKNOWN
    return np.where(known, what(np.where(known, times, 0)), 0)


def local(times: ArrayLike, zone: str) -> np.ndarray:
    """Converts times from UTC to the local time of a zone; UNKNOWN stays UNKNOWN.

    >>> read(hour, local([0, UNKNOWN], "Asia/Tokyo")).tolist()
    [10, 0]
    """
    times = np.asarray(times)
    if zone == "UTC":
        return times
    known = times != UNKNOWN
    moments = pl.Series(np.where(known, times, 0)).cast(pl.Datetime("us", "UTC"))
    shown = moments.dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.epoch("us").to_numpy()
    return np.where(known, shown, UNKNOWN)

"""What is known of the events of a history that is asked about, beside their items."""

import datetime
from collections.abc import Sequence

import numpy as np

from jaxrec.batches import context
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
LATEST = 2**62 // context.SECOND  # seconds that are no mistake


def context_of(
    kinds: Sequence[str], length: int, times: Sequence | None = None, weights: Sequence | None = None, which: str = ""
) -> np.ndarray | None:
    """The context of a history's events, as the model was trained with it: [length, K]; None without kinds.

    What is not given is unknown, and 0. A session is taken to be one user's visit: nobody says here where one begins.

    Args:
        kinds: of a configuration's `context`.
        length: how many events there are.
        times: of each the seconds since 1970, a datetime (without a zone: UTC), or its text in ISO 8601; oldest first;
            None where that is not known.
        weights: of each a number, or None.
        which: begins the message of an error.

    >>> context_of(["gap", "weekday"], 2, times=["2026-03-02T08:00:00", "2026-03-02T08:01:00"]).tolist()
    [[0, 1], [6, 1]]

    Raises:
        UserError: there are not as many as events, one is no time or no number, times fall.
    """
    if not kinds:
        return None
    given = context.Events(
        np.array([0, length]),
        times=None if times is None else _times(times, length, which),
        weights=None if weights is None else _weights(weights, length, which),
    )
    known = context.known(given)
    found = np.zeros((length, len(kinds)), np.uint16)
    if have := [kind for kind in kinds if kind in known]:
        found[:, [kinds.index(kind) for kind in have]] = context.numbers(given, have)
    return found


def _times(times, length, which):
    times = _as_many(times, "times", length, which)
    found = np.array([_microseconds(time, f"{which}times: ") for time in times], np.int64)
    places = np.flatnonzero(found != context.UNKNOWN)
    if (falls := np.flatnonzero(np.diff(found[places]) < 0)).size:
        before, after = places[falls[0] : falls[0] + 2].tolist()
        raise UserError(f"{which}times: the one at {after} is before the one at {before}: give events oldest first")
    return found


def _microseconds(time, which):
    if time is None:
        return context.UNKNOWN
    if isinstance(time, np.datetime64):
        time = time.astype("datetime64[us]").item()
    if isinstance(time, str):
        try:
            time = datetime.datetime.fromisoformat(time)
        except ValueError:
            raise UserError(f"{which}{arguments.some([time])} is no date: write it as 2026-03-02T08:00:00Z") from None
    if isinstance(time, datetime.datetime):
        return (time.replace(tzinfo=time.tzinfo or datetime.UTC) - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(time, int | float | np.number) and not isinstance(time, bool) and 0 <= time < LATEST:
        return int(time * context.SECOND)
    raise UserError(f"{which}{arguments.some([time])} is no time: give seconds since 1970, a datetime, or its text")


def _weights(weights, length, which):
    found = _as_many(weights, "weights", length, which)
    for weight in found:
        number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool) and np.isfinite(weight)
        if weight is not None and not number:
            raise UserError(f"{which}weights: {arguments.some([weight])} is no finite number")
    return np.array([np.nan if weight is None else weight for weight in found], np.float64)


def _as_many(values, name, length, which) -> list:
    values = arguments.id_list(values, name, which)
    if len(values) != length:
        raise UserError(f"{which}{name}: {len(values)} for {length} items of the history: give one each")
    return values

"""What a log knows of an event beside its item: for each kind a small whole number, to be embedded at its slot.

A number is a function of the event and of the one before it, never of what comes later, and needs nothing that was
learned from the log: an event that is asked about years later has the number it would have had in training. 0 is
unknown, and adds nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrec.data import topics
from jaxrec.system.errors import UserError

SECOND = 1_000_000  # of a log's times
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
UNKNOWN = np.iinfo(np.int64).min  # of a time
GAPS = 32  # doublings of a second: the last is of 68 years and more
OCTAVES = (-8, 24)  # powers of two between which weights are told apart
PARTS = 8  # of an octave


class Events(NamedTuple):
    """Events of histories back to back, as far as they are known."""

    offsets: np.ndarray  #: [U + 1] int64, where histories begin
    #: [N] int64 microseconds, UNKNOWN where that is not known; from 1970, UTC, unless `relative`
    times: np.ndarray | None = None
    relative: bool = False
    weights: np.ndarray | None = None  #: [N], NaN where that is not known
    session_starts: np.ndarray | None = None  #: [S] int64, places at which sessions begin
    types: np.ndarray | None = None  #: [N], numbers of types of events from 1, as the training has them; 0: not known
    items: np.ndarray | None = None  #: [N], numbers, 0 of one that is not known
    topics: np.ndarray | None = None  #: of items, as of `topics.values`


class Kind(NamedTuple):
    """A kind of context."""

    size: int  #: numbers 1..size; 0: as many as the log has types of events
    needs: str  #: "times", "dates" (times that count from 1970), "weights", "sessions", "types" or "topics"
    numbers: Callable[[Events], np.ndarray]  #: -> [N], 0..size


def _gap(events):
    """Doublings of the seconds since the history's event before, from 1; 0 at its first event."""
    times = np.asarray(events.times)
    known = times != UNKNOWN
    seconds = np.diff(np.where(known, times, 0), prepend=0) // SECOND
    number = np.minimum(np.floor(np.log2(1 + np.maximum(seconds, 0))).astype(np.int32) + 1, GAPS)
    number[_starts(events)] = 0
    return np.where(known & np.roll(known, 1), number, 0)


def _starts(events):
    """Places of the first events of histories."""
    return events.offsets[:-1][np.diff(events.offsets) > 0]


def _hour(events):
    return np.asarray(events.times) % DAY // HOUR + 1


def _weekday(events):
    return (np.asarray(events.times) // DAY + 3) % 7 + 1  # 1970 began on a Thursday


def _month(events):
    days = (np.asarray(events.times) // DAY).astype("datetime64[D]")
    return days.astype("datetime64[M]").astype(np.int64) % 12 + 1


def _where_dated(numbers):
    return lambda events: np.where(np.asarray(events.times) == UNKNOWN, 0, numbers(events))


def _weight(events):
    """Zero, then eighths of octaves of positive weights, then of negative ones."""
    weights = np.asarray(events.weights, np.float64)
    low, high = OCTAVES
    part = np.round(PARTS * np.log2(np.maximum(np.nan_to_num(np.abs(weights)), 2.0**low))) - PARTS * low
    part = np.minimum(part, PARTS * (high - low)).astype(np.int32)
    number = np.where(weights == 0, 1, np.where(weights > 0, 2, 3 + PARTS * (high - low)) + part)
    return np.where(np.isnan(weights), 0, number)


def _session(events):
    """1 within a session, 2 at its first event."""
    number = np.ones(events.offsets[-1], np.int32)
    number[events.session_starts] = 2
    return number


KINDS = {
    "gap": Kind(GAPS, "times", _gap),
    "hour": Kind(24, "dates", _where_dated(_hour)),
    "weekday": Kind(7, "dates", _where_dated(_weekday)),
    "month": Kind(12, "dates", _where_dated(_month)),
    "weight": Kind(3 + 2 * PARTS * (OCTAVES[1] - OCTAVES[0]), "weights", _weight),
    "session": Kind(2, "sessions", _session),
    "type": Kind(0, "types", lambda events: events.types),
    "switch": Kind(2, "topics", lambda events: topics.switches(events.topics, events.items, events.offsets)),
}
LACKS = {
    "times": lambda events: events.times is None,
    "dates": lambda events: events.times is None or events.relative,
    "weights": lambda events: events.weights is None,
    "sessions": lambda events: events.session_starts is None,
    "types": lambda events: events.types is None,
    "topics": lambda events: events.topics is None or events.items is None,
}


def named(text: str) -> tuple[str, ...]:
    """The kinds of a configuration's `context`.

    >>> named("gap, hour")
    ('gap', 'hour')

    Raises:
        UserError: one is unknown, or named twice.
    """
    kinds = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"config.context: {kind!r} is none of {', '.join(KINDS)}")
        if kinds.count(kind) > 1:
            raise UserError(f"config.context names {kind} twice: once will do")
    return kinds


def of_log(interactions: Any, topic: str = "") -> Events:
    """The Events of Interactions. topic: of a configuration."""
    sessions = interactions.sessions
    starts = None if sessions is None else sessions.offsets[:-1][np.diff(sessions.offsets) > 0]
    return Events(
        interactions.offsets,
        interactions.times,
        interactions.relative,
        interactions.weights,
        session_starts=starts,
        types=None if interactions.types is None else interactions.types.numbers,
        items=interactions.items,
        topics=topics.values(interactions.catalogue, topic),
    )


def known(events: Events) -> tuple[str, ...]:
    """The kinds that these events have.

    >>> known(Events(np.array([0, 2]), weights=np.array([1.0, 5.0])))
    ('weight',)
    """
    return tuple(name for name, kind in KINDS.items() if not LACKS[kind.needs](events))


def shown(interactions: Any, kinds: str, topic: str = "") -> np.ndarray | None:
    """The context that a model is shown of a log, as `numbers` gives it; None where it is shown none.

    Args:
        interactions: Interactions.
        kinds: of a configuration's `context`.
        topic: of a configuration.
    """
    return numbers(of_log(interactions, topic), named(kinds), interactions.name) if named(kinds) else None


def numbers(events: Events, kinds: Sequence[str], name: str = "the log") -> np.ndarray:
    """The context of events: [N, K] uint16, a column a kind.

    Args:
        kinds: names of KINDS.
        name: of the events, for messages.

    >>> events = Events(np.array([0, 3]), times=np.array([0, 0, 86_400_000_000]))
    >>> numbers(events, ["gap", "weekday"]).tolist()
    [[0, 4], [1, 4], [17, 5]]

    Raises:
        UserError: the events lack what a kind needs.
    """
    for kind in kinds:
        if LACKS[KINDS[kind].needs](events):
            raise UserError(
                f"{name}: config.context asks for {kind}, which needs {_wanted(KINDS[kind].needs)}: "
                f"{_instead(known(events))}"
            )
    found = np.zeros((events.offsets[-1], len(kinds)), np.uint16)
    for column, kind in enumerate(kinds if len(found) else ()):
        found[:, column] = KINDS[kind].numbers(events)
    return found


def _wanted(needs):
    return {
        "times": "a time for every event, which this log lacks",
        "dates": "times that count from 1970, and this log has none, or counts from an unknown moment",
        "weights": "a weight (a rating, seconds of play) for every event, which this log lacks",
        "types": "types of events (view, purchase), which this log lacks: prepare.py --type names their column",
        "topics": "a column of items, genres or categories, which config.topic names where it is called otherwise",
        "sessions": "sessions within the users' histories, which this log, or its split, has not",
    }[needs]


def _instead(kinds):
    return f"it knows {', '.join(kinds)}; leave the rest out" if kinds else "set config.context to nothing"

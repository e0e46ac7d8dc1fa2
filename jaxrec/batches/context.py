"""What a log knows of an event beside its item: for each kind a small whole number, to be embedded at its slot.

A number is a function of the event and of the one before it, never of what comes later, and needs nothing that was
learned from the log: an event that is asked about years later has the number it would have had in training. 0 is
unknown, and adds nothing.

Kinds of the time of asking are of the event that a slot asks for: a model that predicts the next item is shown, at an
event's slot, when the event after it was; one that fills masked slots, at such a slot, when its own event was. Of a
question that time is known only where it is given.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrec.batches import calendar
from jaxrec.batches.calendar import SECOND, UNKNOWN
from jaxrec.config import registry
from jaxrec.config.keys import Config
from jaxrec.data import baskets
from jaxrec.data.attributes import topics, user_columns
from jaxrec.data.interactions import Sessions
from jaxrec.data.log import sessions_of
from jaxrec.system.errors import UserError

GAPS = 32  # doublings of a second: the last is of 68 years and more
OCTAVES = (-8, 24)  # powers of two between which weights are told apart
PARTS = 8  # of an octave
USER = "user "  # begins the kinds that are columns of users: "user gender"
MOMENT = "moment"  # the kind that models are shown whose attention knows how far apart events are
BASKET = "basket"  # the kind that tells an objective of baskets which events are one; models are not shown it
LONGEST = np.iinfo(np.int32).max - 1  # seconds after a history's first event that are told apart: 68 years


class Events(NamedTuple):
    """Events of histories back to back, as far as they are known."""

    offsets: np.ndarray  #: [U + 1] int64, where histories begin
    #: [N] int64 microseconds, UNKNOWN where that is not known; from 1970, UTC, unless `relative`
    times: np.ndarray | None = None
    relative: bool = False
    weights: np.ndarray | None = None  #: [N], NaN where that is not known
    sessions: Sessions | None = None
    types: np.ndarray | None = None  #: [N], numbers of types of events from 1, as the training has them; 0: not known
    items: np.ndarray | None = None  #: [N], numbers, 0 of one that is not known
    topics: np.ndarray | None = None  #: of items, as of `topics.values`
    users: Mapping[str, np.ndarray] | None = None  #: {column: [N] numbers of the users' values from 1; 0: not known}
    zone: str = "UTC"  #: in which dates are read off


class Kind(NamedTuple):
    """A kind of context."""

    size: int  #: numbers 1..size; 0: as many as the log has types of events
    needs: str  #: "times", "dates" (times that count from 1970), "weights", "sessions", "types", "topics" or "users"
    numbers: Callable[[Events], np.ndarray]  #: -> [N], 0..size
    asked: bool = False  #: whether it is of the time of asking


def _gap(events):
    """Doublings of the seconds since the history's event before, from 1; 0 at its first event."""
    times = np.asarray(events.times)
    known = times != UNKNOWN
    shown = np.where(known, times, 0)
    seconds = np.maximum(shown[1:] - shown[:-1], 0) // SECOND
    number = np.zeros(len(times), np.int32)
    number[1:] = np.where(known[1:] & known[:-1], np.minimum(np.floor(np.log2(1 + seconds)) + 1, GAPS), 0)
    number[_starts(events)] = 0
    return number


def _starts(events):
    """Places of the first events of histories."""
    return events.offsets[:-1][np.diff(events.offsets) > 0]


def _moment(events):
    """Seconds since the first of the history's events whose time is known, from 1."""
    times = np.asarray(events.times)
    known = times != UNKNOWN
    seconds = np.where(known, times // SECOND, np.iinfo(np.int64).max)
    lengths = np.diff(events.offsets)
    first = np.minimum.reduceat(seconds, _starts(events)).repeat(lengths[lengths > 0])
    return np.where(known, np.minimum(np.where(known, seconds - first, 0) + 1, LONGEST), 0)


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
    offsets = events.sessions.offsets
    number[offsets[:-1][np.diff(offsets) > 0]] = 2
    return number


def _basket(events):
    """Twice the number of the event's basket in its history, from 1, and 1 more at the first event of a basket."""
    times = np.asarray(events.times)
    begin = baskets.starts(events.offsets, times)
    begins = begin == np.arange(len(times))
    count = np.cumsum(begins)
    before = np.append(0, count)[events.offsets[:-1]].repeat(np.diff(events.offsets))
    return np.where(times != UNKNOWN, 2 * (count - before) + begins, 0)


PLAIN = {
    "gap": Kind(GAPS, "times", _gap),
    "hour": Kind(24, "dates", lambda events: calendar.read(calendar.hour, events.times)),
    "weekday": Kind(7, "dates", lambda events: calendar.read(calendar.weekday, events.times)),
    "month": Kind(12, "dates", lambda events: calendar.read(calendar.month, events.times)),
    "weight": Kind(3 + 2 * PARTS * (OCTAVES[1] - OCTAVES[0]), "weights", _weight),
    "session": Kind(2, "sessions", _session),
    "type": Kind(0, "types", lambda events: np.asarray(events.types)),
    "switch": Kind(2, "topics", lambda events: topics.switches(events.topics, events.items, events.offsets)),
}
KINDS = PLAIN | {f"asked_{name}": PLAIN[name]._replace(asked=True) for name in ("gap", "hour", "weekday", "month")}
ALL = KINDS | {MOMENT: Kind(LONGEST, "times", _moment), BASKET: Kind(LONGEST, "times", _basket)}
ASKS = {MOMENT: "config.model asks for times in attention", BASKET: "config.baskets asks for baskets"}
LACKS = {
    "times": lambda events: events.times is None,
    "dates": lambda events: events.times is None or events.relative,
    "weights": lambda events: events.weights is None,
    "sessions": lambda events: events.sessions is None,
    "types": lambda events: events.types is None,
    "topics": lambda events: events.topics is None or events.items is None,
    "users": lambda events: events.users is None,
}


@functools.cache
def kind_of(name: str) -> Kind:
    """The Kind of a name of KINDS, of MOMENT, or of a column of users behind USER."""
    if name.startswith(USER):
        return Kind(0, "users", lambda events: events.users[name.removeprefix(USER)])
    return ALL[name]


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


def kinds_of(config: Config) -> tuple[str, ...]:
    """The kinds that a configuration uses, in the order of a Stream's columns: those of its model, then BASKET."""
    entry = registry.find("model", config.model.name)
    of_users = tuple(USER + name for name in user_columns.parse(config.user_features))
    timed = (MOMENT,) if entry.reads_times(config.model) else ()
    return named(config.context) + of_users + timed + (BASKET,) * config.baskets


def is_asked(kinds: Sequence[str]) -> np.ndarray:
    """Which of these kinds are of the time of asking. [K] bool"""
    return np.array([kind_of(kind).asked for kind in kinds], bool)


def is_steady(kinds: Sequence[str]) -> np.ndarray:
    """Which of these kinds are of the user, and the same at every slot, also where a mask asks. [K] bool"""
    return np.array([kind.startswith(USER) for kind in kinds], bool)


def is_dated(kinds: Sequence[str]) -> bool:
    """Whether any of these kinds is read off times that count from 1970.

    >>> is_dated(["gap", "moment"]), is_dated(["gap", "asked_hour"])
    (False, True)
    """
    return any(kind_of(kind).needs == "dates" for kind in kinds)


def of_log(interactions: Any, zone: str = "UTC", topic: str = "") -> Events:
    """The Events of Interactions. zone, topic: of a configuration, `context_zone` and `topic`."""
    return Events(
        interactions.offsets,
        interactions.times,
        interactions.relative,
        interactions.weights,
        sessions=interactions.sessions,
        types=None if interactions.types is None else interactions.types.numbers,
        items=interactions.items,
        topics=topics.values(interactions.catalogue, topic),
        users=user_columns.per_event(interactions),
        zone=zone,
    )


def of_known_items(events: Events) -> Events:
    """The Events without those whose items are not known, as if they had never been.

    So the event before one is the one before it of those that are left, as in a training, whose log was filtered.

    >>> events = Events(np.array([0, 2, 3]), np.array([0, 5, 9]), items=np.array([0, 4, 2]))
    >>> found = of_known_items(events)
    >>> found.offsets.tolist(), found.times.tolist()
    ([0, 1, 2], [5, 9])
    """
    keep = np.asarray(events.items) > 0
    offsets = np.append(0, np.cumsum(keep))[events.offsets]
    of = lambda numbers: None if numbers is None else np.asarray(numbers)[keep]
    return events._replace(
        offsets=offsets,
        times=of(events.times),
        weights=of(events.weights),
        sessions=None if events.sessions is None else sessions_of(events.sessions, keep, offsets),
        types=of(events.types),
        items=of(events.items),
        users=None if events.users is None else {name: of(numbers) for name, numbers in events.users.items()},
    )


def known(events: Events) -> tuple[str, ...]:
    """The kinds that these events have, but for those of the time of asking.

    >>> known(Events(np.array([0, 2]), weights=np.array([1.0, 5.0])))
    ('weight',)
    """
    return tuple(name for name, kind in KINDS.items() if not kind.asked and not LACKS[kind.needs](events))


def shown(interactions: Any, config: Config) -> np.ndarray | None:
    """The context that the model of a configuration is shown of a log, as `numbers` gives it; None where it is none."""
    if not (kinds := kinds_of(config)):
        return None
    events = of_log(interactions, config.context_zone, config.topic)
    return numbers(events, kinds, interactions.name, masks=config.objective == "cloze")


def numbers(events: Events, kinds: Sequence[str], name: str = "the log", masks: bool = False) -> np.ndarray:
    """The context of events: [N, K] uint16, a column a kind; int32 where MOMENT or BASKET is among them.

    Args:
        kinds: as `kind_of` knows them.
        name: of the events, for messages.
        masks: whether the time of asking is shown at the event's own slot, where a mask asks for it; otherwise at the
            slot of the event before, which asks for the next one.

    >>> events = Events(np.array([0, 3]), times=np.array([0, 0, 86_400_000_000]))
    >>> numbers(events, ["gap", "weekday", "asked_weekday"]).tolist()
    [[0, 4, 4], [1, 4, 5], [17, 5, 0]]

    Raises:
        UserError: the events lack what a kind needs.
    """
    for kind in kinds:
        if LACKS[(needs := kind_of(kind).needs)](events):
            asks = ASKS.get(kind, f"config.context asks for {kind}")
            raise UserError(f"{name}: {asks}, which needs {_wanted(needs)}: {_instead(known(events))}")
    found = _empty(events, kinds)
    dated = "dates" in {kind_of(kind).needs for kind in kinds}
    local = events._replace(times=calendar.local(np.asarray(events.times), events.zone)) if dated else events
    last = events.offsets[1:][np.diff(events.offsets) > 0] - 1  # places of the last events of histories
    made = {}  # by their function, which is one for a kind and for that of the time of asking
    for column, kind in enumerate(map(kind_of, kinds) if len(found) else ()):
        if kind.numbers not in made:
            made[kind.numbers] = kind.numbers(local if kind.needs == "dates" else events)
        found[:, column] = made[kind.numbers]
        if kind.asked and not masks:
            found[:-1, column] = found[1:, column]
            found[last, column] = 0
    return found


def partly(events: Events, kinds: Sequence[str], name: str = "the log", masks: bool = False) -> np.ndarray:
    """`numbers`, and 0 for the kinds whose needs the events lack."""
    have = [kind for kind in kinds if not LACKS[kind_of(kind).needs](events)]
    if len(have) == len(kinds):
        return numbers(events, kinds, name, masks)
    found = _empty(events, kinds)
    if have:
        found[:, [kinds.index(kind) for kind in have]] = numbers(events, have, name, masks)
    return found


def asked_at(kinds: Sequence[str], last: np.ndarray, now: np.ndarray, zone: str = "UTC") -> np.ndarray:
    """The numbers of the time of asking, of histories that are asked: [U, K], 0 for all other kinds.

    Args:
        kinds: as of `numbers`.
        last: [U] int64, the times of the histories' newest events, microseconds from 1970; UNKNOWN where not known.
        now: [U] int64, the times at which they are asked; UNKNOWN where not known.
        zone: as of Events.

    >>> asked_at(["gap", "asked_gap"], np.array([0]), np.array([3_000_000])).tolist()
    [[0, 3]]
    """
    pairs = Events(2 * np.arange(len(now) + 1), np.stack([last, now], axis=1).ravel(), zone=zone)
    found, asked_K = np.zeros((len(now), len(kinds)), np.int32), is_asked(kinds)
    found[:, asked_K] = numbers(pairs, np.array(kinds)[asked_K].tolist(), masks=True)[1::2]
    return found


def _empty(events, kinds):
    return np.zeros((events.offsets[-1], len(kinds)), np.uint16 if {MOMENT, BASKET}.isdisjoint(kinds) else np.int32)


def _wanted(needs):
    return {
        "times": "a time for every event, which this log lacks",
        "dates": "times that count from 1970, and this log has none, or counts from an unknown moment",
        "weights": "a weight (a rating, seconds of play) for every event, which this log lacks",
        "types": "types of events (view, purchase), which this log lacks: prepare.py --type names their column",
        "users": "a table of users, which this log lacks: prepare.py --users names one",
        "topics": "a column of items, genres or categories, which config.topic names where it is called otherwise",
        "sessions": "sessions within the users' histories, which this log, or its split, has not",
    }[needs]


def _instead(kinds):
    return f"it knows {', '.join(kinds)}; leave the rest out" if kinds else "set config.context to nothing"

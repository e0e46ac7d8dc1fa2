"""Context: what a log knows of an event besides its item, as a small integer per kind, to be embedded at its slot.

A number depends only on the event and those before it in its history, never on later ones, and on nothing learned from
the log: at inference, years later, an event has the number it would have had in training. 0 means unknown, and adds
nothing.

The `asked_` kinds describe the query time (the time of asking): when the event that a slot predicts happens. A model
that predicts the next item is shown it at the slot of the event before; a model that fills masked slots, at the masked
slot. At inference it is known only if the request gives it.
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

GAPS = 32  # numbers of gaps, one per doubling of a second: the last is for 68 years and more
OCTAVES = (-8, 24)  # exponents of the powers of two between which weights are distinguished
PARTS = 8  # numbers of weights per octave
USER = "user "  # prefix of the kinds that are user columns: "user gender"
MOMENT = "moment"  # the kind for models whose attention uses the time between events
BASKET = "basket"  # the kind that tells the next-basket objective which events form a basket; models don't see it
LONGEST = np.iinfo(np.int32).max - 1  # seconds after a history's first event that are distinguished: 68 years


class Events(NamedTuple):
    """The events of histories, back to back; a field is None if the log lacks it."""

    offsets: np.ndarray  #: [U + 1] int64, where histories begin
    #: [N] int64 microseconds, UNKNOWN where not known; since 1970, UTC, unless `relative`
    times: np.ndarray | None = None
    relative: bool = False
    weights: np.ndarray | None = None  #: [N], NaN where unknown
    sessions: Sessions | None = None
    types: np.ndarray | None = None  #: [N], numbers of event types from 1, as in training; 0: unknown
    items: np.ndarray | None = None  #: [N], item numbers; 0: unknown
    topics: np.ndarray | None = None  #: of items, as from `topics.values`
    users: Mapping[str, np.ndarray] | None = None  #: {column: [N] numbers of the users' values from 1; 0: unknown}
    zone: str = "UTC"  #: time zone of hours, weekdays and months


class Kind(NamedTuple):
    """A kind of context."""

    size: int  #: numbers 1..size; 0: depends on the log, such as its number of event types
    needs: str  #: "times", "dates" (times that count from 1970), "weights", "sessions", "types", "topics" or "users"
    numbers: Callable[[Events], np.ndarray]  #: -> [N], 0..size
    asked: bool = False  #: whether it describes the query time


def _gap(events):
    """Doublings of the seconds since the event before in the history, from 1; 0 at a history's first event."""
    times = np.asarray(events.times)
    known = times != UNKNOWN
    shown = np.where(known, times, 0)
    seconds = np.maximum(shown[1:] - shown[:-1], 0) // SECOND
    number = np.zeros(len(times), np.int32)
    number[1:] = np.where(known[1:] & known[:-1], np.minimum(np.floor(np.log2(1 + seconds)) + 1, GAPS), 0)
    number[_starts(events)] = 0
    return number


def _starts(events):
    """Indices of the first events of histories."""
    return events.offsets[:-1][np.diff(events.offsets) > 0]


def _moment(events):
    """Seconds since the history's first event with a known time, from 1."""
    times = np.asarray(events.times)
    known = times != UNKNOWN
    seconds = np.where(known, times // SECOND, np.iinfo(np.int64).max)
    lengths = np.diff(events.offsets)
    first = np.minimum.reduceat(seconds, _starts(events)).repeat(lengths[lengths > 0])
    return np.where(known, np.minimum(np.where(known, seconds - first, 0) + 1, LONGEST), 0)


def _weight(events):
    """Buckets of weights: zero, then eighths of octaves of positive weights, then of negative ones."""
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
    """Twice the number of the event's basket in its history, from 1, plus 1 at the first event of a basket."""
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
    """Returns the Kind of a name: one of ALL, or USER and a user column."""
    if name.startswith(USER):
        return Kind(0, "users", lambda events: events.users[name.removeprefix(USER)])
    return ALL[name]


def named(text: str) -> tuple[str, ...]:
    """Parses a configuration's `context` into its kinds.

    >>> named("gap, hour")
    ('gap', 'hour')

    Raises:
        UserError: if one is unknown, or named twice.
    """
    kinds = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"config.context: {kind!r} is none of {', '.join(KINDS)}")
        if kinds.count(kind) > 1:
            raise UserError(f"config.context names {kind} twice: once will do")
    return kinds


def kinds_of(config: Config) -> tuple[str, ...]:
    """Returns the kinds that a configuration uses, in the order of a Stream's context: its model's, then BASKET."""
    entry = registry.find("model", config.model.name)
    of_users = tuple(USER + name for name in user_columns.parse(config.user_features))
    timed = (MOMENT,) if entry.reads_times(config.model) else ()
    return named(config.context) + of_users + timed + (BASKET,) * config.baskets


def is_asked(kinds: Sequence[str]) -> np.ndarray:
    """Returns which of these kinds describe the query time. [K] bool"""
    return np.array([kind_of(kind).asked for kind in kinds], bool)


def is_steady(kinds: Sequence[str]) -> np.ndarray:
    """Returns which of these kinds describe the user, and so are the same at every slot, masked or not. [K] bool"""
    return np.array([kind.startswith(USER) for kind in kinds], bool)


def is_dated(kinds: Sequence[str]) -> bool:
    """Whether any of these kinds needs times that count from 1970.

    >>> is_dated(["gap", "moment"]), is_dated(["gap", "asked_hour"])
    (False, True)
    """
    return any(kind_of(kind).needs == "dates" for kind in kinds)


def of_log(interactions: Any, zone: str = "UTC", topic: str = "") -> Events:
    """Returns the Events of Interactions. zone, topic: a configuration's `context_zone` and `topic`."""
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
    """Returns the Events without those of unknown items, as if they had never happened.

    "The event before" is then the one before among the remaining events, as in training, whose log was filtered.

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
    """Returns the kinds that these events have, except those of the query time.

    >>> known(Events(np.array([0, 2]), weights=np.array([1.0, 5.0])))
    ('weight',)
    """
    return tuple(name for name, kind in KINDS.items() if not kind.asked and not LACKS[kind.needs](events))


def shown(interactions: Any, config: Config) -> np.ndarray | None:
    """Returns the context of a log for a configuration's model, as from `numbers`; None if the model uses none."""
    if not (kinds := kinds_of(config)):
        return None
    events = of_log(interactions, config.context_zone, config.topic)
    return numbers(events, kinds, interactions.name, masks=config.objective == "cloze")


def numbers(events: Events, kinds: Sequence[str], name: str = "the log", masks: bool = False) -> np.ndarray:
    """Returns the context of events, a column per kind: [N, K] uint16, or int32 if MOMENT or BASKET is among them.

    Args:
        kinds: names for `kind_of`.
        name: of the events, for messages.
        masks: whether the query time is shown at the event's own slot, to be predicted from a mask there; otherwise at
            the slot of the event before, which predicts the next one.

    >>> events = Events(np.array([0, 3]), times=np.array([0, 0, 86_400_000_000]))
    >>> numbers(events, ["gap", "weekday", "asked_weekday"]).tolist()
    [[0, 4, 4], [1, 4, 5], [17, 5, 0]]

    Raises:
        UserError: if the events lack what a kind needs.
    """
    for kind in kinds:
        if LACKS[(needs := kind_of(kind).needs)](events):
            asks = ASKS.get(kind, f"config.context asks for {kind}")
            raise UserError(f"{name}: {asks}, which needs {_wanted(needs)}: {_instead(known(events))}")
    found = _empty(events, kinds)
    dated = "dates" in {kind_of(kind).needs for kind in kinds}
    local = events._replace(times=calendar.local(np.asarray(events.times), events.zone)) if dated else events
    last = events.offsets[1:][np.diff(events.offsets) > 0] - 1  # indices of the last events of histories
    made = {}  # by function, which a kind and its asked_ variant share
    for column, kind in enumerate(map(kind_of, kinds) if len(found) else ()):
        if kind.numbers not in made:
            made[kind.numbers] = kind.numbers(local if kind.needs == "dates" else events)
        found[:, column] = made[kind.numbers]
        if kind.asked and not masks:
            found[:-1, column] = found[1:, column]
            found[last, column] = 0
    return found


def partly(events: Events, kinds: Sequence[str], name: str = "the log", masks: bool = False) -> np.ndarray:
    """As `numbers`, but 0 for kinds that need what the events lack."""
    have = [kind for kind in kinds if not LACKS[kind_of(kind).needs](events)]
    if len(have) == len(kinds):
        return numbers(events, kinds, name, masks)
    found = _empty(events, kinds)
    if have:
        found[:, [kinds.index(kind) for kind in have]] = numbers(events, have, name, masks)
    return found


def asked_at(kinds: Sequence[str], last: np.ndarray, now: np.ndarray, zone: str = "UTC") -> np.ndarray:
    """Returns the numbers of the query time of histories at inference: [U, K], 0 for all other kinds.

    Args:
        kinds: as for `numbers`.
        last: [U] int64, the times of the histories' newest events, microseconds since 1970; UNKNOWN where not known.
        now: [U] int64, the query times; UNKNOWN where not known.
        zone: as in Events.

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
        "dates": "times that count from 1970, and this log has no times, or they count from an unknown moment",
        "weights": "a weight (a rating, seconds of play) for every event, which this log lacks",
        "types": "types of events (view, purchase), which this log lacks: prepare.py --type names their column",
        "users": "a table of users, which this log lacks: prepare.py --users names one",
        "topics": "an item column called genres or categories, or the one that config.topic names",
        "sessions": "sessions within the users' histories, which this log or its split lacks",
    }[needs]


def _instead(kinds):
    return f"it has {', '.join(kinds)}; leave the rest out" if kinds else "leave config.context empty"

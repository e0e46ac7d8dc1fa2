"""Checks the times, types and other values that a query gives for the events of a history, and computes its context."""

import contextlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxrec.batches import context
from jaxrec.data.interactions import Sessions
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800  # seconds since 1970


def context_of(
    kinds: Sequence[str],
    length: int,
    times: Sequence | None = None,
    weights: Sequence | None = None,
    which: str = "",
    *,
    now: object = None,
    zone: str = "UTC",
    places: Sequence[int] | np.ndarray | None = None,
    masks: int = 0,
    types: np.ndarray | None = None,
    items: np.ndarray | None = None,
    topics: np.ndarray | None = None,
    users: Mapping[str, int] | None = None,
    sessions: Sequence | None = None,
) -> np.ndarray | None:
    """Returns the context of a history's events, computed as in training: [length, K]; None without kinds.

    Values that are not given are unknown, and 0.

    Args:
        kinds: the kinds of the configuration's `context`.
        length: the number of events.
        times: the time of each event, oldest first: seconds since 1970, a datetime (UTC if it has no zone) or ISO 8601
            text; None where it is unknown.
        weights: the weight of each event, a number or None.
        which: the beginning of an error's message.
        now: when the next item is requested, as one of `times`; None if unknown.
        zone: the configuration's `context_zone`.
        places: the indices of the events whose items the model knows; None: all. Other events are ignored, as in
            training: the gap of an event is the time since the previous one of these.
        masks: the number of mask slots that the model appends to the history. If there are any, they rather than the
            newest event get the context of the time of asking: [places + masks, K].
        types: the numbers of the events' types, as returned by `type_numbers`.
        items: the numbers of the events' items, 0 for items that the catalogue lacks.
        topics: the topics of all items, as returned by `topics.values`.
        users: the number of the user's value of each column, as returned by `user_columns.of_request`.
        sessions: the id of each event's session; a session begins where the id differs from that of the event before;
            None where it is unknown.

    >>> context_of(["gap", "weekday"], 2, times=["2026-03-02T08:00:00", "2026-03-02T08:01:00"]).tolist()
    [[0, 1], [6, 1]]

    Raises:
        UserError: there is not one value per event, a value is invalid, times decrease, or `now` is before one of them.
    """
    if not kinds:
        return None
    asked, steady = context.is_asked(kinds), context.is_steady(kinds)
    at = np.arange(length) if places is None else np.asarray(places, np.int64)
    of_all = None if times is None else _times(times, length, which)
    moment = _now(now, of_all, which)
    parted, unsaid = (None, None) if sessions is None else _sessions(sessions, length, which, at)
    asks = bool(asked.any() and len(at) > 0)  # the time of asking is then added as one more event
    count = len(at) + asks
    if of_all is None and asks and moment != context.UNKNOWN:
        of_all = np.full(length, context.UNKNOWN)

    def of_known(numbers, unknown):
        if numbers is None or not asks:
            return None if numbers is None else numbers[at]
        return np.append(numbers[at], np.array([unknown], numbers.dtype))

    columns = [kind.removeprefix(context.USER) for kind in kinds if kind.startswith(context.USER)]
    given = context.Events(
        np.array([0, count]),
        times=of_known(of_all, moment),
        weights=of_known(None if weights is None else _weights(weights, length, which), np.nan),
        sessions=parted,
        zone=zone,
        types=of_known(types, 0),
        items=of_known(items, 0),
        topics=topics,
        users={name: np.full(count, (users or {}).get(name, 0)) for name in columns},
    )
    numbers = context.partly(given, kinds, masks=masks > 0)
    has_slot = masks > 0 and len(at) > 0 and (asked | steady).any()
    found = np.zeros((len(at) + masks * has_slot, len(kinds)), numbers.dtype)
    found[: len(at)] = numbers[: len(at)]
    if "session" in kinds and unsaid is not None:
        found[unsaid, list(kinds).index("session")] = 0
    if has_slot:
        found[-1] = np.where(steady, numbers[0], np.where(asked, numbers[-1], 0))
    return found


def start_of(
    kinds: Sequence[str], users: Mapping[str, int], now: object = None, which: str = "", zone: str = "UTC"
) -> np.ndarray:
    """Returns the context of a user without events, [1, K], from the user's columns and the time of asking.

    Args:
        kinds, users, now, which, zone: as for `context_of`.

    Raises:
        UserError: `now` is not a time.
    """
    unknown, moment = np.full(1, context.UNKNOWN), np.array([microseconds(now, f"{which}now: ")], np.int64)
    found = context.asked_at(kinds, unknown, moment, zone)
    for column, kind in enumerate(kinds):
        if kind.startswith(context.USER):
            found[0, column] = users.get(kind.removeprefix(context.USER), 0)
    return found


def _now(now, times, which):
    moment = microseconds(now, f"{which}now: ")
    if times is not None and context.UNKNOWN < moment < times.max(initial=context.UNKNOWN):
        raise UserError(f"{which}now: {arguments.some([now])} is before the newest of times: give a time after them")
    return moment


def type_numbers(
    types: Sequence | None, names: Sequence[str], length: int, which: str = ""
) -> tuple[np.ndarray | None, list]:
    """Returns the numbers of the types of a history's events, 0 if unknown, and the types that the training lacks.

    >>> numbers, unknown = type_numbers(["view", None, "gift"], ["cart", "view"], 3)
    >>> numbers.tolist(), unknown
    ([2, 0, 0], ['gift'])

    Args:
        types: the type of each event, as text, or the number that stands for it in the log; None where it is unknown.
        names: the names of the training's types, in the order of their numbers from 1.
        length: the number of events.
        which: the beginning of an error's message.

    Raises:
        UserError: there is not one type per event, or a type is neither text nor an integer.
    """
    if types is None:
        return None, []
    given, place = _as_many(types, "types", length, which), {name: number for number, name in enumerate(names, 1)}
    if set(map(type, given)) == {str} and place.keys() >= set(given):  # fast path for the usual case
        return np.array([place[each] for each in given], np.uint8), []
    given = _told(given)
    for each in given:
        if not (each is None or (isinstance(each, str | int | np.integer) and not isinstance(each, bool))):
            raise UserError(f"{which}types: {arguments.some([each])} is no type: give a text, as in the training's log")
    texts = [None if each is None else str(each).strip() for each in given]
    unknown = [each for each in dict.fromkeys(texts) if each is not None and each not in place]
    return np.array([place.get(each or "", 0) for each in texts], np.uint8), unknown


def _sessions(sessions, length, which, at):
    """Returns the Sessions of the events at these places, and the events that may or may not begin one."""
    given = _told(_as_many(sessions, "sessions", length, which))
    for each in given:
        if not (each is None or (isinstance(each, str | int | np.integer) and not isinstance(each, bool))):
            raise UserError(f"{which}sessions: {arguments.some([each])} is no id of a session: give a text or a number")
    ids = [None if given[place] is None else str(given[place]) for place in at]
    before = [*ids[:1], *ids[:-1]]
    starts = [place for place, pair in enumerate(zip(ids, before, strict=True)) if place == 0 or pair[0] != pair[1]]
    unsaid = [place for place, pair in enumerate(zip(ids, before, strict=True)) if None in pair]
    parted = Sessions(np.array([*starts, len(ids)], np.int64), np.array([str(ids[place]) for place in starts]))
    return parted, np.array(unsaid, np.int64)


def _times(times, length, which):
    times = _as_many(times, "times", length, which)
    numbers = np.array(times) if set(map(type, times)) in ({int}, {float}) else np.full(1, np.nan)
    if (
        numbers.dtype.kind in "if" and ((numbers >= YEAR_1) & (numbers < YEAR_10000)).all()
    ):  # fast path for the usual case
        found = np.round(numbers * context.SECOND).astype(np.int64)
    else:
        found = np.array([microseconds(time, f"{which}times: ") for time in times], np.int64)
    places = np.flatnonzero(found != context.UNKNOWN)
    if (falls := np.flatnonzero(np.diff(found[places]) < 0)).size:
        before, after = places[falls[0] : falls[0] + 2].tolist()
        raise UserError(f"{which}times: the one at {after} is before the one at {before}: give events oldest first")
    return found


def microseconds(time: object, which: str = "") -> int:
    """Converts a moment, as in the times of `context_of`, to microseconds since 1970; UNKNOWN for None.

    Args:
        time: seconds, a date, a datetime or text.
        which: the beginning of an error's message.

    Raises:
        UserError: the value is not a moment.
    """
    if arguments.is_missing(time):
        return context.UNKNOWN
    if (found := arguments.microseconds(time)) is not None:
        return found
    if isinstance(time, str):
        raise UserError(f"{which}{arguments.some([time])} is no date: write it as 2026-03-02T08:00:00Z")
    if isinstance(time, int | float | np.number) and not isinstance(time, bool) and YEAR_1 <= time < YEAR_10000:
        return round(time * context.SECOND)  # rounded as in logs
    said, cure = arguments.some([time]), "give seconds since 1970 (milliseconds / 1000), a datetime, or its text"
    raise UserError(f"{which}{said} is no time: {cure}")


def _weights(weights, length, which):
    found = _as_many(weights, "weights", length, which)
    if set(map(type, found)) <= {int, float}:  # fast path for the usual case
        with contextlib.suppress(OverflowError):
            numbers = np.array(found, np.float64)
            if np.isfinite(numbers).all():
                return numbers
    found = _told(found)
    for weight in found:
        if not (weight is None or _is_finite(weight)):
            raise UserError(f"{which}weights: {arguments.some([weight])} is no finite number")
    return np.array([np.nan if weight is None else weight for weight in found], np.float64)


def _is_finite(weight):
    if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
        return False
    try:
        return math.isfinite(weight)
    except OverflowError:  # an integer too large for a float
        return False


def _told(values):
    """Returns the values, with None for missing values of any kind, such as NaN."""
    if set(map(type, values)) <= {str, int, type(None)}:  # fast path for the usual case
        return values
    return [None if arguments.is_missing(value) else value for value in values]


def _as_many(values, name, length, which) -> list:
    values = arguments.id_list(values, name, which)
    if len(values) != length:
        raise UserError(f"{which}{name}: {len(values)} for {length} items of the history: give one each")
    return values

"""Filters of interactions, applied in a fixed order, with the counts that each step leaves."""

import datetime
import math
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jaxrec.data import event_types
from jaxrec.data.interactions import Interactions, Sessions
from jaxrec.data.times import EPOCH
from jaxrec.system.errors import UserError


@dataclass(frozen=True)
class Options:
    """The filters, in the order they are applied; None and False turn a filter off."""

    drop_duplicates: bool = False  #: remove rows equal in user, item, time, weight, type and session to an earlier one
    since: str | None = None  #: a date: keep rows from it on
    until: str | None = None  #: a date: keep rows before it
    min_rating: float | None = None  #: keep rows of at least this weight
    sample: float | None = None  #: keep this share of the users, chosen by a hash of their ids, so the same every time
    collapse_repeats: bool = False  #: keep only the first of consecutive rows of the same item
    session_gap: float | None = None  #: start a new session after this many minutes without a row
    max_length: int | None = None  #: keep users with at most this many rows
    min_length: int | None = None  #: keep users with at least this many rows, after the k-core
    k_core: int | None = None  #: keep users and items with at least this many rows, repeated until all have them


class Step(NamedTuple):
    """The counts that a step leaves."""

    name: str
    users: int | None  #: None for rows left out while reading, before users and items are counted
    items: int | None
    rows: int


def apply(data: Interactions, options: Options) -> tuple[Interactions, list[Step]]:
    """Returns the filtered interactions, and the counts after reading and after each step.

    Raises:
        UserError: if a step needs times or weights that are missing, or leaves fewer than two items.

    >>> from jaxrec.data.interactions import from_sequences
    >>> log = from_sequences([["a", "a", "b"], ["a", "b"], ["b", "c"]])
    >>> kept, steps = apply(log, Options(collapse_repeats=True, k_core=2))
    >>> [(step.name, step.users, step.items, step.rows) for step in steps]
    [('read', 3, 3, 7), ('collapse-repeats', 3, 3, 6), ('k-core 2', 2, 2, 4)]
    """
    check(options)
    steps = [_step("read", data)]

    def left(name: str, keep: np.ndarray) -> Interactions:
        rest = select(data, keep)
        steps.append(_step(name, rest))
        items = len(rest.catalogue.ids)
        if items < 2:
            raise UserError(f"{data.name}: --{name} leaves {items} items: a recommender needs two or more")
        return rest

    if options.drop_duplicates:
        data = left("drop-duplicates", ~duplicates(data))
    if options.since is not None:
        data = left(f"since {options.since}", _dated(data, "since") >= micro(options.since, "since"))
    if options.until is not None:
        data = left(f"until {options.until}", _dated(data, "until") < micro(options.until, "until"))
    if options.min_rating is not None:
        if data.weights is None:
            raise UserError(f"{data.name}: no ratings for --min-rating: name their column with --weight COLUMN")
        data = left(f"min-rating {options.min_rating:g}", data.weights >= np.float32(options.min_rating))
    if options.sample is not None:
        data = left(f"sample {options.sample:g}", np.repeat(chosen(data.users, options.sample), np.diff(data.offsets)))
    if options.collapse_repeats:
        data = left("collapse-repeats", ~repeats_at_once(data))
    if options.session_gap is not None:
        data = with_gaps(data, options.session_gap)
    if options.max_length is not None:
        lengths = np.diff(data.offsets)
        data = left(f"max-length {options.max_length}", np.repeat(lengths <= options.max_length, lengths))
    if options.k_core is not None or options.min_length is not None:
        names = [f"{flag} {n}" for flag, n in (("k-core", options.k_core), ("min-length", options.min_length)) if n]
        least = options.k_core or 0
        data = left(" --".join(names), core(data, max(least, options.min_length or 0), least))
    return data, steps


def select(data: Interactions, keep: np.ndarray) -> Interactions:
    """Returns the rows of a mask [N], without users, items and sessions that have none left; renumbers the items."""
    if keep.all():
        return data
    before = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=before[1:])
    has, offsets = _shrunk(data.offsets, before)
    items = data.items[keep]
    occurs = np.bincount(items, minlength=len(data.catalogue.ids) + 1) > 0
    numbers = np.cumsum(occurs, dtype=np.int32)
    sessions = data.sessions
    if sessions is not None:
        kept, at = _shrunk(sessions.offsets, before)
        sessions = Sessions(at, sessions.ids[kept])
    training = data.train_sessions
    return replace(
        data,
        items=numbers[items],
        offsets=offsets,
        users=data.users[has],
        user_columns=data.columns_of(has),
        catalogue=data.catalogue.take(np.flatnonzero(occurs)),
        times=None if data.times is None else data.times[keep],
        weights=None if data.weights is None else data.weights[keep],
        types=event_types.selected(data.types, keep),
        sessions=sessions,
        train_sessions=None if training is None else int((has < training).sum()),
        digest=None,
    )


def core(data: Interactions, user_least: int, item_least: int) -> np.ndarray:
    """Returns the mask [N] of the largest subset in which users and items have at least these numbers of rows."""
    keep = np.ones(len(data.items), bool)
    user = np.repeat(np.arange(len(data.users), dtype=np.int32), np.diff(data.offsets))
    item, rows = np.asarray(data.items), None
    while True:
        stays = (np.bincount(user) >= user_least)[user]
        stays &= (np.bincount(item) >= item_least)[item]
        if stays.all():
            return keep
        keep[np.flatnonzero(~stays) if rows is None else rows[~stays]] = False
        user, item = user[stays], item[stays]
        rows = np.flatnonzero(stays) if rows is None else rows[stays]


def left_out(data: Interactions, removed: list[tuple[str, int]]) -> list[Step]:
    """Returns the steps of rows that were left out while reading.

    Args:
        data: the remaining interactions.
        removed: (step name, number of rows left out), in order.
    """
    rows = len(data.items) + sum(number for _, number in removed)
    steps = [Step("read", None, None, rows)]
    for name, number in removed:
        rows -= number
        steps.append(Step(name, None, None, rows))
    return [*steps[:-1], _step(steps[-1].name, data)]


def duplicates(data: Interactions) -> np.ndarray:
    """Returns the mask [N] of rows equal to an earlier one in user, item, and time, weight, type, session if known."""
    user = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
    keys = [user, data.items]
    types = None if data.types is None else data.types.numbers
    keys += [each for each in (data.times, data.weights, types) if each is not None]
    if data.sessions is not None:
        _, session = np.unique(data.sessions.ids, return_inverse=True)
        keys.append(np.repeat(session, np.diff(data.sessions.offsets)))
    order = np.lexsort(keys)  # stable, so the earliest row comes first
    again = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        ordered = key[order]
        again &= ordered[1:] == ordered[:-1]
    found = np.zeros(len(order), bool)
    found[order[1:][again]] = True
    return found


def repeats_at_once(data: Interactions) -> np.ndarray:
    """Returns the mask [N] of rows with the same item as the row before, in the same session (or history)."""
    again = np.append(False, data.items[1:] == data.items[:-1])[: len(data.items)]
    offsets = data.offsets if data.sessions is None else data.sessions.offsets
    again[offsets[:-1][np.diff(offsets) > 0]] = False
    return again


def with_gaps(data: Interactions, minutes: float) -> Interactions:
    """Splits histories into sessions, numbered from 1, at gaps of over `minutes`; existing session borders remain."""
    if data.times is None:
        raise UserError(f"{data.name}: no times for --session-gap: name their column with --time")
    begins = np.append(True, np.diff(data.times) > minutes * 60_000_000)[: len(data.items)]
    offsets = data.offsets if data.sessions is None else np.append(data.offsets, data.sessions.offsets)
    begins[offsets[offsets < len(begins)]] = True
    starts = np.flatnonzero(begins)
    sessions = Sessions(np.append(starts, len(begins)), np.arange(1, len(starts) + 1))
    return replace(data, sessions=sessions, digest=None)


def chosen(users: np.ndarray, share: float) -> np.ndarray:
    """Returns which users are in a sample of this share, by the mixed CRC-32 of their ids (Steele et al. 2014)."""
    bits = np.fromiter((zlib.crc32(str(user).encode()) for user in users.tolist()), np.uint64, len(users))
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits >> np.uint64(11)) * 2.0**-53 < share


def micro(text: str, flag: str) -> int:
    """Returns a date from the command line in microseconds, as UTC if it has no zone.

    Raises:
        UserError: if it is not a date.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise UserError(f"--{flag} {text}: not a date: write 2014-04-01 or 2014-04-01T03:00:00") from None
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def check(options: Options) -> None:
    """Checks the options' ranges. Raises UserError if one is out of range."""
    for name in ("k_core", "min_length", "max_length"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: at least 1")
    if options.sample is not None and not 0 < options.sample <= 1:
        raise UserError(f"--sample {options.sample:g}: a share of the users, above 0 and at most 1")
    if options.session_gap is not None and not 0 < options.session_gap < math.inf:
        raise UserError(f"--session-gap {options.session_gap:g}: minutes, above 0")
    if options.min_rating is not None and not math.isfinite(options.min_rating):
        raise UserError(f"--min-rating {options.min_rating:g}: a finite number")
    if options.min_length and options.max_length and options.min_length > options.max_length:
        raise UserError(f"--min-length {options.min_length} is above --max-length {options.max_length}")


def _dated(data: Interactions, flag: str) -> np.ndarray:
    if data.times is None or data.relative:
        why = "has no times" if data.times is None else "has times that count from an unknown moment"
        raise UserError(f"{data.name} {why}: --{flag} needs dates; name their column with --time, or leave it out")
    return data.times


def _shrunk(offsets: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of ranges that keep a row, and the offsets of those ranges. [n + 1], [N + 1]"""
    new = before[offsets]
    has = np.flatnonzero(np.diff(new))
    return has, np.append(new[has], new[-1])


def _step(name: str, data: Interactions) -> Step:
    return Step(name, len(data.users), len(data.catalogue.ids), len(data.items))

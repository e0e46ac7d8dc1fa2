"""Filters of interactions, applied in a fixed order, with the counts that each step leaves."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jaxrec.data import blocks, event_types
from jaxrec.data.blocks import Block
from jaxrec.data.interactions import Interactions, Sessions, Types
from jaxrec.data.log import rejoined
from jaxrec.data.storage.spill import MEMORY, Store
from jaxrec.system import arguments
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


def apply(data: Interactions, options: Options, store: Store = MEMORY) -> tuple[Interactions, list[Step]]:
    """Returns the filtered interactions, and the counts after reading and after each step.

    Args:
        data: the interactions.
        options: the filters.
        store: where the remaining rows are kept. The filters run block by block, see `blocks`.

    Raises:
        UserError: if a step needs times or weights that are missing, or leaves fewer than two items.

    >>> from jaxrec.data.interactions import from_sequences
    >>> log = from_sequences([["a", "a", "b"], ["a", "b"], ["b", "c"]])
    >>> kept, steps = apply(log, Options(collapse_repeats=True, k_core=2))
    >>> [(step.name, step.users, step.items, step.rows) for step in steps]
    [('read', 3, 3, 7), ('collapse-repeats', 3, 3, 6), ('k-core 2', 2, 2, 4)]
    """
    check(options)
    steps = [step("read", data)]

    def left(name: str, keep: Callable[[Block], np.ndarray]) -> Interactions:
        rest = select(data, keep, store)
        if rest is not data:
            store.forget(*blocks.per_row(data))
        steps.append(step(name, rest))
        items = len(rest.catalogue.ids)
        if items < 2:
            raise UserError(f"{data.name}: --{name} leaves {items} items: a recommender needs two or more")
        return rest

    if options.drop_duplicates:
        data = left("drop-duplicates", lambda block: ~duplicates(block.data))
    if options.since is not None:
        since = micro(options.since, "since", data)
        data = left(f"since {options.since}", lambda block: _there(block.data.times) >= since)
    if options.until is not None:
        until = micro(options.until, "until", data)
        data = left(f"until {options.until}", lambda block: _there(block.data.times) < until)
    if options.min_rating is not None:
        if data.weights is None:
            raise UserError(f"{data.name}: no ratings for --min-rating: name their column with --weight COLUMN")
        least = np.float32(options.min_rating)
        data = left(f"min-rating {options.min_rating:g}", lambda block: _there(block.data.weights) >= least)
    if options.sample is not None:
        share = options.sample
        data = left(f"sample {share:g}", lambda block: _of_users(block, chosen(block.data.users, share)))
    if options.collapse_repeats:
        data = left("collapse-repeats", lambda block: ~repeats_at_once(block.data))
    if options.session_gap is not None:
        data = with_gaps(data, options.session_gap)
    if options.max_length is not None:
        most = options.max_length
        data = left(f"max-length {most}", lambda block: _of_users(block, np.diff(block.data.offsets) <= most))
    if options.k_core is not None or options.min_length is not None:
        names = [f"{flag} {n}" for flag, n in (("k-core", options.k_core), ("min-length", options.min_length)) if n]
        least = options.k_core or 0
        users, items = core(data, max(least, options.min_length or 0), least)
        data = left(" --".join(names), lambda block: _of_users(block, users[block.users]) & items[block.data.items])
    return data, steps


def select(data: Interactions, keep: np.ndarray | Callable[[Block], np.ndarray], store: Store = MEMORY) -> Interactions:
    """Returns the rows of a mask, without users, items and sessions that have none left; renumbers the items.

    Args:
        data: the interactions.
        keep: [N] bool, or a function that returns the mask of a block.
        store: where the rows are kept.
    """
    mask_of = keep if callable(keep) else lambda block: keep[block.rows]
    masks, lengths = [], np.zeros(len(data.users), np.int64)
    occurs = np.zeros(len(data.catalogue.ids) + 1, bool)
    counts = None if data.types is None else np.zeros(len(data.types.names) + 1, np.int64)
    for block in blocks.of(data):
        mask = np.asarray(mask_of(block))
        masks.append(np.packbits(mask))
        lengths[block.users] = np.diff(_before(mask)[block.data.offsets])
        occurs[block.data.items[mask]] = True
        if block.data.types is not None and counts is not None:
            counts += np.bincount(block.data.types.numbers[mask], minlength=len(counts))
    if lengths.sum() == len(data.items):
        return data
    has = np.flatnonzero(lengths)
    training = data.train_sessions
    rest = replace(
        data,
        offsets=np.append(0, np.cumsum(lengths[has])),
        users=data.users[has],
        user_columns=data.columns_of(has),
        catalogue=data.catalogue.take(np.flatnonzero(occurs[1:]) + 1),
        train_sessions=None if training is None else int((has < training).sum()),
        digest=None,
    )
    number = np.cumsum(occurs, dtype=np.int32)
    type_number, types = (None, None) if data.types is None or counts is None else event_types.left(data.types, counts)
    columns = {"items": number, "times": None, "weights": None, "types": type_number if types else None}
    found = replace(rest, **_kept(data, masks, columns, types, store))
    return found if found.sessions is None else replace(found, sessions=rejoined(found.sessions, found.offsets))


def _kept(data: Interactions, masks: list, numbers: dict, types: Types | None, store: Store) -> dict:
    """Returns the columns and sessions of the kept rows, as fields of Interactions.

    Args:
        data: the interactions.
        masks: a packed mask for each block.
        numbers: {column: the new number of each old one, or None to leave the values as they are}.
        types: Types without their numbers; None if there are none.
        store: where the columns are kept.
    """
    given = {"items": data.items, "times": data.times, "weights": data.weights}
    given |= {"types": data.types.numbers} if types and data.types else {}
    found = {name: store.parts(name) for name, array in given.items() if array is not None}
    starts, ids, done = [np.zeros(0, np.int64)], [], 0
    for block, packed in zip(blocks.of(data), masks, strict=True):
        mask = np.unpackbits(packed, count=len(block.data.items)).view(bool)
        for name, column in found.items():
            values = given[name][block.rows][mask]
            column.add(values if numbers[name] is None else numbers[name][values])
        before = _before(mask)
        if block.data.sessions is not None:
            kept, at = _shrunk(block.data.sessions.offsets, before)
            starts.append(at[:-1] + done)
            ids.append(block.data.sessions.ids[kept])
        done += int(before[-1])
    fields: dict = {name: column.whole() for name, column in found.items()}
    fields["types"] = types and types._replace(numbers=fields["types"])
    if data.sessions is not None:
        ids = np.concatenate(ids) if ids else data.sessions.ids[:0]
        fields["sessions"] = Sessions(np.append(np.concatenate(starts), done), ids)
    return fields


def core(data: Interactions, user_least: int, item_least: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the largest subset in which users and items have at least this many rows: masks [U] and [V + 1]."""
    users, items = np.ones(len(data.users), bool), np.ones(len(data.catalogue.ids) + 1, bool)
    while True:
        counts = np.zeros(len(items), np.int64)
        for block in blocks.of(data):
            keep = _of_users(block, users[block.users]) & items[block.data.items]
            stays = np.diff(_before(keep)[block.data.offsets]) >= user_least
            users[block.users] &= stays
            keep &= _of_users(block, stays)
            counts += np.bincount(block.data.items[keep], minlength=len(counts))
        left = items & (counts >= item_least)
        if (left == items).all():
            return users, items
        items = left


def left_out(rest: Step, removed: list[tuple[str, int]]) -> list[Step]:
    """Returns the steps of rows that were left out while reading.

    Args:
        rest: the counts of the remaining rows.
        removed: (step name, number of rows left out), in order.
    """
    rows = rest.rows + sum(number for _, number in removed)
    steps = [Step("read", None, None, rows)]
    for name, number in removed:
        rows -= number
        steps.append(Step(name, None, None, rows))
    return [*steps[:-1], rest._replace(name=steps[-1].name)]


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
    starts = [np.zeros(0, np.int64)]
    for block in blocks.of(data):
        own = block.data
        begins = np.append(True, np.diff(_there(own.times)) > minutes * 60_000_000)[: len(own.items)]
        for offsets in (own.offsets, *([own.sessions.offsets] if own.sessions else [])):
            begins[offsets[offsets < len(begins)]] = True
        starts.append(np.flatnonzero(begins) + block.rows.start)
    first = np.concatenate(starts)
    return replace(
        data, sessions=Sessions(np.append(first, len(data.items)), np.arange(1, len(first) + 1)), digest=None
    )


def chosen(users: np.ndarray, share: float) -> np.ndarray:
    """Returns which users are in a sample of this share, by the mixed CRC-32 of their ids (Steele et al. 2014)."""
    bits = np.fromiter((zlib.crc32(str(user).encode()) for user in users.tolist()), np.uint64, len(users))
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits >> np.uint64(11)) * 2.0**-53 < share


def micro(text: str, flag: str, data: Interactions | None = None) -> int:
    """Returns a date from the command line in microseconds, as UTC if it has no zone.

    Raises:
        UserError: if it is not a date, or the data have no dates.
    """
    if data is not None and (data.times is None or data.relative):
        why = "has no times" if data.times is None else "has times that count from an unknown moment"
        raise UserError(f"{data.name} {why}: --{flag} needs dates; name their column with --time, or leave it out")
    moment = arguments.microseconds(text)
    if moment is None:
        raise UserError(f"--{flag} {text}: not a date: write 2014-04-01 or 2014-04-01T03:00:00")
    return moment


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


def _there(column: np.ndarray | None) -> np.ndarray:
    assert column is not None, "checked before"
    return column


def _of_users(block: Block, keep: np.ndarray) -> np.ndarray:
    """Returns a mask of a block's rows from a mask of its users. [users] -> [n] bool"""
    return np.repeat(keep, np.diff(block.data.offsets))


def _before(keep: np.ndarray) -> np.ndarray:
    """Returns the number of rows in a mask before each index. [n] -> [n + 1] int64"""
    before = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=before[1:])
    return before


def _shrunk(offsets: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the ranges that keep a row, and their new offsets. [n + 1], [N + 1]"""
    new = before[offsets]
    has = np.flatnonzero(np.diff(new))
    return has, np.append(new[has], new[-1])


def step(name: str, data: Interactions) -> Step:
    """Returns the counts of interactions as a Step."""
    return Step(name, len(data.users), len(data.catalogue.ids), len(data.items))

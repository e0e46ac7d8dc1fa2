"""Protocols by name: which candidates a target is ranked among; and its rank."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxrec import devices as dev
from jaxrec import ranking
from jaxrec.data import splits
from jaxrec.data.ragged import distinct, slices
from jaxrec.data.splits import training_items
from jaxrec.errors import UserError
from jaxrec.step import AXIS

BLOCK = 512  # queries ranked at once on a device
WIDTHS = 4  # every bucket of seen lists is at most this many times as wide as the one before
TRIES = 256  # draws a user before what is missing is drawn from the whole catalogue
GOLDEN = 0x9E3779B97F4A7C15


class Protocol(NamedTuple):
    """The target among `number` items drawn from `pool` outside `known`; without a number, among the catalogue."""

    number: int | None = None
    pool: Callable | None = None  # (split) -> items; an item's chance is its number of places
    known: Callable | None = None  # (split, users) -> start, stop of the interactions that are not drawn
    filtered: bool = True  # of the catalogue, whether the given history is left out


def _every_item(split):
    return np.arange(1, len(split.interactions.catalogue.ids) + 1, dtype=np.int32)


def _training(split, users):
    return split.start[users], split.stop[users]


def _whole(split, users):
    return split.interactions.offsets[users], split.interactions.offsets[users + 1]


FULL, KEPT = "full", "full, seen kept"
PROTOCOLS = {
    FULL: Protocol(),
    KEPT: Protocol(filtered=False),
    "sessions": Protocol(filtered=False),  # Hidasi et al. 2016: an item may come again
    "uniform-100": Protocol(100, _every_item, _training),  # Kang and McAuley 2018
    "popularity-100": Protocol(100, training_items, _whole),  # Sun et al. 2019
}


def plain_names():
    """The protocols as a person types them: without commas and spaces."""
    return {name.replace(", ", "-").replace(" ", "-"): name for name in PROTOCOLS}


def named(protocol):
    """The protocol of this name, or of its plain form.

    Raises:
        UserError: there is none.
    """
    name = plain_names().get(protocol, protocol)
    if name not in PROTOCOLS:
        raise UserError(f"no protocol {protocol!r}: choose one of {', '.join(plain_names())}")
    return name


def measures(protocol, repeats, questions, both=False):
    """The protocols that questions are ranked under when one is asked for: that one first.

    Where the history is left out of `full`, but never the target, a target that repeats an item of the history meets
    none of the others: so where many do, the two measures of `full` go together.

    Args:
        protocol: a name. repeats: how many targets repeat an item of the history. questions: how many there are.
        both: whether the two go together whatever repeats.
    """
    if protocol not in (FULL, KEPT) or not (both or splits.many_repeat(repeats, questions)):
        return (protocol,)
    return protocol, KEPT if protocol == FULL else FULL


def whole(protocol):
    """Whether a protocol ranks the whole catalogue, rather than a sample."""
    return PROTOCOLS[protocol].number is None


def draw(split, questions, protocol, seed=0, block=4096):
    """The candidates of a sampled protocol, fixed by (seed, user): one draw a user, without replacement.

    An item's chance is its share of the pool among what is left (successive sampling): items are drawn with
    replacement and counted at their first occurrence only, which is the same law; the few users for whom that takes
    too many are completed by a race of exponentials.

    Args:
        split, questions: as of splits. protocol: a name. seed: int. block: users at once.

    Returns:
        [Q, number] int32, in the order drawn: never the target, nor what the protocol calls known.

    Raises:
        UserError: fewer items than that can be drawn for some user.
    """
    number, pool_of, known, _ = PROTOCOLS[protocol]
    pool, total = pool_of(split), len(split.interactions.catalogue.ids) + 1
    weights = np.bincount(pool, minlength=total)
    drawn = np.zeros((len(questions.source), number), np.int32)
    for first in range(0, len(drawn), block):
        users, out = questions.source[first : first + block], drawn[first : first + block]
        start, stop = known(split, users)
        row = np.repeat(np.arange(len(users)), stop - start) * total
        own = np.arange(len(users)) * total + questions.target[first : first + block]
        barred = np.append(row + split.interactions.items[slices(start, stop)], own)
        left = _allowed(barred, weights, len(users))
        if left.min() < number:
            worst = left.argmin()
            raise UserError(
                f"{split.interactions.name}: only {left[worst]} items can be drawn for user "
                f"{split.interactions.users[users[worst]]}, and {protocol} takes {number}: use --protocol full"
            )
        tries = pool[(_uniform(seed, users, TRIES) * len(pool)).astype(np.int64)]
        row, column = _first_seen(barred, np.arange(len(users))[:, None] * total + tries, total)
        have = np.bincount(row, minlength=len(users))
        place = np.arange(len(row)) - np.repeat(np.cumsum(have) - have, have)
        kept = place < number
        out[row[kept], place[kept]] = tries[row[kept], column[kept]]
        short = np.flatnonzero(have < number)
        at_once = max(2**22 // total, 1)
        for some in (short[i : i + at_once] for i in range(0, len(short), at_once)):
            out[some] = _race(out[some], have[some], barred, some, weights, seed, users[some])
    return drawn


def _first_seen(barred, keys, total):
    """Where in `keys` [U, T] (row * total + item) items first occur that are not barred, in order: rows, columns."""
    width = keys.shape[1] + 1  # a barred item is at column 0, before any draw
    codes = np.sort(np.append(barred * width, keys * width + np.arange(1, width)))
    keys, column = np.divmod(codes, width)
    fresh = (column > 0) & np.append(True, keys[1:] != keys[:-1])
    row, column = np.divmod(np.sort(keys[fresh] // total * width + column[fresh]), width)
    return row, column - 1


def _allowed(barred, weights, rows):
    """How many items with a weight are not barred, a row."""
    row, item = np.divmod(distinct(barred), len(weights))
    return (weights > 0).sum() - np.bincount(row[weights[item] > 0], minlength=rows)


def _race(out, have, barred, rows, weights, seed, users):
    """`out` with the places from `have` on filled by the items of the least exponentials, of rates `weights`."""
    total, number = len(weights), out.shape[1]
    with np.errstate(divide="ignore"):
        time = -np.log1p(-_uniform(seed, users, total, first=TRIES)) / weights
    row, item = np.divmod(barred, total)
    here = np.isin(row, rows)
    time[np.searchsorted(rows, row[here]), item[here]] = np.inf
    time[:, 0] = np.inf
    place = np.arange(number)
    done = place < have[:, None]
    time[np.nonzero(done)[0], out[done]] = np.inf
    best = np.argpartition(time, number, axis=1)[:, :number]
    best = np.take_along_axis(best, np.argsort(np.take_along_axis(time, best, 1), 1), 1)
    return np.where(done, out, np.take_along_axis(best, np.maximum(place - have[:, None], 0), 1))


def _mix(bits):
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _uniform(seed, users, count, first=0):
    """Numbers `first`, `first` + 1, … of each user's own sequence, in [0, 1): [U] -> [U, count] float64.

    The generator is SplitMix64 (Steele, Lea and Flood 2014), in integers, so that it is the same on every machine.
    """
    start = _mix(_mix(np.array([seed % 2**64], np.uint64)) + users.astype(np.uint64) * np.uint64(GOLDEN))
    steps = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return (_mix(_mix(start)[:, None] + steps) >> np.uint64(11)) * 2.0**-53


class Bucket(NamedTuple):
    """Questions with lists of about one length, in blocks; the last ones are repeated to fill the last block."""

    rows: np.ndarray  # [N, B] number of the question
    targets: Any  # [N, B] on the devices, split along N
    items: Any  # [N, B, S] the seen items, or the candidates; 0 is none


class Prepared(NamedTuple):
    """Questions ready to be ranked again and again."""

    protocol: str
    catalogue: int
    total: int  # questions
    buckets: tuple
    devices: tuple


def prepare(split, questions, protocol="full", *, seed=0, devices=None, block=BLOCK):
    """Lay out the lists that questions are ranked with; once, on the host.

    Args:
        split, questions: as of splits. protocol: a name of PROTOCOLS. seed: of the draws.
        devices: to rank on, the first one unless given. block: queries ranked at once on a device.

    Raises:
        UserError: an unknown protocol; no question; too few items to draw from.
    """
    protocol = named(protocol)
    total, catalogue = len(questions.source), len(split.interactions.catalogue.ids)
    check(split, questions)
    devices = tuple(devices or jax.devices()[:1])
    if not PROTOCOLS[protocol].filtered:
        items, counts = np.zeros(0, np.int32), np.zeros(total, np.int64)
    elif whole(protocol):
        items, counts = _seen(split.interactions.items, questions, catalogue)
    else:
        drawn = draw(split, questions, protocol, seed)
        items, counts = drawn.ravel(), np.full(total, drawn.shape[1])
    offsets = np.cumsum(counts) - counts
    buckets, order, done, width = [], np.argsort(counts, kind="stable"), 0, 4
    while done < total:
        width = WIDTHS * width
        end = np.searchsorted(counts[order], width, side="right")
        if end == done:
            continue
        rows, done = order[done:end], end
        number = -(-len(rows) // (block * len(devices))) * len(devices)
        size = -(-len(rows) // (8 * number)) * 8  # multiples of 8: a lone query is multiplied in another order
        filled = np.pad(rows, (0, number * size - len(rows)), mode="edge")
        lists = np.zeros((len(filled), max(counts[rows].max(), 1)), np.int32)
        lists[np.arange(lists.shape[1]) < counts[filled][:, None]] = items[
            slices(offsets[filled], offsets[filled] + counts[filled])
        ]
        filled, lists = filled.reshape(number, size), lists.reshape(number, size, -1)
        buckets.append(Bucket(filled, *dev.spread((questions.target[filled], lists), devices)))
    return Prepared(protocol, catalogue, total, tuple(buckets), devices)


def check(split, questions):
    """Raise UserError where there is no question."""
    if not len(questions.source):
        raise UserError(
            f"{split.interactions.name}: nothing to rank: no user has three items, or, where the split is by time or "
            "by session, nobody held out has two: give more data, or another split, split_q or share to validate"
        )


def _seen(items, questions, catalogue):
    """The distinct items of each history but the target, one list after another, and how many in each."""
    row = np.repeat(np.arange(len(questions.source)), questions.stop - questions.start)
    item = np.asarray(items[slices(questions.start, questions.stop)])
    other = item != questions.target[row]
    row, item = np.divmod(distinct(row[other] * (catalogue + 1) + item[other]), catalogue + 1)
    return item.astype(np.int32), np.bincount(row, minlength=len(questions.source))


@functools.cache
def _program(scorer, how, catalogue, devices):
    """The blocks of a bucket, shared out to the devices: compiled once a bucket's shape."""

    def blocks(params, queries, targets, items):
        def block(these):
            queries, targets, items = these
            if how == "sampled":
                return ranking.sampled_ranks(scorer, params, queries, targets, items)
            if how == "full":
                return ranking.ranks(scorer, params, queries, targets, items, catalogue=catalogue)
            return ranking.top_k(scorer, params, queries, items, k=how, catalogue=catalogue)[0]

        return jax.lax.map(block, (queries, targets, items))

    shared = P(AXIS)
    specs = {"in_specs": (P(), shared, shared, shared), "out_specs": shared}
    return jax.jit(jax.shard_map(blocks, mesh=dev.mesh_of(devices), check_vma=False, **specs))


def _answers(prepared, how, scorer, params, queries):
    """(rows, answers) of every bucket, on the host; all programs are under way before the first is waited for."""
    chex.assert_tree_shape_prefix(queries, (prepared.total,))
    program = _program(scorer, how, prepared.catalogue, prepared.devices)
    params, queries = dev.put(params, prepared.devices), jax.tree.map(np.asarray, queries)
    answers = []
    for rows, targets, items in prepared.buckets:
        asked = dev.spread(jax.tree.map(lambda query: query[rows], queries), prepared.devices)  # noqa: B023
        answers.append((rows, program(params, asked, targets, items)))
    return [(rows, np.asarray(answer)) for rows, answer in answers]


def run(prepared, scorer, params, queries):
    """The rank of every question's target, in the questions' order: [Q] int32, from 1.

    Args:
        prepared: by `prepare`. scorer: ranking.Scorer. params: its own. queries: a tree with leading axis Q, or None.

    No program is compiled twice for the same `prepared`, whatever the values.
    """
    found = np.zeros(prepared.total, np.int32)
    how = "full" if whole(prepared.protocol) else "sampled"
    for rows, ranks in _answers(prepared, how, scorer, params, queries):
        found[rows] = ranks
    return found


def coverage(prepared, scorer, params, queries, k=10):
    """The share of the catalogue that is in somebody's best k; what the protocol filters is left out of these.

    `prepared` is under a protocol that ranks the whole catalogue.
    """
    if not whole(prepared.protocol):
        raise ValueError(f"coverage is of the whole catalogue: prepare with 'full', not {prepared.protocol!r}")
    recommended = np.zeros(prepared.catalogue + 1, bool)
    for _, items in _answers(prepared, k, scorer, params, queries):
        recommended[items] = True
    return float(recommended[1:].mean())

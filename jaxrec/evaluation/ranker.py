"""Ranks each question's target among the candidates of a protocol."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from jaxrec.data import event_types
from jaxrec.data.files.text import some
from jaxrec.data.splits import Questions, Split, repeated_targets
from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import distinct, slices, spans
from jaxrec.evaluation.candidates import draw
from jaxrec.evaluation.protocols import find, named, whole
from jaxrec.kernels import placement as dev, processes, ranking, shards, sizes
from jaxrec.kernels.placement import AXIS
from jaxrec.system.errors import UserError

HELD = 1 << 24  # items of the lists sent at once from the host to each device
WIDTHS = 4  # maximum ratio of the widths of successive buckets of seen lists
JOINED = 1 << 17  # maximum padding from joining a bucket with the next, as that much costs less than another program


class Bucket(NamedTuple):
    """Questions with lists of similar length, in blocks; the last question is repeated to fill the blocks."""

    rows: np.ndarray  #: [N, B] index of the question
    targets: Any  #: [N, B] on the devices, split along N
    items: Any  #: [N, B, S] seen items or candidates, 0 is padding; or only S, if the host makes them when needed


class Layout(NamedTuple):
    """Questions prepared for repeated ranking."""

    protocol: str
    catalogue: int
    total: int  #: number of questions
    buckets: tuple
    mesh: Mesh  # of the devices
    #: (rows [n]) -> (items or candidates, concatenated, and their numbers [n]), on the host
    lists: Callable | None = None


def lay_out(
    split: Split,
    questions: Questions,
    protocol: str = "full",
    *,
    seed: int = 0,
    devices: dev.Devices | None = None,
    block: int | None = None,
    host: bool = False,
) -> Layout:
    """Makes the lists that questions are ranked with, once, on the host.

    Args:
        split: the split.
        questions: its questions.
        protocol: name of the protocol.
        seed: seed of the draws.
        devices: devices to rank on, by default the first one; or a mesh, along whose `ITEM` the scorer's params are
            split.
        block: queries ranked at once on a device; None for what suits it.
        host: whether to make the lists on the host for a few blocks at a time, instead of keeping them on the devices.

    Raises:
        UserError: if the protocol is unknown, there are no questions, there are too few items to draw from, or the
            protocol draws items and the targets are baskets.
    """
    protocol = named(protocol)
    if split.together and not whole(protocol):
        raise UserError(
            f"{protocol} draws items for one target, but split=last-basket has several: use --protocol full"
        )
    total, catalogue = len(questions.source), len(split.interactions.catalogue.ids)
    check(split, questions)
    mesh = dev.mesh_of(devices or jax.devices()[:1])
    shares = dev.data_size(mesh)
    if not find(protocol).filtered:
        lists = lambda rows: (np.zeros(0, np.int32), np.zeros(len(rows), np.int64))
    elif whole(protocol):
        lists = functools.partial(_seen, split, questions)
    else:
        drawn = draw(split, questions, protocol, seed)
        lists = lambda rows: (drawn[rows].ravel(), np.full(len(rows), drawn.shape[1]))
    items = np.zeros(0, np.int32)
    if host:
        ends = np.append(0, np.cumsum(questions.stop - questions.start))
        counts = _counted(lists, spans(ends, maps.ROWS), total, dev.spans(mesh))
    else:
        items, counts = lists(np.arange(total))
    scored = shards.rows_per_device(catalogue, mesh.size // shares) if whole(protocol) else int(counts.max())
    block = block or sizes.ranked_queries(scored)
    offsets = np.cumsum(counts) - counts
    buckets, order = [], np.argsort(counts, kind="stable")
    for first, last in _similar(counts[order]):
        rows = order[first:last]
        number = -(-len(rows) // (block * shares)) * shares
        size = -(-len(rows) // (8 * number)) * 8  # multiples of 8: single queries round differently
        filled = np.pad(rows, (0, number * size - len(rows)), mode="edge").reshape(number, size)
        longest = max(int(counts[rows].max()), 1)
        if host:
            buckets.append(Bucket(filled, questions.target[filled], longest))
            continue
        own = items[slices(offsets[filled.ravel()], (offsets + counts)[filled.ravel()])]
        listed = _padded(own, counts[filled], longest)
        buckets.append(Bucket(filled, *dev.spread((questions.target[filled], listed), mesh)))
    return Layout(protocol, catalogue, total, tuple(buckets), mesh, lists if host else None)


def _similar(lengths):
    """Yields the bounds (first, last) of the buckets, given the lengths of the lists in ascending order."""
    done, width, longest = 0, 4, int(lengths[-1])
    while done < len(lengths):
        width *= WIDTHS
        end = int(np.searchsorted(lengths, width, side="right"))
        more = (end - done) * (min(WIDTHS * width, longest) - width)
        if end == done or (end < len(lengths) and more <= JOINED):
            continue
        yield done, end
        done = end


def _counted(lists, parts, total, together):
    """Returns the length of each question's list, [total]; if `together`, each process makes some of the parts."""
    counts, own = np.zeros(total, np.int32), np.zeros(total, bool)
    for first, last in processes.shared_out(parts) if together else parts:
        counts[first:last], own[first:last] = lists(np.arange(first, last))[1], True
    return (processes.merged(counts, own)[0] if together else counts).astype(np.int64)


def _padded(items, counts_NB, longest):
    """Returns concatenated lists as an array [N, B, longest], padded with 0."""
    listed = np.zeros((*counts_NB.shape, longest), np.int32)
    listed[np.arange(longest) < counts_NB[..., None]] = items
    return listed


def _sent(layout, bucket):
    """Yields a bucket on the devices: whole, or in equal parts, the last of them filled by repeating its last block."""
    if layout.lists is None:
        yield bucket
        return
    number, size = bucket.rows.shape
    shares, own = dev.data_size(layout.mesh), dev.own_shares(layout.mesh)
    at_once = min(max(HELD // (size * bucket.items), 1) * shares, number)
    for first in range(0, number, at_once):
        at = np.minimum(np.arange(first, first + at_once), number - 1)
        here = at.reshape(shares, -1)[own].ravel()
        items, counts = layout.lists(bucket.rows[here].ravel())
        listed = _padded(items, counts.reshape(len(here), size), bucket.items)
        yield Bucket(bucket.rows[at], *dev.spread_own((bucket.targets[here], listed), layout.mesh))


def repeats(split: Split, questions: Questions, devices: dev.Devices) -> int:
    """As `splits.repeated_targets`; if the devices span several processes, each process counts a part."""
    if not dev.spans(devices):
        return repeated_targets(split.interactions, questions)
    first, last = (len(questions.source) * (jax.process_index() + end) // jax.process_count() for end in (0, 1))
    return processes.summed(repeated_targets(split.interactions, Questions(*(x[first:last] for x in questions))))


def check(split: Split, questions: Questions) -> None:
    """Raises UserError if there are no questions."""
    if not len(questions.source):
        types = event_types.asked(split.interactions)
        few = f"two {some(types)} events after another one" if types else "three items"
        raise UserError(
            f"{split.interactions.name}: nothing to rank: no user has {few}, or, if the split is by time or "
            "session, no held-out one has two items: give more data, or another split, test_quantile or valid_fraction"
        )


def _seen(split, questions, rows):
    """Returns the distinct items of the histories of some questions, concatenated, and their number per question.

    They exclude the target, or all items of its basket, so that the items of a basket are ranked among each other.
    """
    items, after = split.interactions.items, len(split.interactions.catalogue.ids) + 1
    start, stop, target = questions.start[rows], questions.stop[rows], questions.target[rows]
    row = np.repeat(np.arange(len(rows)), stop - start)
    item = np.asarray(items[slices(start, stop)])
    maps.release(items)
    other = item != target[row]
    if (user := split.baskets(questions)) is not None:
        other = ~np.isin(user[rows][row] * np.int64(after) + item, user * np.int64(after) + questions.target)
    row, item = np.divmod(distinct(row[other] * after + item[other]), after)
    return item.astype(np.int32), np.bincount(row, minlength=len(rows))


@functools.cache
def _program(scorer, how, catalogue, mesh):
    """Returns the program that ranks a bucket's blocks across the devices; it compiles once per shape."""
    whole = {"catalogue": catalogue, "axis": dev.item_axis(mesh)}

    def blocks(params, queries, targets, items):
        def block(these):
            queries, targets, items = these
            if how == "sampled":
                return ranking.sampled_ranks(scorer, params, queries, targets, items, **whole)
            if how == "full":
                return ranking.ranks(scorer, params, queries, targets, items, **whole)
            return ranking.top_k(scorer, params, queries, items, k=how, **whole)[0]

        return jax.lax.map(block, (queries, targets, items))

    shared = P(AXIS)
    specs = {"in_specs": (dev.item_spec(mesh), shared, shared, shared), "out_specs": shared}
    return jax.jit(jax.shard_map(blocks, mesh=mesh, check_vma=False, **specs))


def _answers(layout, how, scorer, params, queries):
    """Returns (rows, answers) of each bucket on the host. All programs are dispatched before waiting for the first."""
    chex.assert_tree_shape_prefix(queries, (layout.total,))
    mesh, queries = layout.mesh, jax.tree.map(np.asarray, queries)
    program = _program(scorer, how, layout.catalogue, mesh)
    params = dev.on(params, NamedSharding(mesh, dev.item_spec(mesh)))
    answers = []
    for rows, targets, items in itertools.chain.from_iterable(_sent(layout, bucket) for bucket in layout.buckets):
        asked = dev.spread(jax.tree.map(lambda query: query[rows], queries), mesh)  # noqa: B023
        answers.append((rows, program(params, asked, targets, items)))
        if layout.lists and len(answers) > 1:  # limits how many sent blocks wait on the devices
            jax.block_until_ready(answers[-2][1])
    return [(rows, processes.whole(answer)) for rows, answer in answers]


def run(layout: Layout, scorer: ranking.Scorer, params: Any, queries: Any) -> np.ndarray:
    """Returns the rank of each question's target: [Q] int32, from 1.

    Programs are compiled once per layout, regardless of the values.

    Args:
        layout: as from `lay_out`.
        scorer: the Scorer.
        params: its parameters.
        queries: a tree with leading axis Q, or None.
    """
    found = np.zeros(layout.total, np.int32)
    how = "full" if whole(layout.protocol) else "sampled"
    for rows, ranks in _answers(layout, how, scorer, params, queries):
        found[rows] = ranks
    return found


def best(layout: Layout, scorer: ranking.Scorer, params: Any, queries: Any, k: int) -> np.ndarray:
    """Returns the best k items of each question, without those that the protocol excludes.

    Args:
        layout: with a protocol over the whole catalogue; the others as for `run`.

    Returns:
        [Q, k] int32, best first; 0 if fewer items are left.
    """
    if not whole(layout.protocol):
        raise ValueError(f"the best items are of the whole catalogue: lay out by 'full', not {layout.protocol!r}")
    found = np.zeros((layout.total, k), np.int32)
    for rows, items in _answers(layout, k, scorer, params, queries):
        found[rows] = items
    return found


def traces(layout: Layout, scorer: ranking.Scorer, params: Any, queries: Any) -> list:
    """Returns the programs of `run`, one per bucket, traced; only the arguments' shapes and dtypes matter."""
    program = _program(scorer, "full" if whole(layout.protocol) else "sampled", layout.catalogue, layout.mesh)
    placed = lambda x, shape, spec: jax.ShapeDtypeStruct(shape, x.dtype, sharding=NamedSharding(layout.mesh, spec))
    params = jax.tree.map(lambda x: placed(x, x.shape, dev.item_spec(layout.mesh)), params)
    asked = lambda rows: jax.tree.map(lambda x: placed(x, (*rows.shape, *x.shape[1:]), P(AXIS)), queries)
    first = (next(_sent(layout, bucket)) for bucket in layout.buckets)
    return [program.trace(params, asked(rows), targets, items) for rows, targets, items in first]

"""Packed batches: several users' sequences back to back in rows of fixed width, and the order of an epoch.

Subsequences are packed once, by their lengths, into a layout of segments. Each epoch permutes the subsequences of equal
length among their segments, and then the rows. So the number of rows, the steps per epoch and all shapes are constant,
and a batch is a pure function of (data, seed, step).
"""

from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxrec.batches.slots import Slots
from jaxrec.data.storage.ragged import within

#: the rows per step are a multiple of this, so that 2, 4 and 8 devices have equal shares of them
UNIT = 8


class Stream(NamedTuple):
    """Rows of packed sequences, int32 [rows, T] each unless said otherwise."""

    items: Any  #: 1..V; 0 where the slot is empty, -1 where it is masked
    targets: Any  #: the item to be predicted at this slot; 0 where there is none
    segments: Any  #: 1, 2, ... within the row; 0 where empty
    positions: Any  #: 0, 1, ... within the slot's own sequence
    user_index: Any  #: the user (or session) that the slot belongs to; 0 where empty
    context: Any = None  #: [rows, T, K] what is known of the event besides its item (see context.py); 0 is unknown
    weights: Any = None  #: [rows, T] float32, the weight of the loss of the slot's target
    times: Any = None  #: [rows, T] seconds since some moment of the slot's own sequence; -1 where unknown
    start: Any = None  #: [rows, T] bool, slots that show no event, only the user of the next ones; None: no slot does
    added: Any = None  #: [rows, T, D] what a model adds to the slot's input vector: the embedding of its context
    negatives: Any = None  #: [rows, M x K] the negatives of a row's targets, if the host has drawn them


class Subsequences(NamedTuple):
    """Parts of histories that are packed into rows; slot j of a subsequence holds items[start + j]."""

    start: np.ndarray  #: [P] int, index into the flat items
    length: np.ndarray  #: [P] int32, the number of slots
    user_index: np.ndarray  #: [P] int32, the user


class PackingLayout(NamedTuple):
    """Where segments lie in the rows. They are numbered row by row, from left to right."""

    slot_to_segment: Any  #: [rows, T] int32, the segment of each slot, -1 if empty; or Slots
    first: Any  #: [rows] int32, the first segment of each row
    begin: Any  #: [P] int32, the slot at which each segment begins

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.first)


class Data(NamedTuple):
    """The data that batches are gathered from; an argument of the compiled program, not a constant in it."""

    items: Any  #: [N] int32, the flat histories
    start: Any  #: [P], as in Subsequences
    user_index: Any  #: [P], as in Subsequences
    layout: Any  #: PackingLayout, or session_parallel.Schedule
    context: Any = None  #: [N, K] of the events, if used
    weights: Any = None  #: [N] float32 of the events, if used
    may: Any = None  #: [N] bool, which events may be targets; None: all


class Order(NamedTuple):
    """The order of one epoch."""

    segment_assignment: Any  #: [P] int32, the subsequence in each segment
    rows: Any  #: [rows] int32, the order in which the rows are visited


def next_item_subsequences(
    start: ArrayLike, stop: ArrayLike, length: int, history: str = "newest", overlap: int = 0
) -> Subsequences:
    """Subsequences for next-item prediction, where the target of a slot is the item after it.

    Args:
        start: [U] the index in the flat items at which each user's history begins.
        stop: [U] the index at which it ends; users with fewer than two items have no subsequence.
        length: the maximum number of slots of a subsequence, which covers one item more.
        history: which items of a longer history to use: the "newest", the "oldest", or all, in "windows" that overlap
            by one item, so that each item but the first is a target exactly once. The oldest window is the short one.
        overlap: the number of further slots by which windows overlap. Each window then ends `length` - `overlap` items
            before the next one, and only its newest `length` - `overlap` slots have targets; the others are context.

    Returns:
        Subsequences.

    >>> subsequences = next_item_subsequences([0], [8], length=3, history="windows")
    >>> subsequences.start.tolist(), subsequences.length.tolist()
    ([4, 1, 0], [3, 3, 1])
    >>> subsequences = next_item_subsequences([0], [8], length=3, history="windows", overlap=2)
    >>> subsequences.start.tolist(), subsequences.length.tolist()
    ([4, 3, 2, 1, 0, 0, 0], [3, 3, 3, 3, 3, 2, 1])
    """
    start, stop = np.asarray(start), np.asarray(stop)
    # The last item is a target only.
    return _subsequences(start, np.maximum(stop - 1, start), length, history, overlap)


def whole_subsequences(start: ArrayLike, stop: ArrayLike, length: int, history: str = "newest") -> Subsequences:
    """As `next_item_subsequences`, but the last item is an input too, and windows don't overlap."""
    start, stop = np.asarray(start), np.asarray(stop)
    return _subsequences(start, np.where(stop - start > 1, stop, start), length, history)


def _subsequences(start, stop, length, history, overlap=0):
    slots, stride = stop - start, length - overlap
    count = -(-slots // stride) if history == "windows" else np.minimum(slots, 1)
    user_index = np.repeat(np.arange(len(slots)), count)
    first, last = np.repeat(start, count), np.repeat(stop, count)
    if history == "oldest":
        last = np.minimum(last, first + length)
    back = within(count)  # 0 is the newest window
    end = last - back * stride
    begin = np.maximum(end - length, first)
    return Subsequences(begin, (end - begin).astype(np.int32), user_index.astype(np.int32))


def history_subsequences(start: np.ndarray, stop: np.ndarray, length: int, num_mask_slots: int = 0) -> Subsequences:
    """Subsequences for inference: each history's newest items, followed by slots for `Objective.mask_inputs` to mask.

    Args:
        start: [Q] the index in the flat items at which each history begins.
        stop: [Q] the index at which it ends.
        length: the maximum number of slots, including `num_mask_slots`.
        num_mask_slots: the number of slots after the history. They hold arbitrary items until they are masked.

    Returns:
        Subsequences [Q].
    """
    begin = np.maximum(np.asarray(stop) - (length - num_mask_slots), start)
    return Subsequences(begin, (stop - begin + num_mask_slots).astype(np.int32), np.arange(len(begin), dtype=np.int32))


def pack(lengths: ArrayLike, width: int) -> tuple[np.ndarray, int]:
    """Best-fit decreasing bin packing: each subsequence goes to the fullest row that has room for it.

    Subsequences of equal length are placed together, so that the time depends on the number of distinct lengths.

    Args:
        lengths: [P] int, from 1 to `width`.
        width: the slots of a row.

    Returns:
        The row of each subsequence [P] int64, and the number of rows.

    Raises:
        ValueError: if a length is not from 1 to `width`.

    >>> pack([2, 5, 3, 4], width=7)
    (array([0, 0, 1, 1]), 2)
    """
    lengths = np.asarray(lengths)
    row_of = np.empty(len(lengths), np.int64)
    by_length = np.argsort(-lengths, kind="stable")
    with_room = [[] for _ in range(width + 1)]  # arrays of rows, by their free slots
    bounds = np.flatnonzero(np.diff(lengths[by_length])) + 1
    rows = 0
    for group in np.split(by_length, bounds) if len(lengths) else []:
        need = int(lengths[group[0]])
        if not 1 <= need <= width:
            raise ValueError(f"a subsequence of {need} slots does not fit a row of {width}")
        free = need
        while len(group):
            while free < width and not with_room[free]:
                free += 1
            fit = free // need  # how many of the group go into one row
            wanted = -(-len(group) // fit)
            if free < width:
                into = np.concatenate(with_room[free])
                with_room[free] = [into[wanted:]] if len(into) > wanted else []
                into = into[:wanted]
            else:  # no row has room: add rows
                into = rows + np.arange(wanted)
                rows += wanted
            placed = min(len(group), len(into) * fit)
            row_of[group[:placed]] = np.repeat(into, fit)[:placed]
            full, left = divmod(placed, fit)
            if full:
                with_room[free - fit * need].append(into[:full])
            if left:
                with_room[free - left * need].append(into[full:])
            group = group[placed:]
    return row_of, rows


def packing_layout(
    lengths: ArrayLike,
    width: int,
    multiple: int = 1,
    reserved: int = 0,
    host: bool = False,
    packed: tuple[np.ndarray, int] | None = None,
) -> tuple[PackingLayout, np.ndarray]:
    """Packs subsequences into rows.

    Args:
        lengths: [P] int, the slots of each subsequence.
        width: T, the slots of a row.
        multiple: empty rows are added up to a multiple of this, so that the last batch is full.
        reserved: the minimum number of slots to keep for a subsequence; those that it doesn't use stay empty.
        host: whether rows are only gathered on the host, so that the segments of their slots are computed on demand.
        packed: the result of `pack` for these lengths, raised to at least `reserved` each, if it is already known.

    Returns:
        PackingLayout, and `order_of` [P] int32, the subsequence whose length each segment has.
    """
    lengths = np.asarray(lengths)
    row_of, used = packed or pack(np.maximum(lengths, reserved), width)
    rows = max(-(-used // multiple), 1) * multiple
    order_of = np.lexsort((-lengths, row_of)).astype(np.int32)  # segments row by row, longest first
    segment_row, segment_length = row_of[order_of], lengths[order_of].astype(np.int64)
    bounds = np.searchsorted(segment_row, np.arange(rows + 1)).astype(np.int32)
    first = bounds[:-1]
    segment_slots = np.maximum(segment_length, reserved)
    ends = np.cumsum(segment_slots)
    before_row = np.append(0, ends)[first]  # slots used in all earlier rows
    begin = ends - segment_slots - before_row[segment_row]
    begin = begin.astype(np.int32)
    slots = Slots(bounds, begin, segment_length.astype(np.int32), width)
    return PackingLayout(slots if host else slots.whole(), first, begin), order_of


def plan(lengths: np.ndarray, order_of: np.ndarray, rows: int, seed: int, epoch: int) -> Order:
    """The Order of an epoch: permutes the subsequences of equal length, and then the rows.

    Args:
        lengths: [P] int, the slots of each subsequence.
        order_of: [P] int, from `packing_layout`.
        rows: the number of rows of the layout.
        seed: int, from 0.
        epoch: int, from 0.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    shuffled = np.lexsort((random.random(len(lengths)), lengths))
    by_length = np.argsort(lengths[order_of], kind="stable")
    segment_assignment = np.empty(len(lengths), np.int32)
    segment_assignment[by_length] = shuffled
    return Order(segment_assignment, random.permutation(rows).astype(np.int32))


def namespace(array: Any) -> Any:
    """Returns jax.numpy for a JAX array, traced or not; numpy for any other, such as a memory-mapped one."""
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


def gather(data: Data, order: Order, rows: Any, with_targets: bool = True) -> Stream:
    """The Stream of some rows of an epoch, from NumPy or JAX arrays.

    Args:
        data: Data whose layout is a PackingLayout.
        order: Order of the epoch.
        rows: [R] int, indices into `order.rows`.
        with_targets: whether to fill in the targets; otherwise as for `stream_at`.

    Returns:
        Stream of rows [R, T].
    """
    xp = namespace(data.items)
    rows = order.rows[rows]
    slot_to_segment = data.layout.slot_to_segment[rows]
    real = slot_to_segment >= 0
    slot_to_segment = xp.maximum(slot_to_segment, 0)
    positions = xp.arange(slot_to_segment.shape[1], dtype=xp.int32)[None, :] - data.layout.begin[slot_to_segment]
    subsequence = order.segment_assignment[slot_to_segment]
    at = xp.where(real, data.start[subsequence] + positions, 0)
    segments = slot_to_segment - data.layout.first[rows][:, None] + 1
    return stream_at(data, real, at, segments, positions, data.user_index[subsequence], with_targets)


def stream_at(
    data: Data, real: Any, at: Any, segments: Any, positions: Any, user_index: Any, with_targets: bool
) -> Stream:
    """The Stream with these events in its slots, from NumPy or JAX arrays [R, T].

    Args:
        data: Data.
        real: whether the slot has an event; all fields of other slots are 0.
        at: the index of the event in the data; the target is the item of the event after it.
        segments: as in Stream.
        positions: as in Stream.
        user_index: as in Stream.
        with_targets: whether to fill in the targets. Otherwise they are 0, and weights are those of the slots' own
            events; if only some events may be targets, the targets are then the slots' own items that may be.
    """
    xp = namespace(data.items)
    last = len(data.items) - 1  # targets and mask slots of the last history can lie beyond it
    at, following = xp.minimum(at, last), xp.minimum(at + 1, last)
    where_real = lambda values, kind=xp.int32: xp.where(real, values, 0).astype(kind)
    weights, asks = None, with_targets or data.may is not None
    if data.weights is not None:
        weights = where_real(data.weights[following if with_targets else at], xp.float32)
    return Stream(
        items=where_real(data.items[at]),
        targets=where_real(_targets(data, following if with_targets else at)) if asks else xp.zeros_like(segments),
        segments=where_real(segments),
        positions=where_real(positions),
        user_index=where_real(user_index),
        context=None if data.context is None else xp.where(real[..., None], data.context[at], 0).astype(xp.int32),
        weights=weights,
    )


def _targets(data, at):
    """The items of these events, 0 for those that may not be targets."""
    return data.items[at] if data.may is None else data.items[at] * data.may[at]


def rows_per_step(batch: int, subsequences: int, rows: int) -> int:
    """The number of rows that hold `batch` sequences on average, rounded to a multiple of `UNIT`.

    Args:
        batch: the number of sequences per step.
        subsequences: P, the number of subsequences in all rows.
        rows: the number of rows of the layout.
    """
    wanted = round(batch * rows / max(subsequences, 1) / UNIT) * UNIT
    return max(min(wanted, -(-rows // UNIT) * UNIT), UNIT)


def padded(rows: int, shares: int) -> int:
    """Returns the rows of a step, including empty ones at the end so that every device has the same number.

    >>> padded(8, shares=3)
    9
    """
    return -(-rows // shares) * shares


def emptied(stream: Stream, is_row: Any) -> Stream:
    """Empties the rows of a Stream that are not part of the plan. For NumPy or JAX arrays.

    Args:
        stream: as from `gather`.
        is_row: [R] bool, the rows to keep.
    """
    xp = namespace(stream.items)

    def leaf(x):
        return None if x is None else xp.where(is_row.reshape(-1, *(1,) * (x.ndim - 1)), x, 0).astype(x.dtype)

    return Stream(*map(leaf, stream))

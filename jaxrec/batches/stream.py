"""The one data format: several users' sequences back to back in rows of fixed width, and the plan that fills them.

Lengths are packed once, best fit, into a layout of segments; an epoch permutes the subsequences within each length
class, then the rows. So rows, steps an epoch and shapes are constants, and a batch is a pure function of (data, seed,
step).
"""

from typing import Any, NamedTuple

import numpy as np


class Stream(NamedTuple):
    """Rows of packed sequences, int32 [rows, T] each unless said otherwise."""

    items: Any  #: 1..V; 0 where the slot is empty, -1 where it is masked
    targets: Any  #: the item to be predicted at this slot; 0 where there is none
    segments: Any  #: 1, 2, ... within the row; 0 where empty
    positions: Any  #: 0, 1, ... within the slot's own sequence
    user_index: Any  #: the user (or session) that the slot belongs to; 0 where empty
    context: Any = None  #: [rows, T, K] what is known of the event beside its item (see context.py); 0 is unknown
    weights: Any = None  #: [rows, T] float32, by which the loss of the slot's target counts
    added: Any = None  #: [rows, T, D] what a model adds to the slot's input vector: its context, embedded


class Subsequences(NamedTuple):
    """Parts of histories, to be packed into rows: slot j of a subsequence shows items[start + j]."""

    start: np.ndarray  #: [P] index into the flat items
    length: np.ndarray  #: [P] int32, slots
    user_index: np.ndarray  #: [P] int32 user


class PackingLayout(NamedTuple):
    """Where segments of given lengths lie in the rows; they are numbered over all rows, left to right in each."""

    slot_to_segment: Any  #: [rows, T] int32, the segment that a slot belongs to; -1 where empty
    first: Any  #: [rows] int32, the first segment of a row
    begin: Any  #: [P] int32, the slot at which a segment begins


class Data(NamedTuple):
    """All that batches are made of; on the device an argument of the program."""

    items: Any  #: [N] int32, the flat histories
    start: Any  #: [P]
    user_index: Any  #: [P]
    layout: Any  #: PackingLayout, or session_parallel.Schedule
    context: Any = None  #: [N, K] of the events, where it is used
    weights: Any = None  #: [N] float32 of the events, where they are used


class Order(NamedTuple):
    """One epoch's arrangement."""

    segment_assignment: Any  #: [P] int32, the subsequence in each segment
    rows: Any  #: [rows] int32, the rows in the order in which they are visited


def next_item_subsequences(start, stop, length, history="newest", overlap=0):
    """Subsequences with the next item as the target of every slot: of `length` + 1 items each.

    Args:
        start: [U] where each user's history begins in the flat items.
        stop: [U] where it ends; users with fewer than two items have no subsequence.
        length: the longest subsequence, in slots.
        history: which items of a long one: the "newest", the "oldest", or "windows" over all of them that overlap by
            one, so that each item but the first is a target exactly once; the oldest window is the short one.
        overlap: of windows, slots more by which they do: each ends `length` - `overlap` items before the next, and
            shows what is before, `length` items at most. Its newest `length` - `overlap` slots are those to be asked.

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


def whole_subsequences(start, stop, length, history="newest"):
    """Subsequences of every item, `length` of each history: as `next_item_subsequences`, but windows end to end."""
    start, stop = np.asarray(start), np.asarray(stop)
    return _subsequences(start, np.where(stop - start > 1, stop, start), length, history)


def _subsequences(start, stop, length, history, overlap=0):
    slots, stride = stop - start, length - overlap
    count = -(-slots // stride) if history == "windows" else np.minimum(slots, 1)
    user_index = np.repeat(np.arange(len(slots)), count)
    first, last = np.repeat(start, count), np.repeat(stop, count)
    if history == "oldest":
        last = np.minimum(last, first + length)
    back = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)  # 0 is the newest window
    end = last - back * stride
    begin = np.maximum(end - length, first)
    return Subsequences(begin, (end - begin).astype(np.int32), user_index.astype(np.int32))


def history_subsequences(start, stop, length, num_mask_slots=0):
    """Subsequences of at most `length` slots for inference: the newest items, and `num_mask_slots` after them.

    [Q], [Q], int -> Subsequences of [Q]. What a slot after the history shows is for the objective to overwrite.
    """
    begin = np.maximum(np.asarray(stop) - (length - num_mask_slots), start)
    return Subsequences(begin, (stop - begin + num_mask_slots).astype(np.int32), np.arange(len(begin), dtype=np.int32))


def pack(lengths, width):
    """Best-fit decreasing packing. [P] lengths in 1..width -> the row of each subsequence [P], the number of rows.

    Each subsequence goes to the fullest row that still takes it. Rows are held by the room left in them, so that equal
    lengths are placed together and the cost is that of the distinct lengths, not of the subsequences.

    >>> pack([2, 5, 3, 4], width=7)
    (array([0, 0, 1, 1]), 2)
    """
    lengths = np.asarray(lengths)
    row_of = np.empty(len(lengths), np.int64)
    by_length = np.argsort(-lengths, kind="stable")
    with_room = [[] for _ in range(width + 1)]  # arrays of rows, by room
    bounds = np.flatnonzero(np.diff(lengths[by_length])) + 1
    rows = 0
    for group in np.split(by_length, bounds) if len(lengths) else []:
        need = int(lengths[group[0]])
        if not 1 <= need <= width:
            raise ValueError(f"a subsequence of {need} slots does not fit a row of {width}")
        room = need
        while len(group):
            while room < width and not with_room[room]:
                room += 1
            fit = room // need  # each row is filled as far as it goes before the next
            wanted = -(-len(group) // fit)
            if room < width:
                into = np.concatenate(with_room[room])
                with_room[room] = [into[wanted:]] if len(into) > wanted else []
                into = into[:wanted]
            else:  # none takes it: open rows
                into = rows + np.arange(wanted)
                rows += wanted
            placed = min(len(group), len(into) * fit)
            row_of[group[:placed]] = np.repeat(into, fit)[:placed]
            full, left = divmod(placed, fit)
            if full:
                with_room[room - fit * need].append(into[:full])
            if left:
                with_room[room - left * need].append(into[full:])
            group = group[placed:]
    return row_of, rows


def packing_layout(lengths, width, multiple=1, room=0):
    """Pack subsequences of these lengths into rows: (PackingLayout, `order_of` [P], whose length each segment has).

    Rows are filled up with empty ones to a multiple, so that the last batch is whole.

    Args:
        room: slots that a subsequence has for itself at least; what it leaves of them stays empty.
    """
    lengths = np.asarray(lengths)
    row_of, used = pack(np.maximum(lengths, room), width)
    rows = max(-(-used // multiple), 1) * multiple
    order_of = np.lexsort((-lengths, row_of)).astype(np.int32)  # segments row by row, longest first
    segment_row, segment_length = row_of[order_of], lengths[order_of].astype(np.int64)
    first = np.searchsorted(segment_row, np.arange(rows)).astype(np.int32)
    segment_room = np.maximum(segment_length, room)
    ends = np.cumsum(segment_room)
    before_row = np.append(0, ends)[first]  # slots used in all earlier rows
    begin = ends - segment_room - before_row[segment_row]
    ends = np.cumsum(segment_length)
    slot_to_segment = np.full((rows, width), -1, np.int32)
    slot = np.repeat(begin - (ends - segment_length), segment_length) + np.arange(segment_length.sum())
    numbers = np.arange(len(lengths), dtype=np.int32)
    slot_to_segment[np.repeat(segment_row, segment_length), slot] = np.repeat(numbers, segment_length)
    return PackingLayout(slot_to_segment, first, begin.astype(np.int32)), order_of


def plan(lengths, order_of, rows, seed, epoch):
    """The arrangement of one epoch: subsequences permuted within their length class, then the rows.

    Args:
        lengths: [P] of the subsequences.
        order_of: [P], as `packing_layout` gives it.
        rows: how many.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    shuffled = np.lexsort((random.random(len(lengths)), lengths))
    by_length = np.argsort(lengths[order_of], kind="stable")
    segment_assignment = np.empty(len(lengths), np.int32)
    segment_assignment[by_length] = shuffled
    return Order(segment_assignment, random.permutation(rows).astype(np.int32))


def gather(data, order, rows, with_targets=True):
    """The Stream of these rows in the epoch's row order. [R] -> Stream of [R, T]; NumPy and JAX arrays alike."""
    xp = data.items.__array_namespace__() if hasattr(data.items, "__array_namespace__") else np
    rows = order.rows[rows]
    slot_to_segment = data.layout.slot_to_segment[rows]
    real = slot_to_segment >= 0
    slot_to_segment = xp.maximum(slot_to_segment, 0)
    positions = xp.arange(slot_to_segment.shape[1], dtype=xp.int32)[None, :] - data.layout.begin[slot_to_segment]
    subsequence = order.segment_assignment[slot_to_segment]
    at = xp.where(real, data.start[subsequence] + positions, 0)
    segments = slot_to_segment - data.layout.first[rows][:, None] + 1
    return stream_at(data, real, at, segments, positions, data.user_index[subsequence], with_targets)


def stream_at(data, real, at, segments, positions, user_index, with_targets):
    """The Stream whose slots show these events, all [R, T].

    Args:
        data: Data.
        real: whether a slot has an event; it is 0 in every field where not.
        at: which event of the data. The target is the one after it.
        segments: as Stream has them, where real.
        positions: as Stream has them, where real.
        user_index: as Stream has it, where real.
        with_targets: whether targets are shown. Where not, weights are those of the events themselves.
    """
    xp = data.items.__array_namespace__() if hasattr(data.items, "__array_namespace__") else np
    last = len(data.items) - 1  # a slot after the last history of all
    at, following = xp.minimum(at, last), xp.minimum(at + 1, last)
    where_real = lambda values, kind=xp.int32: xp.where(real, values, 0).astype(kind)
    weights = None
    if data.weights is not None:
        weights = where_real(data.weights[following if with_targets else at], xp.float32)
    return Stream(
        items=where_real(data.items[at]),
        targets=where_real(data.items[following]) if with_targets else xp.zeros_like(segments),
        segments=where_real(segments),
        positions=where_real(positions),
        user_index=where_real(user_index),
        context=None if data.context is None else xp.where(real[..., None], data.context[at], 0).astype(xp.int32),
        weights=weights,
    )


def rows_per_step(batch, subsequences, rows, devices=1):
    """Rows that hold `batch` sequences on average, to a multiple of 8 (of the devices where they don't divide 8)."""
    unit = unit_of(devices)
    wanted = round(batch * rows / max(subsequences, 1) / unit) * unit
    return max(min(wanted, -(-rows // unit) * unit), unit)


def unit_of(devices):
    """What the rows of a step are a multiple of: 8, so that 1, 2, 4 and 8 devices have as many; else the devices."""
    return 8 if 8 % devices == 0 else devices

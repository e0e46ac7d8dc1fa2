"""Session-parallel batches (Hidasi et al. 2016, section 3.1.1): each lane reads a session, one event a step.

It is the stream whose rows are lanes, cut into steps of one slot: `stream.Data` with a Schedule for its template.
"""

import heapq
from typing import Any, NamedTuple

import numpy as np

from jaxrec.batches.stream import Stream, unit_of


class Schedule(NamedTuple):
    """Which piece every lane reads at every step; on the device 4 bytes an event, and as much a piece."""

    place: Any  #: [steps x rows, 1] int32, the piece; -1 where the lane is closed. Row r of step s is s x rows + r
    begin: Any  #: [P] int32, the step at which a piece begins


def schedule(lengths, lanes, rows):
    """The greedy schedule of the authors' code: the next piece goes to the lane that is free first.

    Of lanes that become free together the first takes it. No piece is cut and none is left out: towards the end lanes
    close, and the last step is the end of the longest.

    Args:
        lengths: [P] slots of each piece, in the order in which they are begun.
        lanes: how many are read at once.
        rows: at least `lanes`: those from there on are closed always.
    """
    lengths = np.asarray(lengths)
    begin, lane_of = np.empty(len(lengths), np.int32), np.empty(len(lengths), np.int64)
    free = [(0, lane) for lane in range(lanes)]
    for piece, length in enumerate(lengths.tolist()):
        step, lane = free[0]
        begin[piece], lane_of[piece] = step, lane
        heapq.heapreplace(free, (step + length, lane))
    place = np.full((max(step for step, _ in free), rows), -1, np.int32)
    piece = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    slot = np.arange(len(piece)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place[begin[piece] + slot, lane_of[piece]] = piece
    return Schedule(place.reshape(-1, 1), begin)


def gather(data, _order, rows, asked=True, *, step_rows):
    """The Stream of these rows of the schedule, counted from its first step on. [R] -> Stream of [R, 1].

    NumPy and JAX arrays alike. The order of the pieces is the schedule's, in every epoch.

    Args:
        data: stream.Data whose template is a Schedule.
        step_rows: of a step.
    """
    xp = data.items.__array_namespace__() if hasattr(data.items, "__array_namespace__") else np
    place = data.template.place[rows]
    real = place >= 0
    piece = xp.maximum(place, 0)
    positions = (rows // step_rows)[:, None] - data.template.begin[piece]
    at = xp.where(real, data.start[piece] + positions, 0)

    def where_real(values):
        return xp.where(real, values, 0).astype(xp.int32)

    return Stream(
        items=where_real(data.items[at]),
        targets=where_real(data.items[xp.minimum(at + 1, len(data.items) - 1)]) if asked else xp.zeros_like(place),
        segments=real.astype(xp.int32),
        positions=where_real(positions),
        source=where_real(data.source[piece]),
    )


def rows_of(lanes, devices=1):
    """Rows of a step: the lanes and as many closed ones as make a multiple of 8 (as `stream.rows_per_step`)."""
    unit = unit_of(devices)
    return -(-lanes // unit) * unit


def oldest_first(pieces, interactions):
    """The pieces in the order of their first events: by time where times are absolute, else as the data lie."""
    timed = interactions.times is not None and not interactions.relative
    key = np.asarray(interactions.times)[pieces.start] if timed else pieces.start
    order = np.lexsort((pieces.start, key))
    return type(pieces)(*(values[order] for values in pieces))

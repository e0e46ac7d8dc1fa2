"""Session-parallel batches (Hidasi et al. 2016, section 3.1.1): each lane reads a session, one event a step.

It is the stream whose rows are lanes, cut into steps of one slot: `stream.Data` with a Schedule for its layout.
"""

import heapq
from typing import Any, NamedTuple

import numpy as np

from jaxrec.batches.stream import stream_at, unit_of


class Schedule(NamedTuple):
    """Which subsequence every lane reads at every step: row r of step s is s x rows + r.

    On the device it takes 4 bytes an event, and as much a subsequence.
    """

    slot_to_segment: Any  #: [steps x rows, 1] int32, the subsequence; -1 where there is none
    begin: Any  #: [P] int32, the step at which a subsequence begins


def schedule(lengths, parallel_sessions, rows):
    """The greedy schedule of the authors' code: the next subsequence goes to the lane that is free first.

    Of lanes that become free together the first takes it. No subsequence is cut and none is left out: towards the end
    lanes close, and the last step is the end of the longest.

    Args:
        lengths: [P] slots of each subsequence, in the order in which they are begun.
        parallel_sessions: how many are read at once, one a lane.
        rows: at least `parallel_sessions`: those from there on are closed always.
    """
    lengths = np.asarray(lengths)
    begin, lane_of = np.empty(len(lengths), np.int32), np.empty(len(lengths), np.int64)
    free = [(0, lane) for lane in range(parallel_sessions)]
    for subsequence, length in enumerate(lengths.tolist()):
        step, lane = free[0]
        begin[subsequence], lane_of[subsequence] = step, lane
        heapq.heapreplace(free, (step + length, lane))
    slot_to_segment = np.full((max(step for step, _ in free), rows), -1, np.int32)
    subsequence = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    slot = np.arange(len(subsequence)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    slot_to_segment[begin[subsequence] + slot, lane_of[subsequence]] = subsequence
    return Schedule(slot_to_segment.reshape(-1, 1), begin)


def gather(data, _order, rows, with_targets=True, *, step_rows):
    """The Stream of these rows of the schedule, counted from its first step on. [R] -> Stream of [R, 1].

    NumPy and JAX arrays alike. The order of the subsequences is the schedule's, in every epoch.

    Args:
        data: stream.Data whose layout is a Schedule.
        step_rows: of a step.
    """
    xp = data.items.__array_namespace__() if hasattr(data.items, "__array_namespace__") else np
    slot_to_segment = data.layout.slot_to_segment[rows]
    real = slot_to_segment >= 0
    subsequence = xp.maximum(slot_to_segment, 0)
    positions = (rows // step_rows)[:, None] - data.layout.begin[subsequence]
    at = xp.where(real, data.start[subsequence] + positions, 0)
    segments = real.astype(xp.int32)
    return stream_at(data, real, at, segments, positions, data.user_index[subsequence], with_targets)


def rows_of(parallel_sessions, devices=1):
    """Rows of a step: the lanes and as many closed ones as make a multiple of 8 (as `stream.rows_per_step`)."""
    unit = unit_of(devices)
    return -(-parallel_sessions // unit) * unit


def oldest_first(subsequences, interactions):
    """The subsequences in the order of their first events: by time where times are absolute, else as the data lie."""
    timed = interactions.times is not None and not interactions.relative
    key = np.asarray(interactions.times)[subsequences.start] if timed else subsequences.start
    order = np.lexsort((subsequences.start, key))
    return type(subsequences)(*(values[order] for values in subsequences))

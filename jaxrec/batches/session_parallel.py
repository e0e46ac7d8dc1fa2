"""Session-parallel batches (Hidasi et al. 2016, section 3.1.1): each lane reads a session, one event per step.

A batch is a Stream of rows [lanes, 1]. Its data are a `stream.Data` whose layout is a Schedule.
"""

import heapq
from typing import Any, NamedTuple

import numpy as np

from jaxrec.batches.stream import UNIT, Data, Stream, Subsequences, namespace, padded, stream_at
from jaxrec.data.interactions import Interactions
from jaxrec.data.storage.ragged import within


class Schedule(NamedTuple):
    """Which subsequence each lane reads at each step. Takes 4 bytes per event and per subsequence."""

    slot_to_segment: Any  #: [steps x rows, 1] int32; the subsequence of lane r at step s is at s x rows + r, -1 if none
    begin: Any  #: [P] int32, the step at which each subsequence begins

    @property
    def rows(self) -> int:
        """The number of rows of all steps."""
        return len(self.slot_to_segment)


def schedule(lengths: np.ndarray, parallel_sessions: int, rows: int) -> Schedule:
    """Assigns each subsequence in turn to the lane that is free first, as the authors' code does.

    If several lanes become free at the same step, the lowest one is used. No subsequence is cut or left out: towards
    the end, lanes without a subsequence stay empty.

    Args:
        lengths: [P] the number of slots of each subsequence, in the order in which they begin.
        parallel_sessions: the number of lanes in use.
        rows: the number of lanes, at least `parallel_sessions`; the others are always empty.

    Returns:
        Schedule.
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
    slot = within(lengths)
    slot_to_segment[begin[subsequence] + slot, lane_of[subsequence]] = subsequence
    return Schedule(slot_to_segment.reshape(-1, 1), begin)


def gather(data: Data, _order: Any, rows: Any, with_targets: bool = True, *, step_rows: int) -> Stream:
    """The Stream of some rows of a schedule, from NumPy or JAX arrays.

    Args:
        data: stream.Data whose layout is a Schedule.
        _order: not used, since every epoch has the same order.
        rows: [R] int, indices into `slot_to_segment` of the schedule.
        with_targets: whether to fill in the targets; otherwise they are 0.
        step_rows: the number of rows per step.

    Returns:
        Stream of rows [R, 1].
    """
    xp = namespace(data.items)
    slot_to_segment = data.layout.slot_to_segment[rows]
    real = slot_to_segment >= 0
    subsequence = xp.maximum(slot_to_segment, 0)
    positions = (rows // step_rows)[:, None] - data.layout.begin[subsequence]
    at = xp.where(real, data.start[subsequence] + positions, 0)
    segments = real.astype(xp.int32)
    return stream_at(data, real, at, segments, positions, data.user_index[subsequence], with_targets)


def rows_of(parallel_sessions: int) -> int:
    """The number of lanes, rounded up to a multiple of `stream.UNIT` with empty ones."""
    return padded(parallel_sessions, UNIT)


def oldest_first(subsequences: Subsequences, interactions: Interactions) -> Subsequences:
    """Sorts subsequences by the time of their first event, or by their place in the data without absolute times."""
    timed = interactions.times is not None and not interactions.relative
    key = np.asarray(interactions.times)[subsequences.start] if timed else subsequences.start
    order = np.lexsort((subsequences.start, key))
    return type(subsequences)(*(values[order] for values in subsequences))

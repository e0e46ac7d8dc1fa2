"""The segment that each slot of packed rows holds, computed on demand."""

from dataclasses import dataclass

import numpy as np

from jaxrec.data.storage.ragged import slices

SLOTS = 1 << 22  # slots computed at once


@dataclass(frozen=True, eq=False)
class Slots:
    """Acts as an array [rows, T] int32, but only computes the rows that it is indexed with.

    >>> slots = Slots(np.array([0, 2, 3]), np.array([0, 3, 0]), np.array([3, 1, 2]), width=4)
    >>> slots[np.array([1, 0])].tolist()
    [[2, 2, -1, -1], [0, 0, 0, 1]]
    """

    bounds: np.ndarray  #: [rows + 1] the first segment of each row, then their number; they are numbered row by row
    begin: np.ndarray  #: [P] the slot at which each segment begins
    length: np.ndarray  #: [P] the number of its slots
    width: int  #: T

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the segments of the slots of these rows. [R] int -> [R, T] int32; -1 where empty."""
        start, stop = self.bounds[rows].astype(np.int64), self.bounds[rows + 1].astype(np.int64)
        segment = slices(start, stop)
        place = np.repeat(np.arange(len(rows)) * self.width, stop - start) + self.begin[segment]
        length = self.length[segment]
        found = np.full(len(rows) * self.width, -1, np.int32)
        found[slices(place, place + length)] = np.repeat(segment, length)
        return found.reshape(len(rows), self.width)

    def whole(self) -> np.ndarray:
        """Returns the whole array, [rows, T] int32."""
        rows = len(self.bounds) - 1
        found = np.empty((rows, self.width), np.int32)
        at_once = max(SLOTS // self.width, 1)
        for start in range(0, rows, at_once):
            these = np.arange(start, min(start + at_once, rows))
            found[these] = self[these]
        return found

"""Works on arrays that are mapped from files by parts, each of which leaves the process's memory after its turn."""

import mmap
from collections.abc import Iterator

import numpy as np

ROWS = 1 << 22  # elements of a part


def release(*arrays: np.ndarray) -> None:
    """Lets the pages of memory maps leave the process's memory; they are read again when needed. Others stay."""
    for array in arrays:
        base, private = array, False
        while isinstance(base, np.ndarray):
            private |= getattr(base, "mode", None) == "c"  # what was written to its pages is nowhere else
            base = base.base
        if isinstance(base, mmap.mmap) and not private:
            base.madvise(mmap.MADV_DONTNEED)


def pieces(array: np.ndarray, rows: int | None = None) -> Iterator[np.ndarray]:
    """Yields an array in parts of `rows` elements, each released after its turn."""
    rows = rows or ROWS
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        release(array)


def take(array: np.ndarray, at: np.ndarray) -> np.ndarray:
    """As array[at] in memory, for places in ascending order; only a part of a memory map is in memory at a time."""
    found = np.empty(len(at), array.dtype)
    for start in range(0, len(at), max(ROWS // 16, 1)):
        stop = start + max(ROWS // 16, 1)
        found[start:stop] = array[at[start:stop]]
        release(array)
    return found


def nth(values: np.ndarray, place: int) -> int:
    """Returns element `place` of the sorted integers, as np.sort(values)[place]; counts them where they are many."""
    if len(values) <= ROWS:
        return int(np.partition(values, place)[place])
    low = min(int(part.min()) for part in pieces(values))
    high = max(int(part.max()) for part in pieces(values))
    while low < high:  # the answer is in low..high; `place` counts from the least value from low on
        shift = max((high - low).bit_length() - 16, 0)
        counts = np.zeros(((high - low) >> shift) + 1, np.int64)
        for part in pieces(values):
            inside = part[(part >= low) & (part <= high)]
            counts += np.bincount((inside - low) >> shift, minlength=len(counts))
        bin = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        place -= int(counts[:bin].sum())
        low, high = low + (bin << shift), min(low + ((bin + 1) << shift) - 1, high)
    return low

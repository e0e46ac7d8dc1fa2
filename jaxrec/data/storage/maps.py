"""Works on memory-mapped arrays part by part, so that only one part is in the process's memory at a time."""

import mmap
from collections.abc import Iterator

import numpy as np

ROWS = 1 << 22  # elements per part


def release(*arrays: np.ndarray) -> None:
    """Drops the pages of memory maps from memory; they are read again when needed. Does nothing to other arrays."""
    for array in arrays:
        base, private = array, False
        while isinstance(base, np.ndarray):
            private |= getattr(base, "mode", None) == "c"  # copy on write: changes exist only in memory
            base = base.base
        if isinstance(base, mmap.mmap) and not private:
            base.madvise(mmap.MADV_DONTNEED)


def pieces(array: np.ndarray, rows: int | None = None) -> Iterator[np.ndarray]:
    """Yields an array in parts of `rows` elements; releases each part before the next."""
    rows = rows or ROWS
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        release(array)


def take(array: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns array[at] for ascending indices, in memory; holds only a part of a memory map in memory at a time."""
    found = np.empty(len(at), array.dtype)
    for start in range(0, len(at), max(ROWS // 16, 1)):
        stop = start + max(ROWS // 16, 1)
        found[start:stop] = array[at[start:stop]]
        release(array)
    return found


def nth(values: np.ndarray, place: int) -> int:
    """Returns np.sort(values)[place] for integers. Counts large arrays in parts instead of sorting them."""
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

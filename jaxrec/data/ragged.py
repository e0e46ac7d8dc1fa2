"""Lists of unequal length, one after another in a flat array."""

import numpy as np


def slices(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The indices of the ranges start:stop, one range after another. [n], [n] -> [sum of lengths] int64."""
    lengths = stop - start
    return np.arange(lengths.sum()) + np.repeat(start - (np.cumsum(lengths) - lengths), lengths)


def distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct integers, ascending (np.unique of NumPy 2.4 hashes them: a hundred times slower than the sort)."""
    ordered = np.sort(keys)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]


def stable_order(values: np.ndarray) -> np.ndarray:
    """np.argsort(values, kind="stable") of numbers from 0: by one sort of (value, place), where they fit 63 bits."""
    bits = len(values).bit_length()
    if int(values.max()).bit_length() + bits > 63:
        return np.argsort(values, kind="stable")
    keys = values.astype(np.int64) << bits
    keys |= np.arange(len(values))
    keys.sort()
    keys &= (1 << bits) - 1
    return keys

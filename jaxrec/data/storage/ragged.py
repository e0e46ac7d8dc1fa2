"""Helpers for lists of different lengths that are stored in a flat array."""

import numpy as np


def slices(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Returns the indices of the ranges start:stop, concatenated. [n], [n] -> [sum of lengths] int64"""
    lengths = stop - start
    return np.arange(lengths.sum()) + np.repeat(start - (np.cumsum(lengths) - lengths), lengths)


def within(lengths: np.ndarray) -> np.ndarray:
    """Returns the positions 0, 1, ... in each list, concatenated. [n] -> [sum of lengths] int64

    >>> within(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return slices(np.zeros_like(lengths), lengths)


def distinct(keys: np.ndarray) -> np.ndarray:
    """Returns the distinct integers, ascending. Sorts them, since np.unique of NumPy 2.4 is a hundred times slower."""
    ordered = np.sort(keys)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]


def stable_order(values: np.ndarray) -> np.ndarray:
    """Returns np.argsort(values, kind="stable") for non-negative integers.

    Sorts keys of (value, index) if they fit 63 bits.
    """
    bits = len(values).bit_length()
    if int(values.max()).bit_length() + bits > 63:
        return np.argsort(values, kind="stable")
    keys = values.astype(np.int64) << bits
    keys |= np.arange(len(values))
    keys.sort()
    keys &= (1 << bits) - 1
    return keys


def spans(offsets: np.ndarray, rows: int) -> list[tuple[int, int]]:
    """Returns (first, last + 1) of blocks of consecutive lists with at most `rows` rows, or a single longer list.

    >>> spans(np.array([0, 2, 3, 9, 10]), rows=3)
    [(0, 2), (2, 3), (3, 4)]
    """
    found, first, users = [], 0, len(offsets) - 1
    while first < users:
        last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = max(last, first + 1)
        found.append((first, last))
        first = last
    return found

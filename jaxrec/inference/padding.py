"""The padding of the arguments of compiled programs, and its removal from their results."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def shapes(args: Any) -> tuple[tuple[int, ...], ...]:
    """Returns the shapes of the arrays of a tree."""
    return tuple(np.shape(x) for x in jax.tree.leaves(args))


def power(n: int) -> int:
    """Returns the smallest power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def padded(array: np.ndarray, rows: int) -> np.ndarray:
    """Returns the array with zero rows appended."""
    if len(array) == rows:
        return array
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])


def cut(found: Sequence[Any], rows: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (items, scores) on the host, without the padding."""
    items, scores = found
    return np.asarray(items)[:rows, :k], np.asarray(scores)[:rows, :k]


def bucket(number: int, least: int) -> int:
    """Rounds a number up to a power of two, or to three quarters of one; at least to `least`.

    >>> [bucket(number, 16) for number in (3, 17, 24, 25)]
    [16, 24, 24, 32]
    """
    most = max(power(number), least)
    return most - most // 4 if number <= most - most // 4 and most > least else most

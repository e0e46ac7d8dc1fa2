"""The vector of an item that is known by the items it is like.

A mean of vectors is shorter than they are, the more so the more they differ: an item that had it would be scored lower
than every one of those it is like. So it is made as long as they are on average.
"""

import numpy as np


def typical(rows: np.ndarray) -> np.ndarray:
    """The row of what is like these: the direction of their mean, and their mean length; of numbers the mean.

    >>> typical(np.array([[3.0, 0.0], [0.0, 5.0]])).round(2)
    array([2.06, 3.43])
    >>> float(typical(np.array([1.0, 3.0])))
    2.0

    Args:
        rows: [N, D], or [N] numbers such as biases.
    """
    return rows.mean(0) if rows.ndim == 1 else as_long(rows.mean(0), np.linalg.norm(rows, axis=-1).mean(0))


def as_long(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Vectors [..., D] of other lengths [...]; zero where they are."""
    own = np.linalg.norm(vectors, axis=-1)
    return vectors * (lengths / np.where(own > 0, own, 1))[..., None]

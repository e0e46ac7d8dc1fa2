"""The vector of a new item that is described by similar items.

The mean of several vectors is shorter than they are, and the more they differ the shorter it is: an item with that
vector would score lower than each of the similar items. So the mean is scaled to their mean length.
"""

import numpy as np


def typical(rows: np.ndarray) -> np.ndarray:
    """Returns the row of an item like these: their mean's direction, with their mean length. Of numbers, the mean.

    >>> typical(np.array([[3.0, 0.0], [0.0, 5.0]])).round(2)
    array([2.06, 3.43])
    >>> float(typical(np.array([1.0, 3.0])))
    2.0

    Args:
        rows: [N, D], or [N] numbers such as biases.
    """
    return rows.mean(0) if rows.ndim == 1 else as_long(rows.mean(0), np.linalg.norm(rows, axis=-1).mean(0))


def as_long(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rescales vectors [..., D] to lengths [...]; zero vectors stay zero."""
    own = np.linalg.norm(vectors, axis=-1)
    return vectors * (lengths / np.where(own > 0, own, 1))[..., None]

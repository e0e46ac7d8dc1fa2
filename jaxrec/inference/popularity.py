"""The fallback for histories without a known item: the items with the most occurrences in training."""

import copy

import numpy as np


class Popularity:
    """The items of a catalogue by popularity; ties are in the order of the catalogue.

    Args:
        counts: [V], how often each item occurs in training; None if the training didn't store them.
    """

    def __init__(self, counts: np.ndarray | None):
        self._share = None if counts is None else counts / max(counts.sum(), 1)
        self._order = np.zeros(0, np.int64) if counts is None else np.argsort(-counts, kind="stable") + 1

    def extended(self, number: int) -> "Popularity":
        """Returns the Popularity with further items, none of which occurs in training."""
        other = copy.copy(self)
        if self._share is not None:
            other._share = np.append(self._share, np.zeros(number))
            other._order = np.append(self._order, len(self._order) + 1 + np.arange(number))
        return other

    def best(self, allowed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the k most popular allowed items: (numbers [K], their shares of the training data [K]), with K <= k.

        Args:
            allowed: [V] bool.
            k: at least 1.
        """
        items = self._order[allowed[self._order - 1]][:k]
        return items, np.zeros(0) if self._share is None else self._share[items - 1]

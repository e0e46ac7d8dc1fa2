"""What is answered where nothing of a history is known: the items that occur most often in training."""

import numpy as np


class Popularity:
    """The items of a catalogue, the most frequent first; of equals the earlier in the catalogue.

    Args:
        counts: [V], how often each item occurs in training; None where the training was made before that was counted.
    """

    def __init__(self, counts: np.ndarray | None):
        self._share = None if counts is None else counts / max(counts.sum(), 1)
        self._order = np.zeros(0, np.int64) if counts is None else np.argsort(-counts, kind="stable") + 1

    def best(self, allowed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most frequent of the allowed items, [V] bool: (numbers [K], their shares of training [K]), K <= k."""
        items = self._order[allowed[self._order - 1]][:k]
        return items, np.zeros(0) if self._share is None else self._share[items - 1]

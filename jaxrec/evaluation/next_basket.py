"""Metrics of next-basket questions: a user's targets are the items of one basket, and every user counts alike."""

import numpy as np

from jaxrec.evaluation.metrics import KS, interval

TASK = "next basket"  # names the results


def values(ranks: np.ndarray, source: np.ndarray) -> dict[str, np.ndarray]:
    """Returns every metric of every user's basket: {name: [U] float64}.

    Of a basket of n items, "recall@k" is the share among the best k; "hr@k" whether one is; "ndcg@k" the sum of
    1 / log2(rank + 1) over those that are, by its largest value, of min(n, k) items in front; "mrr" 1 / the best rank.

    Args:
        ranks: [Q] of the items, each among all items that are not excluded, those of its own basket included.
        source: [Q] the users.

    >>> found = values(np.array([1, 12, 2]), np.array([4, 4, 6]))
    >>> found["recall@10"].tolist(), found["hr@10"].tolist(), found["mrr"].tolist()
    ([0.5, 1.0], [1.0, 1.0], [1.0, 0.5])
    """
    ranks = np.asarray(ranks, np.float64)
    _, user, size = np.unique(source, return_inverse=True, return_counts=True)
    total = lambda each: np.bincount(user, each, minlength=len(size))
    best = np.full(len(size), np.inf)
    np.minimum.at(best, user, ranks)
    ideal = np.append(0, np.cumsum(1 / np.log2(np.arange(max(KS)) + 2)))
    found = {f"hr@{k}": (best <= k) * 1.0 for k in KS}
    found |= {f"ndcg@{k}": total((ranks <= k) / np.log2(ranks + 1)) / ideal[np.minimum(size, k)] for k in KS}
    found |= {"mrr": 1 / best, "mrr@20": (best <= 20) / best}
    return found | {f"recall@{k}": total(ranks <= k) / size for k in KS}


def metrics(ranks: np.ndarray, source: np.ndarray) -> dict[str, float]:
    """Returns the means over users of `values`."""
    return {name: float(each.mean()) for name, each in values(ranks, source).items()}


def intervals(ranks: np.ndarray, source: np.ndarray) -> dict[str, list[float]]:
    """Returns 95% intervals of `metrics`, by the bootstrap over users: {name: [low, high]}."""
    return {name: interval(each) for name, each in values(ranks, source).items()}

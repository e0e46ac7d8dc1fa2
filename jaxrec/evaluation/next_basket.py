"""Metrics of next-basket questions: a user's targets are the items of one basket, and all users have equal weight."""

import numpy as np

from jaxrec.evaluation import metrics as single
from jaxrec.evaluation.metrics import KS, interval

TASK = "next basket"  # names the results


def values(ranks: np.ndarray, source: np.ndarray) -> dict[str, np.ndarray]:
    """Returns every metric of every user's basket: {name: [U] float64}.

    For a basket of n items, "recall@k" is the share of them among the best k; "hr@k" is whether any is among them;
    "ndcg@k" is the sum of 1 / log2(rank + 1) over those that are, divided by its largest value, which is that of
    min(n, k) items in front; "mrr" is 1 / the best rank.

    Args:
        ranks: [Q] of the items, each among all items that are not excluded, including those of its own basket.
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


def average_precision(ranks: np.ndarray, source: np.ndarray, k: int) -> np.ndarray:
    """Returns the average precision of every user's list of k items, [U] float64.

    It is the mean over the basket's items of the precision at their places in the list, 0 for items that are not in the
    list. If the basket has more than k items, the sum is divided by k.

    >>> average_precision(np.array([1, 12, 2]), np.array([4, 4, 6]), 10).tolist()
    [0.5, 0.5]
    """
    _, user, size = np.unique(source, return_inverse=True, return_counts=True)
    order = np.lexsort((ranks, user))
    ranks, user = np.asarray(ranks, np.float64)[order], user[order]
    found = np.arange(1, len(user) + 1) - (np.cumsum(size) - size)[user]  # items of the basket up to this one's place
    return np.bincount(user, np.where(ranks <= k, found / ranks, 0), len(size)) / np.minimum(size, k)


def measured(ranks: np.ndarray, source: np.ndarray | None = None) -> dict[str, dict]:
    """Returns {"metrics", "ci95"} of baskets; if `source` is None, each target is a question of its own."""
    if source is None:
        return {"metrics": single.metrics(ranks), "ci95": single.intervals(ranks)}
    return {"metrics": metrics(ranks, source), "ci95": intervals(ranks, source)}


def counted(ranks: np.ndarray, source: np.ndarray | None = None) -> dict[str, int]:
    """Returns the number of "users", and for baskets of "targets" too. Arguments are as for `measured`."""
    return {"users": len(ranks)} if source is None else {"users": len(np.unique(source)), "targets": len(ranks)}

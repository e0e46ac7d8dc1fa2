"""Metrics of next-basket questions: a user's targets are the items of one basket, and every user counts alike."""

import numpy as np

from jaxrec.evaluation import metrics as single
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


def average_precision(ranks: np.ndarray, source: np.ndarray, k: int) -> np.ndarray:
    """Returns the average precision of every user's list of k items, [U] float64.

    That is the mean of the precision at the place of each item of the basket, 0 for those that the list lacks; of a
    basket of more than k items, divided by k.

    >>> average_precision(np.array([1, 12, 2]), np.array([4, 4, 6]), 10).tolist()
    [0.5, 0.5]
    """
    _, user, size = np.unique(source, return_inverse=True, return_counts=True)
    order = np.lexsort((ranks, user))
    ranks, user = np.asarray(ranks, np.float64)[order], user[order]
    found = np.arange(1, len(user) + 1) - (np.cumsum(size) - size)[user]  # items of the basket up to this one's place
    return np.bincount(user, np.where(ranks <= k, found / ranks, 0), len(size)) / np.minimum(size, k)


def measured(ranks: np.ndarray, source: np.ndarray | None = None) -> dict[str, dict]:
    """Returns {"metrics", "ci95"} of baskets; where `source` is None, of targets that are each a question."""
    if source is None:
        return {"metrics": single.metrics(ranks), "ci95": single.intervals(ranks)}
    return {"metrics": metrics(ranks, source), "ci95": intervals(ranks, source)}


def counted(ranks: np.ndarray, source: np.ndarray | None = None) -> dict[str, int]:
    """Returns {"users"}, and of baskets {"targets"} too, as of `measured`."""
    return {"users": len(ranks)} if source is None else {"users": len(np.unique(source)), "targets": len(ranks)}

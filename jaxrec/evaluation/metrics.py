"""Ranking metrics and their confidence intervals."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

KS = (1, 5, 10, 20, 50, 100, 200)
MISS = np.iinfo(np.int32).max  # rank of a target that isn't in the list
BINS = 1000  # bins of values for the bootstrap of their mean; values in a bin count as equal
SINGLE, STEP = 20, 1.1  # the bootstrap keeps ranks up to SINGLE distinct, and groups larger ones by this ratio


def _values(ranks):
    """Returns every metric of every rank: {name: [Q] float64}."""
    ranks = np.asarray(ranks, np.float64)
    gains = 1 / np.log2(ranks + 1)
    hits = {k: ranks <= k for k in KS}
    return (
        {f"hr@{k}": hit * 1.0 for k, hit in hits.items()}
        | {f"ndcg@{k}": hit * gains for k, hit in hits.items()}
        | {"mrr": 1 / ranks, "recall@20": hits[20] * 1.0, "mrr@20": hits[20] / ranks}
    )


NAMES = tuple(_values([1]))


def at_most(k: int, found: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics that lists of length k determine, from {metric: value}.

    >>> at_most(10, {"hr@10": 0.3, "hr@20": 0.4, "mrr": 0.2, "coverage@10": 0.5})
    {'hr@10': 0.3, 'coverage@10': 0.5}
    """
    return {name: value for name, value in found.items() if float(name.partition("@")[2] or "inf") <= k}


def metrics(ranks: ArrayLike) -> dict[str, float]:
    """Returns the mean metrics of ranks from 1: {"hr@k", "ndcg@k" for k in KS, "mrr", "recall@20", "mrr@20"}.

    With a single target, recall equals the hit rate and the ideal DCG is 1, so NDCG is 1 / log2(rank + 1).

    >>> found = metrics([1, 3, 40])
    >>> round(found["hr@10"], 4), round(found["ndcg@10"], 4), round(found["mrr"], 4)
    (0.6667, 0.5, 0.4528)
    """
    return {name: float(values.mean()) for name, values in _values(ranks).items()}


def intervals(ranks: np.ndarray, seed: int = 0, resamples: int = 1000) -> dict[str, list[float]]:
    """Returns 95% intervals of the metrics, by the percentile bootstrap over questions: {name: [low, high]}.

    Questions are resampled independently, even if they belong to the same session.

    The counts of distinct ranks in a resample are multinomial, so they are drawn directly: the distribution is the
    same, at the cost of the distinct ranks only.
    """
    values, counts = _grouped(ranks)
    total = len(ranks)
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, resamples)
    low, high = np.quantile(drawn @ values / total, [0.025, 0.975], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(NAMES)}


def interval(values: np.ndarray, seed: int = 0, resamples: int = 1000) -> list[float]:
    """Returns the 95% interval of the mean of values [Q], by the bootstrap of `intervals`: [low, high].

    >>> interval(np.array([0.5, 0.5]))
    [0.5, 0.5]
    """
    place = ((values - values.min()) * ((BINS - 1) / (np.ptp(values) or 1))).astype(np.int64)
    counts, sums = np.bincount(place), np.bincount(place, values)
    counts, sums = counts[counts > 0], sums[counts > 0]
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamples)
    return np.quantile(drawn @ (sums / counts) / len(values), [0.025, 0.975]).tolist()


def _grouped(ranks):
    """Returns the metrics of distinct ranks, and how many questions have each: [G, M], [G].

    Beyond SINGLE, ranks within 10% of each other, with no k between them, form a group with their mean metrics. Hits
    stay exact, and the other metrics lose less than a thousandth of their deviations.
    """
    distinct, counts = np.unique(np.asarray(ranks), return_counts=True)
    steps = np.ceil(np.log(np.maximum(distinct / SINGLE, 1)) / np.log(STEP))
    group = np.where(steps > 0, SINGLE + steps, distinct) * len(KS) + np.searchsorted(KS, distinct)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    sums = np.add.reduceat(np.stack(list(_values(distinct).values()), 1) * counts[:, None], first)
    together = np.add.reduceat(counts, first)
    return sums / together[:, None], together

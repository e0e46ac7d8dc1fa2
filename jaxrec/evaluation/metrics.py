"""Metrics of ranks, and their intervals."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

KS = (1, 5, 10, 20, 50, 100, 200)
MISS = np.iinfo(np.int32).max  # the rank of a target that a list lacks
BINS = 1000  # of values whose mean is bootstrapped: within one they count as equal
SINGLE, STEP = 20, 1.1  # a bootstrap tells apart ranks up to this one, and beyond it those of this ratio


def _values(ranks):
    """Every metric of every rank: {name: [Q] float64}."""
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
    """Those of {metric: value} that lists of k show: of more, and of the whole catalogue, nothing is known.

    >>> at_most(10, {"hr@10": 0.3, "hr@20": 0.4, "mrr": 0.2, "coverage@10": 0.5})
    {'hr@10': 0.3, 'coverage@10': 0.5}
    """
    return {name: value for name, value in found.items() if float(name.partition("@")[2] or "inf") <= k}


def metrics(ranks: ArrayLike) -> dict[str, float]:
    """Means over questions, of ranks from 1: {"hr@k", "ndcg@k" for k in KS, "mrr", "recall@20", "mrr@20"}.

    Of one target the recall is the hit rate and the ideal DCG is 1, so that NDCG is 1 / log2(rank + 1).

    >>> found = metrics([1, 3, 40])
    >>> round(found["hr@10"], 4), round(found["ndcg@10"], 4), round(found["mrr"], 4)
    (0.6667, 0.5, 0.4528)
    """
    return {name: float(values.mean()) for name, values in _values(ranks).items()}


def intervals(ranks: np.ndarray, seed: int = 0, resamples: int = 1000) -> dict[str, list[float]]:
    """95% intervals of the metrics by the percentile bootstrap over questions: {name: [low, high]}.

    A user has one question, but a session one an event: these are resampled one by one too, as if independent.

    How often each distinct rank is in a resample is multinomial, and is drawn as such: the law of drawing question by
    question, for the cost of the distinct ranks.
    """
    values, counts = _grouped(ranks)
    total = len(ranks)
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, resamples)
    low, high = np.quantile(drawn @ values / total, [0.025, 0.975], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(NAMES)}


def interval(values: np.ndarray, seed: int = 0, resamples: int = 1000) -> list[float]:
    """The 95% interval of the mean of any values, [Q], by the bootstrap of `intervals`: [low, high].

    >>> interval(np.array([0.5, 0.5]))
    [0.5, 0.5]
    """
    place = ((values - values.min()) * ((BINS - 1) / (np.ptp(values) or 1))).astype(np.int64)
    counts, sums = np.bincount(place), np.bincount(place, values)
    counts, sums = counts[counts > 0], sums[counts > 0]
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamples)
    return np.quantile(drawn @ (sums / counts) / len(values), [0.025, 0.975]).tolist()


def _grouped(ranks):
    """The metrics of the distinct ranks, and how many have each: [G, M], [G].

    Beyond SINGLE, ranks within 10% of each other on one side of every k are one group, of their mean metrics: hits are
    exact, and of the deviations of the other metrics less than a thousandth is lost.
    """
    distinct, counts = np.unique(np.asarray(ranks), return_counts=True)
    steps = np.ceil(np.log(np.maximum(distinct / SINGLE, 1)) / np.log(STEP))
    group = np.where(steps > 0, SINGLE + steps, distinct) * len(KS) + np.searchsorted(KS, distinct)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    sums = np.add.reduceat(np.stack(list(_values(distinct).values()), 1) * counts[:, None], first)
    together = np.add.reduceat(counts, first)
    return sums / together[:, None], together

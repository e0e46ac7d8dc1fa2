"""Metrics of ranks, and their intervals."""

import numpy as np

KS = (1, 5, 10, 20, 50, 100, 200)
STEP = 1.1  # ratio of two ranks beyond the last k that a bootstrap tells apart


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


def metrics(ranks):
    """Means over questions, of ranks from 1: {"hr@k", "ndcg@k" for k in KS, "mrr", "recall@20", "mrr@20"}.

    Of one target the recall is the hit rate and the ideal DCG is 1, so that NDCG is 1 / log2(rank + 1).
    """
    return {name: float(values.mean()) for name, values in _values(ranks).items()}


def intervals(ranks, seed=0, resamples=1000):
    """95% intervals of the metrics by the percentile bootstrap over questions: {name: [low, high]}.

    A user has one question, but a session one an event: these are resampled one by one too, as if independent.

    How often each distinct rank is in a resample is multinomial, and is drawn as such: the law of drawing question by
    question, for the cost of the distinct ranks. Beyond the last k, where a rank counts for MRR alone, those within 10%
    of each other are drawn together and count as their mean: MRR's interval keeps its width to one part in 2,000.
    """
    distinct, counts = np.unique(np.asarray(ranks), return_counts=True)
    steps = np.ceil(np.log(np.maximum(distinct / KS[-1], 1)) / np.log(STEP))
    first = np.flatnonzero(np.diff(np.where(steps > 0, KS[-1] + steps, distinct), prepend=0))
    table = np.stack(list(_values(distinct).values()), 1) * counts[:, None]
    sums, together = np.add.reduceat(table, first), np.add.reduceat(counts, first)
    total = len(ranks)
    drawn = np.random.default_rng(seed).multinomial(total, together / total, resamples)
    means = drawn @ (sums / together[:, None]) / total
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(NAMES)}

"""Which model is better? The same users' ranks by several models: means, intervals, paired differences."""

import numpy as np

SHOWN = ("hr@10", "ndcg@10", "mrr")


def gains(ranks: np.ndarray) -> np.ndarray:
    """HR@10, NDCG@10 and 1 / rank of every question, the means over seeds. [S, Q] -> [3, Q]"""
    hits, ranks = ranks <= 10, ranks.astype(float)
    return np.stack([hits, hits / np.log2(ranks + 1), 1 / ranks]).mean(1)


def paired(first: np.ndarray, second: np.ndarray, resamples: int = 10_000, seed: int = 0) -> dict:
    """The mean difference of two models' NDCG@10 a question, its 95% interval, the p of a sign-flip permutation test.

    Args:
        first: ranks of the same questions, a row a seed [S, Q].
        second: ranks of the same questions, a row a seed [S, Q].
    """
    difference, rng = gains(first)[1] - gains(second)[1], np.random.default_rng(seed)
    low, high = bootstrap(difference[None])[0]
    moving = difference[difference != 0]
    flips = np.array([(rng.choice([-1, 1], len(moving)) * moving).sum() for _ in range(resamples)])
    p = (1 + (np.abs(flips) >= abs(difference.sum())).sum()) / (1 + resamples)
    return {"ndcg@10": float(difference.mean()), "ci95": [low, high], "p": float(p)}


def bootstrap(values: np.ndarray, resamples: int = 1000, seed: int = 0) -> list[list[float]]:
    """95% intervals of the means over questions, by the percentile bootstrap. [n, Q] -> n pairs"""
    rng, number = np.random.default_rng(seed), values.shape[1]
    means = np.stack([values[:, rng.integers(0, number, number)].mean(1) for _ in range(resamples)])
    return np.quantile(means, [0.025, 0.975], axis=0).T.tolist()


def by_user(values: np.ndarray, user: np.ndarray, weights: np.ndarray, resamples: int = 1000, seed: int = 0) -> list:
    """95% intervals of weighted means over questions, by the percentile bootstrap over users. [n, Q] -> n pairs

    A user is drawn with all questions that are asked of them: these are not independent.

    Args:
        user: whose question each is, any numbers [Q].
        weights: of the questions [Q].
    """
    whose = np.unique(user, return_inverse=True)[1]
    number, rng = whose.max() + 1, np.random.default_rng(seed)
    sums = np.stack([np.bincount(whose, weights * each, number) for each in (*values, np.ones(len(whose)))])
    drawn = (np.bincount(rng.integers(0, number, number), minlength=number) for _ in range(resamples))
    totals = np.stack([sums @ times for times in drawn])
    return np.quantile(totals[:, :-1] / totals[:, -1:], [0.025, 0.975], axis=0).T.tolist()


def row_of(ranks: np.ndarray) -> dict:
    """The metrics, means over seeds, with the intervals over questions, and each seed's. ranks: [S, Q]"""
    mean = gains(ranks)
    each = [dict(zip(SHOWN, gains(one[None]).mean(1).tolist(), strict=True)) for one in ranks]
    return {
        "metrics": dict(zip(SHOWN, mean.mean(1).tolist(), strict=True)),
        "ci95": dict(zip(SHOWN, bootstrap(mean), strict=True)),
        "seeds": each,
    }

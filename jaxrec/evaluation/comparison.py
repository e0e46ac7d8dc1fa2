"""Compares models by their ranks on the same questions: means, intervals and paired differences."""

import numpy as np

from jaxrec.evaluation import next_basket

SHOWN = ("hr@10", "ndcg@10", "mrr")


def gains(ranks: np.ndarray, source: np.ndarray | None = None) -> np.ndarray:
    """Returns HR@10, NDCG@10 and 1 / rank of each question, averaged over seeds. [S, Q] -> [3, Q]

    source: [Q] the users, if a user's targets are a basket and count as one question; None if each target is one.
    """
    if source is not None:
        found = [next_basket.values(one, source) for one in ranks]
        return np.stack([[of[name] for name in SHOWN] for of in found]).mean(0)
    hits, ranks = ranks <= 10, ranks.astype(float)
    return np.stack([hits, hits / np.log2(ranks + 1), 1 / ranks]).mean(1)


def paired(
    first: np.ndarray, second: np.ndarray, resamples: int = 10_000, seed: int = 0, source: np.ndarray | None = None
) -> dict:
    """Returns the mean difference in NDCG@10, its 95% interval, and the p-value of a sign-flip permutation test.

    Args:
        first: [S, Q] ranks, a row per seed.
        second: [S, Q] ranks of the same questions.
        resamples: number of permutations.
        seed: seed of the permutations.
        source: as for `gains`.
    """
    difference, rng = gains(first, source)[1] - gains(second, source)[1], np.random.default_rng(seed)
    low, high = bootstrap(difference[None])[0]
    moving = difference[difference != 0]
    flips = np.array([(rng.choice([-1, 1], len(moving)) * moving).sum() for _ in range(resamples)])
    as_much = np.abs(flips) >= abs(moving.sum()) * (1 - 1e-9)  # allows for rounding by the order of a sum
    p = (1 + as_much.sum()) / (1 + resamples)
    return {"ndcg@10": float(difference.mean()), "ci95": [low, high], "p": float(p)}


def bootstrap(values: np.ndarray, resamples: int = 1000, seed: int = 0) -> list[list[float]]:
    """Returns 95% intervals of the means over questions, by the percentile bootstrap. [n, Q] -> n pairs"""
    rng, number = np.random.default_rng(seed), values.shape[1]
    means = np.stack([values[:, rng.integers(0, number, number)].mean(1) for _ in range(resamples)])
    return np.quantile(means, [0.025, 0.975], axis=0).T.tolist()


def by_user(values: np.ndarray, user: np.ndarray, weights: np.ndarray, resamples: int = 1000, seed: int = 0) -> list:
    """Returns 95% intervals of weighted means over questions, by the percentile bootstrap over users.

    Users are resampled with all of their questions, since these are not independent.

    Args:
        values: [n, Q].
        user: [Q] the user of each question, any integers.
        weights: [Q] weights of the questions.
        resamples: number of resamples.
        seed: seed of the resamples.

    Returns:
        n pairs [low, high].
    """
    whose = np.unique(user, return_inverse=True)[1]
    number, rng = whose.max() + 1, np.random.default_rng(seed)
    sums = np.stack([np.bincount(whose, weights * each, number) for each in (*values, np.ones(len(whose)))])
    drawn = (np.bincount(rng.integers(0, number, number), minlength=number) for _ in range(resamples))
    totals = np.stack([sums @ times for times in drawn])
    return np.quantile(totals[:, :-1] / totals[:, -1:], [0.025, 0.975], axis=0).T.tolist()


def row_of(ranks: np.ndarray, source: np.ndarray | None = None) -> dict:
    """Returns the metrics averaged over seeds, with intervals over questions, and each seed's metrics.

    Args:
        ranks: [S, Q], a row per seed.
        source: as for `gains`.
    """
    mean = gains(ranks, source)
    each = [dict(zip(SHOWN, gains(one[None], source).mean(1).tolist(), strict=True)) for one in ranks]
    return {
        "metrics": dict(zip(SHOWN, mean.mean(1).tolist(), strict=True)),
        "ci95": dict(zip(SHOWN, bootstrap(mean), strict=True)),
        "seeds": each,
    }

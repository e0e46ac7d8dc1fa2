"""Laws of metrics."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.evaluation.metrics import KS, NAMES, _grouped, _values, interval, intervals, metrics


@pytest.mark.parametrize("group", ["plain", "seen", "ties", "special"])
def test_metrics_of_the_references(group):
    with np.load(Path(__file__).parents[1] / "parity" / "ranking.npz", allow_pickle=False) as file:
        wanted = {name.removeprefix(f"{group}."): file[name] for name in file if name.startswith(f"{group}.")}
    for i, rank in enumerate(wanted["ranks"]):
        found = metrics([rank])
        for name in ("hr@1", "hr@5", "hr@10", "ndcg@1", "ndcg@5", "ndcg@10", "mrr"):
            assert found[name] == pytest.approx(wanted[name][i], abs=1e-12), name
    assert metrics(wanted["ranks"])["ndcg@10"] == pytest.approx(wanted["ndcg@10"].mean())


@given(st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_metrics_keep_their_order(ranks):
    found = metrics(ranks)
    for name in ("hr", "ndcg"):
        assert all(found[f"{name}@{a}"] <= found[f"{name}@{b}"] for a, b in itertools.pairwise(KS))
    assert all(found[f"ndcg@{k}"] <= found[f"hr@{k}"] <= 1 for k in KS)
    assert found["hr@1"] == found["ndcg@1"] and found["recall@20"] == found["hr@20"]
    assert found["mrr@20"] == pytest.approx(np.mean([1 / r if r <= 20 else 0 for r in ranks]))
    assert all(type(value) is float for value in found.values())


def test_intervals_hold_the_mean_and_shrink_with_the_root_of_the_users():
    rng = np.random.default_rng(0)
    width = {}
    for users in (500, 8000):
        ranks = rng.geometric(0.05, users)
        mean, bounds = metrics(ranks), intervals(ranks)
        assert bounds.keys() == mean.keys()
        assert all(low <= mean[name] <= high for name, (low, high) in bounds.items())
        low, high = bounds["hr@10"]
        width[users] = high - low
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(mean["hr@10"] * (1 - mean["hr@10"]) / users), rel=0.1)
    assert width[500] / width[8000] == pytest.approx(4, rel=0.15)
    assert intervals(ranks) == intervals(ranks) and intervals(ranks) != intervals(ranks, seed=1)


def test_an_interval_misses_the_truth_one_time_in_twenty():
    rng = np.random.default_rng(0)
    truth = 1 - 0.95**10
    bounds = [intervals(rng.geometric(0.05, 200), resamples=200)["hr@10"] for _ in range(200)]
    assert 0.9 < np.mean([low <= truth <= high for low, high in bounds]) < 0.99


def by_drawing(ranks, seed=0, resamples=1000):
    """The percentile bootstrap by its definition: as many questions as there are, drawn with replacement."""
    rng, number = np.random.default_rng(seed), len(ranks)
    means = [list(metrics(ranks[rng.integers(0, number, number)]).values()) for _ in range(resamples)]
    return dict(zip(NAMES, np.quantile(means, [0.025, 0.975], axis=0).T.tolist(), strict=True))


@pytest.mark.parametrize("most", [40, 5000])
def test_counts_of_distinct_ranks_follow_the_law_of_drawing_question_by_question(most):
    """For every metric, the ends of the two intervals agree within the error of 1,000 resamples."""
    ranks = np.exp(np.random.default_rng(3).uniform(0, np.log(most), 400)).astype(int)
    ours, theirs = (np.array(list(found.values())) for found in (intervals(ranks), by_drawing(ranks, seed=1)))
    width = theirs[:, 1] - theirs[:, 0]
    step = 1 / len(ranks)  # a hit rate is a multiple of this
    # the standard error of a 2.5% quantile of a normal is 2.7 deviations / sqrt(resamples), and a width 3.92 of these
    error = 4 * np.sqrt(2) * 2.7 / np.sqrt(1000) * width / 3.92 + step / 2
    assert (np.abs(ours - theirs) <= error[:, None]).all()


def test_names_are_those_of_the_metrics():
    assert tuple(metrics([1, 5])) == NAMES == tuple(intervals([1, 5]))


@pytest.mark.parametrize("law", ["even", "even in the logarithm", "near the top"])
def test_ranks_drawn_together_lose_no_mean_and_a_thousandth_of_a_deviation(law):
    rng = np.random.default_rng(5)
    draws = {
        "even": lambda: rng.integers(1, 40_000, 20_000),
        "even in the logarithm": lambda: np.exp(rng.uniform(0, np.log(40_000), 20_000)).astype(int),
        "near the top": lambda: rng.geometric(0.05, 20_000),
    }
    ranks = draws[law]()
    values, counts = _grouped(ranks)
    each = np.stack(list(_values(ranks).values()), 1)
    np.testing.assert_allclose(counts @ values / len(ranks), each.mean(0), rtol=1e-9)
    grouped = np.sqrt(counts @ (values - each.mean(0)) ** 2 / len(ranks))
    np.testing.assert_allclose(grouped, each.std(0), rtol=1e-3)
    hits = [name.startswith(("hr", "recall")) for name in NAMES]
    np.testing.assert_allclose(grouped[hits], each.std(0)[hits], rtol=1e-9)
    assert len(counts) < 120


def test_the_interval_of_any_mean_is_that_of_drawing_the_values_one_by_one():
    random = np.random.default_rng(0)
    for values in (random.gamma(2.0, size=400), np.where(random.random(400) < 0.05, 0.3, 0)):
        drawn = values[random.integers(0, 400, (4000, 400))].mean(1)
        wanted = np.quantile(drawn, [0.025, 0.975])
        np.testing.assert_allclose(interval(values), wanted, atol=0.12 * np.ptp(wanted))

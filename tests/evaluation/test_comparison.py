"""Laws of comparisons: means, intervals and p-values of ranks on the same questions."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.evaluation.comparison import by_user, paired, row_of


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_where_all_that_differ_are_better_p_is_that_of_their_signs(number, seed):
    """However the few differences are summed, 2 of all 2^m flips are as far from 0."""
    random = np.random.default_rng(seed)
    second = random.integers(2, 11, (1, 200))
    first, better = second.copy(), random.choice(200, number, replace=False)
    first[0, better] = random.integers(1, second[0, better])
    assert paired(first, second, 2_000)["p"] == pytest.approx(2 / 2**number, abs=0.06)


def test_statistics_of_comparisons():
    random = np.random.default_rng(0)
    ranks = random.integers(1, 100, (2, 400))
    row = row_of(ranks)
    assert row["metrics"]["hr@10"] == pytest.approx((ranks <= 10).mean())
    assert row["metrics"]["mrr"] == pytest.approx((1 / ranks).mean())
    assert all(low <= row["metrics"][name] <= high for name, (low, high) in row["ci95"].items())
    same, better = paired(ranks, ranks, 99), paired(np.maximum(ranks // 4, 1), ranks, 999)
    assert same["p"] == 1 and better["p"] < 0.01 and better["ci95"][0] > 0


def test_questions_of_no_weight_change_no_interval():
    random = np.random.default_rng(0)
    values, user = random.random((2, 60)), np.arange(60) % 30
    found = by_user(values, user, np.repeat([3.0, 0.0], 30), 200)
    np.testing.assert_allclose(found, by_user(values[:, :30], user[:30], np.ones(30), 200))


def test_chance_is_never_ruled_out():
    ranks = np.random.default_rng(0).integers(4, 10, (1, 400))
    assert paired(ranks - 3, ranks, 99)["p"] == 1 / 100


def test_the_same_sum_in_another_order_is_as_far_from_0():
    """Of the 8 flips of d, D and -d, where D > 2 d, only the two of size D - 2 d are nearer to 0 than D."""
    assert paired(np.array([[2, 1, 4]]), np.array([[4, 8, 2]]), 4_000)["p"] == pytest.approx(6 / 8, abs=0.05)

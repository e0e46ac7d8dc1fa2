"""Metrics by test, by age of the model and by retraining interval, from known ranks."""

from math import log2

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.folds import Asked
from jaxrec.evaluation.ageing import Ages, spread
from jaxrec.evaluation.comparison import by_user, gains
from jaxrec.evaluation.metrics import MISS

FOLDS = 4
FOLD = np.repeat(np.arange(FOLDS), [5, 1, 10, 4])  # the test of each question
ASKED = Asked(np.arange(20) % 7, np.arange(20), FOLD)


def made(trained, rank, answered=None):
    """Ages of trainings that rank every target of a test `rank(trained, fold)`-th."""
    ranks = {each: np.array([[rank(each, fold) for fold in FOLD]]) for each in trained}
    answered = answered or {each: np.ones(20, bool) for each in trained}
    return Ages(asked=ASKED, days=7, folds=FOLDS, ranks=ranks, answered=answered)


def test_what_loses_a_rank_a_week_is_read_so():
    """A model trained `age` tests ago ranks every target at 1 + age."""
    found = made(range(FOLDS), lambda trained, fold: 1 + abs(fold - trained)).result()
    assert [(each["trained"], each["asked"]) for each in found["cells"]] == [
        (i, j) for i in range(4) for j in range(i, 4)
    ]
    assert all(each["metrics"]["mrr"] == pytest.approx(1 / (1 + each["age_days"] / 7)) for each in found["cells"])
    assert [each["tests"] for each in found["ages"]] == [4, 3, 2, 1]
    for age, each in enumerate(found["ages"]):
        ndcg = 1 / log2(2 + age)
        assert each["age_days"] == 7 * age and each["metrics"]["ndcg@10"] == pytest.approx(ndcg)
        assert each["fresh"]["ndcg@10"] == pytest.approx(1) and each["difference"]["ndcg@10"] == pytest.approx(ndcg - 1)
        assert each["difference"]["ci95"] == pytest.approx([ndcg - 1] * 2)
    told = [(each["every_days"], each["trainings"], round(each["metrics"]["mrr"], 4)) for each in found["policies"]]
    #: every test; every other: ages 0, 1, 0, 1; never again: 0, 1, 2, 3
    assert told == [(7, 4, 1.0), (14, 2, 0.75), (28, 1, round((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 4))]


def test_tests_count_alike_however_many_questions_they_have():
    found = made([0], lambda _, fold: 1 if fold == 1 else MISS).result()
    assert found["policies"][0]["metrics"]["hr@10"] == pytest.approx(1 / FOLDS) and len(found["policies"]) == 1
    assert [each["metrics"]["hr@10"] for each in found["ages"]] == pytest.approx([0, 1, 0, 0])
    assert ["difference" in each for each in found["ages"]] == [True, False, False, False]


def test_retraining_every_other_test():
    found = made([0, 2], lambda trained, fold: 1 + fold - trained if fold >= trained else MISS).result()
    assert [each["every_days"] for each in found["policies"]] == [14, 28]
    assert [each["tests"] for each in found["ages"]] == [2, 2, 1, 1]
    assert ["difference" in each for each in found["ages"]] == [True, False, True, False]


def test_what_can_not_be_answered_is_a_miss_and_told_apart():
    can = np.arange(20) % 2 == 0
    answered = {0: can}
    ages = made([0], lambda *_: 1, answered)
    ages.ranks[0][:] = spread(np.ones(10, np.int32), can)
    cell = ages.cells()[2]
    assert (cell["questions"], cell["unanswered"]) == (10, 5)
    assert cell["metrics"]["hr@10"] == 0.5 and cell["answered"]["hr@10"] == 1
    assert ages.ages()[2]["unanswered"] == 0.5


def test_models_are_compared_with_those_of_the_same_tests_after_the_first_training():
    """Both train before tests 0, 1 and 3; from the second training on, one ranks targets second, the other first."""
    ours = made([0, 1, 3], lambda trained, _: 2 if trained else 7)
    theirs = made([0, 1, 3], lambda trained, _: 1 if trained else 7)
    found, lost = ours.beside(theirs), 1 / log2(3) - 1
    assert found["tests"] == 3 and (found["metrics"]["mrr"], found["fresh"]["mrr"]) == pytest.approx((0.5, 1))
    assert found["difference"]["ndcg@10"] == pytest.approx(lost)
    assert found["difference"]["ci95"] == pytest.approx([lost, lost])  # paired: all questions differ by the same amount
    assert made([0], lambda *_: 1).beside(made([0], lambda *_: 2)) == {}


def test_seeds_are_averaged():
    one, other = (made([0], lambda *_, rank=rank: rank) for rank in (1, 4))
    both = Ages(
        asked=ASKED,
        days=7,
        folds=FOLDS,
        ranks={0: np.concatenate([one.ranks[0], other.ranks[0]])},
        answered=one.answered,
    )
    assert both.cells()[0]["metrics"]["mrr"] == pytest.approx((1 + 1 / 4) / 2)
    assert both.ages()[0]["metrics"]["mrr"] == pytest.approx((1 + 1 / 4) / 2)


@given(st.integers(0, 99), st.integers(2, 5))
def test_asking_users_the_same_again_makes_no_interval_narrower(seed, times):
    random = np.random.default_rng(seed)
    values, user = gains(random.integers(1, 30, (1, 40))), random.integers(0, 12, 40)
    once = by_user(values, user, np.ones(40), 200)
    again = by_user(np.tile(values, times), np.tile(user, times), np.ones(40 * times), 200)
    np.testing.assert_allclose(once, again)
    means = values.mean(1)
    assert all(low <= mean <= high for (low, high), mean in zip(once, means, strict=True))


def test_an_interval_is_as_wide_as_that_of_independent_users():
    values = np.random.default_rng(0).normal(size=(1, 4000))
    ((low, high),) = by_user(values, np.arange(4000), np.ones(4000))
    assert high - low == pytest.approx(2 * 1.96 / 4000**0.5, rel=0.1)

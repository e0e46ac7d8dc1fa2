"""Laws of the candidates that a sampled protocol draws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from ranked_splits import random_split, split_of
from scipy.stats import chisquare

from jaxrec.config import registry
from jaxrec.data.splits import training_counts, training_items
from jaxrec.evaluation import candidates, protocols
from jaxrec.evaluation.candidates import draw
from jaxrec.evaluation.protocols import Protocol
from jaxrec.evaluation.ranker import lay_out
from jaxrec.system.errors import UserError


@pytest.mark.parametrize("protocol", ["uniform-100", "popularity-100"])
@given(seed=st.integers(0, 2**32 - 1))
def test_drawn_are_distinct_unknown_and_never_the_target(protocol, seed):
    split = random_split(items=180, users=30, seed=seed)
    for questions in (split.valid, split.test):
        drawn = draw(split, questions, protocol, seed)
        assert drawn.shape == (len(questions.target), 100) and drawn.min() >= 1 and drawn.max() <= 180
        trained = set(training_items(split).tolist())
        for user, target, some in zip(questions.source, questions.target, drawn.tolist(), strict=True):
            low = split.interactions.offsets[user]
            high = split.stop[user] if protocol == "uniform-100" else split.interactions.offsets[user + 1]
            assert len(set(some)) == 100
            assert not set(some) & {target, *split.interactions.items[low:high].tolist()}
            assert protocol == "uniform-100" or set(some) <= trained


def test_uniform_draws_may_meet_what_was_held_out_but_popular_ones_not():
    split = split_of([[1, 2, 3, 4]] * 400 + [[5, 6, 3, 4], [4, *range(5, 110), 3]])
    split = split._replace(test=type(split.test)(*(column[:400] for column in split.test)))
    drawn = draw(split, split.test, "uniform-100")
    assert (drawn == 3).any() and not np.isin(drawn, [1, 2, 4]).any()  # 3 validates, 4 is the target
    assert not np.isin(draw(split, split.test, "popularity-100"), [1, 2, 3, 4]).any()


@pytest.mark.parametrize("protocol", ["uniform-100", "popularity-100"])
def test_a_draw_depends_on_seed_and_user_alone(protocol):
    split = random_split(items=300)
    drawn = draw(split, split.test, protocol, 5)
    order = np.random.default_rng(0).permutation(len(drawn))[:20]
    some = type(split.test)(*(column[order] for column in split.test))
    np.testing.assert_array_equal(draw(split, some, protocol, 5), drawn[order])
    np.testing.assert_array_equal(draw(split, split.test, protocol, 5, block=7), drawn)
    assert (draw(split, split.test, protocol, 6) != drawn).any(1).all()
    assert len({tuple(row) for row in drawn.tolist()}) == len(drawn)


@pytest.mark.parametrize("tries", [1, 4, 256])  # with few, the race of exponentials draws the rest
@pytest.mark.parametrize("weights", [(1, 1, 1, 1, 1, 1), (1, 1, 2, 3, 5, 20)])
def test_the_law_of_the_draws_is_successive_sampling(monkeypatch, tries, weights):
    """Every ordered triple of six items is as frequent as when each is drawn by weight among those left."""
    users = 6000
    pool = np.repeat(np.arange(1, 7), weights)
    three = Protocol(name="three", number=3, pool=lambda split: pool, known=protocols._training)
    monkeypatch.setitem(registry._registered, ("protocol", "three"), three)
    monkeypatch.setattr(candidates, "TRIES", tries)
    split = split_of([[7, 8, 9]] * users)
    drawn = draw(split, split.test, "three")
    triples = list(itertools.permutations(range(1, 7), 3))
    share = np.divide(weights, sum(weights))
    law = []
    for a, b, c in np.array(triples) - 1:
        law.append(share[a] * share[b] / (1 - share[a]) * share[c] / (1 - share[a] - share[b]))
    numbers = drawn @ [100, 10, 1]
    counts = np.array([(numbers == 100 * a + 10 * b + c).sum() for a, b, c in triples])
    assert counts.sum() == users and np.isclose(sum(law), 1)
    rare = np.array(law) * users < 5
    law, counts = (np.append(values[~rare], values[rare].sum()) for values in (np.array(law), counts))
    law, counts = (values[law > 0] for values in (law, counts))
    assert chisquare(counts, law * users).pvalue > 1e-3


def test_draws_of_a_large_catalogue_are_uniform_and_by_popularity():
    split = random_split(users=2000, items=250, longest=8)
    first = draw(split, split.test, "uniform-100")
    assert chisquare(np.bincount(first[:, :5].ravel(), minlength=251)[1:]).pvalue > 1e-4
    popularity = training_counts(split)
    first = np.bincount(draw(split, split.test, "popularity-100")[:, 0], minlength=251)[1:]
    # a user's own items are left out, so that the marginal is popularity times the share of users who lack the item
    expected = np.zeros(250)
    for user, target in zip(split.test.source, split.test.target, strict=True):
        low, high = split.interactions.offsets[user : user + 2]
        weight = popularity.astype(float)
        weight[np.append(split.interactions.items[low:high], target) - 1] = 0
        expected += weight / weight.sum()
    assert chisquare(first, expected).pvalue > 1e-4


@pytest.mark.parametrize("protocol", ["uniform-100", "popularity-100"])
def test_too_few_to_draw_from_is_told_with_the_user(protocol):
    split = random_split(items=105, longest=90)
    with pytest.raises(UserError, match=rf"only \d+ items can be drawn for user \d+, and {protocol} takes 100"):
        lay_out(split, split.test, protocol)

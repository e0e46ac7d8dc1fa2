"""Laws of the metrics of baskets: those of single items are the metrics of targets, and a whole is its parts."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, strategies as st

from jaxrec.data import splits
from jaxrec.data.baskets import last_basket
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation import beyond, comparison, next_basket, results, segments
from jaxrec.evaluation.ranker import lay_out, run
from jaxrec.kernels.ranking import dot
from jaxrec.system.errors import UserError

baskets = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5, unique=True), min_size=1, max_size=6)


def flat(found):
    """(ranks, source) of the baskets of users."""
    return np.concatenate([*map(np.array, found)]), np.repeat(np.arange(len(found)) * 3, [*map(len, found)])


def asked(ranks, counts):
    """A table as from `segments.frame`, of histories of one length."""
    return pl.DataFrame({"rank": ranks, "history_length": np.full(len(ranks), 4), "target_count": counts})


@given(baskets, st.integers(1, 12))
def test_average_precision_is_its_definition(found, k):
    ranks, source = flat(found)
    wanted = [
        sum(sum(other <= rank for other in own) / rank for rank in own if rank <= k) / min(len(own), k) for own in found
    ]
    np.testing.assert_allclose(next_basket.average_precision(ranks, source, k), wanted)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=9))
def test_baskets_of_one_item_are_measured_as_targets_are(own):
    ranks, source = np.array(own), np.arange(len(own))
    of, alone = next_basket.measured(ranks, source), next_basket.measured(ranks)
    assert {name: of["metrics"][name] for name in alone["metrics"]} == pytest.approx(alone["metrics"])
    np.testing.assert_allclose(next_basket.average_precision(ranks, source, 10), np.where(ranks <= 10, 1 / ranks, 0))


@given(baskets, st.data())
def test_a_segment_of_all_and_one_of_a_part_are_measured_as_their_baskets(found, data):
    ranks, source = flat(found)
    counts = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(ranks), max_size=len(ranks))))
    whole = results.result("full", "test", ranks, cold=0, seconds=0, source=source)
    parts = segments.segments(asked(ranks, counts), source)
    (same,) = [part for part in parts if part["by"] == "history length"]
    assert all(same[key] == whole[key] for key in ("users", "targets", "metrics", "ci95"))
    apart = results.apart(ranks, counts == 0, source)
    by_cold = [part for part in parts if part["by"] == segments.COLD]
    for part in [] if counts.all() else by_cold:
        name = "cold" if part["high"] == 0 else "warm"
        assert {key: part[key] for key in apart[name]} == apart[name]
        some = (counts == 0) == (name == "cold")
        assert (part["users"], part["targets"]) == (len({*source[some]}), some.sum())
        assert part["metrics"] == next_basket.metrics(ranks[some], source[some])


@given(baskets, st.data())
def test_a_comparison_counts_users_as_a_result_does(found, data):
    ranks, source = flat(found)
    seeds = np.stack([ranks, np.array(data.draw(st.permutations(ranks.tolist())))])
    row = comparison.row_of(seeds, source)
    for of, one in zip(row["seeds"], seeds, strict=True):
        assert of == pytest.approx({name: next_basket.metrics(one, source)[name] for name in of})
    versus = comparison.paired(seeds[:1], seeds[1:], 10, source=source)
    assert versus["ndcg@10"] == pytest.approx(row["seeds"][0]["ndcg@10"] - row["seeds"][1]["ndcg@10"])


@given(st.integers(0, 2**32 - 1))
def test_the_items_of_a_basket_are_ranked_beside_each_other(seed):
    """Including those in the history, so that no two share a rank and no metric exceeds 1."""
    random = np.random.default_rng(seed)
    log = from_sequences([random.integers(1, 8, 12).tolist() for _ in range(4)] + [[*range(1, 8)]])
    split = last_basket(replace(log, times=np.sort(random.integers(0, 6, len(log.items)))))
    questions, items = split.test, len(log.catalogue.ids)
    table, of_user = random.permutation(items).astype(np.float32)[:, None], np.ones((5, 1), np.float32)
    assume(len(questions.target))
    ranks = run(lay_out(split, questions), dot, (table, None), of_user[questions.source])
    for user in set(questions.source.tolist()):
        own = questions.source == user
        basket, at = set(questions.target[own].tolist()), np.flatnonzero(own)[0]
        history = set(split.interactions.items[questions.start[at] : questions.stop[at]].tolist())
        left = [v for v in range(1, items + 1) if v in basket or v not in history]
        order = sorted(left, key=lambda v: -table[v - 1, 0])
        assert ranks[own].tolist() == [order.index(v) + 1 for v in questions.target[own]]
    assert max(next_basket.metrics(ranks, questions.source).values()) <= 1 + 1e-9
    with pytest.raises(UserError, match="uniform-100 draws items for one target, but split=last-basket has several"):
        lay_out(split, questions, "uniform-100")


def test_a_basket_has_one_list():
    split = splits.last_item(from_sequences([[1, 2, 3, 4, 5, 6]] * 3))
    lists, source = np.array([[1, 2], [1, 2], [3, 4]], np.int32), np.array([0, 0, 2])
    alone = beyond.measures(lists[[0, 2]], np.array([1, 2]), split)
    found = beyond.measures(lists, np.array([1, 2, 2]), split, source)
    assert found["diversity_lists"] == 2 and found["metrics"]["map@2"] == (1 + 0.5) / 2
    for name in ("coverage@2", "gini@2", "novelty@2", "diversity@2"):
        assert found["metrics"][name] == alone["metrics"][name]

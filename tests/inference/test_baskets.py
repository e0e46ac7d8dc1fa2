"""A model of baskets answers alike to a request, a log and an exported file; order within a basket never matters."""

import json
from dataclasses import replace

import numpy as np
import pytest
import recommenders

from jaxrec.data.interactions import from_sequences
from jaxrec.inference import export

pytestmark = pytest.mark.slow
ITEMS, LENGTH = 12, 7
DAY = 86_400
SIZES = [[2, 3], [1], [3, 2, 4, 1], [1, 1, 1]]  # the third is longer than the model sees: its first basket is cut


@pytest.fixture(scope="module")
def rec():
    return recommenders.recommender("sasrec", items=ITEMS, length=LENGTH, baskets=True)


def histories():
    random = np.random.default_rng(2)
    items = [[f"i{v}" for v in random.choice(ITEMS, sum(sizes), replace=False)] for sizes in SIZES]
    return items, [np.repeat(np.arange(len(sizes)) * DAY, sizes).tolist() for sizes in SIZES]


def scores(ranked):
    return dict(ranked)


def close(one, other):
    assert one.keys() == other.keys()
    np.testing.assert_allclose([one[item] for item in one], [other[item] for item in one], atol=1e-5)


def test_a_log_and_a_request_say_the_same(rec):
    items, times = histories()
    log = from_sequences(items, ["a", "b", "c", "d"])
    log = replace(log, times=np.concatenate(times).astype(np.int64) * 1_000_000)
    everyone = rec.recommend_users("all", ITEMS, log, exclude_seen=False)
    for user, (history, when) in enumerate(zip(items, times, strict=True)):
        of_user = everyone.filter(everyone["user"] == "abcd"[user])
        found = dict(zip(of_user["item"].to_list(), of_user["score"].to_list(), strict=True))
        close(found, scores(rec.recommend(history, ITEMS, False, times=when)))


def test_the_order_within_a_basket_counts_nowhere(rec):
    items, times = histories()
    for history, when in zip(items, times, strict=True):
        order = np.lexsort((np.random.default_rng(0).random(len(history)), when))
        other = [history[place] for place in order]
        close(scores(rec.recommend(history, 5, times=when)), scores(rec.recommend(other, 5, times=when)))
        moved = rec.influence(history, ["i1", "i2"], times=when)
        np.testing.assert_allclose(rec.influence(other, ["i1", "i2"], times=when), moved[:, order], atol=1e-5)
    one_by_one = rec.recommend(items[0], 5, times=[1, 2, 3, 4, 5])
    assert scores(one_by_one) != scores(rec.recommend(items[0], 5, times=times[0]))


@pytest.mark.parametrize("format", export.FORMATS)
def test_a_file_answers_by_its_own_rule(rec, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("jax2onnx")
        pytest.importorskip("onnxruntime")
    export.export(rec, format, tmp_path / "model", k=5, histories=8)
    run, about = (
        export.FORMATS[format][1]((tmp_path / "model").read_bytes()),
        json.loads((tmp_path / "model.json").read_text()),
    )
    assert [each["name"] for each in about["inputs"]] == ["history", "allowed", "basket"]
    items, times = histories()
    shown, basket = np.zeros((2, len(items), LENGTH), np.int32)
    for row, (history, when) in enumerate(zip(items, times, strict=True)):
        numbers = [about["ids"].index(item) + 1 for item in history][-LENGTH:]
        distinct = sorted(set(when))
        rule = [2 * (distinct.index(time) + 1) + (place == when.index(time)) for place, time in enumerate(when)]
        shown[row, : len(numbers)], basket[row, : len(numbers)] = numbers, rule[-LENGTH:]
    _, found = run(shown, np.ones((len(items), ITEMS), bool), basket)
    for row, (history, when) in enumerate(zip(items, times, strict=True)):
        wanted = [score for _, score in rec.recommend(history, 5, False, times=when)]
        np.testing.assert_allclose(np.asarray(found)[row], wanted, atol=1e-5)

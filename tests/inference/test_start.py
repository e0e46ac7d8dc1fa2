"""Users without a history are answered from their columns by models that have learned to, and else as before."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
import recommenders
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import UserColumns, from_sequences
from jaxrec.inference.queries import Query
from jaxrec.system.errors import UserError

COLUMNS = (Column("gender", values=("F", "M")), Column("age", ends=(20.0, 40.0)))
ASKED = "type,asked_hour,asked_gap"


def made(name, **keys):
    return recommenders.recommender(name, items=12, length=9, columns=COLUMNS, types=("view",), **keys)


@pytest.mark.parametrize("name", some(["sasrec", "gru4rec", "rg-lru", "caser", "two-tower"]))
def test_the_columns_of_a_user_answer_alone(name):
    rec = made(name, start_prob=0.1, context=ASKED)
    assert rec.engine.kinds == ("type", "asked_hour", "asked_gap", "user gender", "user age")
    asked = rec.recommend([], 5, user_columns={"gender": "M", "age": 30}, now="2026-03-02T07:30:00Z")
    assert not asked.fallback and not asked.unknown
    one, zero = jnp.ones((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32)
    stream = Stream(one, zero, one, zero, zero - 1, jnp.array([[[0, 8, 0, 2, 2]]]), start=one > 0)
    hidden = rec._model.head(rec._trained, rec._model.encode(rec._trained, stream)[0][:, 0])
    items, scores = rec.engine.top_k_from_hidden(np.asarray(hidden), np.ones((1, 12), bool), 5)
    assert [item for item, _ in asked] == rec.catalogue.ids[items[0] - 1].tolist()
    np.testing.assert_allclose([score for _, score in asked], scores[0], atol=1e-5)
    other = stream._replace(items=5 * one)  # any item may be at a slot that shows none
    np.testing.assert_array_equal(rec._model.encode(rec._trained, other)[0], rec._model.encode(rec._trained, stream)[0])
    asked_new = rec.recommend(["new"], 5, user_columns={"gender": "M", "age": 30}, now="2026-03-02T07:30:00Z")
    assert list(asked_new) == list(asked) and asked_new.unknown == ["new"]
    without = rec.recommend([], 5, user_columns={"gender": "M"})
    assert not without.fallback and list(without) != list(asked)


def test_several_are_answered_together_with_and_without_a_history():
    rec = made("two-tower", start_prob=0.1)
    queries = [
        Query(["i1", "i2"], 4, user_columns={"gender": "F"}),
        Query([], 4, user_columns={"gender": "F"}),
        Query([], 4, user_columns={"gender": "M"}, candidates=["i3", "i4"]),
        Query([], 4),
        Query([], 4, user_columns={"gender": "X", "age": None}),
    ]
    found = rec.answer(queries)
    assert [each.fallback for each in found] == [False, False, False, True, True]
    assert found[4].unknown == ["X"] and list(found[3]) == list(found[4])
    assert {item for item, _ in found[2]} == {"i3", "i4"}
    for query, each in zip(queries, found, strict=True):
        assert [item for item, _ in rec.answer([query])[0]] == [item for item, _ in each]


def test_users_of_a_log_without_a_known_item_are_answered_so_too():
    rec = made("two-tower", start_prob=0.1, context=ASKED)
    about = pl.DataFrame({"gender": ["M", "F", None, "M"], "age": [None, 30, None, 55]})
    log = from_sequences([["new"], ["new", "i2"], ["new"], ["new", "new"]], ["a", "b", "c", "d"])
    log = replace(log, user_columns=UserColumns(about, COLUMNS))
    with pytest.warns(UserWarning, match="lacks some of the context that the model uses: type"):
        found = rec.recommend_users("all", 3, log, now=7_000)
    wanted = [
        rec.recommend([], 3, user_columns={"gender": "M"}, now=7_000),
        rec.recommend(["new", "i2"], 3, user_columns={"gender": "F", "age": 30}, now=7_000),
        [],  # nothing is known of this user, and the training stored no popular items
        rec.recommend([], 3, user_columns={"gender": "M", "age": 55}, now=7_000),
    ]
    assert found["item"].to_list() == [item for each in wanted for item, _ in each]
    np.testing.assert_allclose(found["score"], [score for each in wanted for _, score in each], atol=1e-5)


@pytest.mark.parametrize(("name", "keys"), some([("sasrec", {}), ("bert4rec", {})], ("sasrec", {})))
def test_a_model_that_has_not_learned_to_answers_by_popularity(name, keys):
    rec = made(name, **keys)
    assert rec.recommend([], 5, user_columns={"gender": "M"}).fallback


def test_mistakes_are_named():
    rec = made("two-tower", start_prob=0.1)
    with pytest.raises(UserError, match="it is empty: give at least one item"):
        rec.recommend([], 5, user_columns={"gender": "M"}, strict=True)
    with pytest.raises(UserError, match="the model does not use 'city': it uses gender, age"):
        rec.recommend([], 5, user_columns={"city": "Rome"})
    with pytest.raises(UserError, match=r"config\.start_prob is for config\.user_features"):
        recommenders.config("sasrec", start_prob=0.1)
    with pytest.raises(UserError, match=r"config\.start_prob is for config\.objective=next-item"):
        recommenders.config("bert4rec", user_features="gender", start_prob=0.1)

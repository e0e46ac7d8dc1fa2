"""User columns mean the same to a model in a request, a log and an evaluation, and missing ones are reported."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
import recommenders
from some import some

from jaxrec.data import splits
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import UserColumns, from_sequences
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.inference.queries import Query

COLUMNS = (Column("gender", values=("F", "M")), Column("age", ends=(20.0, 40.0)))
ABOUT = {"age": [10, 30, 50, None, 10], "gender": ["F", "M", None, "X", "F"]}
NAMES = some(["sasrec", "gru4rec", "bert4rec", "caser"], "bert4rec")


def log_of(items=12):
    """A log in which the last user has everything that the first has."""
    random = np.random.default_rng(3)
    histories = [[f"i{v:03}" for v in random.integers(0, items, 4 + 6 * user)] for user in range(4)]
    found = from_sequences([*histories, histories[0]], ["a", "b", "c", "d", "e"])
    return replace(found, user_columns=UserColumns(pl.DataFrame(ABOUT), COLUMNS))


def with_ids_of(log, name):
    """A Recommender of the log's items, some of which occur repeatedly."""
    found = recommenders.recommender(name, items=len(log.catalogue.ids), length=9, columns=COLUMNS)
    return found.__class__(found.config, found._model, found._trained, log.catalogue, 7, None, False, None, (), COLUMNS)


@pytest.mark.parametrize("name", NAMES)
def test_a_log_a_request_and_an_evaluation_say_the_same_of_users(name):
    log = log_of()
    rec, split = with_ids_of(log, name), splits.last_item(log)
    told = [{column: ABOUT[column][user] for column in ABOUT} for user in range(5)]
    histories = [log.catalogue.ids[log.items[slice(*log.offsets[u : u + 2])] - 1].tolist() for u in range(5)]
    alone = [rec.recommend(history, 5, False, user_columns=of) for history, of in zip(histories, told, strict=True)]
    together = rec.recommend_batch(histories, 5, False, user_columns=told)
    everyone = rec.recommend_users("all", 5, log, exclude_seen=False)
    assert everyone["item"].to_list() == [item for found in alone for item, _ in found]
    assert [item for found in together for item, _ in found] == everyone["item"].to_list()
    np.testing.assert_allclose(everyone["score"], [score for found in alone for _, score in found], atol=1e-5)
    assert alone[0] == alone[4] and alone[3].unknown == ["X"]
    bare = rec.recommend(histories[0], 5, False)
    assert rec.recommend(histories[0], 5, False, user_columns={"gender": "X", "age": None}) == bare != alone[0]
    evaluator = Evaluator(rec._model, rec.config, split, split.test, jax.devices()[:1], "full")
    evaluator.ranks(rec._trained)
    numbers = [log.items[start:stop].tolist() for start, stop in zip(split.test.start, split.test.stop, strict=True)]
    asked = [
        rec._checker.check(Query(history[:-1], user_columns=of), rec)
        for history, of in zip(histories, told, strict=True)
    ]
    assert [each.known for each in asked] == numbers
    hidden = rec.engine.hidden(numbers, contexts=[each.context for each in asked])
    np.testing.assert_allclose(np.asarray(evaluator.hidden)[:5], hidden, atol=1e-5)


def test_a_log_without_a_table_of_users_says_nothing_of_them():
    log = log_of()
    rec = with_ids_of(log, "sasrec")
    bare = replace(log, user_columns=None)
    with pytest.warns(UserWarning, match="lacks some of the context that the model uses: user gender, user age"):
        found = rec.recommend_users(["b"], 5, bare, exclude_seen=False)
    history = log.catalogue.ids[log.items[slice(*log.offsets[1:3])] - 1].tolist()
    assert found["item"].to_list() == [item for item, _ in rec.recommend(history, 5, False)]

"""Filters over HTTP: the same as from Python, for every type of column; errors name the malformed field."""

import datetime
import json

import polars as pl
import pytest

import jaxrec
from jaxrec.inference.recommender import Recommender

from .conftest import ITEMS


@pytest.fixture(scope="module")
def typed(path):
    made = jaxrec.load(path)
    about = made.catalogue.about.with_columns(
        year=pl.Series([1990 + v % 5 for v in range(ITEMS)]),
        price=pl.Series([None if v % 4 == 0 else 10 + v / 2 for v in range(ITEMS)]),
        in_stock=pl.Series([v % 3 > 0 for v in range(ITEMS)]),
        since=pl.Series([datetime.date(2020, 1, 1 + v % 28) for v in range(ITEMS)]),
    )
    catalogue = made.catalogue._replace(about=about)
    return Recommender(made.config, made._model, made.engine.params, catalogue, made.step, made.path)


def post(ask, recommender, where):
    async def work(client, _service):
        answer = await client.post("/recommend", content=json.dumps({"history": [1, 2], "k": 40, "where": where}))
        return answer.status_code, answer.json()

    return ask(work, recommender=recommender)


@pytest.mark.parametrize(
    "where",
    [
        {"year": 1994, "price": {"below": 25}, "in_stock": True},
        {"year": [1990, "1991"], "price": {"at_least": 12.5, "at_most": "20"}},
        {"since": {"above": "2020-01-05", "below": "2020-01-09"}},
        {"price": {"above": 10**30}},
        {"training_count": {"at_least": 1}, "genres": "War"},
    ],
)
def test_filters_are_those_of_python(ask, typed, where):
    status, answer = post(ask, typed, where)
    want = typed.recommend([1, 2], 40, where=where)
    assert status == 200 and [item["id"] for item in answer["items"]] == [id for id, _ in want]


@pytest.mark.parametrize(
    ("where", "field", "said"),
    [
        ({"price": {"under": 5}}, "where.price", "bounds (below, above, at_least, at_most)"),
        ({"price": {}}, "where.price", "bounds"),
        ({"price": {"below": True}}, "where.price", "bounds"),
        ({"price": {"below": [5]}}, "where.price", "bounds"),
        ({"price": [{"below": 5}]}, "where.price", "bounds"),
        ({"price": None}, "where.price", "bounds"),
        ({"price": "cheap"}, "where", "price is 'cheap', and items have numbers there"),
        ({"in_stock": 1}, "where", "items have true or false there"),
        ({"title": {"below": 5}}, "where", "title is text, and bounds are for numbers and dates"),
    ],
)
def test_what_is_wrong_with_a_filter_is_said(ask, typed, where, field, said):
    status, answer = post(ask, typed, where)
    assert status == (404 if field == "where" else 422)  # 404: these items lack it; 422: no items could have it
    assert answer["errors"][0]["field"] == field and said in answer["errors"][0]["message"]

"""What the web page requests besides recommendations: attributes to filter by, titles of ids, its own files."""

import datetime

import polars as pl
import pytest

from jaxrec.serve import page
from jaxrec.serve.facets import VALUES, facets
from jaxrec.serve.limits import Limits

DAYS = [datetime.date(2020, 1, 1), None, datetime.date(2021, 2, 3)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pl.Series([1990, None, 1994]), {"kind": "number", "least": 1990, "most": 1994}),
        (pl.Series([1.5, float("nan"), float("inf")]), {"kind": "number", "least": 1.5, "most": 1.5}),
        (pl.Series([True, None, True]), {"kind": "boolean"}),
        (pl.Series(DAYS), {"kind": "date", "least": "2020-01-01", "most": "2021-02-03"}),
        (pl.Series(["B|A", "A", ""]), {"kind": "text", "values": ["A", "B"], "more": False}),
        (pl.Series([["x", "y"], ["y"], None]), {"kind": "text", "values": ["y", "x"], "more": False}),
        (pl.Series(["long" * 100, "long" * 100, "s"]), {"kind": "text", "values": ["s"], "more": True}),
        (pl.Series(["a", "b", "c"]), None),  # identifies items rather than grouping them
        (pl.Series([None, None, None], dtype=pl.Float64), None),
        (pl.Series([None, None, None]), None),
        (pl.Series([{"a": 1}, {"a": 2}, {"a": 3}]), None),
    ],
)
def test_an_attribute_is_offered_by_its_kind(values, said):
    about = pl.DataFrame({"title": ["t", "t", "t"], "column": values})
    assert facets(about) == ([] if said is None else [{"name": "column", **said}])


def test_of_many_values_the_commonest_are_listed():
    texts = [f"v{number:03}" for number in range(VALUES + 50)]
    (facet,) = facets(pl.DataFrame({"tag": [*texts, *texts[100:]]}))
    assert facet["more"] and len(facet["values"]) == VALUES
    assert facet["values"] == [*texts[100:], *texts[: VALUES - len(texts[100:])]]


def test_attributes_and_titles_over_http(ask):
    async def work(client, _service):
        attributes = (await client.get("/attributes")).json()["attributes"]
        found = await client.post("/titles", json={"items": [7, "8", "x", 99, 7]})
        nothing = await client.post("/titles", json={"items": []})
        return attributes, found.json()["items"], nothing.status_code

    attributes, found, nothing = ask(work)
    assert {"name": "genres", "kind": "text", "values": ["Comedy", "Drama", "War"], "more": False} in [
        {key: value for key, value in each.items() if value is not None} for each in attributes
    ]
    assert found == [{"id": id, "title": f"Film {id:02}"} for id in (7, 8, 7)] and nothing == 422


def test_the_page_itself_needs_no_token_and_its_data_do(ask):
    async def work(client, _service):
        return {path: (await client.get(path)).status_code for path in [*page.files(), "/attributes", "/items"]}

    statuses = ask(work, token="s3cret")
    assert statuses.pop("/attributes") == statuses.pop("/items") == 401
    assert {"/", "/page.css", "/page.js", "/service.js"} <= set(statuses) and set(statuses.values()) == {200}


def test_the_page_takes_nothing_from_elsewhere():
    for content, _kind in page.files().values():
        assert b"http" not in content.replace(b"http://www.w3.org/2000/svg", b"")


def test_items_are_found_where_few_may_be_asked_for(ask):
    async def work(client, _service):
        return len((await client.get("/items")).json()["items"])

    assert ask(work, limits=Limits(k=5)) == 5

"""Ids stay unchanged from any file through training, evaluation and recommendation to an answer over HTTP."""

import asyncio
import csv
import io
import json
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from some import some

import jaxrec
from jaxrec import cli
from jaxrec.data import prepared
from jaxrec.serve.app import Service
from jaxrec.serve.limits import Limits

START = 1_600_000_000
HEADER = ["user", "item", "time"]
TEXT = ("--ids", "text", "--keep-na-ids")
MISSING = {"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "\\N"}

valid = st.characters(exclude_categories=("Cs",))
texts = st.one_of(
    st.text(valid, min_size=1, max_size=6),
    st.sampled_from(
        ["NA", "null", "1", "1.0", "01", "+1", "1e5", " a", "a ", "\t", "\r", "\n", "\0", '"', ",", "ﬁ", "é"]
    ),
    st.sampled_from(
        ["e\u0301", "\ufeff", "\u202e", "\u200b", "👩\u200d🚀", "[/]", "-0", "0", "x" * 300, "::", "#", "\\N"]
    ),
    st.integers(-(2**63), 2**63 - 1).map(str),
)
integers = st.one_of(
    st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53, 2**53 + 1, -(2**63)])
)


def pairs(ids):
    return st.lists(st.tuples(ids, ids), min_size=2, max_size=8).filter(
        lambda rows: len({item for _, item in rows}) > 1
    )


def write_csv(path, rows, separator=","):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([HEADER, *((user, item, START + at) for at, (user, item) in enumerate(rows))])
    path.write_bytes(text.getvalue().encode())


def write_jsonl(path, rows, escape=True):
    lines = [
        json.dumps(dict(zip(HEADER, (*row, START + at), strict=True)), ensure_ascii=escape)
        for at, row in enumerate(rows)
    ]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def frame(rows):
    users, items = zip(*rows, strict=True)
    return pl.DataFrame({"user": users, "item": items, "time": [START + at for at in range(len(rows))]})


WAYS = {
    "log.csv": write_csv,
    "log.tsv": lambda path, rows: write_csv(path, rows, "\t"),
    "log.jsonl": write_jsonl,
    "plain.jsonl": lambda path, rows: write_jsonl(path, rows, escape=False),
    "log.parquet": lambda path, rows: frame(rows).write_parquet(path),
    "log.arrow": lambda path, rows: frame(rows).write_ipc(path),
}


def histories(data):
    ids = np.append(np.zeros(1, data.catalogue.ids.dtype), data.catalogue.ids)
    parts = np.split(ids[data.items], data.offsets[1:-1])
    return {user: part.tolist() for user, part in zip(data.users.tolist(), parts, strict=True)}


def expected(rows):
    found = {}
    for user, item in rows:
        found.setdefault(user, []).append(item)
    return found


def prepare(folder, name, rows, *flags):
    """The (status, histories) of `prepare`; no histories if it fails."""
    folder = Path(folder)
    WAYS[name](folder / name, rows)
    status = cli.main(["prepare", "--input", str(folder / name), "--output", str(folder / "out"), *flags])
    return status, histories(prepared.load(folder / "out")) if status == 0 else None


@pytest.fixture
def fresh(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("ids")


many = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", some(WAYS, "log.csv", "plain.jsonl", "log.arrow"))
@many
@given(rows=pairs(texts))
@example(rows=[("NA", "1"), ("NA", "1.0"), ("1", " a"), ("1", "a")])
@example(rows=[("\r", "\n"), ("\r\n", "\n\r"), ("a\rb", "a\nb"), ("\n", "\n\n")])
def test_any_text_is_an_id_where_ids_are_text(name, rows, fresh, capsys):
    status, found = prepare(fresh(), name, rows, *TEXT)
    said = capsys.readouterr().err
    if status and "\0" in "".join(map("".join, rows)) and "zero byte" in said:
        return  # no text file can hold one
    assert status == 0, said
    assert found == expected(rows)


@pytest.mark.parametrize("name", some(WAYS, "log.tsv", "log.jsonl", "log.parquet"))
@many
@given(rows=pairs(integers))
def test_any_integer_is_an_id(name, rows, fresh, capsys):
    status, found = prepare(fresh(), name, rows)
    assert status == 0, capsys.readouterr().err
    assert found == expected(rows)


@pytest.mark.parametrize("name", some(WAYS, "log.csv", "log.jsonl", "log.parquet"))
@many
@given(rows=pairs(texts))
@example(rows=[("u", "1"), ("u", "1.0")])
@example(rows=[("1e5", "a"), ("100000", "b")])
def test_ids_are_refused_or_what_they_were(name, rows, fresh, capsys):
    """Without a flag, either every id comes back unchanged, or the file is refused for one of the known reasons."""
    status, found = prepare(fresh(), name, rows)
    said = capsys.readouterr().err
    if status:
        assert "Traceback" not in said
        ids = {id for row in rows for id in row}
        odd = ids & MISSING or any(not id.strip() or "\0" in id or _number(id) for id in ids)
        assert odd, said
    else:
        as_text = {str(user): list(map(str, items)) for user, items in found.items()}
        assert as_text == expected(rows)


def _number(text):
    try:
        float(text)
    except ValueError:
        return False
    return not text.lstrip("-").isdecimal()


CHAIN = [
    [f"{user}" for user in range(8)],
    [2**53 + user for user in range(8)],
    ["NA", "1.0", "1", "01", "[/]", "e\u0301", "é", "👩\u200d🚀"],
    ["a b", "a  b", " a", "\u202ex", "\r", "\n", "null", '"'],
]


@pytest.mark.slow
@pytest.mark.parametrize("ids", CHAIN, ids=["digits", "large", "odd", "blank"])
def test_ids_come_back_from_training_and_over_http(ids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [(user, ids[(at * step) % 8]) for at in range(6) for step, user in enumerate(ids, 1)]
    WAYS["log.parquet"](tmp_path / "log.parquet", rows)
    flags = TEXT if isinstance(ids[0], str) and not ids[0].isdecimal() else ()
    assert cli.main(["prepare", "--input", "log.parquet", "--output", "out", *flags]) == 0
    small = [f"--config.{each}" for each in ("model.dim=8", "batch=4", "epochs=1", "length=8", "dataset=out")]
    assert cli.main(["train", "--config", "quickstart", "--workdir", "w", *small]) == 0
    assert cli.main(["evaluate", "--workdir", "w", "--json", "result.json"]) == 0
    recommender = jaxrec.load("w")
    kind = int if isinstance(ids[0], int) or ids[0].isdecimal() else str
    wanted = {kind(item) for _, item in rows}
    ranked = recommender.recommend([kind(ids[1])], k=8, exclude_seen=False)
    assert {id for id, _ in ranked} == wanted and not ranked.unknown
    service = Service(recommender, Limits())
    service.batcher.size = 1

    async def ask(history):
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = json.dumps({"history": [history], "k": 8, "exclude_seen": False})
            answer = await client.post("/recommend", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text
            return answer.json()

    try:
        answer = asyncio.run(ask(ids[1]))
    finally:
        service.close()
    assert {str(each["id"]) for each in answer["items"]} == set(map(str, wanted))
    safe = all(abs(each["id"]) < 2**53 for each in answer["items"] if isinstance(each["id"], int))
    assert safe, "JSON's numbers beyond 2^53 lose digits in a browser: such ids are texts"

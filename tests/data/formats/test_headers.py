"""Laws of data.formats.headers: a row that repeats the header, however it is spelled, is no event."""

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.files import text
from jaxrec.data.files.oddities import Oddities
from jaxrec.data.formats import headers
from jaxrec.data.log import Batch
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

NAMES = ["user_id", "item_id"]
AGAIN = [
    "User_ID,Item_ID",
    "user_id, item_id",
    "userId,itemId",
    '"USER ID","ITEM ID"',
    '\ufeff"user_id","item_id"',
    "user-id,\u200bitem\xa0id",
]
spellings = st.sampled_from(["{}_{}", "{}-{}", "{} {}", "{}{}", " {}_{}", "\ufeff{}_{}", "{}_{}:token"])
words = st.tuples(spellings, st.sampled_from([str.lower, str.upper, str.title])).map(
    lambda way: lambda name: way[1](way[0].replace("token", "t").format(*name.split("_")))
)
ids = st.sampled_from(["1", "user", "item_ids", "a user_id", "", None])


def of(rows):
    """A batch of (user, item) rows."""
    frame = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String}, orient="row")
    return Batch(frame, "log", lambda index: (f"row {index}", str(rows[index])))


@given(st.lists(st.one_of(st.tuples(ids, ids), words), max_size=8))
def test_only_rows_that_spell_the_header_are_left_out(rows):
    spelled = [tuple(map(row, NAMES)) if callable(row) else row for row in rows]
    left = headers.left_out(of(spelled), dict(zip(("user", "item"), NAMES, strict=True)), odd := Oddities())
    kept = [at for at, row in enumerate(rows) if not callable(row)]
    assert left.frame.rows() == [spelled[at] for at in kept]
    assert [left.row(index)[0] for index in range(len(kept))] == [f"row {at}" for at in kept]
    first = next((at for at in range(len(rows)) if at not in kept), None)
    assert [f"first in row {first}" in note for note in odd.notes()] == [True] * (first is not None)


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("blank", ["", "\n"], ids=["fast", "line by line"])
@pytest.mark.parametrize("size", [16, 1 << 20])
def test_a_header_in_another_spelling_is_left_out_of_text(tmp_path, monkeypatch, again, blank, size):
    monkeypatch.setattr(text, "PIECE", size)
    path, said = tmp_path / "log.csv", []
    path.write_text(f"user_id,item_id\n1,10\n{blank}{again}\n1,20\n2,10\n")
    data = read(path, say=said.append)
    assert data.users.tolist() == [1, 2] and data.catalogue.ids.tolist() == [10, 20]
    line = 4 if blank else 3
    assert f"{path}: the header comes again and is left out: once, first in line {line}" in said


@pytest.mark.parametrize("header", [["user_id", "item_id"], ["User ID", "itemid"]])
@pytest.mark.parametrize("kind", ["log.parquet", "frame"])
def test_a_header_within_other_tables_is_left_out(tmp_path, kind, header):
    rows, path, said = [["1", "10"], header, ["1", "20"]], tmp_path / kind, []
    frame = pl.DataFrame(rows, schema=NAMES, orient="row")
    if kind == "log.parquet":
        frame.write_parquet(path)
    data = read(frame if kind == "frame" else path, say=said.append)
    assert data.users.tolist() == [1] and data.catalogue.ids.tolist() == [10, 20]
    assert any("the header comes again and is left out: once, first in row" in line for line in said)


def test_names_that_are_numbers_are_values_too():
    frame = pl.DataFrame({"0": ["0", "0"], "1": ["1", "2"]})
    assert len(read(frame, columns={"user": "0", "item": "1"}).items) == 2


@pytest.mark.parametrize("turned", ["item_id,user_id,when", "Item ID,USER_ID,When"])
def test_a_header_in_another_order_is_refused(tmp_path, turned):
    (tmp_path / "log.csv").write_text(f"user_id,item_id,when\n1,10,x\n{turned}\n20,1,y\n")
    with pytest.raises(UserError, match=r"line 3: .*the header again, with its columns in another order"):
        read(tmp_path / "log.csv", columns={"time": "none"})

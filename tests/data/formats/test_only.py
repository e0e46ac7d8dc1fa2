"""Laws of data.formats.only: the rows read are those that a plain loop over all rows keeps, whatever the format."""

import datetime as dt
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.formats.only import Only
from jaxrec.data.interactions import fingerprint
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

FIELDS = ["user", "item", "time", "event", "price"]
START = 1_396_321_200
kinds = st.sampled_from(["view", "cart", "a,b", ""])
logs = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), kinds, st.integers(1, 2)), min_size=1, max_size=12)


def write(folder, name, rows):
    frame = pl.DataFrame(rows, FIELDS, orient="row")
    path = Path(folder) / name
    if name.endswith("csv"):
        frame.write_csv(path)
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True)))
    else:
        frame.with_columns(pl.col("event").cast(pl.Categorical)).write_parquet(path)
    return path


def dated(log):
    rows = [(user, item, START + at, event, price) for at, (user, item, event, price) in enumerate(log)]
    return [
        *rows,
        (9, 1, START, "view", 1),
        (9, 2, START, "view", 1),
        (9, 2, START, "cart", 2),
        (9, 3, START, "a,b", 2),
    ]


CONDITIONS = {
    ("event=view",): lambda row: row[3] == "view",
    ("event=view,cart",): lambda row: row[3] in ("view", "cart"),
    ('event=view,"a,b"',): lambda row: row[3] in ("view", "a,b"),
    ("event!=cart",): lambda row: row[3] != "cart",
    ("event!=cart", "price=1"): lambda row: row[3] != "cart" and row[4] == 1,
    ("user!=1", "5=1"): lambda row: row[0] != 1 and row[4] == 1,
}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
@given(log=logs, only=st.sampled_from(list(CONDITIONS)))
def test_the_rows_are_those_of_a_plain_loop(name, log, only):
    rows = [*dated(log), (1, 1, START, "view", 1)]
    kept = [row for row in rows if CONDITIONS[only](row)]
    left_out = []
    with tempfile.TemporaryDirectory() as folder:
        found = read(write(folder, name, rows), only=only, left_out=lambda *step: left_out.append(step))
        assert fingerprint(found) == fingerprint(read(write(folder, f"kept.{name}", kept)))
    assert [step for step, _ in left_out] == [f"only {text}" for text in only]
    assert sum(number for _, number in left_out) == len(rows) - len(kept)


CODED = {
    "integers": pl.Series([1, 2], dtype=pl.Int8),
    "floats": pl.Series([1.0, 2.0], dtype=pl.Float32),
    "decimals": pl.Series(["1.00", "2.00"]).cast(pl.Decimal(9, 2)),
    "categories": pl.Series(["1", "2"], dtype=pl.Categorical),
    "bytes": pl.Series([b"1", b"2"]),
}


@pytest.mark.parametrize("kind", CODED)
@pytest.mark.parametrize("only", ["event=1", "event!=2"])
def test_a_number_is_one_code_whatever_the_type_of_a_shard(tmp_path, kind, only):
    whole = pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "event": [1, 1, 2]})
    whole.write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"user": [3, 3], "item": [5, 6], "event": CODED[kind]}).write_parquet(tmp_path / "b.parquet")
    assert read(tmp_path, only=[only]).catalogue.ids.tolist() == [1, 2, 5]
    if CODED[kind].dtype.is_numeric():
        assert read(tmp_path, only=["event=1.0"]).catalogue.ids.tolist() == [1, 2, 5]
        assert read(tmp_path / "b.parquet", only=["event=2.0,1.0"]).catalogue.ids.tolist() == [5, 6]


def test_what_is_missing_among_floats_is_empty(tmp_path):
    log = {"user": [1, 1, 1, 1], "item": [5, 6, 7, 8], "event": [1.0, None, float("nan"), 1.5]}
    pl.DataFrame(log).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path, only=["event="]).catalogue.ids.tolist() == [6, 7]
    assert read(tmp_path, only=["event=1.5,1"]).catalogue.ids.tolist() == [5, 8]


@pytest.mark.parametrize("other", ["1.0", "1.", "01", "1e0"])
def test_a_number_in_two_spellings_is_refused_and_the_cures_choose(tmp_path, other):
    (tmp_path / "a.csv").write_text("user,item,event\n1,1,1\n1,2,1\n1,4,2\n")
    (tmp_path / "b.csv").write_text(f"user,item,event\n2,1,{other}\n2,3,{other}\n2,5,7\n")
    only = lambda *said: read(tmp_path, only=list(said)).catalogue.ids.tolist()
    for said in ("event=1", "event!=1"):
        with pytest.raises(
            UserError, match=rf"event holds '{other}' beside '1', .*: --only '{said},{other}' names both"
        ):
            only(said)
    assert only(f"event=1,{other}") == [1, 2, 3] and only(f"event!=1,{other}") == [4, 5]
    assert only("event=1", f"event!={other}") == [1, 2] and only("event=7,2") == [4, 5]


@pytest.mark.parametrize("values", [[dt.timedelta(1)] * 2, [b"\xff", b"a"], [[1], [2]]], ids=["time", "bytes", "list"])
def test_what_is_no_text_is_refused(tmp_path, values):
    pl.DataFrame({"user": [1, 1], "item": [5, 6], "event": values}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet: --only event=1: the column holds .*, no text"):
        read(tmp_path, only=["event=1"])


def test_bad_rows_are_judged_before_anything_is_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('user,item,event\n1,1,view\n,2,view\n1,2\n1,3,buy\n1,4,view\n1,"5\n')
    with pytest.raises(UserError, match=r"line 3: .*user is empty; .*\n.*line 7: .*mend the quotes"):
        read(path, only=["event=view"])
    assert read(path, only=["event=view"], skip_bad_rows=True).catalogue.ids.tolist() == [1, 4]
    assert read(path, only=["event!=view"], skip_bad_rows=True).catalogue.ids.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["event"], "--only event: write COLUMN=VALUE"),
        (["=view"], "--only =view: write COLUMN=VALUE"),
        (['event="view'], "the quotes do not match"),
        (["kind=view"], r"a.csv: --only kind=view: no column kind; the columns are user, item, event"),
        (["event=veiw"], r"--only event=veiw: no row has 'veiw' in event, which holds 'view', 'buy'"),
        (["event!=x"], "no row has 'x' in event"),
        (["event=view", "item=3"], "--only event=view --only item=3 leaves no row"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, only, message):
    (tmp_path / "a.csv").write_text("user,item,event\n1,1,view\n1,2,view\n1,3,buy\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.csv", only=only)


def test_formats_without_columns_have_none_to_choose_by(tmp_path):
    (tmp_path / "sequences.txt").write_text("1 5 6\n")
    with pytest.raises(UserError, match="read as sequences, which has no columns to read this way: leave out --only"):
        read(tmp_path, only=["user=1"])


def test_messages_keep_but_some_values():
    only = Only(["x=0"])
    only._count(0, pl.Series([str(number) for number in range(5_000)]))
    only.close("f", 1)
    assert len(only._found[0]) <= 1_001 and only._found[0]["0"] == 1


def test_a_column_by_its_number_is_one_column_of_all_shards(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,event\n1,1,view\n1,2,cart\n")
    (tmp_path / "b.csv").write_text("event,user,item\nview,2,3\ncart,2,1\n")
    data = read(tmp_path, only=["3=view"])
    assert data.users.tolist() == [1, 2] and data.catalogue.ids.tolist() == [1, 3]

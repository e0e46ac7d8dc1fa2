"""Laws of jaxrec.data.only: what is read is what a plain loop over the rows keeps, whatever the format."""

import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.interactions import fingerprint
from jaxrec.data.only import Only
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


def test_bad_rows_are_judged_before_anything_is_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('user,item,event\n1,1,view\n,2,view\n1,2\n1,3,buy\n1,4,view\n1,"5\n')
    with pytest.raises(UserError, match=r"line 3: .*user is empty\n.*line 7: .*mend the quotes"):
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
    with pytest.raises(UserError, match="read as sequences, which has no columns to read so: leave out --only"):
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

"""Laws of data.formats.histories: lists are histories, however they are written; prefixes of other rows are not."""

import csv
import io
import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.data.files import text
from jaxrec.data.formats import columnar
from jaxrec.data.interactions import fingerprint, from_sequences
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

words = st.text(st.sampled_from("ab é'\"[],:\\"), min_size=1, max_size=4).filter(lambda word: word.strip() == word)
items = st.one_of(st.integers(0, 12).map(str), words)
START = 1_396_321_200


@st.composite
def logs(draw, items=items):
    """{user: items}, users sorted; two items or more, and a list of several."""
    histories = draw(st.lists(st.lists(items, min_size=1, max_size=6), min_size=1, max_size=5))
    histories[0] = [*histories[0], "1", "other"]
    return {f"u{number}": some for number, some in enumerate(histories)}


def text_of(cell):
    return cell if isinstance(cell, str) else json.dumps(cell)


def as_parquet(folder, frame):
    frame.write_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def as_arrow(folder, frame):
    frame.write_ipc(folder / "a.arrow")
    return folder / "a.arrow"


def as_json(folder, frame):
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True)))
    return folder / "a.jsonl"


def as_literals(folder, frame):
    (folder / "a.json").write_text("".join(f"{row!r}\n" for row in frame.iter_rows(named=True)))
    return folder / "a.json"


def as_csv(folder, frame, write=json.dumps):
    out = io.StringIO()
    csv.writer(out).writerow(frame.columns)
    csv.writer(out).writerows([write(cell) if isinstance(cell, list) else cell for cell in row] for row in frame.rows())
    (folder / "a.csv").write_text(out.getvalue())
    return folder / "a.csv"


def as_csv_of_python(folder, frame):
    return as_csv(folder, frame, repr)


WAYS = [as_parquet, as_arrow, as_json, as_literals, as_csv, as_csv_of_python]


@pytest.mark.parametrize("write", WAYS)
@settings(max_examples=8)
@given(logs(), st.integers(40, 200))
def test_lists_are_histories_with_what_lies_beside_them(write, log, size):
    rows = [(user, some, [START + at for at in range(len(some))], float(len(some))) for user, some in log.items()]
    frame = pl.DataFrame(rows, ["user", "item", "time", "rating"], orient="row")
    wanted = from_sequences(list(log.values()), users=list(log))
    times = np.concatenate([np.arange(len(some)) + START for some in log.values()]) * 10**6
    weights = np.concatenate([np.full(len(some), len(some), np.float32) for some in log.values()])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", size)
        patch.setattr(columnar, "ROWS", 2)
        found = read(write(Path(folder), frame), columns={"weight": "rating"})
    assert fingerprint(found) == fingerprint(replace(wanted, times=times, weights=weights))


tokens = st.one_of(st.integers(0, 12).map(str), st.text(st.sampled_from("abé'[]:"), min_size=1, max_size=3))


@given(logs(tokens), st.booleans(), st.integers(40, 200))
def test_recbole_s_lists_are_what_came_before_the_item(log, ahead, size):
    """Puts the next item in a column of its own, or all items in the list."""
    header = ["session_id:token", "item_id_list:token_seq", "timestamp:float", *["item_id:token"] * ahead]
    rows = [[user, " ".join(some[: len(some) - ahead]), str(START), *some[-1:] * ahead] for user, some in log.items()]
    lines = ["\t".join(row) for row in [header, *rows]]
    said = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", size)
        path = Path(folder) / "a.inter"
        path.write_text("".join(f"{line}\n" for line in lines))
        found = read(path, quote="none", say=said.append)
    wanted = from_sequences(list(log.values()), users=list(log))
    assert fingerprint(replace(found, times=None)) == fingerprint(wanted)
    assert any("the timestamp of a row applies to each of its items" in line for line in said)


def test_recbole_s_lists_of_times_and_ratings_go_with_the_items(tmp_path):
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp_list:float_seq\ttimestamp:float"
    (tmp_path / "a.inter").write_text(f"{header}\n1\t5 6\t7\t1396321200 1396321201\t1396321202\n2\t\t5\t\t1396321209\n")
    found = read(tmp_path / "a.inter")
    assert found.catalogue.ids[found.items - 1].tolist() == [5, 6, 7, 5] and found.offsets.tolist() == [0, 3, 4]
    assert (found.times // 10**6 - START).tolist() == [0, 1, 2, 9]


def test_a_list_of_a_recbole_session_and_its_next_item(tmp_path):
    (tmp_path / "seq.inter").write_text(
        "session_id:token\titem_id_list:token_seq\titem_id:token\n1\t1 2 3\t4\n2\t2 4\t1\n"
    )
    found = read(tmp_path / "seq.inter")
    assert found.catalogue.ids[found.items - 1].tolist() == [1, 2, 3, 4, 2, 4, 1] and found.offsets.tolist() == [
        0,
        4,
        7,
    ]


@pytest.mark.parametrize("form", ["[1 2 3]", "[1, 2, 3]", "(1, 2, 3)"])
def test_a_list_of_recbole_in_brackets_is_refused(tmp_path, form):
    text = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    (tmp_path / "a.inter").write_text(f"{text}1\t{form}\t4\n2\t{form}\t1\n")
    with pytest.raises(UserError, match=r"a.inter: lists in brackets, as .*3.*: write it as 1 2 3"):
        read(tmp_path / "a.inter")


def test_growing_lists_in_brackets_are_refused_and_words_in_brackets_are_words(tmp_path):
    text = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    (tmp_path / "a.inter").write_text(f"{text}1\t[1]\t2\n1\t[1 2]\t3\n1\t[1 2 3]\t4\n")
    with pytest.raises(UserError, match="lists in brackets"):
        read(tmp_path / "a.inter")
    (tmp_path / "b.inter").write_text(f"{text}1\t(a) x (b)\ty\n2\t(b) y (a)\tx\n")
    assert sorted(read(tmp_path / "b.inter").catalogue.ids.tolist()) == ["(a)", "(b)", "x", "y"]


def test_a_list_of_recbole_under_another_name_is_refused_and_the_cures_read_it(tmp_path):
    text = "session_id:token\titem_list:token_seq\titem_id:token\ttags:token_seq\n1\t1 2 3\t4\tx y\n2\t2 4\t1\tz\n"
    (path := tmp_path / "seq.inter").write_text(text)
    items = lambda **said: (found := read(path, **said)).catalogue.ids[found.items - 1].tolist()
    with pytest.raises(UserError, match=r"item_list holds lists of items beside item_id: call it item_id_list if"):
        read(path)
    assert items(columns={"item": "item_list"}) == [1, 2, 3, 2, 4]
    assert items(columns={"item": "item_id"}, say=(said := []).append) == [4, 1]
    assert f"{path}: lists that are not read: item_list, tags" in said
    path.write_text(text.replace("item_list", "item_id_list"))
    assert items() == [1, 2, 3, 4, 2, 4, 1]


@pytest.mark.parametrize("shuffle", [None, 0, 1])
@pytest.mark.parametrize("write", [as_parquet, as_csv, as_json])
def test_rows_that_begin_another_of_the_same_user_are_left_out(tmp_path, write, shuffle):
    log = {user: [f"i{user * 7 + at}" for at in range(5)] for user in range(4)}
    rows = [(user, some[:end]) for user, some in log.items() for end in range(1, 6)]
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(rows)
    said = []
    found = read(write(tmp_path, pl.DataFrame(rows, ["user", "item"], orient="row")), say=said.append)
    assert fingerprint(found) == fingerprint(from_sequences(list(log.values()), users=list(log)))
    assert any(
        line.endswith("16 of 20 rows hold the beginning of another row of the same user, and are left out")
        for line in said
    )


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_recbole_s_augmented_rows_are_one_history(tmp_path, own, falling):
    """Returns each prefix of a session with its next item, under the session's id or under ids of their own."""
    log = {session: [session * 10 + at for at in range(5)] for session in range(1, 8)}
    rows = [
        (session if own else f"{session}-{end}", " ".join(map(str, some[:end])), some[end])
        for session, some in log.items()
        for end in sorted(range(1, 5), reverse=falling)
    ]
    lines = ["session_id:token\titem_id_list:token_seq\titem_id:token", *("\t".join(map(str, row)) for row in rows)]
    (tmp_path / "a.inter").write_text("".join(f"{line}\n" for line in lines))
    said = []
    found = read(tmp_path / "a.inter", say=said.append)
    users = list(log) if own else [f"{session}-4" for session in log]
    assert fingerprint(found) == fingerprint(from_sequences(list(log.values()), users=users))
    whose = "another row of the same session_id" if own else "the row beside them"
    assert any(line.endswith(f"21 of 28 rows hold the beginning of {whose}, and are left out") for line in said)


def test_rows_of_one_user_that_are_no_beginnings_follow_each_other(tmp_path):
    rows = [(1, [5, 6]), (2, [5]), (1, [7]), (1, [5, 6]), (2, [5, 6])]
    said = []
    found = read(as_parquet(tmp_path, pl.DataFrame(rows, ["user", "item"], orient="row")), say=said.append)
    assert found.catalogue.ids[found.items - 1].tolist() == [5, 6, 7, 5, 6, 5, 5, 6]
    assert any(line.endswith("user: 2 have several rows, whose lists are joined in their order") for line in said)


def test_rows_that_are_equal_are_events_that_come_again_and_begin_none(tmp_path):
    frame = pl.DataFrame({"user": [1, 1, 1], "item": [[5], [5], [5, 6]]})
    found = read(as_parquet(tmp_path, frame))
    assert found.catalogue.ids[found.items - 1].tolist() == [5, 5, 5, 6]


def test_sessions_of_two_users_that_are_called_the_same_are_two(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "session": [7, 7], "item": [[5], [5, 6]]})
    assert len(read(as_parquet(tmp_path, frame)).items) == 3


def test_other_users_with_the_beginning_of_a_history_are_users(tmp_path):
    lines = ["session_id:token\titem_id_list:token_seq\titem_id:token", "1\t5\t6", "2\t5 6\t7", "3\t9 8 7\t6"]
    (tmp_path / "a.inter").write_text("".join(f"{line}\n" for line in lines))
    assert len(read(tmp_path / "a.inter").users) == 3
    by_chance = [
        line for at in range(12) for line in (f"a{at}\t{at} 3\t6", f"b{at}\t{at} 3 6\t7", f"c{at}\t9 8 {at}\t6")
    ]
    (tmp_path / "a.inter").write_text("".join(f"{line}\n" for line in [lines[0], *by_chance]))
    assert len(read(tmp_path / "a.inter").users) == 36, "where a third of the rows begin another, they do by chance"


BAD = [
    ([1, 2], [1.0], "rating has another number of entries: 1 where item has 2: write one for every item"),
    ([1, 2], None, "rating has another number of entries: 0 where item has 2"),
    ([], [], "item is empty: give it items, or leave the row out"),
    (None, None, "item is empty"),
    ([1, None], [1.0, 2.0], "item is empty"),
    ([1, 2], [1.0, None], "rating is not a finite number"),
]


@pytest.mark.parametrize("write", [as_parquet, as_json])
@pytest.mark.parametrize(("some", "ratings", "why"), BAD)
def test_a_row_that_is_no_history_is_found_and_hurts_no_other(tmp_path, write, some, ratings, why):
    rows = [(1, [5, 6], [1.0, 2.0]), (2, some, ratings), (3, [6, 7], [3.0, 4.0])]
    schema = {"user": pl.Int64, "item": pl.List(pl.Int64), "rating": pl.List(pl.Float64)}
    path = write(tmp_path, pl.DataFrame(rows, schema, orient="row"))
    place = "row 2" if write is as_parquet else "line 2"
    options = {"columns": {"weight": "rating"}}
    with pytest.raises(UserError, match=f"{path}, {place}: .*{why}"):
        read(path, **options)
    found = read(path, skip_bad_rows=True, **options)
    assert [item for item in found.catalogue.ids[found.items - 1].tolist() if item != 1] == [5, 6, 6, 7]


@pytest.mark.parametrize("cell", ["[1", "x", "[[1]]", "{}", "[1 2 ... 8 9]", "[a, b]"])
@pytest.mark.parametrize("size", [20, 1 << 20])
def test_text_that_is_no_list_among_lists_is_found(tmp_path, monkeypatch, cell, size):
    path = tmp_path / "a.csv"
    monkeypatch.setattr(text, "PIECE", size)
    rows = "".join(f'{number},"[5, 6]"\n' for number in range(10))
    path.write_text(f'user,item\n{rows}90,"{cell}"\n91,"[6, 7]"\n')
    with pytest.raises(UserError, match=r"line 12: .*item is not a list, unlike in other rows: mend it"):
        read(path)
    assert read(path, skip_bad_rows=True).items.tolist() == [1, 2] * 10 + [2, 3]


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (["[1 2 3]", "[4 5]"], [1, 2, 3, 4, 5]),
        (["[1\n 2]", "[3]"], [1, 2, 3]),
        (["['a', 'b']", "['c']"], ["a", "b", "c"]),
        (["[1]", "[2]"], ["[1]", "[2]"]),  # ids may look like this
        (["[x]", "[y z]"], ["[x]", "[y z]"]),
        (["[1] 2", "x"], ["[1] 2", "x"]),
        (["[007, 8]", "[9]"], ["[007, 8]", "[9]"]),
    ],
)
def test_text_is_lists_where_all_of_it_is(tmp_path, cells, ids):
    path = tmp_path / "a.csv"
    path.write_text("user,item\n" + "".join(f'{at},"{cell}"\n' for at, cell in enumerate(cells)))
    assert read(path).catalogue.ids.tolist() == ids


@pytest.mark.parametrize("write", [as_parquet, as_arrow, as_json])
@pytest.mark.parametrize(
    ("items", "times"), [("items", "timestamps"), ("item_ids", "times"), ("item_id_list", "ts_list")]
)
def test_lists_are_known_by_the_plural_of_a_name(tmp_path, write, items, times):
    frame = pl.DataFrame({"user": [1, 2], items: [[5, 6], [6]], times: [[START, START + 1], [START]], "n": [2, 1]})
    found = read(write(tmp_path, frame))
    assert found.items.tolist() == [1, 2, 2] and found.times[0] == START * 10**6
    numbers = frame.with_columns(pl.col("n").alias(items))
    with pytest.raises(UserError, match="no column for the item is recognised"):
        read(write(tmp_path, numbers))


@pytest.mark.parametrize("column", ["user", "session"])
def test_lists_of_users_are_refused(tmp_path, column):
    frame = pl.DataFrame({column: [[1], [2]], "item": [5, 6]})
    with pytest.raises(UserError, match=f"column {column} holds List"):
        read(as_parquet(tmp_path, frame))


@pytest.mark.parametrize("inner", [pl.Int8, pl.UInt64, pl.String, pl.Categorical, pl.Enum(["1", "2"]), pl.Binary])
def test_lists_of_any_type_of_ids(tmp_path, inner):
    lists = [[b"1", b"2"], [b"2"]] if inner == pl.Binary else [["1", "2"], ["2"]]
    frame = pl.DataFrame({"user": [1, 1], "item": lists}).with_columns(pl.col("item").cast(pl.List(inner)))
    assert read(as_parquet(tmp_path, frame)).items.tolist() == [1, 2, 2]


@pytest.mark.parametrize("users", [[1, 1], [1, 2]])
@pytest.mark.parametrize("entry", [timedelta(1), b"\xff"])
def test_lists_of_what_is_no_id_are_refused(tmp_path, users, entry):
    frame = pl.DataFrame({"user": users, "item": [[entry], [entry, entry]]})
    with pytest.raises(UserError, match=r"the items are List\(|column item holds"):
        read(as_parquet(tmp_path, frame))


def test_arrays_of_one_length_are_lists(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "item": [[5, 6], [7, 8]]}, {"user": pl.Int64, "item": pl.Array(pl.Int64, 2)})
    assert read(as_parquet(tmp_path, frame)).offsets.tolist() == [0, 2, 4]

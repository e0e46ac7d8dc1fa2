"""Laws of reading: one log, in whatever format and order it is written, is the same data."""

import gzip
import re
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from ways import HEADER, RATING, START, WAYS, amazon, data_of, delimited, logs, ordered, put, shuffled, table

from jaxrec.config import registry
from jaxrec.data.files import text
from jaxrec.data.interactions import fingerprint
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@settings(max_examples=4)
@given(data=st.data(), order=st.randoms(use_true_random=False))
def test_a_log_is_the_same_data_in_every_format_and_order(way, data, order):
    rows = data.draw(logs(st.sampled_from(way.kinds)))
    with tempfile.TemporaryDirectory() as folder:
        path = way.write(Path(folder), shuffled(rows, order) if way.sorts else rows)
        for format, columns, carries in ((None, way.columns, way.carries), (way.format, {}, way.unnamed)):
            found = read(path, format, columns)
            assert fingerprint(found) == fingerprint(data_of(rows, carries)), format
            assert found.users.tolist() == data_of(rows).users.tolist() and found.name == str(path)
            assert found.items.dtype == np.int32 and found.offsets.dtype == np.int64


@given(logs(), st.randoms(use_true_random=False), st.sampled_from([way for way in WAYS if way.format == "table"][:8]))
def test_a_log_of_many_pieces_is_the_same(rows, order, way):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", 80)
        path = way.write(Path(folder), shuffled(rows, order))
        assert fingerprint(read(path, columns=way.columns)) == fingerprint(data_of(rows))


@given(logs(), st.permutations(range(4)))
def test_columns_may_be_named_and_numbered(rows, order):
    names = [["u", "i", "t", "w"][at] for at in order]
    columns = {"user": "u", "item": "i", "time": "t", "weight": "w"}
    numbers = {role: str(names.index(name) + 1) for role, name in columns.items()}
    with tempfile.TemporaryDirectory() as folder:
        named = put(Path(folder) / "named.csv", delimited(ordered(rows, order), header=names))
        bare = put(Path(folder) / "bare.csv", delimited(ordered(rows, order), header=None))
        for found in (read(named, columns=columns), read(bare, columns=numbers), read(bare, "table", numbers)):
            assert fingerprint(found) == fingerprint(data_of(rows))


def test_titles_come_with_the_formats_that_have_them(tmp_path):
    rows = [("1", "1", START, 5), ("1", "2", START, 4)]
    found = {
        way.name: read(way.write(tmp_path / way.name, rows)).catalogue
        for way in WAYS
        if way.name in ("ratings.dat", "ratings.csv zip", "u.data", "shards")
    }
    assert found["ratings.dat"].titles == ["Amélie (2001)", ""]
    assert found["ratings.csv zip"].titles == ["Shawshank, The (1994)", ""]
    assert found["u.data"].titles == ["Toy Story (1995)", ""] and found["u.data"].genres == ["Animation", ""]
    assert found["shards"].titles == ["One", ""]


def test_what_was_found_out_is_said(tmp_path):
    said, rows = [], []
    read(table("a.csv")(tmp_path, [("1", "1", START, 5), ("1", "2", START, 4)]), say=said.append, progress=rows.append)
    columns = "columns: user = user_id, item = item_id, time = timestamp"
    assert said[0] == f"{columns}; rating is not read: --weight rating reads it as the weight"
    assert "timestamp: seconds" in said and rows == [2]


@pytest.mark.parametrize(
    "way", [way for way in WAYS if way.format in ("table", "recbole", "movielens")], ids=lambda way: way.name
)
def test_bad_rows_are_left_out_and_said(tmp_path, way):
    good = [(str(number), str(number % 7), START + number, number % 5 + 1) for number in range(1, 30)]
    bad = [("", "1", START, 1), ("1", "", START, 1), ("1", "1", -5, 1)] * 3
    rows = [row for at in range(29) for row in ([bad[at // 3], good[at]] if at % 3 == 0 and at < 27 else [good[at]])]
    path = way.write(tmp_path, rows)
    said = []
    found = read(path, columns=way.columns, skip_bad_rows=True, say=said.append)
    assert fingerprint(found) == fingerprint(data_of(good))
    (head,) = [at for at, line in enumerate(said) if line == "9 bad rows skipped, the first:"]
    reasons = said[head + 1 :]
    for line, why in zip(reasons, ["is empty", "is empty", "is no", "is empty", "is empty"], strict=True):
        assert why in line and re.search(r", (line|row) \d+: ", line)
    with pytest.raises(UserError, match=r"\(9 such rows in all\)"):
        read(path)


SPECIMENS = [("1", "5", START, 3), ("1", "6", START, 4), ("2", "5", START, 5)]


def test_an_unknown_format_and_columns_where_they_are_known(tmp_path):
    with pytest.raises(UserError, match=f"no format 'csv': choose one of {', '.join(registry.names('reader'))}"):
        read(tmp_path, "csv")
    columns = {"user": "1", "item": "2"}
    for way in WAYS:
        if way.format in ("prepared", "sequences", "movielens"):
            path = way.write(tmp_path / way.name, SPECIMENS)
            with pytest.raises(UserError, match="whose columns are known: leave out --user, --item") as refused:
                read(path, columns=columns)
            cure = re.search(r", or say (?:--input (\S+) )?--format table$", str(refused.value))
            is_table = path.suffix != ".zip" if path.is_file() else way.format == "movielens"
            assert bool(cure) == is_table
            if cure and way.format == "movielens":
                assert sorted(read(cure[1] or path, "table", columns=columns | {"time": "4"}).users.tolist()) == [1, 2]


def test_amazon_s_columns_may_be_numbered_where_they_look_alike(tmp_path):
    rows = [("B00MEYMH6X", "B00MEYMH6Y", START, 5), ("B00MEYMH6X", "B00MEYMH6Z", START, 4)]
    path = amazon(RATING)(tmp_path, rows)
    with pytest.raises(
        UserError, match="which is the user, which the item\\? Say --user 1 --item 2 --weight 3 --time 4"
    ):
        read(path)
    found = read(path, columns={"user": "1", "item": "2", "weight": "3", "time": "4"})
    assert fingerprint(found) == fingerprint(data_of(rows))


def test_a_ratings_csv_that_is_not_movielens_is_read_by_its_header(tmp_path):
    table("ratings.csv")(tmp_path, SPECIMENS)
    put(tmp_path / "README.txt", "hello")
    assert fingerprint(read(tmp_path, columns={"weight": "rating"})) == fingerprint(data_of(SPECIMENS))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no file is in this folder, which holds nothing: name another folder, or the file itself"),
        ({"README.md": "hello"}, None),
        (
            {"a.csv": "x", "b.parquet": "x"},
            r"files of \.csv, \.parquet lie together in this folder, which holds a\.csv, b\.par",
        ),
        (
            {"a.pdf": "x", "b.doc": "x"},
            r"no sequences\.txt or other data in this folder, which holds a\.pdf, b\.doc: name the f",
        ),
        ({"a.inter": "x", "b.inter": "x"}, r"several \.inter files \(a\.inter, b\.inter\): name the one to read"),
        ({"in/sequences.txt": "1 2 3\n"}, r"no file is in this folder, which holds in: did you mean .*/in\?"),
        (
            {"x.pdf": "", "y": "", "in/sequences.txt": "1 2 3\n"},
            r"no sequences\.txt or other data .*: did you mean .*/in\?",
        ),
        (
            {"a.csv": "who,what\n1,2\n"},
            r"a\.csv: no column for the user .* columns are who, what: name it to prepare\.py with",
        ),
        ({"a.csv": "user\n1\n"}, r"a\.csv: no column for the item is recognised"),
        (
            {"a.csv": "user,item\n1,2\n", "b.csv": "user,item,time\n1,2,3\n"},
            r"b\.csv: has columns for user, item, time, the files",
        ),
        ({"a.jsonl": "[1, 2]\n"}, r"a\.jsonl, line 1: .*not a JSON object.*JSON lines are expected"),
        ({"a.csv": ""}, r"a\.csv, line 1: the file is empty"),
    ],
)
def test_a_folder_that_is_no_data_says_what_to_do(tmp_path, files, message):
    for name, content in files.items():
        put(tmp_path / name, content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("format", ["sequences", "movielens", "recbole"])
def test_a_folder_without_the_named_format_says_so(tmp_path, format):
    put(tmp_path / "a.csv", "x")
    put(tmp_path / "b.csv", "x")
    with pytest.raises(UserError, match=f"no file of the format {format} among a.csv, b.csv"):
        read(tmp_path, format)


def test_a_missing_path_is_answered_with_near_names(tmp_path):
    put(tmp_path / "beauty-5core.txt", "1 2\n")
    with pytest.raises(UserError, match=r"beauty_5core: no such file or folder: did you mean beauty-5core\.txt\?"):
        read(tmp_path / "beauty_5core")
    with pytest.raises(UserError, match=r"holds beauty-5core\.txt"):
        read(tmp_path / "xyz")
    with pytest.raises(UserError, match="holds nothing"):
        read(tmp_path / "no" / "such")


def test_what_an_interrupted_prepare_left_is_not_read(tmp_path):
    (tmp_path / "a.tmp").mkdir()
    with pytest.raises(UserError, match="left by a prepare that was interrupted: remove it"):
        read(tmp_path / "a.tmp")


ARRAYS = ("items", "offsets", "users", "times", "weights")


@pytest.fixture(scope="module")
def ml_100k(real_data):
    return real_data("ml-100k")


def test_ml_100k_is_the_same_from_every_format(ml_100k, tmp_path):
    wanted = read(ml_100k)
    rows = pl.read_csv(ml_100k / "interactions.csv.gz")
    assert rows.columns == HEADER
    by_time = rows.sort("timestamp", maintain_order=True).select("user_id", "item_id", "rating", "timestamp")
    by_time.write_csv(tmp_path / "u.data", separator="\t", include_header=False)
    rows.write_parquet(tmp_path / "a.parquet")
    rows.reverse().sort("timestamp", descending=True, maintain_order=True).reverse().rename(
        {
            "user_id": "user_id:token",
            "item_id": "item_id:token",
            "timestamp": "timestamp:float",
            "rating": "rating:float",
        }
    ).write_csv(tmp_path / "ml-100k.inter", separator="\t")
    files = (ml_100k / "interactions.csv.gz", tmp_path / "u.data", tmp_path / "a.parquet", tmp_path / "ml-100k.inter")
    for path in files:
        found = read(path, columns={} if path.suffix in (".data", ".inter") else {"weight": "rating"})
        assert fingerprint(found) == fingerprint(wanted), path
        for name in ARRAYS:
            assert getattr(found, name).dtype == getattr(wanted, name).dtype
            assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), (path, name)
        assert found.catalogue.ids.tobytes() == wanted.catalogue.ids.tobytes() and not found.relative


@pytest.mark.parametrize(
    ("name", "counts", "training"),
    [
        ("ml-100k", (943, 1_682, 100_000), None),
        ("ml-1m", (6_040, 3_416, 999_611), None),
        ("beauty-5core", (22_363, 12_101, 198_502), None),
        ("sports-5core", (35_598, 18_357, 296_337), None),
        ("beauty-bert4rec", (40_226, 54_542, 353_962), None),
        ("diginetica", (202_633, 43_097, 982_961), 186_670),
        ("yoochoose1_64", (131_491, 17_745, 557_248), 116_167),
        ("rsc15-100k", (21_210, 2_933, 83_846), 17_794),
        ("30music-sample10", (14_262, 9_999, 343_183), None),
    ],
)
def test_real_data_has_its_published_counts(real_data, name, counts, training):
    data = read(real_data(name))
    assert (len(data.users), len(data.catalogue.ids), len(data.items)) == counts
    assert data.offsets[0] == 0 and data.offsets[-1] == len(data.items)
    assert data.train_sessions == training
    if name == "30music-sample10":
        assert len(data.sessions.ids) == 37_877 and (data.weights.min(), data.weights.max()) == (11, 799)
        assert len(np.unique(data.sessions.ids)) == 37_877 and not data.relative
        assert (data.times.min(), data.times.max()) == (1_390_209_882_000_000, 1_421_745_585_000_000)
    if name == "beauty-5core":
        assert data.relative
    if name == "ml-1m":
        assert all(data.catalogue.titles) and all(data.catalogue.genres)


def test_a_name_with_brackets_is_no_glob_of_another_file(tmp_path):
    for name, user in (("part1.parquet", 1), ("part[1].parquet", 9)):
        pl.DataFrame({"user": [user, user], "item": [1, 2]}).write_parquet(tmp_path / name)
    assert read(tmp_path / "part[1].parquet").users.tolist() == [9]


def test_a_stream_of_arrow_is_read_as_its_file(tmp_path):
    frame = pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1]})
    frame.write_ipc(tmp_path / "file.arrow")
    frame.write_ipc_stream(tmp_path / "stream.arrow")
    assert fingerprint(read(tmp_path / "file.arrow")) == fingerprint(read(tmp_path / "stream.arrow"))


def test_one_file_twice_is_refused_and_shards_are_said(tmp_path):
    text = b"user,item\n1,1\n1,2\n"
    (tmp_path / "a.csv").write_bytes(text)
    (tmp_path / "b.csv").write_bytes(text)
    said = []
    assert len(read(tmp_path, say=said.append).items) == 4
    assert "2 files: a.csv, b.csv" in said
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    with pytest.raises(UserError, match=r"a\.csv and .*a\.csv\.gz are the same file twice: remove one"):
        read(tmp_path)


def test_a_weight_is_read_where_it_is_named_and_said_where_it_is_not(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,score\n1,1,good\n1,2,bad\n")
    with pytest.raises(UserError, match="score is not a finite number"):
        read(tmp_path / "log.csv", columns={"weight": "score"})
    for columns, note in (({}, "; score is not read: --weight score"), ({"weight": ""}, ""), ({"weight": "none"}, "")):
        said = []
        assert read(tmp_path / "log.csv", columns=columns, say=said.append).weights is None
        assert said[0].startswith(f"columns: user = user, item = item{note}")
        assert ("not read" in said[0]) == bool(note)


def test_numbered_columns_do_not_make_a_row_of_a_header(tmp_path):
    (tmp_path / "log.csv").write_text("who,what\n1,1\n1,2\n")
    with pytest.raises(UserError, match=r"line 1: 'who,what': looks like a header"):
        read(tmp_path / "log.csv", columns={"user": "1", "item": "2"})
    assert read(tmp_path / "log.csv", columns={"user": "who", "item": "what"}).catalogue.ids.tolist() == [1, 2]


def test_ratings_of_something_else_are_a_table(tmp_path):
    (tmp_path / "ratings.csv").write_text("user_id,book_id,rating\n1,5,3\n1,6,4\n")
    assert read(tmp_path).catalogue.ids.tolist() == [5, 6]


def test_a_file_without_line_ends_is_refused_at_once(tmp_path):
    (tmp_path / "log.json").write_text("[" + '{"user": 1, "item": 2},' * 100_000 + "]")
    with pytest.raises(UserError, match="no line end in 1,048,576 bytes: one row per line is expected"):
        read(tmp_path / "log.json")


def test_items_without_a_row_in_the_table_of_items_are_counted(tmp_path):
    (tmp_path / "sequences.txt").write_text("1 5 6 7\n")
    (tmp_path / "items.csv").write_text("item_id,title\ni5,Five\n6,Six\n")
    said = []
    assert read(tmp_path, say=said.append).catalogue.titles == ["", "Six", ""]
    assert said[1:] == ["2 of 3 items have no row in the table of items, such as '5'"]


def test_a_prepared_folder_is_as_it_was_read(tmp_path):
    path = next(way for way in WAYS if way.name == "prepared").write(tmp_path, SPECIMENS)
    for options in ({"ids": "text"}, {"keep_na_ids": True}, {"time_format": "%Y"}, {"only": ["user=1"]}):
        with pytest.raises(UserError, match="read as prepared, which has no columns to read this way: leave out --"):
            read(path, **options)
    with pytest.raises(UserError, match="no ids 'float': choose one of integer, text"):
        read(path, ids="float")

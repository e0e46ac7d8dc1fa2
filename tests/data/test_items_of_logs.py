"""The table of items that is beside a log, or is named with it, for logs of every kind."""

import io

import numpy as np
import polars as pl
import pytest
from table_writers import WRITERS

from jaxrec.data.reading import read
from jaxrec.data.values.spellings import MISSING
from jaxrec.system.errors import UserError

LOG = "user,sku,time\n1,5,1\n1,6,2\n2,6,3\n2,5,4\n"


SIX = "sku,title,price\n6,Six,6.5\n5,Five,5.5\n"


def put_log(folder, *parts):
    for part in parts or ("log.csv",):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text(LOG)


@pytest.mark.parametrize("table", ["items.csv", "items.csv.gz", "items.tsv", "items.parquet", "items.jsonl"])
@pytest.mark.parametrize("named", ["log.csv", "", "lo*.csv", "*.csv"])
def test_the_table_beside_is_read_however_the_log_is_named(tmp_path, table, named):
    put_log(tmp_path)
    WRITERS[table](pl.read_csv(io.StringIO(SIX)).with_columns(since=None), tmp_path / table)
    said = []
    data = read(tmp_path / named, columns={"item": "sku"}, say=said.append)
    assert data.catalogue.titles == ["Five", "Six"] and data.catalogue.about["price"].to_list() == [5.5, 6.5]
    assert len(data.items) == 4 and any(line.startswith(f"items: {tmp_path / table}: title (text)") for line in said)
    assert read(tmp_path / named, columns={"item": "sku"}, items="").catalogue.about is None


def test_a_table_that_is_named_is_read_wherever_it_lies_and_for_any_format(tmp_path):
    put_log(tmp_path / "logs")
    (tmp_path / "logs" / "items.csv").write_text("sku,title\n5,Wrong\n")
    (tmp_path / "pairs.txt").write_text("1 5\n1 6\n")
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\n1\t5\n1\t6\n")
    (tmp_path / "a.item").write_text("item_id:token\ttitle:token\n5\tWrong\n")
    (table := tmp_path / "products.txt").write_text(SIX.replace("sku", "item"))
    for name in ("logs/log.csv", "pairs.txt", "a.inter"):
        columns = {"item": "sku"} if name == "logs/log.csv" else {}
        assert read(tmp_path / name, columns=columns, items=str(table)).catalogue.titles == ["Five", "Six"]
    assert read(tmp_path / "pairs.txt").catalogue.titles is None
    (tmp_path / "items.csv").write_text(SIX.replace("sku", "id"))
    assert read(tmp_path / "pairs.txt").catalogue.titles == ["Five", "Six"]


def test_shards_share_the_table_above_them(tmp_path):
    put_log(tmp_path, "day=1/log.csv", "day=2/more.csv")
    (tmp_path / "items.csv").write_text(SIX)
    assert read(tmp_path / "*/*.csv", columns={"item": "sku"}).catalogue.titles == ["Five", "Six"]


def test_shards_with_tables_of_their_own_are_refused_and_the_cures_read_them(tmp_path):
    put_log(tmp_path, "day=1/log.csv", "day=2/log.csv")
    for day, table in (("1", "sku,title\n5,Five\n"), ("2", "sku,title\n6,Six\n")):
        (tmp_path / f"day={day}" / "items.csv").write_text(table)
    cures = r"name one with prepare's --items, or join them into one for it; --items '' ignores them all"
    for named in ("", "*/log.csv"):
        with pytest.raises(UserError, match=rf"day=1/items.csv, .*day=2/items.csv: two tables of items: {cures}"):
            read(tmp_path / named, columns={"item": "sku"})
    assert read(tmp_path, columns={"item": "sku"}, items="").catalogue.about is None
    (joined := tmp_path / "joined.csv").write_text("sku,title\n5,Five\n6,Six\n")
    found = read(tmp_path / "*/log.csv", columns={"item": "sku"}, items=str(joined))
    assert found.catalogue.titles == ["Five", "Six"]
    joined.replace(tmp_path / "items.csv")
    assert read(tmp_path, columns={"item": "sku"}).catalogue.titles == ["Five", "Six"]


def test_copies_of_a_table_are_one(tmp_path):
    put_log(tmp_path, "day=1/log.csv", "day=2/log.csv", "day=3/log.csv")
    for day in (2, 3):
        (tmp_path / f"day={day}" / "items.csv").write_text(SIX)
    assert read(tmp_path, columns={"item": "sku"}).catalogue.titles == ["Five", "Six"]


def test_items_without_a_row_are_said_with_an_example(tmp_path):
    put_log(tmp_path)
    for table, said in (
        (
            "sku,title\n05,Five\n06,Six\n",
            "2 of 2 items have no row in the table of items, such as '5', where the table has '05'",
        ),
        ("sku,title\n5,Five\n", "1 of 2 items have no row in the table of items, such as '6'"),
    ):
        (tmp_path / "items.csv").write_text(table)
        found = []
        read(tmp_path / "log.csv", columns={"item": "sku"}, say=found.append)
        assert said in found


@pytest.mark.parametrize("word", MISSING)
def test_numbers_stay_so_beside_words_for_missing_values(tmp_path, word):
    put_log(tmp_path)
    (tmp_path / "items.csv").write_text(f"sku,price\n5,3\n6,{word}\n")
    assert read(tmp_path / "log.csv", columns={"item": "sku"}).catalogue.about["price"].to_list() == [3, None]


@pytest.mark.parametrize("role", ["item", "user"])
def test_fields_of_a_table_that_span_lines_are_said_and_the_cure_reads_them(tmp_path, role):
    (tmp_path / "log.csv").write_text("user,item\n5,5\n5,6\n6,5\n")
    for text, lines in (('"Heroes\n6\tLow"', 1), ('"""Heroes"\n6\tLow', 0)):
        (tmp_path / f"{role}s.tsv").write_text(f"{role}\ttitle\n5\t{text}\n")
        said = []
        read(tmp_path / "log.csv", say=said.append)
        assert sum("quoted fields that span several lines: 1, such as " in each for each in said) == lines
        assert sum("have no row" in each for each in said) == lines


TABLES = ",sku,title\n0,5,Five\n1,6,Six\n", "sku,title,\n5,Five,\n6,Six,\n", ",,sku,title\n0,0,5,Five\n1,1,6,Six\n"


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_read_with_a_column_without_a_name(tmp_path, table):
    put_log(tmp_path)
    (tmp_path / "items.csv").write_text(table)  # an index from pandas, or a separator at the ends of lines
    (tmp_path / "users.csv").write_text(",user_id,age\n0,1,20\n1,2,30\n")
    said = []
    data = read(tmp_path / "log.csv", columns={"item": "sku"}, say=said.append)
    titles = dict(zip(data.catalogue.ids.tolist(), data.catalogue.titles, strict=True))
    assert (titles[5], titles[6]) == ("Five", "Six")
    assert data.catalogue.about.columns == ["title"] and data.user_columns.about.columns == ["age"]
    assert sum("columns without a name are left out" in each for each in said) == 2


@pytest.mark.parametrize(
    ("files", "given", "said"),
    [
        ({"items.csv": SIX, "items.tsv": SIX}, None, "two tables of items: name one with prepare's --items, or remove"),
        ({}, "nowhere.csv", "--items .*nowhere.csv: no such file: name a table of items"),
        ({"sub/x": ""}, "sub", "--items .*sub: a folder"),
        (
            {"p.csv": "sku,title\n05,Five\n"},
            "p.csv",
            "none of its ids is an item of the log; it has '05', where the log has '5'",
        ),
        ({"p.parquet": "nothing"}, "p.parquet", "p.parquet: cannot be read"),
        ({"p.jsonl": "nothing"}, "p.jsonl", "p.jsonl: not JSON lines"),
        ({"p.csv": "sku,training_count\n5,1\n"}, "p.csv", "the catalogue keeps its own training_count: rename"),
        ({"p.csv": "sku,x\n5,1\n,2\n"}, "p.csv", "line 3: ',2': no item id: fill it in"),
        ({"p.jsonl": '{"sku": 5}\n{"sku": 6.5}\n'}, "p.jsonl", "column sku holds floats"),
        ({"p.jsonl": '{"sku": 5}\n{"sku": 5, "x": 1}\n'}, "p.jsonl", "row 2: '5,1': item 5 has row 1 already"),
        ({"p.jsonl": '{"sku": 5}\n{"x": 5}\n'}, "p.jsonl", "row 2: ',5': no item id"),
        ({"p.jsonl": '{"sku": [5]}\n'}, "p.jsonl", r"column sku holds List"),
        ({"p.jsonl": '{"sku": 5}\n{"sku": 6, "x": "\\ud83d!"}\n'}, "p.jsonl", r"line 2: .*ud83d is half a character"),
        ({"p.jsonl": '{"sku": 5, "x": "\\\\\\ude00"}\n'}, "p.jsonl", "half a character"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, files, given, said):
    put_log(tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read(tmp_path / "log.csv", columns={"item": "sku"}, items=given and str(tmp_path / given))


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


SPACED = {  # case -> (a log's rows, a table of its items, {id in the log: title})
    "spaces are parts of ids": ("u,x \nu,x\n", "item,title\nx ,One\nx,Two\n", {"x ": "One", "x": "Two"}),
    "on both sides": ("u,x \nu,y\n", "item,title\nx , One \ny,Two\n", {"x ": "One", "y": "Two"}),
    "in quotes": ('u,"x "\nu,y\n', 'title,item\nOne,"x "\nTwo,y\n', {"x ": "One", "y": "Two"}),
    "on one side": ("u,x \nu,y\n", "item,title\nx,One\ny,Two\n", {"x ": "", "y": "Two"}),
    "a table that is padded": ("u,x\nu,y\n", "item, title\nx , One\ny , Two\n", {"x": "One", "y": "Two"}),
    "padded below sep=": ("u,x\nu,y\n", "sep=;\nitem ;title\nx ;One\ny ;Two\n", {"x": "One", "y": "Two"}),
    "below SEP=;;": ("u,x\nu,y\n", "SEP=;;\nitem;title\nx;One\ny;Two\n", {"x": "One", "y": "Two"}),
    "below sep=^": ("u,x\nu,y\n", "sep=^\nitem^title\nx^One\ny^Two\n", {"x": "One", "y": "Two"}),
    "integers": ("u,1\nu,2\n", "item,title\n1 ,One\n 2.0,Two\n", {1: "One", 2: "Two"}),
}


@pytest.mark.parametrize(("log", "table", "wanted"), SPACED.values(), ids=SPACED)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_items_are_matched_by_the_text_that_the_log_has(tmp_path, log, table, wanted, separator):
    write(tmp_path, "items.csv", table.replace(",", separator))
    found = read(write(tmp_path, "log.csv", f"user,item\n{log}")).catalogue
    assert dict(zip(found.ids.tolist(), found.titles, strict=True)) == wanted


@pytest.mark.parametrize(
    ("rows", "table", "wanted"),
    [(["x ", "x"], ["x ", "x"], {"x ": "0", "x": "1"}), ("12", ["1 ", "2.0"], {1: "0", 2: "1"})],
)
def test_recbole_s_items_are_matched_so_too(tmp_path, rows, table, wanted):
    head = "item_id:token\ttitle:token\n"
    write(tmp_path, "a.item", head + "".join(f"{id}\t{number}\n" for number, id in enumerate(table)))
    log = "user_id:token\titem_id:token\n" + "".join(f"u\t{id}\n" for id in rows)
    found = read(write(tmp_path, "a.inter", log)).catalogue
    assert dict(zip(found.ids.tolist(), found.titles, strict=True)) == wanted


def test_vectors_beside_a_table_whose_rows_repeat_go_with_its_rows(tmp_path):
    table = write(tmp_path, "items.csv", "item_id,title\n5,Five\n6,Six\n5,Five\n")
    log = write(tmp_path, "log.csv", "user,item_id\n1,5\n1,6\n")
    vectors = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    np.save(tmp_path / "items.emb.npy", vectors)
    assert read(log, items=str(table)).catalogue.about["emb"].to_list() == [[1, 2], [3, 4]]
    np.save(tmp_path / "items.emb.npy", np.add(vectors, [[0], [0], [1]]))
    with pytest.raises(UserError, match=r"items\.csv: item 5 has rows with different vectors beside it: keep one"):
        read(log, items=str(table))


def test_objects_of_a_repeated_item_are_refused_in_words():
    log = pl.DataFrame({"user": [1, 1], "item_id": ["a", "b"]})
    objects = pl.Series("x", [object(), object(), object()], dtype=pl.Object)
    with pytest.raises(UserError, match=r"items, row 3: .*item a has row 1 already"):
        read(log, items=pl.DataFrame({"item_id": ["a", "b", "a"]}).with_columns(objects))


def test_a_log_is_no_table_of_its_items(tmp_path):
    (tmp_path / "items.csv").write_text("user,item,shop\n1,5,a\n1,6,b\n")
    assert read(tmp_path / "items.csv").catalogue.about is None

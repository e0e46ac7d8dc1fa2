"""Laws of data.attributes.items: what a table says about an item is kept with that item; a broken table is reported."""

import csv
import datetime
import io
import re
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st
from table_writers import FRAME, WRITERS

from jaxrec.data.attributes import items
from jaxrec.data.files.text import File
from jaxrec.data.interactions import Catalogue, from_sequences
from jaxrec.data.reading import read
from jaxrec.data.values.typed import MISSING, typed
from jaxrec.system.errors import UserError

titles = st.text(st.sampled_from('ab,"\n é'), max_size=6).map(str.strip)
GENRES = items.GENRE_FLAGS.split()


def write(folder, name, text, encoding="utf-8") -> File:
    path = Path(folder) / name
    path.write_bytes(text.encode(encoding))
    return File(path)


@given(
    st.dictionaries(st.integers(1, 9), st.tuples(titles, titles, titles), max_size=9),
    st.lists(st.integers(1, 9), min_size=1, max_size=9),
    st.permutations(["item_id", "title", "genres", "year"]),
)
def test_a_table_comes_back_beside_its_items(known, history, header):
    rows = [dict(zip(("item_id", "title", "genres", "year"), (item, *row), strict=True)) for item, row in known.items()]
    out = io.StringIO()
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        about = items.table(write(folder, "items.csv", out.getvalue()))
    data = from_sequences([history])
    catalogue = items.describe(data, about).catalogue
    nothing = (None, None, None)
    wanted = [known.get(item, nothing) for item in catalogue.ids.tolist()]
    assert catalogue.ids.tolist() == data.catalogue.ids.tolist()
    assert catalogue.about.select("title", "genres", "year").rows() == wanted
    assert catalogue.titles == [row[0] or "" for row in wanted] and catalogue.genres == [row[1] or "" for row in wanted]


def test_ids_that_are_text_are_found_too(tmp_path):
    about = items.table(write(tmp_path, "items.csv", "asin,Name\n007,Bond\nB1,Box\n"))
    assert items.describe(from_sequences([["B1", "7", "007"]]), about).catalogue.titles == ["Bond", "", "Box"]


def test_a_table_of_ids_alone_says_nothing(tmp_path):
    about = items.table(write(tmp_path, "items.csv", "item_id\n1\n2\n"))
    assert items.describe(from_sequences([[1, 2]]), about).catalogue.about is None


@pytest.mark.parametrize(
    ("header", "key", "titles", "genres"),
    [
        ("item_id,movie_title,class", "item_id", "movie_title", "class"),
        ("Name,movieId,Category", "movieId", "Name", "Category"),
        ("item_id,name,title,genre,genres", "item_id", "title", "genres"),
        ("id,item name", "id", "item name", None),
        ("id,item_id,title", None, None, None),
    ],
)
def test_titles_and_genres_are_found_by_many_names_and_keep_their_own(tmp_path, header, key, titles, genres):
    names = header.split(",")
    row = ",".join("1" if name == key else f"the {name}" for name in names)
    file = write(tmp_path, "items.csv", f"{header}\n{row}\n")
    if key is None:  # the catalogue itself calls its ids id
        with pytest.raises(UserError, match="item_id and id could both be the ids: rename the column id"):
            items.table(file)
        return
    about = items.table(file)
    assert about.columns == ["id" if name == key else name for name in names]
    catalogue = items.describe(from_sequences([[1, 2]]), about).catalogue
    assert catalogue.titles == [f"the {titles}", ""]
    assert catalogue.genres == (genres and [f"the {genres}", ""])


@pytest.mark.parametrize("genres", ["genres", "genre", "class"])
def test_the_words_of_recbole_s_genres_are_apart(tmp_path, genres):
    text = f"item_id:token\tmovie_title:token_seq\t{genres}:token_seq\n1\tToy Story\tAnimation Comedy\n\n2\tHeat\t\n"
    found = items.table(write(tmp_path, "a.item", text))
    assert found.rows() == [("1", "Toy Story", "Animation|Comedy"), ("2", "Heat", "")]
    assert found.columns == ["id", "movie_title", genres]
    text = f"item_id:token\t{genres}:token\n1\tFilm Noir\n"
    assert items.table(write(tmp_path, "a.item", text)).rows() == [("1", "Film Noir")]


VALUES = {  # each list of one kind, as written in a CSV
    pl.Int64: st.integers(-(2**63), 2**63 - 1).map(lambda value: (value, str(value))),
    pl.Float64: st.floats(-1e15, 1e15).map(lambda value: (value, repr(value))),
    pl.Boolean: st.tuples(
        st.booleans(), st.sampled_from([str, lambda v: str(v).lower(), lambda v: str(v).upper()])
    ).map(lambda pair: (pair[0], pair[1](pair[0]))),
    pl.Date: st.dates(datetime.date(1000, 1, 1)).map(lambda value: (value, value.isoformat())),
    pl.Datetime: st.datetimes(datetime.datetime(1000, 1, 1)).map(lambda value: (value, value.isoformat(" "))),
}
ODD = ["007", "12E4", "+5", "1 000", "9" * 20, "-0", "1_000", "0x1F", "1,5", "yes", "2020-13-45", "2020-02-30 25:00:00"]


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_a_column_of_one_kind_has_its_values_and_one_odd_text_leaves_it_text(kind, data):
    found = data.draw(st.lists(VALUES[kind] | st.sampled_from([(None, word) for word in MISSING]), min_size=1))
    values, texts = [value for value, _ in found], [text for _, text in found]
    got = typed(pl.Series(texts))
    if all(value is None for value in values):
        assert got.to_list() == texts
        return
    if kind is pl.Float64 and all(text in MISSING or text.lstrip("-").isdecimal() for text in texts):
        return  # repr has no decimal point from 1e15 on
    assert got.dtype == kind and got.to_list() == values
    odd = data.draw(st.sampled_from(ODD))
    assert typed(pl.Series([*texts, odd])).to_list() == [*texts, odd]


def test_integers_that_floats_would_round_stay_text_beside_floats():
    texts = ["1.5", "9007199254740993"]
    assert typed(pl.Series(texts)).to_list() == texts
    assert typed(pl.Series(["1.5", "9007199254740991"])).to_list() == [1.5, 9007199254740991.0]
    assert typed(pl.Series(["1.5", "1e-05", "2.5E+3", ".5"])).to_list() == [1.5, 1e-05, 2500.0, 0.5]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("ids", [pl.Int64, pl.String, pl.Float64])
def test_a_table_of_any_format_keeps_names_types_and_values(tmp_path, name, ids):
    file = File(tmp_path / name)
    text = not name.endswith((".parquet", ".arrow", ".jsonl"))
    frame = FRAME if text and ids is pl.Float64 else FRAME.with_columns(pl.col("sku").cast(ids))
    WRITERS[name](frame, file.path)
    about = items.describe(from_sequences([[1, 2, 3, 4]]), items.table(file, "sku")).catalogue.about
    wanted = FRAME.drop("sku", *(["since"] if name.endswith(".jsonl") else []))
    assert about.schema == wanted.schema
    assert about.rows() == [wanted.row(0), (None,) * len(wanted.columns), wanted.row(1), wanted.row(2)]


def test_whole_characters_of_json_come_back(tmp_path):
    file = write(tmp_path, "items.jsonl", '{"item_id": "\\ud83d\\ude00", "name": "\\\\ud83d \\u00e9"}\n')
    assert items.table(file).rows() == [("😀", "\\ud83d é")]


def test_lists_stay_lists_and_titles_are_text(tmp_path):
    file = File(tmp_path / "items.parquet")
    frame = pl.DataFrame(
        {"asin": ["7", "07"], "name": [1984, 7], "categories": [["a", "b"], None], "nothing": [None] * 2}
    )
    frame.write_parquet(file.path)
    catalogue = items.describe(from_sequences([["7", "07"]]), items.table(file)).catalogue
    catalogue.save(tmp_path / "catalogue.parquet")
    back = Catalogue.load(tmp_path / "catalogue.parquet")
    assert back.about.equals(catalogue.about) and back.about.schema == frame.drop("asin").schema
    assert dict(zip(back.ids.tolist(), zip(back.titles, back.genres, strict=True), strict=True)) == {
        "7": ("1984", "a|b"),
        "07": ("7", ""),
    }
    csv_file = write(tmp_path, "items.csv", "item_id,Title,code\n7,1.10,1.10\n07,1.1,1.5\n")
    catalogue = items.describe(from_sequences([["7", "07"]]), items.table(csv_file)).catalogue
    assert sorted(catalogue.titles) == ["1.1", "1.10"] and catalogue.about["code"].dtype == pl.Float64


@pytest.mark.parametrize(
    ("column", "header", "wanted"),
    [
        ("sku", "item_id,sku", "sku"),
        (None, "sku,item_id", "item_id"),
        (None, "asin,item_id", "item_id"),
        ("events.aid", "item_id,aid", "aid"),
        ("product", "item_id,title", "item_id"),
        ("product", "title,ITEM ID", "ITEM ID"),
        ("product", "id,x", "id"),
        ("product", "skus,ids", "no column product, nor item_id: there are skus, ids: rename"),
        ("item_id", "movie;title", r"line 1: no column item_id: there are movie, title: .* with --items ''"),
        (None, "code,text", "no column item_id: there are code, text: rename"),
    ],
)
def test_the_column_of_ids_is_that_of_the_log_or_known_by_its_name(tmp_path, column, header, wanted):
    row = ",".join(f"<{name}>" for name in header.split(",")).replace(";", ">;<")
    file = write(tmp_path, "items.csv", f"{header}\n{row}\n")
    if "no column" in wanted:
        with pytest.raises(UserError, match=wanted):
            items.table(file, column)
    else:
        assert items.table(file, column)["id"].to_list() == [f"<{wanted}>"]


MOVIES = [("2", "Amélie (2001)", "Comedy|Romance"), ("5", "Yes, 1 | 2", "Film-Noir"), ("6", "Nothing", "")]


def movies(kind):
    """MOVIES as MovieLens writes them: file name, text and encoding."""
    if kind == "movies.csv":
        rows = ['{},"{}",{}\n'.format(*row) for row in MOVIES]
        return "movieId,title,genres\n" + "".join(rows), "utf-8"
    if kind == "movies.dat":
        return "".join("::".join(row) + "\n" for row in MOVIES), "latin-1"
    flags = {row[0]: "|".join(str(int(genre in row[2].split("|"))) for genre in GENRES) for row in MOVIES}
    return "".join(
        f"{id}|{title.replace(' | ', ' ')}|1-Jan-2001||http://x|{flags[id]}\n" for id, title, _ in MOVIES
    ), "latin-1"


@pytest.mark.parametrize("kind", ["movies.csv", "movies.dat", "u.item"])
@pytest.mark.parametrize("zipped", [False, True])
def test_movielens_names_its_films(tmp_path, kind, zipped):
    text, encoding = movies(kind)
    file = File(write(tmp_path, kind, text, encoding).path.with_name("ratings"))
    if zipped:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(tmp_path / kind, f"ml/{kind}")
        file = File(tmp_path / "a.zip", "ml/ratings")
    wanted = [tuple(cell.replace(" | ", " ") for cell in row) for row in MOVIES] if kind == "u.item" else MOVIES
    assert items.movielens(file).rows() == wanted
    assert items.movielens(File(tmp_path / "elsewhere" / "ratings")) is None


@pytest.mark.parametrize(
    ("name", "text", "line", "cure"),
    [
        ("items.csv", "code,title\n1,One\n", 1, "no column item_id: there are code, title"),
        ("items.csv", "item_id,title\n1,One\n2,Two\n1,Uno\n", 4, "'1,Uno': item 1 has line 2 already: keep one"),
        (
            "items.csv",
            "item_id,title\n1,One\n1,Uno\n2,a\n2,b\n1,One\n",
            3,
            "already: keep one of them, and likewise for the others",
        ),
        ("items.csv", "item_id,title\n1,One\n2,Two, too\n", 3, "'2,Two, too': 3 fields where the header has 2"),
        ("items.csv", 'item_id,title\n1,"One\nand\nmore"\n\n1,Two\n', 6, "item 1 has line 2 already"),
        ("items.csv", 'item_id,title\n1,One\n2,"Two\n', 3, "not CSV"),
        ("items.csv", "item_id,id,title\n1,2,One\n", 1, "item_id and id could both be the ids"),
        ("items.csv", "item_id,year,year\n1,2,3\n", 1, "two columns are year"),
        ("items.csv", "", 1, "empty"),
        ("items.csv", "\n\n", 1, "empty"),
        ("a.item", "", 1, "empty"),
        ("a.item", "\n \n", 1, "empty"),
        ("a.item", "title:token\n1\n", 1, "no column item_id"),
        ("a.item", "item_id:token\ttitle:token\n1\tOne\n2\n", 3, "1 fields where the header has 2"),
        ("u.item", "1|One\n", 1, "2 fields where 6 or more are expected"),
        ("u.item", "1|One|||x|1\n\n1|Two|||x|1\n", 3, "item 1 has line 1 already"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, name, text, line, cure):
    file = write(tmp_path, name, text)
    read = {"items.csv": items.table, "a.item": items.table, "u.item": items.movielens}[name]
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}, line {line}: .*{re.escape(cure)}"):
        read(file)


@pytest.mark.parametrize("name", ["items.csv", "items.parquet", "items.jsonl", "a.item", "u.item"])
def test_a_row_that_repeats_another_in_every_column_is_there_once(tmp_path, name):
    rows = [("1", "One"), ("2", "Two"), ("1", "One")]
    frame = pl.DataFrame(rows, schema=["item_id", "title"], orient="row")
    lines = {"items.csv": "item_id,title\n", "a.item": "item_id:token\ttitle:token\n"}
    cells = {"items.csv": "{},{}\n", "a.item": "{}\t{}\n", "u.item": "{}|{}|||x|1\n"}
    if name == "items.parquet":
        frame.with_columns(tags=pl.lit([1, 2])).write_parquet(tmp_path / name)
    elif name == "items.jsonl":
        frame.with_columns(vector=pl.lit([0.5, float("nan")])).write_ndjson(tmp_path / name)
    else:
        write(tmp_path, name, lines.get(name, "") + "".join(cells[name].format(*row) for row in rows))
    found = items.movielens(File(tmp_path / "u.data")) if name == "u.item" else items.table(File(tmp_path / name))
    assert found.select("id", "title").rows() == rows[:2]


def test_a_table_beside_the_log_that_is_none_of_its_items_is_left_alone_where_that_is_said(tmp_path):
    log = write(tmp_path, "log.csv", "user,item_id,time\n1,1,7\n1,2,8\n").path
    write(tmp_path, "items.csv", "movie;title\n1;One\n")
    with pytest.raises(UserError, match=r"items\.csv, line 1: no column item_id: there are movie, title: rename"):
        read(log)
    assert read(log, items="").catalogue.about is None
    write(tmp_path, "items.csv", "item_id;title\n1;One\n2;Two\n")
    assert read(log).catalogue.about["title"].to_list() == ["One", "Two"]


def test_what_is_known_survives_the_catalogue(tmp_path):
    about = items.table(write(tmp_path, "items.csv", "item_id,title\n1,One\n2,Two\n"))
    catalogue = items.describe(from_sequences([[1, 2]]), about).catalogue
    catalogue.save(tmp_path / "catalogue.parquet")
    assert type(catalogue).load(tmp_path / "catalogue.parquet").about.equals(pl.DataFrame({"title": ["One", "Two"]}))


def test_ids_as_floats_are_the_integers_of_the_log(tmp_path):
    log = write(tmp_path, "log.csv", "user,item,time\n1,1,7\n1,2,8\n").path
    table = write(tmp_path, "about.csv", "item,title\n1.0,One\n2.,Two\n").path
    assert read(log, items=str(table)).catalogue.about["title"].to_list() == ["One", "Two"]
    write(tmp_path, "about.csv", "item,title\n1.0,One\n1,Uno\n")
    with pytest.raises(UserError, match=r"about\.csv: item 1 has two rows, spelled '1\.0', '1': keep one"):
        read(log, items=str(table))


def test_a_table_without_a_header_is_told_to_have_one(tmp_path):
    with pytest.raises(UserError, match="there are 1, 24, M: if the first row is no header, put one above it"):
        items.table(write(tmp_path, "users.csv", "1,24,M\n2,53,F\n"), role="user")


def test_dicts_of_python_are_read_as_json_is(tmp_path):
    path = write(
        tmp_path, "items.jsonl", "{'id': 'a', 'title': u'It\\'s', 'price': None}\n{'id': 'b', 'price': 2.5}\n"
    ).path
    assert items.table(File(path)).to_dict(as_series=False) == {
        "id": ["a", "b"],
        "title": ["It's", None],
        "price": [None, 2.5],
    }
    path.write_text("{'id': open('a')}\n")
    with pytest.raises(UserError, match=r"items\.jsonl, line 1: .*neither JSON nor a Python dict"):
        items.table(File(path))


def test_columns_of_empty_records_are_left_out_and_said(tmp_path):
    said = []
    log = write(tmp_path, "log.csv", "user,item\n1,a\n1,b\n").path
    write(
        tmp_path,
        "items.jsonl",
        '{"item": "a", "details": {}, "kind": "x"}\n{"item": "b", "details": {}, "kind": "y"}\n',
    )
    assert read(log, say=said.append).catalogue.about.columns == ["kind"]
    assert any(line.endswith("items.jsonl: columns with empty records are left out: details") for line in said)


def test_recbole_s_users_are_read_beside_the_log(tmp_path):
    write(tmp_path, "a.user", "user_id:token\tage:token\n1\t24\n2\t\n")
    found = read(write(tmp_path, "a.inter", "user_id:token\titem_id:token\n1\t5\n2\t6\n").path)
    assert found.user_columns.about.to_dict(as_series=False) == {"age": [24, None]}

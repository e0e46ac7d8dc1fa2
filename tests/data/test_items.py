"""Laws of jaxrec.data.items: what a table says of an item stands beside that item; a broken table is named."""

import csv
import io
import re
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data import items
from jaxrec.data.interactions import from_sequences
from jaxrec.data.text import File
from jaxrec.errors import UserError

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
    ("header", "wanted"),
    [
        ("item_id,movie_title,class", ["id", "title", "genres"]),
        ("Name,movieId,Category", ["title", "id", "genres"]),
        ("item_id,title,name,genres,genre", ["id", "title", "name", "genres", "genre"]),
    ],
)
def test_titles_and_genres_have_many_names(tmp_path, header, wanted):
    assert items.table(write(tmp_path, "items.csv", f"{header}\n")).columns == wanted


@pytest.mark.parametrize("genres", ["genres", "genre", "class"])
def test_the_words_of_recbole_s_genres_are_apart(tmp_path, genres):
    text = f"item_id:token\tmovie_title:token_seq\t{genres}:token_seq\n1\tToy Story\tAnimation Comedy\n\n2\tHeat\t\n"
    found = items.recbole(write(tmp_path, "a.item", text))
    assert found.rows() == [("1", "Toy Story", "Animation|Comedy"), ("2", "Heat", "")]
    assert found.columns == ["id", "title", "genres"]
    text = f"item_id:token\t{genres}:token\n1\tFilm Noir\n"
    assert items.recbole(write(tmp_path, "a.item", text)).rows() == [("1", "Film Noir")]


MOVIES = [("2", "Amélie (2001)", "Comedy|Romance"), ("5", "Yes, 1 | 2", "Film-Noir"), ("6", "Nothing", "")]


def movies(kind):
    """MOVIES as MovieLens writes them: the name, the text, its encoding."""
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
        ("items.csv", "id,title\n1,One\n", 1, "no column item_id"),
        ("items.csv", "item_id,title\n1,One\n2,Two\n1,Uno\n", 4, "'1,Uno': item 1 has line 2 already: keep one"),
        ("items.csv", "item_id,title\n1,One\n2,Two, too\n", 3, "'2,Two, too': 3 fields where the header has 2"),
        ("items.csv", 'item_id,title\n1,"One\nand\nmore"\n\n1,Two\n', 6, "item 1 has line 2 already"),
        ("items.csv", 'item_id,title\n1,One\n2,"Two\n', 3, "not CSV"),
        ("items.csv", "item_id,id,title\n1,2,One\n", 1, "two columns are id"),
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
    read = {"items.csv": items.table, "a.item": items.recbole, "u.item": items.movielens}[name]
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}, line {line}: .*{re.escape(cure)}"):
        read(file)


def test_what_is_known_survives_the_catalogue(tmp_path):
    about = items.table(write(tmp_path, "items.csv", "item_id,title\n1,One\n2,Two\n"))
    catalogue = items.describe(from_sequences([[1, 2]]), about).catalogue
    catalogue.save(tmp_path / "catalogue.parquet")
    assert type(catalogue).load(tmp_path / "catalogue.parquet").about.equals(pl.DataFrame({"title": ["One", "Two"]}))

"""Laws of data.values.joined: histories written as text are refused as items; names and ids are no histories."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.data.reading import read
from jaxrec.data.values.joined import example
from jaxrec.system.errors import UserError

GAPS = [" ", ",", ", ", "|", ";", "; ", " | "]
FRAMES = ["{}", "{{{}}}", "({})", '"{}"', "<{}>"]
IDS = ["{}", "B00{}X", "0{}", "i-{}"]


def csv_of(rows, header):
    cells = ['"{}"'.format(cell.replace('"', '""')) for cell in rows]
    return f"user_id,{header}\n" + "".join(f"{user},{cell}\n" for user, cell in enumerate(cells))


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=8, unique=True), min_size=5, max_size=20),
    st.sampled_from(GAPS),
    st.sampled_from(FRAMES),
    st.sampled_from(IDS),
    st.sampled_from(["items", "item_id"]),
)
def test_histories_as_text_are_refused_and_the_cures_read_them(histories, gap, frame, id, header):
    written = [frame.format(gap.join(id.format(item) for item in items)) for items in histories]
    listed = [json.dumps([id.format(item) for item in items]) for items in histories]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text(csv_of(written, header))
        distinct, parts = len(set(written)), Counter(item for own in {*map(tuple, histories)} for item in own)
        if 2 * sum(number for number in parts.values() if number > 1) >= sum(parts.values()):  # most recur
            with pytest.raises(UserError, match=rf"a\.csv: column {header}: .* look like histories, .* --ids text"):
                read(path, quote='"')
            found = read(path, ids="text", columns={"item": header})
            assert len(found.catalogue.ids) == distinct
        path.write_text(csv_of(listed, header))
        found = read(path)
        assert len(found.items) == sum(map(len, histories))
        path.write_text(
            "user_id,item_id\n" + "".join(f"{u},{id.format(i)}\n" for u, own in enumerate(histories) for i in own)
        )
        assert read(path).items.tolist() == found.items.tolist()


LISTS = {
    "numpy's, shortened": "[{0} {1} ... {2} {0}]",
    "numpy's words": "['a{0}'\n 'b{1}']",
    "with nan": "[{0}, nan, {1}]",
    "words without quotes": "[a{0}, b{1}, c]",
    "of words": "[abc, def, g{0}h]",
    "nested": "[[{0}, {1}], [{2}]]",
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("columns", [{}, {"item": "items"}])
def test_brackets_that_are_no_list_of_ids_are_refused(tmp_path, kind, columns):
    cells = [LISTS[kind].format(at, 3 * at + 100, 7 * at + 1000) for at in range(60)]
    pl.DataFrame({"user": range(60), "items": [*cells[:59], "[7]"]}).write_csv(tmp_path / "a.csv")
    lost = "; its ... stands for items that are lost" * ("..." in cells[0])
    with pytest.raises(
        UserError, match=rf"column items: .*look like histories, .*one item{lost}: write them .* --ids text"
    ):
        read(tmp_path / "a.csv", columns=columns)
    assert len(read(tmp_path / "a.csv", columns={"item": "items"}, ids="text").catalogue.ids) == 60


NAMED = ["array([{0}, {1}])", "np.array([{0}, {1}], dtype=int64)", "frozenset({{{0}, {1}}})", "tensor([{0}, {1}, {0}])"]


@pytest.mark.parametrize("form", NAMED)
@pytest.mark.parametrize("rows", [1, 40])
def test_lists_under_the_name_of_their_type_are_refused(tmp_path, form, rows):
    cells = [form.format(at, at + 1) for at in range(rows + 1)]
    (tmp_path / "a.csv").write_text(csv_of(cells, "item_id"))
    with pytest.raises(UserError, match=r"column item_id: .*look like histories, .* --ids text"):
        read(tmp_path / "a.csv")
    assert len(read(tmp_path / "a.csv", ids="text").catalogue.ids) == len(cells)


@given(st.integers(3, 40), st.sampled_from(["[1, 2, 3]", "['a', 'b']", '["a","b"]', "array([1, 2])", "[-1.5, 0]"]))
def test_one_list_among_ids_is_refused_and_the_cures_read_it(rows, cell):
    cells = [cell, *map(str, range(rows))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text(csv_of(cells, "item_id") + f"{rows},1\n" * 9)
        with pytest.raises(UserError, match=r"look like histories, .*a single one as \[1\] .* --ids text"):
            read(path)
        assert len(read(path, ids="text").catalogue.ids) == len(cells)
        path.write_text(csv_of(["[1, 2, 3]", *(f"[{at}]" for at in range(rows))], "item_id"))
        assert len(read(path).items) == rows + 3


def test_numbers_with_a_decimal_comma_are_no_lists(tmp_path):
    (tmp_path / "a.csv").write_text("user;item\n1;1,0\n1;12,0\n2;12\n")
    with pytest.raises(UserError, match=r"column item holds floats \(1,0\) beside 12: .*--ids integer"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", ids="integer").catalogue.ids.tolist() == [1, 12]


OTHERS = {
    "calls": ["f(1)", "f(1, 2)", "g(x)", "[a, b]"],
    "composed": ["(1, 2)", "5", "6", "7"],
    "marked": ["[1]", "[2]", "[Rec]", "[Rec] 2", "[1][2]"],
    "titles": ["The Matrix (1999)", "Matrix, The (1999)", "Toy Story 2 (1999)", "The Toy (1982)"],
    "genres": ["Action|Comedy", "Action|Drama", "Comedy|Drama"],
    "sizes": ["10 x 20", "20 x 30", "10 x 30"],
    "ids": ["1-2", "a.b", "http://x/1?a=2"],
    "plain": ["1", "2", "3"],
    "one of them": ["1", "2", "3", "4 5"],
    "long parts": [f"{'x' * 40}{one} {'x' * 40}{other}" for one, other in ("12", "23", "31")],
}


@pytest.mark.parametrize("name", OTHERS)
def test_names_and_ids_are_items(tmp_path, name):
    (tmp_path / "a.csv").write_text(csv_of(OTHERS[name], "item_id"))
    assert len(read(tmp_path / "a.csv").catalogue.ids) == len(OTHERS[name])


def test_words_that_may_be_lists_are_said(tmp_path):
    said = []
    (tmp_path / "a.csv").write_text(csv_of(["milk,bread", "bread,eggs", "eggs,milk,tea"], "item_id"))
    assert len(read(tmp_path / "a.csv", say=said.append).catalogue.ids) == 3
    (note,) = [line for line in said if "list several" in line]
    assert note.startswith("item_id: each value is one item; if values such as 'milk,bread' list several")
    (tmp_path / "a.csv").write_text(csv_of(["dry milk,bread", "bread,two eggs", "two eggs,dry milk,tea"], "item_id"))
    assert len(read(tmp_path / "a.csv", say=said.append).catalogue.ids) == 3
    assert len([line for line in said if "list several" in line]) == 1, "words between commas are a sentence"
    (tmp_path / "a.csv").write_text(csv_of(['["milk", "bread"]', '["eggs", "bread"]'], "item_id"))
    assert read(tmp_path / "a.csv").catalogue.ids.tolist() == ["bread", "eggs", "milk"]


def test_ids_of_several_parts_that_recur_are_items():
    values = pl.Series([f"{shop} {number}" for shop in range(3) for number in range(4)])
    assert example(values, 12, rows=100, owners=20) is None
    assert example(values, 12, rows=12, owners=12) is not None
    assert example(values, 12, rows=12, owners=2) is not None, "each stands in one row, as a history does"


def test_a_few_items_of_several_parts_among_plain_numbers_are_items():
    few = pl.Series(["1 2 3", "2 3 4"])
    assert example(few, 3, rows=3, owners=3) is not None and example(few, 9, rows=9, owners=9) is None


def test_a_column_without_a_name_is_called_by_its_number(tmp_path):
    (tmp_path / "a.csv").write_text("1,2 3 4\n2,3 4 5\n")
    with pytest.raises(UserError, match=r"a\.csv: column 2: '2 3 4' and the like look like histories"):
        read(tmp_path / "a.csv", columns={"user": "1", "item": "2"})


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_so_are_they_in_other_files(tmp_path, kind):
    frame = pl.DataFrame({"user": [1, 2], "item": ["1 2 3", "2 3 4"]})
    path = tmp_path / f"a.{kind}"
    (frame.write_ndjson if kind == "jsonl" else frame.write_parquet)(path)
    with pytest.raises(UserError, match=rf"a\.{kind}: column item: '1 2 3' and the like look like histories"):
        read(path)


@pytest.mark.parametrize("header", ["items", "item_ids", "item_id_list"])
@pytest.mark.parametrize("gap", [",", ";", "\t", "|"])
def test_text_in_brackets_is_known_by_the_plural_of_a_name(tmp_path, header, gap):
    cells = ['"[1, 2]"', '"[2, 3, 4]"']
    rows = [gap.join(["user", header, "n"]), *(gap.join([str(at), cell, "7"]) for at, cell in enumerate(cells))]
    (tmp_path / "a.csv").write_text("".join(f"{row}\n" for row in rows))
    assert read(tmp_path / "a.csv").items.tolist() == [1, 2, 2, 3, 4]
    (tmp_path / "a.csv").write_text("".join(f"{row}\n" for row in rows).replace("[", "").replace("]", ""))
    with pytest.raises(UserError, match=f"column {header}: '1, 2' and the like look like histories"):
        read(tmp_path / "a.csv")
    said = []
    (tmp_path / "a.csv").write_text(f'user,item,{header}\n1,5,"[1, 2]"\n2,6,"[3]"\n')
    assert len(read(tmp_path / "a.csv", say=said.append).items) == 2
    assert f"; {header} is not read: --item {header} reads its lists as histories" in said[0]


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=2, max_size=8, unique=True), min_size=6, max_size=20),
    st.sampled_from(GAPS),
    st.sampled_from(["{}", "N{}", "N{}-1"]),
    st.integers(2, 4),
)
def test_histories_that_each_row_of_a_user_repeats_are_refused(histories, gap, id, times):
    values = [gap.join(id.format(item) for item in items) for items in histories]
    distinct = [*dict.fromkeys(values)]
    owner, item = np.arange(len(distinct)).repeat(times), np.arange(len(distinct)).repeat(times)
    found = lambda owner: example(pl.Series(distinct), len(distinct), len(item), len(distinct), [(owner, item)])
    assert (found(owner) is not None) == (len({len(items) for items in histories}) > 1)


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=4, unique=True), min_size=8, max_size=20),
    st.sampled_from([",", ", ", "|", ";"]),
    st.sampled_from(["{}", "N{}", "N{}-1"]),
)
def test_baskets_of_users_with_several_rows_are_refused_and_ids_of_several_parts_are_not(baskets, gap, id):
    def found(number):
        distinct = [*dict.fromkeys(gap.join(map(number, items, range(4))) for items in baskets)]
        codes = np.arange(3 * len(distinct)) % 5, np.arange(len(distinct)).repeat(3)
        return example(pl.Series(distinct), len(distinct) + 2, 3 * len(distinct), 5, [codes])

    places = {}
    for items in {*map(tuple, baskets)}:
        for place, item in enumerate(items):
            places.setdefault(item, []).append(place)
    if len({*map(len, baskets)}) > 1 and all(len({*each}) > 1 for each in places.values()):  # now here, now there
        assert found(lambda item, place: id.format(item)) is not None
    assert found(lambda item, place: id.format(100 * place + item)) is None


@pytest.mark.parametrize("gap", ["|", ",", ";"])
def test_ids_with_an_optional_part_are_items(gap):
    parts = [(base, variant) for base in range(1, 6) for variant in range(1, 6)]
    values = pl.Series([gap.join(map(str, each)) for each in parts])
    codes = np.arange(90) % 7, np.arange(90) % 30
    assert example(values, 30, rows=90, owners=7, codes=[codes]) is None

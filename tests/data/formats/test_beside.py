"""What lies beside sequences.txt is read as a log of its own would be: types, dates in a form, notes on ids."""

import gzip

import pytest

from jaxrec.data.reading import read
from jaxrec.system.errors import UserError


def put(folder, rows, lines=("1 5 6", "2 6 7")):
    (folder / "interactions.csv").write_text("".join(f"{row}\n" for row in rows))
    (folder / "sequences.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder / "sequences.txt"


def test_types_of_events_are_those_of_the_rows_beside(tmp_path):
    path = put(tmp_path, ["user_id,item_id,event_type", "1,5,view", "1,6,buy", "2,6,view", "2,7,view"])
    types = read(path).types
    assert [types.names[number - 1] for number in types.numbers.tolist()] == ["view", "buy", "view", "view"]


def test_dates_beside_are_read_by_the_form_that_is_named(tmp_path):
    path = put(
        tmp_path, ["user_id,item_id,date", "1,5,02/01/2020", "1,6,01/02/2020", "2,6,02/01/2020", "2,7,03/01/2020"]
    )
    with pytest.raises(UserError, match=r"interactions\.csv, line 2: .*date is no time: .*--time-format '%d/%m/%Y'"):
        read(path)
    assert (read(path, time_format="%d/%m/%Y").times[:2] // 86_400_000_000).tolist() == [18263, 18293]
    with pytest.raises(UserError, match="line 3: a time before that of the line above"):
        read(path, time_format="%m/%d/%Y")


def test_notes_on_ids_are_said_of_users_and_items(tmp_path):
    for odd in ("1\u200b 5 6", "1 5\u200b 6"):
        said = []
        (tmp_path / "sequences.txt").write_text(f"{odd}\n2 x y\nu 7 8\n")
        read(tmp_path / "sequences.txt", say=said.append)
        assert any("invisible characters, are part of them" in line for line in said)


def test_words_for_missing_values_are_ids_of_lines_only_where_that_is_said(tmp_path):
    (tmp_path / "sequences.txt").write_text("1 NA x\nnull x y\n")
    with pytest.raises(UserError, match="line 1: "):
        read(tmp_path / "sequences.txt")
    assert read(tmp_path / "sequences.txt", keep_na_ids=True).catalogue.ids.tolist() == ["NA", "x", "y"]


@pytest.mark.parametrize("packed", [False, True])
def test_the_command_for_lines_of_a_table_says_that_a_file_must_be_unpacked(tmp_path, packed):
    rows, name = b"1  50  3  881250949\n2  60  4  881250950\n", "log.txt.gz" if packed else "log.txt"
    (tmp_path / name).write_bytes(gzip.compress(rows) if packed else rows)
    with pytest.raises(UserError, match="prepare it with unpacking it, `awk" if packed else "prepare it with `awk"):
        read(tmp_path / name)

"""Which lines jaxrec.data.formats.lines recognises as rows of a table; the command it suggests must read them."""

import shlex
import subprocess

import pytest

from jaxrec import cli
from jaxrec.data import prepared
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

TABLES = {
    "user item rating time": ["1 50 3 881250949", "2 60 4 881250950", "3 50 3 881250951"],
    "dates": ["1 50 2014-04-01", "2 60 2014-04-02"],
    "words and ratings": ["u1 B01 4.5", "u2 B02 3.0"],
    "milliseconds": ["1 50 1396310400000", "2 60 1396310400001"],
    "words and plays": ["u1 B01 700", "u2 B02 12"],
    "plays and time": ["1 50 700 881250949", "2 60 12 881250950"],
    "time before rating": ["1 50 881250949 3", "2 60 881250950 4"],
}
HISTORIES = {
    "of one length": ["1 50 60 70", "2 60 70 90"],
    "of large ids": ["1 214536502 214536500 214536506", "2 214536500 214536506 214536507"],
    "of words": ["u1 a b c", "u2 b c 5"],
    "of small ids": ["1 3 5 7", "2 4 6 8"],
    "of several lengths": ["1 50 3 881250949", "2 60 4"],
    "pairs": ["1 881250949", "2 881250950"],
}


def put(folder, lines, separator, name="log.txt"):
    path = folder / name
    path.write_text("".join(line.replace(" ", separator) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("separator", ["\t", " ", "  "])
@pytest.mark.parametrize("lines", TABLES.values(), ids=TABLES)
def test_the_command_reads_them(tmp_path, capsys, lines, separator):
    path = put(tmp_path, lines, separator, "log of May's.txt")
    with pytest.raises(UserError, match="looks like the row of a table, as all lines do: prepare it with") as caught:
        read(path)
    command = str(caught.value).partition("prepare it with `")[2].partition("`, or say")[0]
    if command.startswith("awk"):
        first, _, command = command.partition("`, then `")
        subprocess.run(first, shell=True, check=True, cwd=tmp_path)
        command = command.replace("table.tsv", str(tmp_path / "table.tsv"))
    else:
        command = f"--input {shlex.quote(str(path))} {command}"
    assert cli.main(["prepare", "--output", str(tmp_path / "out"), *shlex.split(command)]) == 0
    data = prepared.load(tmp_path / "out")
    assert list(map(str, data.users.tolist())) == [line.split(" ")[0] for line in lines]
    assert [str(data.catalogue.ids.tolist()[item - 1]) for item in data.items] == [line.split(" ")[1] for line in lines]
    assert (data.times is None) == ("--time" not in command) and (data.weights is None) == ("--weight" not in command)


@pytest.mark.parametrize("lines", TABLES.values(), ids=TABLES)
def test_they_are_histories_where_that_is_said(tmp_path, lines):
    wanted = [len(line.split()) - 1 for line in lines]
    for data in (
        read(put(tmp_path, lines, " "), "sequences"),
        read(put(tmp_path, lines, "\t", "sequences.txt")),
    ):
        assert [end - begin for begin, end in zip(data.offsets[:-1], data.offsets[1:], strict=True)] == wanted


@pytest.mark.parametrize("lines", HISTORIES.values(), ids=HISTORIES)
def test_histories_are_read(tmp_path, lines):
    assert len(read(put(tmp_path, lines, " ")).items) == sum(len(line.split()) - 1 for line in lines)


@pytest.mark.parametrize("format", [None, "sequences"])
def test_users_of_several_rows_are_told_of_the_table(tmp_path, format):
    path = put(tmp_path, ["1 50 3 881250949", "1 60 4 881250950"], "\t")
    with pytest.raises(UserError, match="with `--format table --user 1 --item 2 --weight 3 --time 4`; or join"):
        read(path, format)
    assert read(path, "table", {"user": "1", "item": "2", "weight": "3", "time": "4"}).weights.tolist() == [3, 4]


ADVISED = {
    "a time second": (
        ["0 2010-10-19T23:55:27Z 30.2 -97.7 22847", "0 2010-10-18T22:17:43Z 30.2 -97.7 420315"],
        "--item COLUMN --time 2",
    ),
    "a time second, one column left": (["u1 1412345678 i32", "u1 1412345699 i33"], "--item 3 --time 2"),
    "numbers that are no weights": (["1 50 3000 17 881250949", "1 60 4000 12 881250950"], "--item 2 --time 5"),
    "a rating behind another number": (["1 50 27 0 881250949", "1 60 19 10 881250950"], "--item 2 --weight 4 --time 5"),
    "large ids before the time": (["1 1412345678 881250949", "1 1412345699 881250950"], "--item 2 --time 3"),
}


@pytest.mark.parametrize("lines, flags", ADVISED.values(), ids=ADVISED)
def test_the_command_takes_times_for_no_items_and_ids_for_no_weights(tmp_path, lines, flags):
    with pytest.raises(UserError) as caught:
        read(put(tmp_path, lines, "\t"))
    assert f"`--format table --user 1 {flags}`" in str(caught.value)


@pytest.mark.parametrize("separator", [" ", "\t"])
@pytest.mark.parametrize("item", ["12345678{}", "2014-01-0{}", "{}", "B{}"])
def test_the_only_column_beside_the_user_is_the_item_though_its_ids_may_be_times(tmp_path, item, separator):
    lines = [f"{user} {item.format(at)}" for at, user in enumerate((7, 8, 7, 9), 1)]
    path = put(tmp_path, ["who what", *lines], separator)
    with pytest.raises(UserError, match=r"like a header.*: prepare it with `--format table --user who --item"):
        read(path)
    assert len(read(path, "table", {"user": "who", "item": "what", "time": "none"}, ids="text").catalogue.ids) == 4


@pytest.mark.parametrize("cell", ["", "Home (private)"])
def test_lines_of_as_many_tabs_are_a_table_whatever_a_cell_holds(tmp_path, cell):
    rows = ["7\tb1\tcafe\tTue Apr 03 18:00:09 +0000 2012", f"7\tb2\t{cell}\tTue Apr 03 18:00:25 +0000 2012"]
    (tmp_path / "a.txt").write_text("".join(f"{row}\n" for row in [*rows, rows[0]]))
    with pytest.raises(UserError, match=r"rows of a table.*`--format table --user 1 --item 2 --time 4`"):
        read(tmp_path / "a.txt")
    assert len(read(tmp_path / "a.txt", "table", {"user": "1", "item": "2", "time": "4"}).items) == 3


@pytest.mark.parametrize(
    "lines",
    [["u1 5 6 ", "u2 5 7 "], ["u1 5  ", "u2 5 7 "], ["u1 2;9 4;1", "u2 3 5;2"]],
    ids=["ends", "padded", "mixed"],
)
def test_histories_between_tabs_are_still_read(tmp_path, lines):
    text = "".join(f"{line}\n" for line in [*lines, "u3 5 6 "])
    (tmp_path / "a.txt").write_text(text.replace(" ", "\t").replace(";", " "))
    assert read(tmp_path / "a.txt").users.tolist() == ["u1", "u2", "u3"]


@pytest.mark.parametrize("mark", ["~", "^", "#", "!", "*", "\x01", "\x02"])
@pytest.mark.parametrize("header", [True, False])
def test_rows_whose_fields_a_mark_separates_are_a_table(tmp_path, capsys, mark, header):
    rows = ["1,101,2024-01-05 10:00:00", "1,102,2024-01-05 11:00:00", "2,101,2024-01-05 12:00:00"]
    text = "".join(f"{row}\n" for row in ["who,what,time", *rows][not header :]).replace(",", mark)
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match="rows of a table, as all lines are: prepare it with") as caught:
        read(tmp_path / "a.txt")
    command = str(caught.value).partition("prepare it with `")[2].partition("`, or say")[0]
    shown = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    flags = ["--input", str(tmp_path / "a.txt"), *shown.stdout.splitlines(), "--output", str(tmp_path / "out")]
    assert cli.main(["prepare", *flags]) == 0, capsys.readouterr().err
    found = prepared.load(tmp_path / "out")
    assert found.users.tolist() == [1, 2] and found.items.tolist() == [1, 2, 1] and not found.relative


MARKED = [
    ["a~b c", "a~b d", "a~c c"],
    ["u1 a:1", "u1 b:2", "u2 a:1"],
    ["u1 1 2 x_100200300", "u2 2 3 4 x_100200301", "u3 1 x_100200302"],
    ["s1_2020-01-01 1 2", "s2_2020-01-01 2 3 4", "s3_2020-01-02 1 4"],
    ["u1 2:1500000000", "u2 3:1500000050", "u3 2:1500000099"],
    ["U_1 P_100200300", "U_2 P_100200301", "U_1 P_100200301"],
    ["U#1 P#100200300", "U#2 P#100200301", "U#1 P#100200301"],
    ["100200300@qq.com 1 2", "100200301@qq.com 1 2 3", "100200302@qq.com 2 1"],
    ["100200300: 1 2", "100200301: 2 3 4", "100200302: 1 4"],
    ["<u1 a b c>", "<u2 a c b>", "<u3 b c a>"],
]


@pytest.mark.parametrize("lines", MARKED, ids=[lines[0] for lines in MARKED])
def test_marks_within_ids_separate_nothing(tmp_path, lines):
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    assert len(read(tmp_path / "a.txt").items) == sum(line.count(" ") for line in lines)

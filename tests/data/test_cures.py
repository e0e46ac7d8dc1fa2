"""Every cure that a message about a table proposes works: once it is applied, the table's rows are read."""

import shlex
import subprocess

import polars as pl
import pytest

import jaxrec
from jaxrec import cli
from jaxrec.data import prepared
from jaxrec.system.errors import UserError

OTTO = '{"session": 1, "events": [{"aid": 7, "ts": 1661724000278}, {"aid": 8, "ts": 1661724000279}]}\n'
#: what it is: (file name, content, flags, the cure as the message words it, the flags that apply it, rows read then)
FLAGGED = {
    "a tie of separators": (
        "a.csv",
        "u::1,i::2\nu::1,i::3\n",
        "--user 1 --item 2",
        "prepare it with --separator '::' or --separator ','",
        "--user 1 --item 2 --separator ,",
        2,
    ),
    "a tie without columns": (
        "a.csv",
        "u::1,i::2\nu::1,i::3\n",
        "",
        "--separator ',' (with --user 1 --item 2 and so on where there is no header)",
        "--separator , --user 1 --item 2",
        2,
    ),
    "a tie of tabs": ("a.txt", "1\ta|b\n1\tc|d\n", "", "--separator tab", "--separator tab --user 1 --item 2", 2),
    "no header": (
        "a.csv",
        "1,5,x\n1,6,y\n",
        "",
        "if these are not names but the first row, give numbers, such as --user 1 --item 2",
        "--user 1 --item 2",
        2,
    ),
    "no header, no time": (
        "a.csv",
        "1,5,x\n1,6,y\n",
        "--time none",
        "give numbers, such as --user 1",
        "--user 1 --item 2",
        2,
    ),
    "names above pairs": (
        "a.txt",
        "viewer film\n1 5\n1 6\n2 5\n",
        "",
        "`--format table --user viewer --item film`",
        "--format table --user viewer --item film",
        3,
    ),
    "names above lines": (
        "a.txt",
        "viewer\tthe film\twhen\n1\t5\t881250949\n2\t6\t881250949\n3\t5\t881250950\n",
        "",
        "--format table --user viewer --item 'the film' --time when",
        "--format table --user viewer --item 'the film' --time when",
        3,
    ),
    "lists of RecBole": (
        "a.tsv",
        "session_id:token\titem_id_list:token_seq\titem_id:token\n1\t5 6\t7\n2\t5\t6\n",
        "",
        "with --format recbole",
        "--format recbole",
        5,
    ),
    "no header, tabs": ("a.tsv", "1\t5\tx\n1\t6\ty\n", "", "give numbers, such as --user 1", "--user 1 --item 2", 2),
    "rows of a table": (
        "a.txt",
        "1\t50\t3\t881250949\n2\t60\t4\t881250950\n",
        "",
        "`--format table --user 1 --item 2 --weight 3 --time 4`",
        "--format table --user 1 --item 2 --weight 3 --time 4",
        2,
    ),
    "rows of a table that are none": (
        "a.txt",
        "1 50 3\n2 60 4\n",
        "",
        "say --format sequences if these are a user and that user's items",
        "--format sequences",
        4,
    ),
    "rows of a table, users again": (
        "a.txt",
        "1\t50\t3\n1\t60\t4\n",
        "",
        "`--format table --user 1 --item 2 --weight 3`",
        "--format table --user 1 --item 2 --weight 3",
        2,
    ),
    "columns of lines": ("a.txt", "1 50\n1 60\n", "--user 1", "leave out --user", "", 2),
    "columns of lines, a table": (
        "a.txt",
        "1 50 3\n1 60 4\n",
        "--user 1 --item 2",
        "say --format table",
        "--user 1 --item 2 --format table",
        2,
    ),
    "a header without types": ("a.inter", "user\titem\n1\t5\n1\t6\n", "", "say --format table", "--format table", 2),
    "a header that is numbered": (
        "a.csv",
        "who,what\n1,5\n1,6\n",
        "--user 1 --item 2",
        "looks like a header: use its column names",
        "--user who --item what",
        2,
    ),
    "another separator": ("a.csv", "user_id^item_id\n1^5\n1^6\n", "", "--separator '^'", "--separator '^'", 2),
    "colons": ("a.csv", "user_id:item_id:x\n1:5:7\n1:6:7\n", "", "--separator ':'", "--separator ':'", 2),
    "another than Excel's": (
        "a.csv",
        "sep=,\nuser_id;item_id\n1;5\n1;6\n",
        "",
        "line 2: 'user_id;item_id': its names are separated by ';': prepare it with --separator ';'",
        "--separator ';'",
        2,
    ),
    "columns without names": ("a.csv", "0,1,2\n4,5,6\n4,7,6\n", "", "--user 0 --item 1", "--user 0 --item 1", 2),
    "nested events": ("a.jsonl", OTTO, "", "a field of a record, --item events.aid", "--item events.aid", 2),
    "a list of records": ("a.jsonl", OTTO, "--item events", "as --item events.aid", "--item events.aid", 2),
    "a quote that does not end": (
        "a.tsv",
        'user\titem\n1\t"5\n1\t6\n',
        "",
        "or prepare with --quote none",
        "--quote none",
        2,
    ),
    "a quote in RecBole's": (
        "a.inter",
        'user_id:token\titem_id:token\n1\t"5\n1\t6\n',
        "",
        "or prepare with --quote none",
        "--quote none",
        2,
    ),
    "quotes that swallow rows": (
        "a.tsv",
        'user\titem\n1\t"5\n1\t6"\n2\t6\n2\t7\n',
        None,
        "say --quote none",
        "--quote none",
        4,
    ),
    "a separator of lines": (
        "a.jsonl",
        OTTO,
        "--item events.aid --separator ,",
        "leave out --separator",
        "--item events.aid",
        2,
    ),
    "Amazon's, or not": (
        "a.csv",
        "a,b,5.0,1396310400\nb,c,4.0,1396310401\n",
        "",
        "Say --user 1 --item 2 --weight 3 --time 4",
        "--user 1 --item 2 --weight 3 --time 4",
        2,
    ),
}


@pytest.mark.parametrize(("name", "content", "flags", "cure", "cured", "rows"), FLAGGED.values(), ids=FLAGGED)
def test_the_flags_that_a_message_names_read_the_file(tmp_path, capsys, name, content, flags, cure, cured, rows):
    path = tmp_path / name
    path.write_text(content)
    argv = ["prepare", "--input", str(path), "--output"]
    status = cli.main([*argv, str(tmp_path / "first"), *shlex.split(flags or "")])
    said = capsys.readouterr()
    assert status == (0 if flags is None else 2) and cure in said.out + said.err and str(path) in said.out + said.err
    assert cli.main([*argv, str(tmp_path / "second"), *shlex.split(cured)]) == 0, capsys.readouterr().err
    assert len(prepared.load(tmp_path / "second").items) == rows


#: what it is: (file name, content, the cure as the message words it, the cured content, rows read then)
MENDED = {
    "a blank first line": (
        "a.csv",
        "\nuser,item\n1,5\n1,6\n",
        "before the first row: remove it",
        "user,item\n1,5\n1,6\n",
        2,
    ),
    "too many fields": (
        "a.csv",
        "user,item\n1,5,6\n1,6\n",
        "quote a field that holds a separator",
        'user,item\n1,"5,6"\n1,6\n',
        2,
    ),
    "one list of JSON": (
        "a.json",
        '[{"user": 1, "item": 5}, {"user": 1, "item": 6}]\n',
        "`jq -c '.[]'` makes lines of it",
        '{"user":1,"item":5}\n{"user":1,"item":6}\n',
        2,
    ),
    "a title and a blank line": (
        "a.csv",
        "My, log\n\nuser_id,item_id,x\n1,5,x\n1,6,x\n",
        "line 1: 'My, log': the names of columns are in line 3: remove the lines above it, as `sed 1,2d` does",
        "user_id,item_id,x\n1,5,x\n1,6,x\n",
        2,
    ),
    "quotes around lines": (
        "a.csv",
        '"user_id,item_id"\n"1,5"\n"1,6"\n',
        r"""quotes around a whole line: remove them, as `sed 's/^"//; s/"\r*$//; s/""/"/g'` does""",
        "user_id,item_id\n1,5\n1,6\n",
        2,
    ),
    "columns of JSON": (
        "a.json",
        '{"user":{"0":1,"1":1},"item":{"0":5,"1":6}}',
        "write it with to_json(..., orient='records', lines=True)",
        '{"user":1,"item":5}\n{"user":1,"item":6}\n',
        2,
    ),
    "two columns of ids": (
        "items.csv",
        "id,item_id,title\n1,5,x\n2,6,y\n",
        "item_id and id could both be the ids: rename the column id, or remove it",
        "number,item_id,title\n1,5,x\n2,6,y\n",
        2,
    ),
    "an empty list": (
        "a.jsonl",
        '{"user": 1, "item": [5, 6]}\n{"user": 2, "item": []}\n',
        "or leave the row out",
        '{"user": 1, "item": [5, 6]}\n',
        2,
    ),
    "lists of other lengths": (
        "a.jsonl",
        '{"user": 1, "item": [5, 6], "time": [1]}\n',
        "write one for every item",
        '{"user": 1, "item": [5, 6], "time": [1, 2]}\n',
        2,
    ),
    "nothing after sep=": ("a.csv", "sep=;\n", "put a header and rows there", "sep=;\nuser;item\n1;5\n1;6\n", 2),
}


@pytest.mark.parametrize(("name", "content", "cure", "mended", "rows"), MENDED.values(), ids=MENDED)
def test_a_file_that_is_mended_as_a_message_says_is_read(tmp_path, capsys, name, content, cure, mended, rows):
    path = tmp_path / name
    argv = ["prepare", "--input", str(path), "--output", str(tmp_path / "out")]
    if name == "items.csv":
        (tmp_path / "log.csv").write_text("user,item\n1,5\n1,6\n")
        argv[2] = str(tmp_path / "log.csv")
    path.write_text(content)
    assert cli.main(argv) == 2 and cure in capsys.readouterr().err
    path.write_text(mended)
    assert cli.main(argv) == 0, capsys.readouterr().err
    assert len(prepared.load(tmp_path / "out").items) == rows


OWN, PRODUCTS = "user_id,item_id\n1,5\n1,6\n", "product_id,title\n5,x\n6,y\n"


@pytest.mark.parametrize(("log", "other"), [("ratings.csv", "products.csv"), ("a.csv", "products.csv")])
def test_a_file_beside_the_log_that_is_no_shard_is_told_apart(tmp_path, capsys, log, other):
    (tmp_path / log).write_text(OWN)
    (tmp_path / other).write_text(PRODUCTS)
    argv = ["prepare", "--output", str(tmp_path / "out")]
    assert cli.main([*argv, "--input", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    cure = f"--input {tmp_path / log} --items {tmp_path / other}"
    assert said.count("\n") == 1 and cure in said
    assert cli.main([*argv, *shlex.split(cure)]) == 0
    data = prepared.load(tmp_path / "out")
    assert len(data.items) == 2 and data.catalogue.about["title"].to_list() == ["x", "y"]


def test_a_shard_without_a_header_is_said(tmp_path, capsys):
    (tmp_path / "1.csv").write_text(OWN)
    (tmp_path / "2.csv").write_text("2,5\n")
    argv = ["prepare", "--input", str(tmp_path), "--output", str(tmp_path / "out")]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    assert "2.csv: no column item_id, user_id" in said and "if its first row is no header, put one above it" in said
    (tmp_path / "2.csv").write_text("user_id,item_id\n2,5\n")
    assert cli.main(argv) == 0


def test_shards_may_be_empty_and_spell_the_header_otherwise(tmp_path):
    (tmp_path / "1.csv").write_text(OWN)
    for name, content in {"0.csv": "\n", "2.csv": "\ufeff", "3.csv": "", "4.csv": "Item ID,USER_ID\n7,1\n"}.items():
        (tmp_path / name).write_text(content)
    argv = ["prepare", "--input", str(tmp_path), "--output", str(tmp_path / "out")]
    assert cli.main(argv) == 0
    data = prepared.load(tmp_path / "out")
    assert data.users.tolist() == [1] and data.catalogue.ids.tolist() == [5, 6, 7]


def test_a_shard_without_columns_is_left_out(tmp_path, capsys):
    pl.DataFrame({"user_id": [1, 1], "item_id": [5, 6]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame().write_parquet(tmp_path / "0.parquet")
    assert cli.main(["prepare", "--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    assert "not read: 0.parquet: it has no columns" in capsys.readouterr().out


def test_where_all_rows_are_bad_none_are_to_be_skipped(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("user,item\n1,\n,5\n")
    argv = ["prepare", "--input", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out")]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    assert "--on-bad-row" not in said and "All rows are bad" in said
    (tmp_path / "a.csv").write_text("user,item\n1,\n1,5\n1,6\n")
    assert cli.main(argv) == 2 and "--on-bad-row skip" in capsys.readouterr().err
    assert cli.main([*argv, "--on-bad-row", "skip"]) == 0


def test_two_columns_of_a_frame_with_one_name_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, 5, 6], [1, 6, 7]], columns=["user_id", "item_id", "item_id"])
    with pytest.raises(UserError, match="two columns are called item_id: rename one, or leave it out"):
        jaxrec.prepare(frame)
    with pytest.raises(UserError, match="two columns are called item_id"):
        jaxrec.prepare(pytest.importorskip("pyarrow").table([[1], [2], [3]], names=list(frame.columns)))
    frame.columns = ["user_id", "item_id", "other"]
    assert len(jaxrec.prepare(frame).interactions.items) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_within_quotes_are_read_after_the_command_that_is_named(tmp_path, capsys, end):
    rows = ["user,item,time", "1,A,1500000000", '2,""A, B"",1500000001', "1,C,1500000002"]
    path, out = tmp_path / "log.csv", str(tmp_path / "out")
    path.write_text("".join(f'"{row}"{end}' for row in rows), newline="")
    assert cli.main(["prepare", "--input", str(path), "--output", out]) == 2
    command = capsys.readouterr().err.split("`")[1]
    path.write_bytes(subprocess.run(shlex.split(command), input=path.read_bytes(), stdout=-1, check=True).stdout)
    assert cli.main(["prepare", "--input", str(path), "--output", out]) == 0
    data = prepared.load(tmp_path / "out")
    assert data.catalogue.ids.tolist() == ["A", "A, B", "C"] and len(data.times) == 3

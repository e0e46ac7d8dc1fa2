"""Where a message about a table proposes a cure, the cure works: carried out, it reads the rows that are there."""

import shlex

import pytest

from jaxrec import cli
from jaxrec.data import prepared

OTTO = '{"session": 1, "events": [{"aid": 7, "ts": 1661724000278}, {"aid": 8, "ts": 1661724000279}]}\n'
#: what it is: (name, content, flags, the cure as the message has it, the flags that carry it out, rows then)
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
        "if these are no names but the first row, number them: --user 1 --item 2",
        "--user 1 --item 2",
        2,
    ),
    "no header, no time": ("a.csv", "1,5,x\n1,6,y\n", "--time none", "number them: --user 1", "--user 1 --item 2", 2),
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
    "no header, tabs": ("a.tsv", "1\t5\tx\n1\t6\ty\n", "", "number them: --user 1 --item 2", "--user 1 --item 2", 2),
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
        "looks like a header: name the columns by it",
        "--user who --item what",
        2,
    ),
    "nested events": ("a.jsonl", OTTO, "", "named so: --item events.aid", "--item events.aid", 2),
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


#: what it is: (name, content, the cure as the message has it, the content after it, rows then)
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
    path.write_text(content)
    assert cli.main(argv) == 2 and cure in capsys.readouterr().err
    path.write_text(mended)
    assert cli.main(argv) == 0, capsys.readouterr().err
    assert len(prepared.load(tmp_path / "out").items) == rows

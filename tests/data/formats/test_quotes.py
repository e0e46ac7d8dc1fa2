"""Laws of data.formats.quotes: text is whole if a strict CSV reader reads it; broken quotes alter no id."""

import csv
import io
import subprocess
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, strategies as st

from jaxrec import cli
from jaxrec.data import prepared
from jaxrec.data.files.text import File
from jaxrec.data.formats import quotes, tables

SEPARATORS = (",", ";", "\t", "|", "^", "]", "\\")
texts = st.text(st.sampled_from('a"|\\\n '), min_size=1, max_size=24)
cells = st.text(st.sampled_from('aé"|\\\n^]'), max_size=5)


def strictly(text, separator):
    """Whether a strict reader of CSV reads the text to its end."""
    try:
        list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return False
    return True


@given(texts)
@example('a "b| |c" d\n')
@example('a|"b"c"d"\n')
def test_a_text_is_whole_where_a_strict_reader_reads_it(text):
    text += "\n"
    assert quotes.are_whole(text.encode(), "|") == strictly(text, "|")


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from(SEPARATORS), st.booleans())
def test_what_is_written_as_csv_is_whole(rows, separator, every):
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=separator, lineterminator="\n", quoting=quoting).writerows(rows)
    assert quotes.are_whole(out.getvalue().encode(), separator)


@given(texts)
@example('a|"b\\"c\\"d"\n')
def test_the_fast_reader_reads_what_the_exact_one_does(text):
    found = []
    for fast in (True, False):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            if not fast:
                patch.setattr(tables, "_fast", lambda *_: None)
            path = Path(folder) / "a.csv"
            path.write_text(text + "\n")
            batches = list(tables.delimited(File(path), "|", 2, {"user": 0, "item": 1}, header=False))
            frames = [batch.frame.fill_null("") for batch in batches]
            why = [batch.why(index) for batch in batches for index in range(len(batch.frame))]
            found.append((pl.concat(frames).rows() if frames else [], why))
    assert found[0] == found[1]


BROKEN = {
    "backslashes": ('1,"The \\"Best\\" of"', '1,"The \\"Best of"'),
    "a quote within": ('1,"ab"cd"ef"', '1,"ab"c"def"'),
    "text after one": ('1,"ab"c', '1,"abc"'),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_quotes_merge_no_items(kind, tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user_id,item_id", *BROKEN[kind], "1,c", "1,d"]) + "\n")
    prepare = ["prepare", "--input", str(log), "--output", str(tmp_path / "out")]
    assert cli.main(prepare) == 2
    said = capsys.readouterr().err
    assert "log.csv, line 2: " in said and not (tmp_path / "out").exists()
    assert (quotes.ESCAPED in said) == (kind == "backslashes")
    assert cli.main([*prepare, "--on-bad-row", "skip"]) == 0
    left = {str(id) for id in prepared.load(tmp_path / "out").catalogue.ids}
    assert left == ({"c", "d", "abc"} if kind == "text after one" else {"c", "d"})


def test_the_cure_of_backslashes_works(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user_id,item_id", *BROKEN["backslashes"]]) + "\n")
    command = quotes.ESCAPED.split("`")[1]
    log.write_bytes(subprocess.run(["bash", "-c", f"{command} {log}"], capture_output=True, check=True).stdout)
    assert cli.main(["prepare", "--input", str(log), "--output", str(tmp_path / "out")]) == 0
    assert set(prepared.load(tmp_path / "out").catalogue.ids) == {'The "Best" of', 'The "Best of'}


title = st.text(st.sampled_from("ab\\"), max_size=4)
marked = st.tuples(title, st.sampled_from(["", "", "\n", "mark"]), title)
ESCAPES = (("\\", "\\\\"), ("\n", "\\\n"))


@pytest.mark.parametrize("separator", ["\t", ",", "|", "::"])
@pytest.mark.parametrize("fast", [True, False])
@given(titles=st.lists(marked, min_size=1, max_size=6))
@example(titles=[("a", "mark", "b")])
@example(titles=[("a", "\n", "b"), ("a", "", "\\")])
def test_fields_with_escaped_separators_and_line_ends_give_no_wrong_ids(separator, fast, titles):
    """Rows end with empty fields, so that a row with an escaped separator has no text beyond the last column."""
    text, right = "", {}
    for at, (one, mark, other) in enumerate(titles):
        cell = one + mark.replace("mark", separator) + other
        for plain, escaped in (*ESCAPES, (separator, f"\\{separator}")):
            cell = cell.replace(plain, escaped)
        text += separator.join([f"u{at}", cell, f"i{at}", "", "", ""]) + "\n"
        right |= {} if mark else {f"u{at}": f"i{at}"}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(tables, "_fast", lambda *_: None)
        path = Path(folder) / "a.csv"
        path.write_text(text)
        (batch,) = tables.delimited(File(path), separator, 6, {"user": 0, "item": 2}, header=False, quote="")
        found = {user: item for user, item in batch.frame.rows() if user and item}
        assert found == right
        cut = [index for index, row in enumerate(batch.frame.rows()) if None in row]
        assert {batch.why(index) for index in cut} <= {quotes.split(separator)} and (not cut) == (
            len(right) == len(titles)
        )
        command = quotes.split(separator).split("`")[1]
        path.write_bytes(subprocess.run(["bash", "-c", f"{command} {path}"], capture_output=True, check=True).stdout)
        (cured,) = tables.delimited(File(path), separator, 6, {"user": 0, "item": 2}, header=False, quote="")
        assert cured.frame.rows() == [(f"u{at}", f"i{at}") for at in range(len(titles))]

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

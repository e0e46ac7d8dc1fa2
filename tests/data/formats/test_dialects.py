"""Laws of data.formats.dialects: a separator fits every row, or is asked for; lines around the rows are no rows."""

import csv
import io
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from jaxrec.data.files import text
from jaxrec.data.formats import dialects
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

SEPARATORS = [",", ";", "\t", "|"]
ids = st.text(st.sampled_from("ab1:,;|\t "), min_size=1, max_size=5).map(str.strip).filter(bool)
rows = st.lists(st.tuples(ids, ids), min_size=2, max_size=6).filter(lambda some: len({item for _, item in some}) > 1)


def histories(data):
    """{user: items} as text."""
    ids, users = list(map(str, data.catalogue.ids.tolist())), list(map(str, data.users.tolist()))
    bounds = zip(data.offsets[:-1], data.offsets[1:], strict=True)
    return {
        user: [ids[item - 1] for item in data.items[begin:end]]
        for user, (begin, end) in zip(users, bounds, strict=True)
    }


def of(rows):
    found = {}
    for user, item in rows:
        found.setdefault(user, []).append(item)
    return found


def written(rows, separator):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue()


@given(rows, st.sampled_from(SEPARATORS))
def test_a_header_decides_whatever_the_ids_hold(some, separator):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_text(written([("user", "item"), *some], separator))
        assert histories(read(path)) == of(some)


@given(rows, st.sampled_from(SEPARATORS))
def test_without_a_header_the_rows_are_read_right_or_the_separator_is_asked_for(some, separator):
    columns = {"user": "1", "item": "2"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_text(written(some, separator))
        try:
            found = read(path, columns=columns)
        except UserError as error:
            if "looks like a header" in str(error):
                return
            assert f"--separator {dialects.flag(separator)}" in str(error)
            assert histories(read(path, columns=columns, separator=separator)) == of(some)
        else:
            assert histories(found) == of(some)


def put(folder, content, name="log.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


NUMBERED = {"columns": {"user": "1", "item": "2"}}


def test_two_colons_within_ids_do_not_part_them(tmp_path):
    path = put(tmp_path, "u::1,i::2\nu::1,i::3\nu2,i::3\n")
    assert histories(read(path, **NUMBERED)) == {"u::1": ["i::2", "i::3"], "u2": ["i::3"]}


def test_a_tie_shows_both_readings_and_each_can_be_said(tmp_path):
    path = put(tmp_path, "u::1,i::2\nu::1,i::3\n")
    message = r"'::' makes '\[u\], \[1,i\], \[2\]' of it, ',' makes '\[u::1\], \[i::2\]' of it: prepare it with"
    with pytest.raises(UserError, match=message):
        read(path)
    assert histories(read(path, separator=",", **NUMBERED)) == {"u::1": ["i::2", "i::3"]}
    found = read(path, separator="::", columns={"user": "1", "item": "3"})
    assert histories(found) == {"u": ["2", "3"]}


@pytest.mark.parametrize(
    ("said", "separator"), [("tab", "\t"), ("\\t", "\t"), ("TAB", "\t"), ("space", " "), ("::", "::"), ("^", "^")]
)
def test_a_separator_may_be_any_character(tmp_path, said, separator):
    path = put(tmp_path, f"user{separator}item\n1{separator}5,x\n1{separator}6\n")
    assert histories(read(path, separator=said)) == {"1": ["5,x", "6"]}


@pytest.mark.parametrize("said", ["", ",,", "é", '"', "\n", "comma"])
def test_what_is_no_separator_is_refused(tmp_path, said):
    with pytest.raises(UserError, match="one character is expected"):
        read(put(tmp_path, "user,item\n1,5\n1,6\n"), separator=said)


def test_a_row_of_another_length_does_not_change_the_separator(tmp_path):
    path = put(tmp_path, "1,a|b\n1,c|d\n2\n2,a|b\n")
    with pytest.raises(UserError, match=r"line 3: '2': 1 field where the first line has 2"):
        read(path, separator=",", **NUMBERED)
    with pytest.raises(UserError, match="more than one separator fits"):
        read(put(tmp_path, "1,a|b\n1,c|d\n"), **NUMBERED)


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;", "sep=;\r", "sep=;;;"])
def test_excel_s_first_line_says_the_separator(tmp_path, line):
    path = put(tmp_path, f"{line}\nuser;item;time\na;b;1600000000\na;c;1600000001\n")
    assert histories(read(path)) == {"a": ["b", "c"]}
    bad = put(tmp_path, f"{line}\nuser;item;time\na;b;1600000000\na;;1600000001\n")
    with pytest.raises(UserError, match=r"line 4: 'a;;1600000001': item is empty"):
        read(bad)
    with pytest.raises(UserError, match="line 2: nothing follows the line"):
        read(put(tmp_path, f"{line}\n"))
    with pytest.raises(UserError, match="line 2: a blank line before the first row: remove it"):
        read(put(tmp_path, f"{line}\n\nuser;item\na;b\n"))
    bare = put(tmp_path, f"{line}\na;b\na;c\n")
    assert histories(read(bare, **NUMBERED)) == {"a": ["b", "c"]}


@pytest.mark.parametrize("size", [20, 1 << 20])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("separator", [",", "\t", "::"])
def test_a_header_that_comes_again_is_left_out_and_said(tmp_path, monkeypatch, separator, mark, size):
    monkeypatch.setattr(text, "PIECE", size)
    lines = ["user,item", "1,5", "1,6", f"{mark}user,item", "2,5", "user,item2", f"{mark}user,item", "2,6"]
    said = []
    path = put(tmp_path, "".join(f"{line}\n" for line in lines).replace(",", separator))
    assert histories(read(path, say=said.append)) == {"1": ["5", "6"], "2": ["5", "6"], "user": ["item2"]}
    assert f"{path}: the header comes again and is left out: 2 times, first in line 4" in said


def test_a_header_comes_again_in_quotes_or_without(tmp_path):
    for one, other in (("user,item", '"user","item"'), ('"user","item"', "user,item")):
        path = put(tmp_path, f"{one}\n1,5\n{other}\n1,6\n")
        assert histories(read(path)) == {"1": ["5", "6"]}
    path = put(tmp_path, 'user,item\n1,5\n"user","item"\n1,6\n')
    assert histories(read(path, quote="none")) == {"1": ["5", "6"], '"user"': ['"item"']}


def test_a_header_within_quotes_is_a_value(tmp_path):
    path = put(tmp_path, 'user,item\n1,"a\nuser,item\nb"\n1,c\nuser,item\n2,c\n')
    said = []
    assert histories(read(path, say=said.append)) == {"1": ["a\nuser,item\nb", "c"], "2": ["c"]}
    assert f"{path}: the header comes again and is left out: once, first in line 6" in said


@pytest.mark.parametrize("mark", ["#", "# ", "//", "// ", "%"])
@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("a.txt", " "), ("a.inter", "\t")])
def test_the_mark_of_a_comment_is_no_part_of_a_name(tmp_path, mark, name, separator):
    header = ["userID:token", "item_id:token"]
    path = put(tmp_path, f"{mark}{separator.join(header)}\n1{separator}5\n1{separator}6\n", name)
    said = []
    assert histories(read(path, say=said.append)) == {"1": ["5", "6"]}
    assert said[0].startswith("columns: user = userID")


def test_a_first_row_with_such_a_mark_may_be_data(tmp_path):
    assert histories(read(put(tmp_path, "#1,5\n#1,6\n"), **NUMBERED)) == {"#1": ["5", "6"]}


SWALLOWED = 'user\titem\ttime\nu1\t"Heroes\t1600000000\nu1\ta\t1600000001\nu2\tb\t1600000002\nu2\tc"\t1600000003\n'


@pytest.mark.parametrize("size", [40, 1 << 20])
def test_quotes_may_be_plain_characters(tmp_path, monkeypatch, size):
    path = put(tmp_path, SWALLOWED + "u3\td\t1600000004\n", "log.tsv")
    said = []
    assert len(read(path, say=said.append).items) == 2
    note = f"{path}: quoted fields that span several lines: 1, first from line 2; if quotes are plain characters "
    assert f"{note}there, rows were swallowed: say --quote none" in said
    monkeypatch.setattr(text, "PIECE", size)
    said.clear()
    plain = read(path, quote="none", say=said.append)
    assert histories(plain) == {"u1": ['"Heroes', "a"], "u2": ["b", 'c"'], "u3": ["d"]}
    assert not any("quoted" in line for line in said)


def test_every_field_that_spans_lines_is_counted(tmp_path):
    path = put(tmp_path, 'user,item\n1,"a\nb"\n"u\n2","a\n\nc"\n1,d\n')
    said = []
    read(path, say=said.append)
    assert f"{path}: quoted fields that span several lines: 3, first from line 2; if" in "\n".join(said)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("sequences.txt", "1 5 6\n", {"quote": "none"}, "read as sequences: leave out --quote, or say"),
        ("u.data", "1\t5\t3\t1\n", {"separator": ",", "format": "movielens"}, "read as movielens: leave out --sep"),
        ("a.jsonl", '{"user": 1, "item": 2}\n', {"separator": ","}, r"not delimited text: leave out --separator"),
        ("a.jsonl", '{"user": 1, "item": 2}\n', {"quote": "none"}, "not delimited text: leave out --quote"),
        ("a.csv", "user,item\n", {"quote": "'"}, 'no quote "\'": choose one of ", none'),
    ],
)
def test_what_goes_with_delimited_text_alone_is_refused_elsewhere(tmp_path, name, content, options, message):
    with pytest.raises(UserError, match=message):
        read(put(tmp_path, content, name), **options)


def test_a_long_quoted_field_is_no_traceback(tmp_path):
    path = put(tmp_path, 'user,item\n1,"' + "x" * 200_000 + '"\n1,6\n2,6\n2,7\n')
    try:
        assert len(read(path).items) == 4
    except UserError as error:
        assert re.search("line 2", str(error))


def test_a_first_row_with_a_value_that_is_a_common_name_is_no_header(tmp_path):
    (tmp_path / "a.csv").write_text("u1,i1,item,1400000000\nu1,i2,user,1400000001\nu2,i1,item,1400000002\n")
    columns = {"user": "1", "item": "2", "time": "4"}
    assert len(read(tmp_path / "a.csv", columns=columns).items) == 3
    (tmp_path / "a.csv").write_text("who,what,item,when\nu1,i2,a,1400000001\nu2,i1,b,1400000002\n")
    assert len(read(tmp_path / "a.csv", columns=columns).items) == 2


@pytest.mark.parametrize("first", ["user,item", "who,item"])
def test_a_header_that_comes_again_or_names_a_value_is_a_header(tmp_path, first):
    rows = ["u1,i5", "u1,item", first, "u2,i5"]
    (tmp_path / "a.csv").write_text("\n".join([first, *rows]) + "\n")
    found = read(tmp_path / "a.csv", columns={"user": "1", "item": "2", "time": "none"})
    assert found.users.tolist() == ["u1", "u2"] and len(found.items) == 3


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("header", ["user,item,time", '"user", "item", "time"'])
def test_blanks_before_quotes_are_refused_and_what_the_cure_writes_is_read(tmp_path, separator, header):
    rows = ['"a", "x, y",  "1"', '"a" , "z", "2"', '"b", "z", "3"']
    text = "\n".join([header, *rows]).replace('", ', f'"{separator} ').replace('" ,', f'" {separator}')
    path = put(tmp_path, text.replace("user,item,time", separator.join(["user", "item", "time"])) + "\n")
    with pytest.raises(UserError, match="blanks before quotes, which would be parts of the fields") as caught:
        read(path)
    command = re.search("`(sed .*)`", str(caught.value))[1]
    mended = subprocess.run(["bash", "-c", f"{command} {path}"], capture_output=True, check=True).stdout
    path.write_bytes(mended)
    assert read(path).catalogue.ids.tolist() == ["x, y", "z"]


def test_quotes_behind_blanks_within_quotes_are_values(tmp_path):
    path = put(tmp_path, 'user,item,note\n1,5,"she said, ""no"", and left"\n1,6,"[""a"", "","", ""b""]"\n')
    assert len(read(path).items) == 2


@pytest.mark.parametrize("title", [",,,", "Report 2024,,,", "Report,2024,,"])
def test_a_title_above_the_header_is_named_with_its_cure(tmp_path, title):
    path = put(tmp_path, f"{title}\nuser,item,title,date\nb,1,Cap,2024-01-05\nb,2,Hat,2024-01-06\n")
    with pytest.raises(UserError, match=r"the names of columns are in line 2: remove .* as `sed 1,1d` does"):
        read(path)
    path.write_text("sep=,\n" + path.read_text())
    with pytest.raises(UserError, match=r"line 2: .*the names of columns are in line 3: remove .* as `sed 1,2d` does"):
        read(path)


def test_r_s_names_of_rows_are_said(tmp_path):
    path = put(tmp_path, '"user_id" "item_id" "timestamp"\n"1" "a" "x" 1704445546\n"2" "a" "y" 1704445548\n')
    with pytest.raises(UserError, match=r"no name for the first column, R's row names: write it with write\.table"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        'user_id,item_id,rating\n"u1","i1",5,\n"u1","i2",4,\n"u2","i1",3,\n',
        'user_id,item_id,comment\nu1,i1,fine\nu1,i2, "great"\nu2,i1,fine\n',
    ],
)
def test_separators_at_the_ends_and_blanks_before_a_quote_are_read(tmp_path, content):
    assert len(read(put(tmp_path, content)).items) == 3

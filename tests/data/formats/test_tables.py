"""Laws of data.formats.tables: values are read as csv, json and Parquet's writers define them; bad rows are found."""

import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, strategies as st

from jaxrec.data.files import text
from jaxrec.data.files.text import File
from jaxrec.data.formats import columnar, json_lines, quotes
from jaxrec.data.formats.tables import LONG, delimited, fields, first_line, is_padded
from jaxrec.system.errors import UserError

SEPARATORS = (",", ";", "\t", "|", "~")
ROLES = {"user": 0, "item": 2}
# no spaces at the ends: those are stripped
cells = st.text(st.sampled_from('ab1é"\n,;|\t~ '), max_size=6).map(lambda cell: cell.strip())
tame = st.text(st.sampled_from("ab1é':"), min_size=1, max_size=4).map(
    lambda cell: cell.replace("::", ":").strip(":") or "x"
)


def records(width, cell=cells):
    return st.lists(st.tuples(*[cell] * width), min_size=1, max_size=10)


def write(folder, data, name="a.csv") -> File:
    path = Path(folder) / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return File(path)


def read(batches):
    """All rows of all batches, empty for null, each with its place, its text and what the reader says about it."""
    found = []
    for batch in batches:
        for index, row in enumerate(batch.frame.iter_rows()):
            found.append((*("" if value is None else value for value in row), *batch.row(index), batch.why(index)))
    return found


def whole(rows, separator, **options):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n", **options).writerows(rows)
    return out.getvalue()


@pytest.fixture(params=["fast", "line by line"])
def path(request, monkeypatch):
    """Both readers; the second is for the text that the first one rejects."""
    if request.param != "fast":

        def refuse(*_, **__):
            raise pl.exceptions.ComputeError("no")

        monkeypatch.setattr(pl, "read_csv", refuse)
        monkeypatch.setattr(pl, "read_ndjson", refuse)
    return request.param


@pytest.mark.usefixtures("path")
@given(
    records(3),
    st.sampled_from(SEPARATORS),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.lists(st.integers(0, 9), max_size=3),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(60, 300),
    st.booleans(),
)
def test_delimited_is_what_csv_reads(rows, separator, quoting, blanks, end, piece, header):
    lines = [whole([row], separator, quoting=quoting) for row in (*([("u", "x", "i")] if header else []), *rows)]
    for at in sorted(blanks, reverse=True):
        lines.insert(at + 1, "\n")
    written = "".join(lines)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", piece)
        file = write(folder, written.replace("\n", end))
        found = read(delimited(file, separator, 3, ROLES, header))
    wanted, line = [], 0
    reader = csv.reader(io.StringIO(written, newline=""), delimiter=separator)
    for row in reader:
        line, first = reader.line_num, line + 1
        if row:
            text_of = "\n".join(written.split("\n")[first - 1 : line])
            wanted.append((row[0], row[2], f"line {first}", text_of, None))
    assert found == wanted[header:]


@pytest.mark.usefixtures("path")
@given(records(4, tame), st.integers(10, 60), st.booleans())
def test_two_colons_separate_and_quotes_are_letters(rows, piece, quoted):
    if quoted:
        rows = [(f'"{row[0]}', *row[1:]) for row in rows]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", piece)
        file = write(folder, "".join(LONG.join(row) + "\n" for row in rows).encode("latin-1"))
        found = read(delimited(file, LONG, 4, {"item": 1, "user": 0}, header=False, encoding="latin-1"))
    assert found == [(row[1], row[0], f"line {at}", LONG.join(row), None) for at, row in enumerate(rows, 1)]


COUNT = "mend the row, or quote a field that holds a separator"
QUOTES = quotes.BROKEN


@pytest.mark.parametrize("piece", [24, 1 << 20])
@pytest.mark.parametrize(
    ("row", "found", "why"),
    [
        ("a,b", ("a", ""), f"2 fields where the first line has 3: {COUNT}"),
        ("a", ("a", ""), f"1 field where the first line has 3: {COUNT}"),
        ("a,b,c,d", ("", ""), f"4 fields where the first line has 3: {COUNT}"),
        ("a,b,c,,", ("a", "c"), f"5 fields where the first line has 3: {COUNT}"),  # reported only if the row is bad
        ('a,"b,b",c,d', ("", ""), f"4 fields where the first line has 3: {COUNT}"),
        (" ", (" ", ""), f"1 field where the first line has 3: {COUNT}"),
        ('a,b,"c', ("", ""), QUOTES),
        ('a,b,"c"d', ("", ""), QUOTES),
        ("a,,", ("a", ""), None),
        ('a,5" b,c', ("a", "c"), None),
        (" a ,b, c", (" a ", " c"), None),  # ids keep their spaces: the file doesn't pad its fields
        ("\u00a0a,b,c\u00a0", ("\u00a0a", "c\u00a0"), None),
        ('"a",b,"c\nd"', ("a", "c\nd"), None),
    ],
)
@pytest.mark.usefixtures("path")
def test_an_odd_row_is_found_and_hurts_no_other(tmp_path, monkeypatch, row, found, why, piece):
    monkeypatch.setattr(text, "PIECE", piece)
    before, after = [f"u{n},x,i{n}" for n in range(20)], [f"v{n},x,j{n}" for n in range(20)]
    for spaced in ("", " "):
        rows = read(
            delimited(
                write(tmp_path, "\n".join(["user,x,item", *before, row, *after[:-1], after[-1] + spaced])),
                ",",
                3,
                ROLES,
            )
        )
        assert rows[20] == (*found, "line 22", row, why)
        assert [one[:3] for one in rows[:20]] == [(f"u{n}", f"i{n}", f"line {n + 2}") for n in range(20)]
        then = 23 + row.count("\n")
        ids = [*(f"j{n}" for n in range(19)), f"j19{spaced}"]
        assert [one[:3] for one in rows[21:]] == [(f"v{n}", ids[n], f"line {n + then}") for n in range(20)]
        assert not any(one[-1] for one in rows[:20] + rows[21:])


def test_a_quoted_field_may_not_go_on_for_ever(tmp_path):
    lines = "\n".join(["a,b", '"1,2', *(f"{n},2" for n in range(500))])
    rows = read(delimited(write(tmp_path, lines), ",", 2, {"user": 0, "item": 1}))
    assert rows[0][2:] == ("line 2", '"1,2', QUOTES)
    assert [row[:3] for row in rows[1:]] == [(str(n), "2", f"line {n + 3}") for n in range(500)]


def test_the_first_line_and_its_fields(tmp_path):
    assert first_line(write(tmp_path, b"\xef\xbb\xbfa,b\r\n1,2")) == "a,b"
    assert first_line(write(tmp_path, "x" * 100_000)) == "x" * 100_000
    with pytest.raises(UserError, match="line 1: the file is empty"):
        first_line(write(tmp_path, ""))
    assert fields(' "a,b" ,c', ",")[-1] == "c" and fields('"a,b", c', ",") == ["a,b", "c"]
    assert fields('"a::b"', LONG) == ['"a', 'b"']


@given(st.integers(2, 4), st.integers(1, 5), st.booleans(), st.integers(0, 2))
def test_fields_are_padded_if_the_names_are_or_all_but_the_first_of_three_or_more(width, rows, names, above):
    lines = ["sep=,"] * above + [(", " if names else ",").join("abcd"[:width]), *[", ".join("1234"[:width])] * rows]
    with tempfile.TemporaryDirectory() as folder:
        assert is_padded(write(folder, "\n".join(lines)), ",", "utf-8", above) == (names or width > 2)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), cells
)
objects = st.lists(st.dictionaries(st.sampled_from(["u", "i", "other"]), scalars, max_size=3), min_size=1, max_size=8)


def same(found, value):
    """Whether a text stands for the value; numbers are compared as numbers."""
    if value is None or isinstance(value, str):
        return found == (value or "")
    return found == json.dumps(value) or (isinstance(value, float) and float(found) == value)


@pytest.mark.parametrize("as_written", [json.dumps, lambda each: json.dumps(each, ensure_ascii=False), repr])
@pytest.mark.usefixtures("path")
@given(objects, st.integers(20, 200), st.lists(st.integers(0, 8), max_size=2))
def test_json_lines_are_what_json_reads(as_written, rows, piece, blanks):
    lines = list(map(as_written, rows))
    for at in sorted(blanks, reverse=True):
        lines.insert(at, "")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", piece)
        found = read(json_lines.read(write(folder, "\n".join(lines)), {"item": "i", "user": "u"}))
    places = [(f"line {at}", line) for at, line in enumerate(lines, 1) if line]
    assert [row[2:4] for row in found] == places
    for row, wanted in zip(found, rows, strict=True):
        assert same(row[0], wanted.get("i")) and same(row[1], wanted.get("u")) and row[4] is None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"u": "a", "i": }', "not JSON (Expecting value"),
        ('{"u": "a", "i": "b"', "not JSON"),
        ('["a", "b"]', "not a JSON object"),
        ("5", "not a JSON object"),
        ("null", "not a JSON object"),
        ("__import__('os')", "not JSON"),
        ("{'u': {1, 2}, 'i': 3}", "not JSON"),
        ("{'u': b'x', 'i': 3}", "not JSON"),
        ("{[]: 1}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"u": {"k": 1}, "i": "b"}', "u is an object"),
        ('{"u": [1], "i": "b"}', "u is a list"),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("piece", [24, 1 << 20])
def test_an_odd_object_is_found_and_hurts_no_other(tmp_path, monkeypatch, row, why, piece):
    monkeypatch.setattr(text, "PIECE", piece)
    good = [json.dumps({"u": f"u{n}", "i": n}) for n in range(5)]
    rows = read(json_lines.read(write(tmp_path, "\n".join([*good, row, *good])), {"user": "u", "item": "i"}))
    assert [one[:4] for one in rows[:5] + rows[6:]] == [
        (f"u{n % 5}", str(n % 5), f"line {n + 1 + (n > 4)}", good[n % 5]) for n in range(10)
    ]
    assert rows[5][0] == "" and rows[5][2:4] == ("line 6", row) and rows[5][4].startswith(why)


def test_the_keys_are_those_of_the_first_objects(tmp_path):
    assert json_lines.names(write(tmp_path, '{"u": 1, "i": 2}\n{"x": 3, "i": 4}\nno object\n')) == ["u", "i", "x"]
    assert json_lines.names(write(tmp_path, "{'u': 1, 2: 2}")) == ["u", "2"]
    with pytest.raises(UserError, match=r"line 1: .* an object a line; this is one list"):
        json_lines.names(write(tmp_path, '[{"u": 1}]'))


INTEGERS = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]
TYPES = [*INTEGERS, pl.String, pl.Categorical, pl.Enum(["1", "2", "77"])]


@pytest.mark.parametrize("write_to", [pl.DataFrame.write_parquet, pl.DataFrame.write_ipc])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_parquet_and_arrow_of_any_type(tmp_path, monkeypatch, write_to, dtype):
    monkeypatch.setattr(columnar, "ROWS", 5)
    ids = pl.Series(["1", "2", "77"] * 5)
    frame = pl.DataFrame({"a": ids.cast(dtype), "b": range(15), "c": ids[::-1].cast(dtype)})
    name = "a.parquet" if write_to is pl.DataFrame.write_parquet else "a.feather"
    write_to(frame, tmp_path / name)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / name, f"in/{name}")
    for file in (File(tmp_path / name), File(tmp_path / "a.zip", f"in/{name}")):
        assert columnar.names(file) == ["a", "b", "c"]
        batches = list(columnar.read(file, {"user": "c", "item": "a"}))
        whole = pl.concat(batch.frame for batch in batches)
        assert whole["user"].cast(pl.String).to_list() == ids[::-1].to_list()
        assert whole["item"].cast(pl.String).to_list() == ids.to_list()
        places = [batch.row(index) for batch in batches for index in range(len(batch.frame))]
        assert [place for place, _ in places] == [f"row {n}" for n in range(1, 16)]
        assert places[1][1] == str({"c": frame["c"][1], "a": frame["a"][1]})


def test_damaged_parquet_is_said(tmp_path):
    pl.DataFrame({"a": range(10_000)}).write_parquet(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(UserError, match=r"a\.parquet: cannot be read \(.*fetch or write it again"):
        columnar.names(write(tmp_path, data[:-9], "a.parquet"))
    with pytest.raises(UserError, match=r"a\.parquet: damaged after row 0 \(.*fetch or write it again"):
        list(columnar.read(write(tmp_path, data[:8] + bytes(5000) + data[5008:], "a.parquet"), {"item": "a"}))


@example(["-0", "1"])
@given(
    st.lists(st.sampled_from(["1", "1.0", "2.5", "-0.0", "-0", "1e3", "true", '"1.0"', "null"]), min_size=1, max_size=6)
)
def test_numbers_in_json_read_the_same_line_by_line(values):
    lines = [f'{{"u": {value}, "i": 1}}' for value in values]
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, text in (("fast", "\n".join(lines)), ("slow", "\n\n".join(lines))):
            path = Path(folder) / f"{name}.jsonl"
            path.write_text(text + "\n")
            found.append([batch.frame["user"].to_list() for batch in json_lines.read(File(path), {"user": "u"})])
    assert found[0] == found[1]

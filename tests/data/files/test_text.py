"""Laws of data.files.text: the pieces of a file are its text, in whole lines, with their numbers."""

import csv
import gzip
import io
import re
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from jaxrec.data.files.text import BadRows, File, pieces, short, some
from jaxrec.system.errors import UserError

texts = st.lists(st.sampled_from(["a", "é", ",", " ", "\t", "\n", "\r", "\r\n", "\n\n", "12345"]), max_size=20).map(
    "".join
)
values = st.text(st.sampled_from('ab,"\n'), max_size=8)


def files_of(folder, data: bytes) -> list[File]:
    """The same bytes as a plain file, as gzip with and without its name, and in zips."""
    folder = Path(folder)
    (folder / "a.txt").write_bytes(data)
    (folder / "a.txt.gz").write_bytes(gzip.compress(data))
    (folder / "unnamed").write_bytes(gzip.compress(data[:3]) + gzip.compress(data[3:]))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.txt", data)
        archive.writestr("in/a.txt.gz", gzip.compress(data))
    inside = [File(folder / "a.zip", member) for member in ("in/a.txt", "in/a.txt.gz")]
    return [File(folder / "a.txt"), File(folder / "a.txt.gz"), File(folder / "unnamed"), *inside]


def normal(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text + "\n" if text and not text.endswith("\n") else text


@given(texts, st.sampled_from(["", "\ufeff"]), st.integers(1, 30))
def test_the_pieces_are_the_text_with_normal_line_ends(text, mark, size):
    with tempfile.TemporaryDirectory() as folder:
        for file in files_of(folder, (mark + text).encode()):
            found = list(pieces(file, size=size))
            assert b"".join(piece.text for piece in found).decode() == normal(text), file
            line = 1
            for piece in found:
                assert piece.first == line and piece.text.endswith(b"\n")
                assert piece.lines() == piece.text.decode().split("\n")[:-1]
                line += len(piece.lines())


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_piece_is_not_taken_for_the_end(tmp_path, mark):
    (tmp_path / "a").write_bytes(mark + b"abc\n" * 100)
    found = list(pieces(File(tmp_path / "a"), size=16))
    assert len(found) > 20 and b"".join(piece.text for piece in found) == b"abc\n" * 100


@given(st.lists(st.tuples(values, values), min_size=1, max_size=12), st.sampled_from(["\n", "\r\n", "\r"]))
def test_no_piece_ends_within_quotes(rows, end):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(out.getvalue().replace("\n", end).encode())
        longest = max(len(repr(row)) for row in rows)
        for size in (longest, 2 * longest):
            found = list(pieces(File(path), size=size, quotes=True))
            assert [
                tuple(r) for piece in found for r in csv.reader(io.StringIO(piece.text.decode(), newline=""))
            ] == rows
    assert "".join(piece.text.decode() for piece in found) == out.getvalue()


def test_a_quote_that_never_ends_does_not_hold_the_whole_file(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'a,"b\n' + b"c,d\n" * 1000)
    sizes = [len(piece.text) for piece in pieces(File(tmp_path / "a.csv"), size=100, quotes=True)]
    assert sum(sizes) == 4005 and max(sizes) <= 500


@given(st.integers(1, 300), st.sampled_from([64, 1 << 16]))
def test_cut_gzip_names_a_line_that_is_there(length, size):
    whole = "".join(f"{line} {line**7}\n" for line in range(100))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt.gz"
        path.write_bytes(gzip.compress(whole.encode())[:-length])
        done = 0
        with pytest.raises(
            UserError, match=r"the compressed data are cut or damaged .*: fetch the file again$"
        ) as caught:
            for piece in pieces(File(path), size=size):
                done += len(piece.lines())
        told = re.match(rf"{re.escape(str(path))}, line (\d+) or later: ", str(caught.value))
        assert done < int(told[1]) <= 101


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\r\ncaf\xe9 x\r\n", r"line 2: 'caf\ufffd x': not UTF-8 text: convert it"),
        ("abc\n".encode("utf-16"), "line 1: .*not UTF-8"),
        (b"abc\n\nab\x00c\n", r"line 3: 'ab\\x00c': a zero byte"),
    ],
)
@pytest.mark.parametrize("size", [4, 100])
def test_what_is_no_text_is_named_with_its_line(tmp_path, data, message, size):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UserError, match=message):
        list(pieces(File(tmp_path / "a"), size=size))


def test_another_encoding_becomes_utf8(tmp_path):
    (tmp_path / "a").write_bytes("Amélie\r\n".encode("latin-1"))
    assert [piece.text.decode() for piece in pieces(File(tmp_path / "a"), encoding="latin-1")] == ["Amélie\n"]


def test_what_is_no_gzip_and_what_is_no_zip_is_said(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"abc\n")
    with pytest.raises(UserError, match=r"a\.gz, line 1: not gzip, though the name ends in \.gz"):
        list(pieces(File(tmp_path / "a.gz")))
    (tmp_path / "a.zip").write_bytes(b"PK\x05\x06 and nothing")
    with pytest.raises(UserError, match=r"the zip is damaged or encrypted"):
        list(pieces(File(tmp_path / "a.zip", "a")))
    with pytest.raises(UserError, match=r"none: cannot be read \(No such file"):
        list(pieces(File(tmp_path / "none")))


@pytest.mark.parametrize(
    ("at", "message"), [(100, "the zip is damaged"), (90_000, r"line \d{4,} or later: .* damaged")]
)
def test_a_damaged_member_of_a_zip_is_said(tmp_path, at, message):
    file = files_of(tmp_path, b"".join(b"%d\n" % (line**5) for line in range(20_000)))[3]
    data = bytearray(file.path.read_bytes())
    data[at : at + 40] = bytes(40)
    file.path.write_bytes(data)
    with pytest.raises(UserError, match=rf"a\.zip/in/a\.txt.*{message}"):
        list(pieces(file, size=1 << 14))


def test_files_beside_one_are_found_in_folders_and_zips(tmp_path):
    plain, _, _, member, _ = files_of(tmp_path, b"a\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"b\n"))
    assert plain.beside("b.csv") == File(tmp_path / "b.csv.gz") and plain.beside("c.csv") is None
    assert plain.beside("b.csv").name == "b.csv"
    assert plain.beside("a.txt") == plain  # the plain one first
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("in/b.csv", "")
        archive.writestr("c.csv", "")
    assert member.beside("b.csv") == File(tmp_path / "a.zip", "in/b.csv") and member.beside("c.csv") is None


def test_bad_rows_are_an_error_or_skipped_and_said():
    for skip in (False, True):
        bad = BadRows(skip)
        bad.close()
        assert bad.notes() == []
        for line in range(7):
            bad.add("f", f"line {line}", "x" * 100, "mend it")
        bad.add_number(1000)
        five = [f"f, line {line}: '{'x' * 60} ...': mend it" for line in range(5)]
        if skip:
            bad.close()
            assert bad.notes() == ["1,007 bad rows skipped, the first:", *five]
        else:
            with pytest.raises(UserError) as caught:
                bad.close()
            assert str(caught.value).split("\n") == [*five, "(1,007 such rows in all)"]


def test_messages_stay_short():
    assert short("a" * 60) == repr("a" * 60) and short("a" * 61) == repr("a" * 60 + " ...")
    assert some([]) == "nothing" and some("abc") == "a, b, c" and some(map(str, range(12)), 2) == "0, 1 and 10 more"

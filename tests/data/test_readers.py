"""Laws of jaxrec.data.readers: one set of histories, however written, is the same data; a broken file is named."""

import gzip
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data import readers
from jaxrec.data.interactions import fingerprint, from_sequences
from jaxrec.data.readers import read
from jaxrec.errors import UserError

words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=4)
ids = st.one_of(st.integers(0, 12).map(str), st.integers(2**63 - 2, 2**63 + 2).map(str), words)
integers = st.integers(-3, 12).map(str)


@st.composite
def logs(draw):
    """Histories by user: at least two items in all; the ids all integers, or of any kind."""
    kinds = (draw(st.sampled_from([ids, integers])), draw(st.sampled_from([ids, integers])))
    history = st.lists(kinds[1], min_size=1, max_size=6)
    some = draw(st.dictionaries(kinds[0], history, min_size=1, max_size=5))
    return some if len({item for items in some.values() for item in items}) > 1 else {**some, "other": ["1", "2"]}


def lines_of(log):
    return [" ".join([user, *items]) for user, items in log.items()]


def pairs_of(log, order):
    """ "user item" lines, the users interleaved as `order` chooses, everyone's first line in the users' order."""
    left = {user: list(items) for user, items in log.items()}
    lines = [f"{user} {items.pop(0)}" for user, items in left.items()]
    while open_ := [user for user, items in left.items() if items]:
        user = order.choice(open_)
        lines.append(f"{user} {left[user].pop(0)}")
    return lines


def write(folder, name, lines, separator=" ", end="\n", mark=b"", last="\n"):
    data = mark + (end.join(line.replace(" ", separator) for line in lines) + last).encode()
    path = Path(folder) / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@given(logs(), st.randoms(use_true_random=False))
def test_the_same_histories_are_the_same_data_however_written(log, order):
    wanted = from_sequences(list(log.values()), users=list(log))
    lines, pairs = lines_of(log), pairs_of(log, order)
    with tempfile.TemporaryDirectory() as folder:
        ways = [
            write(folder, "sequences.txt", lines),
            write(folder, "sequences.txt.gz", lines),
            write(folder, "pairs.txt", pairs),
            write(folder, "pairs.gz", pairs, separator="\t", end="\r\n", last=""),
            write(folder, "odd.txt", pairs, separator=" \t  ", end=" \t\r\n", mark=b"\xef\xbb\xbf", last="\n\n \r\n"),
            write(folder, "old.txt", pairs, end="\r", last="\r"),
            write(folder, "indented.txt", [" " + line for line in pairs]),
        ]
        if any(len(items) > 1 for items in log.values()):
            ways.append(write(folder, "histories.log", lines))
        for path in [folder, str(folder), *ways]:
            data = read(path)
            assert fingerprint(data) == fingerprint(wanted), path
            assert data.users.tolist() == wanted.users.tolist()
            assert data.items.dtype == np.int32 and data.offsets.dtype == np.int64


@given(logs())
def test_a_text_longer_than_a_piece_reads_the_same(log):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = write(folder, "sequences.txt", lines_of(log))
        whole = read(path)
        patch.setattr(readers, "PIECE", 3)
        assert fingerprint(read(path)) == fingerprint(whole)


def test_gzip_is_known_by_its_bytes(tmp_path):
    (tmp_path / "sequences.txt").write_bytes(gzip.compress(b"1 5 6\n2 6\n"))
    assert read(tmp_path).items.tolist() == [1, 2, 2]


def test_the_plain_file_of_a_folder_comes_first(tmp_path):
    write(tmp_path, "sequences.txt", ["1 5 6"])
    write(tmp_path, "sequences.txt.gz", ["1 7 8 9"])
    assert read(tmp_path).catalogue.ids.tolist() == [5, 6]
    assert read(tmp_path / "sequences.txt.gz").catalogue.ids.tolist() == [7, 8, 9]


def test_a_sequences_file_of_pairs_is_still_sequences(tmp_path):
    assert read(write(tmp_path, "sequences.txt", ["2 5", "1 6"])).users.tolist() == [2, 1]
    with pytest.raises(UserError, match=r"sequences\.txt, line 2: '2 6': user 2 has line 1 already"):
        read(write(tmp_path, "sequences.txt", ["2 5", "2 6"]))
    assert read(write(tmp_path, "pairs.txt", ["2 5", "2 6"])).offsets.tolist() == [0, 2]


def test_titles_and_genres_are_those_of_the_items_that_occur(tmp_path):
    write(tmp_path, "sequences.txt", ["u 30 7 8"])
    rows = ["genres,year,item_id,title", 'A|B,1999,8,"Eight, and ""more"""', ",2000,30,Thirty", "C,2001,99,Never", ""]
    write(tmp_path, "items.csv", rows, end="\r\n", mark=b"\xef\xbb\xbf")
    catalogue = read(tmp_path).catalogue
    assert catalogue.ids.tolist() == [7, 8, 30]
    assert catalogue.titles == ["", 'Eight, and "more"', "Thirty"]
    assert catalogue.genres == ["", "A|B", ""]
    assert catalogue.about["year"].to_list() == ["", "1999", "2000"]
    (tmp_path / "items.csv").write_text("item_id , title\n7, Seven\n")
    catalogue = read(tmp_path / "sequences.txt").catalogue
    assert catalogue.titles == ["Seven", "", ""] and catalogue.genres is None
    pairs = read(write(tmp_path, "pairs.txt", ["u 7", "u 8"]))
    assert pairs.catalogue.titles is None and pairs.catalogue.genres is None


@pytest.mark.parametrize(
    ("name", "data", "line", "cure"),
    [
        ("sequences.txt", b"", 1, "empty"),
        ("pairs.txt", b"\n  \n", 1, "empty"),
        ("sequences.txt", b"\xef\xbb\xbf", 1, "empty"),
        ("sequences.txt", b"1 2 3\r\n2 caf\xe9 3\r\n", 2, "'2 caf\ufffd 3': not UTF-8"),
        ("sequences.txt", "1 2 3\n".encode("utf-16"), 1, "not UTF-8"),
        ("pairs.txt", b"1 2\n1 3\n2 \x00\n", 3, "zero byte"),
        ("sequences.txt", b"1 2 3\n2\n3 4\n", 2, "'2': a user without an item"),
        ("pairs.txt", b"1 2\n1 3\n 7 \t\n", 3, "'7': a user without an item"),
        ("table.csv", b"user,item,time\n1,2,3\n", 1, "a comma or semicolon does not separate"),
        ("sequences.txt", b"1 2 3\n\n3 4\n", 2, "a blank line"),
        ("pairs.txt", b" \t\n1 2\n\n1 3\n", 1, "a blank line"),
        ("sequences.txt", b"1 2 3\n2 4\n3 5\n2 9 9\n", 4, "'2 9 9': user 2 has line 2 already: join"),
        ("pairs.txt", b"1 2\n1 3\n2 3 9 9\n2 4\n", 2, "mend line 3, with 4 tokens instead of two: '2 3 9 9'"),
        ("u.data", b"1 2 5 881250949\n1 3 3 881250950\n", 2, "mend line 1, with 4 tokens instead of two"),
        ("sequences.txt", b"1 2 2\n2 2\n", 1, "2 is the only item"),
        ("pairs.txt.gz", b"1 2\n1 3\n", 1, "not gzip"),
        ("pairs.gz", b"", 1, "empty"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, name, data, line, cure):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        read(tmp_path / name)
    assert f"{tmp_path / name}, line {line}" in str(caught.value)
    assert cure in str(caught.value)


@pytest.mark.parametrize(
    ("data", "line", "cure"),
    [
        ("id,title\n1,One\n", 1, "no column item_id"),
        ("item_id,title\n1,One\n2,Two\n1,Uno\n", 4, "'1,Uno': item 1 has a line already"),
        ("item_id,title\n1,One\n2,Two, too\n", 3, "'2,Two, too': 3 fields where the header has 2"),
        ('item_id,title\n1,"One\nand\nmore"\n\n1,Two\n', 6, "item 1 has a line already"),
        ('item_id,title\n1,One\n2,"Two\n', 3, "not CSV"),
        ("", 1, "empty"),
    ],
)
def test_a_broken_items_file_is_named_with_its_line(tmp_path, data, line, cure):
    write(tmp_path, "sequences.txt", ["1 1 2"])
    (tmp_path / "items.csv").write_text(data)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert f"{tmp_path / 'items.csv'}, line {line}" in str(caught.value)
    assert cure in str(caught.value)


@given(st.integers(1, 400))
def test_a_cut_gzip_file_is_named(length):
    rng = np.random.default_rng(0)
    data = gzip.compress("".join(f"{user} {rng.integers(1 << 40)}\n" for user in range(100)).encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequences.txt.gz"
        path.write_bytes(data[:-length])
        with pytest.raises(UserError, match=rf"^{re.escape(str(path))}, line \d+ or later: .*fetch the file again$"):
            read(path)


def test_a_damaged_gzip_file_is_named_with_the_line_reached(tmp_path):
    rng = np.random.default_rng(0)
    data = bytearray(gzip.compress("".join(f"{user} {rng.integers(1 << 40)}\n" for user in range(100_000)).encode()))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    (tmp_path / "sequences.txt.gz").write_bytes(data)
    with pytest.raises(UserError, match="cut or damaged") as caught:
        read(tmp_path)
    assert 1_000 < int(re.search(r"line (\d+)", str(caught.value))[1]) < 100_000


def test_a_missing_path_is_answered_with_near_names(tmp_path):
    write(tmp_path, "beauty-5core.txt", ["1 2"])
    with pytest.raises(UserError, match=r"beauty_5core: no such file or folder: did you mean beauty-5core\.txt\?"):
        read(tmp_path / "beauty_5core")
    with pytest.raises(UserError, match=r"holds beauty-5core\.txt"):
        read(tmp_path / "xyz")
    with pytest.raises(UserError, match="holds nothing"):
        read(tmp_path / "no" / "such")


def test_a_folder_without_sequences_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"no sequences\.txt or sequences\.txt\.gz in this folder, which holds nothing"):
        read(tmp_path)
    (tmp_path / "within").mkdir()
    write(tmp_path / "within", "sequences.txt", ["1 2 3"])
    with pytest.raises(UserError, match=rf"did you mean {re.escape(str(tmp_path / 'within'))}\?"):
        read(tmp_path)


def test_a_long_row_is_shortened(tmp_path):
    row = " ".join(map(str, range(10_000)))
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, "sequences.txt", [row, row]))
    assert len(str(caught.value)) < 400 and "'0 1 2 3" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ml-1m", (6_040, 3_416, 999_611)),
        ("beauty-5core", (22_363, 12_101, 198_502)),
        ("beauty-bert4rec", (40_226, 54_542, 353_962)),
    ],
)
def test_real_data_has_its_published_counts(real_data, name, counts):
    data = read(real_data(name))
    assert (len(data.users), len(data.catalogue.ids), len(data.items)) == counts
    assert data.offsets[0] == 0 and data.offsets[-1] == len(data.items)


def test_ml_1m_has_titles(real_data):
    catalogue = read(real_data("ml-1m")).catalogue
    assert all(catalogue.titles) and all(catalogue.genres)

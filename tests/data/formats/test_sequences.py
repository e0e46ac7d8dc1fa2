"""Laws of data.formats.sequences: the same histories give the same data in any form; so do files beside them."""

import gzip
import itertools
import json
import re
import shlex
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.data import reading
from jaxrec.data.files import text
from jaxrec.data.interactions import Sessions, fingerprint, from_sequences
from jaxrec.data.values.spellings import FLOAT, MISSING
from jaxrec.system.errors import UserError

words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=4)
words = words.filter(lambda word: word not in MISSING and not re.match(FLOAT, word))  # tests/data/test_ids.py has these
ids = st.one_of(st.integers(0, 12).map(str), st.integers(2**63 - 2, 2**63 + 2).map(str), words)
integers = st.integers(-3, 12).map(str)
START = 1_396_321_200


def read(path, **options):
    return reading.read(path, "sequences", **options)


@st.composite
def logs(draw, ids=ids):
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


@given(logs(), st.randoms(use_true_random=False), st.integers(3, 20))
def test_a_text_longer_than_a_piece_reads_the_same(log, order, size):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        ways = [
            write(folder, "sequences.txt", lines_of(log)),
            write(folder, "pairs.txt", pairs_of(log, order), last="\n\n\n"),
        ]
        wholes = [fingerprint(read(path)) for path in ways]
        patch.setattr(text, "PIECE", size)
        assert [fingerprint(read(path)) for path in ways] == wholes


def test_gzip_is_known_by_its_bytes(tmp_path):
    (tmp_path / "sequences.txt").write_bytes(gzip.compress(b"1 5 6\n2 6\n"))
    assert read(tmp_path).items.tolist() == [1, 2, 2]


def test_the_plain_file_of_a_folder_comes_first(tmp_path):
    write(tmp_path, "sequences.txt", ["1 5 6"])
    write(tmp_path, "sequences.txt.gz", ["1 7 8 9"])
    for format in (None, "sequences"):
        assert reading.read(tmp_path, format).catalogue.ids.tolist() == [5, 6]
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
    assert catalogue.about["year"].to_list() == [None, 1999, 2000]
    (tmp_path / "items.csv").write_text("item_id , title\n7, Seven\n")
    catalogue = read(tmp_path / "sequences.txt").catalogue
    assert catalogue.titles == ["Seven", "", ""] and catalogue.genres is None
    pairs = read(write(tmp_path, "pairs.txt", ["u 7", "u 8"]))
    assert pairs.catalogue.titles == ["Seven", ""] and pairs.catalogue.genres is None


BROKEN = [
    ("sequences.txt", b"", 1, "empty"),
    ("pairs.txt", b"\n  \n", 1, "empty"),
    ("sequences.txt", b"\xef\xbb\xbf", 1, "empty"),
    ("sequences.txt", b"1 2 3\r\n2 caf\xe9 3\r\n", 2, "'2 caf\ufffd 3': not UTF-8"),
    ("sequences.txt", "1 2 3\n".encode("utf-16"), 1, "not UTF-8"),
    ("pairs.txt", b"1 2\n1 3\n2 \x00\n", 3, "zero byte"),
    ("sequences.txt", b"1 2 3\n2\n3 4\n", 2, "'2': a user without an item"),
    ("pairs.txt", b"1 2\n1 3\n 7 \t\n", 3, "'7': a user without an item"),
    ("table.txt", b"user,item,time\n1,2,3\n", 1, "a comma or semicolon does not separate"),
    ("sequences.txt", b"1 2 3\n\n3 4\n", 2, "a blank line"),
    ("pairs.txt", b" \t\n1 2\n\n1 3\n", 1, "a blank line"),
    ("sequences.txt", b"1 2 3\n2 4\n3 5\n2 9 9\n", 4, "'2 9 9': user 2 has line 2 already: join"),
    ("pairs.txt", b"1 2\n1 3\n2 3 9 9\n2 4\n", 2, "mend line 3, with 4 tokens instead of two: '2 3 9 9'"),
    (
        "u.log",
        b"1 2 5 881250949\n1 3 3 881250950\n",
        2,
        "with `--format table --user 1 --item 2 --weight 3 --time 4`",
    ),
    ("sequences.txt", b"1 2 2\n2 2\n", 1, "2 is the only item"),
    ("pairs.txt.gz", b"1 2\n1 3\n", 1, "not gzip"),
    ("pairs.gz", b"", 1, "empty"),
]


@pytest.mark.parametrize(("name", "data", "line", "cure"), BROKEN)
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_a_broken_file_is_named_with_its_line(tmp_path, monkeypatch, name, data, line, cure, size):
    monkeypatch.setattr(text, "PIECE", size)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        read(tmp_path / name)
    assert f"{tmp_path / name}, line {line}" in str(caught.value)
    assert cure in str(caught.value)


@given(logs(integers), st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", " ", "x", "a,b", "\t"])), max_size=9))
def test_bad_lines_can_be_skipped(log, flaws):
    lines = [(line, True) for line in lines_of(log)]
    for at, flaw in flaws:
        lines.insert(min(at, len(lines) - 1), (flaw, False))
    said = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = write(folder, "sequences.txt", [line for line, _ in lines])
        for size in (5, 1 << 20):
            patch.setattr(text, "PIECE", size)
            data = read(path, skip_bad_rows=True, say=said.append)
            assert fingerprint(data) == fingerprint(from_sequences(list(log.values()), users=list(log)))
            wrong = [f"{path}, line {at}: {line.strip()!r}: " for at, (line, good) in enumerate(lines, 1) if not good]
            notes, said[:] = list(said), []
            assert len(notes) == (1 + min(5, len(wrong)) if wrong else 0)
            assert all(note.startswith(start) for note, start in zip(notes[1:], wrong, strict=False))
            assert not wrong or notes[0].startswith(f"{len(wrong)} bad row")


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


def test_a_long_row_is_shortened(tmp_path):
    row = " ".join(map(str, range(10_000)))
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, "sequences.txt", [row, row]))
    assert len(str(caught.value)) < 400 and "'0 1 2 3" in str(caught.value)


HEADER = "user_id,item_id,timestamp,rating,session_id"


def rows_of(log):
    """Rows of interactions.csv: increasing times with ties, ratings, and sessions of one to three rows."""
    count = itertools.count()
    return [
        [user, item, START + next(count) // 2, at % 5 + 0.5, f"s{at // 3}"]
        for user, items in log.items()
        for at, item in enumerate(items)
    ]


def write_both(folder, log, rows, name="interactions.csv", header=HEADER):
    write(folder, name, [header, *(",".join(map(str, row)) for row in rows)], end="\r\n")
    return write(folder, "sequences.txt", lines_of(log))


plain = st.one_of(st.integers(0, 12).map(str), st.sampled_from(["a", "é", "099"]))


@given(logs(plain), st.sampled_from(["interactions.csv", "interactions.csv.gz"]), st.permutations(range(5)))
def test_the_rows_beside_give_times_weights_and_sessions(log, name, order):
    rows = rows_of(log)
    bare = from_sequences(list(log.values()), users=list(log))
    starts = [at for at, row in enumerate(rows) if at == 0 or (row[0], row[4]) != (rows[at - 1][0], rows[at - 1][4])]
    wanted = replace(
        bare,
        times=np.array([row[2] for row in rows]) * 1_000_000,
        weights=np.array([row[3] for row in rows], np.float32),
        sessions=Sessions(np.array([*starts, len(rows)]), np.array([rows[at][4] for at in starts])),
    )
    shuffle = lambda row: [row[at] for at in order]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", 50)
        header = ",".join(shuffle(HEADER.split(",")))
        data = read(write_both(folder, log, map(shuffle, rows), name, header))
    assert fingerprint(data) == fingerprint(wanted)
    assert data.times.tolist() == wanted.times.tolist() and data.weights.tolist() == wanted.weights.tolist()
    assert data.sessions.offsets.tolist() == wanted.sessions.offsets.tolist()


@given(logs(plain), st.data())
def test_a_changed_row_names_its_line(log, data):
    rows = rows_of(log)
    at, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from([0, 1]))
    was, rows[at][column] = rows[at][column], "changed"
    with tempfile.TemporaryDirectory() as folder:
        path = write_both(folder, log, rows)
        what = ("user", "item")[column]
        beside = path.with_name("interactions.csv")
        message = f"{beside}, line {at + 2}: {what} changed where {path} has {was}: the two hold the same rows"
        with pytest.raises(UserError, match=re.escape(message)):
            read(path)


def test_other_flaws_of_the_rows_beside_are_named(tmp_path):
    log = {"1": ["5", "6"], "2": ["5", "7", "8"]}

    def refused(change, message, header=HEADER):
        rows = rows_of(log)
        change(rows)
        with pytest.raises(UserError, match=message):
            read(write_both(tmp_path, log, rows, header=header))

    refused(lambda rows: rows.pop(), r"interactions.csv has 4 rows, .*sequences.txt 5 items: make them the same")
    refused(lambda rows: rows.append(rows[-1]), r"interactions.csv has 6 rows, .*sequences.txt 5 items")
    refused(lambda rows: rows.reverse(), r"interactions.csv, line 2: user 2 where .*sequences.txt has 1")
    refused(lambda rows: rows[4].__setitem__(2, START - 9), r"line 6: a time before that of the line above: sort by")
    refused(lambda rows: rows[3].__setitem__(2, "noon"), r"interactions.csv, line 5: .*: timestamp is no time")
    refused(lambda rows: rows[3].__setitem__(3, "good"), r"interactions.csv, line 5: .*: rating is not a finite number")
    refused(lambda rows: rows[3].__setitem__(2, START * 1000), r"interactions.csv: timestamp is in seconds in one row")
    refused(lambda rows: None, "no column for the item", header="user_id,x,timestamp,rating,session_id")


def test_times_may_fall_from_user_to_user_and_count_from_nowhere(tmp_path):
    rows = ["user_id,item_id,relative_timestamp", "1,5,100000000", "1,6,100000000", "2,5,0", "2,7,86400"]
    write(tmp_path, "interactions.csv", rows)
    data = read(write(tmp_path, "sequences.txt", ["1 5 6", "2 5 7"]))
    assert data.relative and data.times.tolist() == [10**14, 10**14, 0, 86_400 * 10**6] and data.weights is None


def test_a_session_may_stand_for_the_user(tmp_path):
    write(tmp_path, "interactions.csv", ["session_id,item_id,timestamp", f"1,5,{START}", f"1,6,{START}"])
    data = read(write(tmp_path, "sequences.txt", ["1 5 6"]))
    assert data.sessions is None and data.times.tolist() == [START * 10**6] * 2


def test_pairs_have_nothing_beside_them(tmp_path):
    write(tmp_path, "interactions.csv", ["user_id,item_id", "9,9"])
    assert read(write(tmp_path, "pairs.txt", ["1 5", "1 6"])).times is None


def test_training_sessions_are_told_by_stats(tmp_path):
    path = write(tmp_path, "sequences.txt", ["1 5 6", "2 5", "3 6"])
    for told, wanted in (
        ({"train_sessions": 2}, 2),
        ({"users": 3}, None),
        ([], None),
        ({"train_sessions": None}, None),
    ):
        (tmp_path / "stats.json").write_text(json.dumps(told))
        assert read(path).train_sessions == wanted
    for number in (0, 3, -1, 1.5, "2", True):
        (tmp_path / "stats.json").write_text(json.dumps({"train_sessions": number}))
        with pytest.raises(
            UserError, match=rf"stats\.json: train_sessions is {number!r}: a number from 1 to 2, the lines less"
        ):
            read(path)
    (tmp_path / "stats.json").write_text("{")
    with pytest.raises(UserError, match=r"stats\.json: not JSON \(.*: mend it, or remove it"):
        read(path)


def test_items_above_their_users_are_written_before_each_by_the_cure(tmp_path):
    path = tmp_path / "combined.txt"
    path.write_text("1:\n7,3,2005-09-06\n8,5,2005-05-13\n2:\n7,4,2005-10-19\n")
    with pytest.raises(UserError, match="an item above its users") as caught:
        reading.read(path)
    command, flags = (part for part in str(caught.value).split("`")[1:4:2])
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    words = shlex.split(flags)
    columns = {flag[2:]: value for flag, value in zip(words[2::2], words[3::2], strict=True)}
    data = reading.read(tmp_path / words[1], columns=columns)
    assert data.users.tolist() == [7, 8] and data.catalogue.ids[data.items - 1].tolist() == [1, 2, 1]

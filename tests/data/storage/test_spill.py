"""Laws of data.storage.spill: preparing with little memory gives the same folder, byte for byte."""

import errno
import fcntl
import io
import os
import random
import re
import shutil
from contextlib import ExitStack
from unittest import mock

import numpy as np
import polars as pl
import pytest
from broken.logs import FILES
from broken.rows import ROWS, broken_rows
from hypothesis import given, settings, strategies as st
from odd.logs import ODD

import jaxrec
from jaxrec import cli
from jaxrec.data import prepared, synthetic
from jaxrec.data.files import text
from jaxrec.data.formats import columnar
from jaxrec.data.storage import maps, spill
from jaxrec.system.errors import UserError

COLUMNS = ("user", "item", "time", "weight", "type", "session")
users = st.one_of(st.integers(1, 9).map(str), st.sampled_from(["099", "a", "é", str(2**40)]))
OFTEN = st.integers(0, 30).map(lambda number: number == 0)


@st.composite
def rows(draw):
    """Rows as text: ids are numbers or words, times are numbers, decimals or dates, and a few rows are bad."""
    ids = draw(st.sampled_from([users, st.integers(1, 9).map(str)]))
    time = draw(
        st.sampled_from(
            [
                st.integers(10**9, 10**9 + 40).map(str),
                st.integers(0, 20).map(lambda number: str(number / 2)),
                st.integers(0, 20).map(lambda number: f"1.5e9{number}" if number == 7 else str(number)),
                st.integers(1, 28).map(lambda day: f"2024-02-{day:02}"),
                st.integers(1, 28).map(lambda day: f"202402{day:02}"),
            ]
        )
    )
    weight, kind, session = (
        st.integers(1, 5).map(str),
        st.sampled_from(["view", "buy", ""]),
        st.sampled_from("pqrs"),
    )
    bad = draw(OFTEN)
    found = draw(st.lists(st.tuples(ids, ids, time, weight, kind, session), min_size=2, max_size=40))
    return [*found, ("", "1", *found[0][2:])] if bad else found


@st.composite
def options(draw):
    """Which columns are read, and the filters."""
    read = {role: role for role in COLUMNS if role == "item" or draw(st.integers(0, 3))}
    read |= {role: "none" for role in ("time", "session") if role not in read}
    if read["session"] == "none":
        read["user"] = "user"
    filters = {
        "drop_duplicates": True,
        "since": "2001-09-09T01:47:00",
        "until": "2024-02-20",
        "min_rating": 3,
        "sample": 0.7,
        "collapse_repeats": True,
        "session_gap": 1.5,
        "max_length": 6,
        "min_length": 2,
        "k_core": 2,
        "on_bad_row": "skip",
    }
    chosen = draw(st.lists(st.sampled_from(sorted(filters)), max_size=3, unique=True))
    return read | {name: filters[name] for name in chosen}


def in_little(rows):
    """Uses blocks of so many rows, and reads files in small pieces."""
    stack = ExitStack()
    for module, name, value in ((maps, "ROWS", rows), (columnar, "ROWS", 3), (text, "PIECE", 40)):
        stack.enter_context(mock.patch.object(module, name, value))
    return stack


def outcome(path, output, **options):
    """The files of the folder, the notes and the summary; or the error message."""
    said = []
    try:
        log = jaxrec.prepare(path, output=output, say=said.append, **options)
    except UserError as error:
        assert not output.exists()
        return str(error)
    finally:
        assert not [each for each in output.parent.iterdir() if each.name.startswith(".")]
    return {file.name: file.read_bytes() for file in output.iterdir()}, said, repr(log), log.fingerprint


def check_same(path, folder, rows, **options):
    whole = outcome(path, folder / "whole" / "out", **options)
    with in_little(rows):
        parted = outcome(path, folder / "parted" / "out", memory="1GiB", **options)
    assert parted == whole
    return whole


def made(folder, rows, suffix, shards):
    """The rows as files of this format."""
    folder.mkdir()
    for number in range(shards):
        part = rows[number::shards] or rows[:1]
        frame = pl.DataFrame(part, dict.fromkeys(COLUMNS, pl.String), orient="row")
        path = folder / f"part-{number}{suffix}"
        if suffix == ".parquet":
            frame.write_parquet(path, row_group_size=5)
        elif suffix == ".jsonl":
            frame.write_ndjson(path)
        else:
            frame.write_csv(path)
    return folder


def laws(rows, options, suffix, shards, size, tmp_path_factory):
    folder = tmp_path_factory.mktemp("law")
    for name in ("whole", "parted"):
        (folder / name).mkdir()
    with mock.patch.object(os, "fsync"):  # hundreds of folders, none of which must survive a crash
        return check_same(made(folder / "log", rows, suffix, shards), folder, size, **options)


GIVEN = (rows(), options(), st.sampled_from([".csv", ".parquet", ".jsonl"]), st.integers(1, 2), st.integers(1, 9))


@given(*GIVEN)
def test_the_same_folder_with_little_memory(tmp_path_factory, rows, options, suffix, shards, size):
    laws(rows, options, suffix, shards, size, tmp_path_factory)


@pytest.mark.slow
def test_the_same_folder_of_many_logs(tmp_path_factory):
    written = []

    @settings(max_examples=400)
    @given(*GIVEN)
    def law(rows, options, suffix, shards, size):
        written.append(not isinstance(laws(rows, options, suffix, shards, size, tmp_path_factory), str))

    law()
    assert 0.3 < np.mean(written) < 1, "most logs are written, some refused"


@pytest.fixture
def commanded(tmp_path, monkeypatch, capsys):
    """`commanded(path, *flags)`: the status, what was said and the files, by the command with and without --memory."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)

    def run(path, *flags):
        found = []
        for memory in ([], ["--memory", "1GiB"]):
            output = tmp_path / "output"
            capsys.readouterr()
            with mock.patch.object(maps, "ROWS", 4 if memory else maps.ROWS):
                status = cli.main(["prepare", "--input", str(path), "--output", str(output), *flags, *memory])
            said = capsys.readouterr()
            said = [re.sub(r"in \d+\.\d s$", "", line) for line in (said.out + said.err).splitlines()]
            assert output.exists() == (status == 0)
            files = {file.name: file.read_bytes() for file in output.iterdir()} if output.exists() else {}
            shutil.rmtree(output, ignore_errors=True)
            found.append((status, said, files))
        return found

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_the_same(name, tmp_path, commanded):
    for number in range(3):
        odd = ODD[name](tmp_path / f"in-{number}", random.Random(f"{name} {number}"), number)
        whole, parted = commanded(odd.path, *odd.flags)
        assert whole == parted or any("leave out --memory" in line for line in parted[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ROWS, *FILES])
def test_what_is_broken_is_refused_the_same(name, tmp_path, commanded):
    if name in ROWS:
        broken, *_ = broken_rows(name, tmp_path, random.Random(f"{name} 1"), 1)
    else:
        broken = FILES[name](tmp_path, random.Random(f"{name} 1"), 1)
    whole, parted = commanded(broken.path, *broken.both, *broken.flags)
    assert whole == parted or any("leave out --memory" in line for line in parted[1])
    assert whole[0] == 2


def test_a_prepared_folder_is_filtered_in_parts_and_stays(tmp_path):
    frame = pl.DataFrame({"user": [1, 1, 1, 2, 2, 3], "item": list("abcabc"), "time": range(6), "weight": [1] * 6})
    jaxrec.prepare(frame, weight="weight", output=tmp_path / "first")
    before = {file.name: file.read_bytes() for file in (tmp_path / "first").iterdir()}
    for name in ("whole", "parted"):
        (tmp_path / name).mkdir()
    check_same(tmp_path / "first", tmp_path, 2, min_length=2)
    assert {file.name: file.read_bytes() for file in (tmp_path / "first").iterdir()} == before


def test_the_log_lives_on_in_the_output(tmp_path):
    made(tmp_path / "log", [("1", "a", "5", "1", "", "p"), ("1", "b", "4", "1", "", "p")], ".csv", 1)
    log = jaxrec.prepare(tmp_path / "log", output=tmp_path / "out", memory="1GiB")
    assert log.interactions.items.tolist() == [2, 1]
    assert isinstance(log.interactions.items, np.memmap)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "out"]
    prepared.verify(prepared.load(tmp_path / "out"))


# --- what memory can't do


@pytest.mark.parametrize("text", ["", "4", "-4GiB", "4 X", "GiB", "0", "1e9", "255MiB", "nan", "4GiB4"])
def test_what_is_no_amount_of_memory_is_refused(text, tmp_path):
    made(tmp_path / "log", [("1", "a", "1", "1", "", "p")] * 2, ".csv", 1)
    with pytest.raises(UserError, match=f"--memory {re.escape(text)}: "):
        jaxrec.prepare(tmp_path / "log", output=tmp_path / "out", memory=text)


def write_stream(folder):
    pl.DataFrame({"user": [1, 2], "item": [1, 2]}).write_ipc_stream(folder / "log.arrow")
    return folder / "log.arrow"


def write_sequences(folder):
    (folder / "sequences.txt").write_text("1 2 3\n2 3 4\n")
    return folder / "sequences.txt"


@pytest.mark.parametrize("write", [write_stream, write_sequences])
def test_what_is_read_whole_is_refused(write, tmp_path):
    path = write(tmp_path)
    with pytest.raises(UserError, match=r"into memory.*leave out --memory"):
        jaxrec.prepare(path, output=tmp_path / "out", memory="1GiB")
    jaxrec.prepare(path, output=tmp_path / "out")


def test_memory_is_for_files_and_a_folder(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 2]})
    with pytest.raises(UserError, match="as Parquet"):
        jaxrec.prepare(frame, output=tmp_path / "out", memory="1GiB")
    with pytest.raises(UserError, match="with output"):
        jaxrec.prepare("synthetic:users=5", memory="1GiB")
    with pytest.raises(UserError, match="generated in memory"):
        jaxrec.prepare("synthetic:users=5", output=tmp_path / "out", memory="1GiB")


def test_ids_or_a_user_beyond_the_memory_are_refused_with_what_does(tmp_path, monkeypatch):
    frame = pl.DataFrame({"user": [f"u{user}" for user in range(300)] * 2, "item": [*"ab"] * 300})
    frame.write_csv(tmp_path / "log.csv")
    monkeypatch.setattr(spill, "LEAST", 1)
    prepare = lambda memory: jaxrec.prepare(tmp_path / "log.csv", output=tmp_path / "out", memory=memory)
    with pytest.raises(
        UserError, match=r"the ids of 300 users and 2 items take about .*, and half of --memory"
    ) as told:
        prepare(1000)
    with monkeypatch.context() as patched, pytest.raises(UserError, match=r"one user alone has 2 rows") as also:
        patched.setattr(spill.Disk, "check", lambda *args: None)
        prepare(200)
    assert [each.name for each in tmp_path.iterdir()] == ["log.csv"]
    for error in (told, also):
        prepare(re.search(r"say --memory (\S+),", str(error.value))[1])


# --- the temporary folder


@pytest.mark.parametrize("after", [0, 3, 20])
def test_a_full_disk_is_told_and_leaves_nothing(after, tmp_path, monkeypatch):
    synthetic.write(synthetic.world(items=100), tmp_path / "log.parquet", 100)
    write, calls = os.pwrite, []

    def full(*args):
        calls.append(args)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"No space left on device.*free the disk"), in_little(50):
        jaxrec.prepare(tmp_path / "log.parquet", output=tmp_path / "new" / "out", memory="1GiB")
    assert [each.name for each in tmp_path.iterdir()] == ["log.parquet"]


def test_what_is_written_in_part_is_written_on(tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: write(handle, data[:3], at))
    column = spill.FileParts(tmp_path / "column.npy")
    for array in (np.arange(5), np.arange(0), np.arange(5, 7)):
        column.add(array)
    assert np.concatenate([*column]).tolist() == column.whole().tolist() == [*range(7)]
    written = io.BytesIO()
    np.save(written, np.arange(7))
    assert (tmp_path / "column.npy").read_bytes() == written.getvalue()


def test_tables_have_half_of_the_memory(tmp_path):
    disk = spill.Disk(tmp_path, 1001)
    disk.check("log.csv", 500, "the ids")
    with pytest.raises(UserError, match=r"log\.csv: the ids take about .*say --memory 2GiB, or leave it out"):
        disk.check("log.csv", 501, "the ids")


def test_a_file_goes_with_the_whole_of_its_array_alone(tmp_path):
    (tmp_path / "rows").mkdir()
    disk = spill.Disk(tmp_path / "rows", 1 << 20)
    column = disk.parts("items")
    column.add(np.arange(5))
    whole = column.whole()
    disk.forget(whole[1:], np.arange(5))
    assert not disk.give(whole[:4], tmp_path / "out.npy") and disk.give(whole, tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tolist() == [*range(5)]
    assert not spill.Disk(tmp_path, 1).give(np.load(tmp_path / "out.npy"), tmp_path / "other.npy")


def test_what_a_killed_process_left_is_removed_and_a_running_one_is_left(tmp_path):
    made(tmp_path / "log", [("1", "a", "1", "1", "", "p"), ("2", "b", "1", "1", "", "p")], ".csv", 1)
    left = tmp_path / ".out.spill.tmp"
    left.mkdir()
    (left / "item-0.npy").write_bytes(b"half")
    lock = os.open(left, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another prepare is writing there"):
        jaxrec.prepare(tmp_path / "log", output=tmp_path / "out", memory="1GiB")
    assert (left / "item-0.npy").exists()
    os.close(lock)
    jaxrec.prepare(tmp_path / "log", output=tmp_path / "out", memory="1GiB")
    assert not left.exists()

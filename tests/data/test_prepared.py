"""Prepared folders: what is loaded is what was saved, memory-mapped; a folder is complete, or it is absent."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from prepared_folders import loaded, same
from some import some

from jaxrec.data import event_types, prepared, reading
from jaxrec.data.interactions import Catalogue, Interactions, Sessions, fingerprint, from_sequences
from jaxrec.system.errors import UserError

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


def ids(number):
    kinds = st.integers(-(2**63), 2**63 - 1), text
    dtypes = np.int64, np.dtypes.StringDType()
    drawn = [st.lists(kind, min_size=number, max_size=number, unique=True) for kind in kinds]
    return st.one_of(*(each.map(lambda some, d=d: np.array(some, d)) for each, d in zip(drawn, dtypes, strict=True)))


@st.composite
def typed(draw, total):
    """Types of this many events, or None."""
    column = event_types.Column("type")
    column.add(
        pl.Series(draw(st.lists(st.one_of(st.none(), text), min_size=total, max_size=total)), dtype=pl.String), ""
    )
    return column.close() if draw(st.booleans()) else None


@st.composite
def many(draw):
    """Interactions with any of the optional fields."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=6))
    users, total, vocabulary = len(lengths), sum(lengths), draw(st.integers(2, 8))
    rows = lambda kind, dtype: np.array(draw(st.lists(kind, min_size=total, max_size=total)), dtype)
    offsets = np.append(0, np.cumsum(lengths))
    times = weights = sessions = about = None
    if draw(st.booleans()):
        times = np.concatenate(
            [np.sort(part) for part in np.split(rows(st.integers(0, 2**53), np.int64), offsets[1:-1])]
        )
    if draw(st.booleans()):
        weights = rows(st.floats(width=32, allow_nan=False, allow_infinity=False), np.float32)
    if draw(st.booleans()):
        borders = np.union1d(offsets, draw(st.lists(st.integers(0, total), max_size=4)))
        sessions = Sessions(borders.astype(np.int64), draw(ids(len(borders) - 1)))
    types = draw(typed(total))
    if draw(st.booleans()):
        words = st.lists(st.one_of(st.none(), text), min_size=vocabulary, max_size=vocabulary)
        columns = draw(st.sets(st.sampled_from(["title", "genres", "year"]), min_size=1))
        about = pl.DataFrame({name: draw(words) for name in sorted(columns)}, dict.fromkeys(sorted(columns), pl.String))
    return Interactions(
        items=rows(st.integers(1, vocabulary), np.int32),
        offsets=offsets,
        users=draw(ids(users)),
        catalogue=Catalogue(draw(ids(vocabulary)), about),
        name="made",
        times=times,
        relative=times is not None and draw(st.booleans()),
        weights=weights,
        types=types,
        sessions=sessions,
        train_sessions=draw(st.one_of(st.none(), st.integers(1, users - 1))),
    )


@given(many())
def test_what_is_loaded_is_what_was_saved(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        prepared.save(data, path, {"source": "made"})
        loaded = prepared.load(path)
        same(loaded, data)
        assert loaded.name == str(path)
        assert fingerprint(loaded) == fingerprint(data) == fingerprint(replace(loaded, digest=None))
        assert os.listdir(folder) == ["out"]
        for array in (
            loaded.items,
            loaded.offsets,
            loaded.times,
            loaded.weights,
            loaded.sessions and loaded.sessions[0],
            loaded.types and loaded.types[0],
        ):
            assert array is None or (type(array) is np.memmap and array.mode == "r")
        prepared.save(loaded, path, {})  # onto itself
        same(prepared.load(path), data)


SMALL = from_sequences([[5, 6, 7], [6, 5]], users=["a", "b"])
OTHER = from_sequences([[1, 2]])


def snapshot(folder):
    return {str(each): each.read_bytes() if each.is_file() else None for each in sorted(Path(folder).rglob("*"))}


def test_arrays_beyond_any_memory_load_at_once(tmp_path):
    """A sparse file of one tebibyte: reading it would take minutes, and memory that no machine has."""
    number = 2**38
    prepared.save(SMALL, tmp_path / "out", {})
    (tmp_path / "out" / "items.npy").unlink()
    try:
        np.lib.format.open_memmap(tmp_path / "out" / "items.npy", "w+", np.int32, (number,))
    except OSError:
        pytest.skip("this file system has no files of that size")
    np.save(tmp_path / "out" / "offsets.npy", np.array([0, 3, number]))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text()) | {"interactions": number}
    del meta["checksum"]
    (tmp_path / "out" / "meta.json").write_text(json.dumps(meta))
    loaded = reading.read(tmp_path / "out")
    assert len(loaded.items) == number and fingerprint(loaded) == fingerprint(SMALL)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("old", [True, False])
def test_what_is_interrupted_leaves_nothing(tmp_path, error, old):
    path = tmp_path / "new" / "deep" / "out"
    if old:
        prepared.save(OTHER, path, {})
    before = snapshot(tmp_path)

    def interrupt(folder):
        assert (folder / "items.npy").exists()
        raise error

    with pytest.raises(error):
        prepared.save(SMALL, path, {}, interrupt)
    assert snapshot(tmp_path) == before
    prepared.save(SMALL, path, {})
    same(prepared.load(path), SMALL)


KILLED = """
import os, signal, sys
from pathlib import Path
from jaxrec.data import prepared
from jaxrec.data.interactions import from_sequences
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
renames, rename = int(sys.argv[2]), Path.rename
def counted(self, other):
    global renames
    renames -= 1
    rename(self, other) if renames else die()
Path.rename = counted
prepared.save(from_sequences([[5, 6, 7], [6, 5]], users=["a", "b"]), sys.argv[1], {}, lambda folder: renames or die())
"""


@pytest.mark.parametrize(("old", "renames"), [(False, 0), (False, 1), (True, 0), (True, 1), (True, 2)])
def test_what_is_killed_leaves_nothing_that_is_taken_for_data(tmp_path, old, renames):
    """It is killed while it writes, or before one of the renames at the end."""
    path = tmp_path / "out"
    if old:
        prepared.save(OTHER, path, {})
    argv = [sys.executable, "-c", KILLED, str(path), str(renames)]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
    left = sorted(tmp_path.iterdir())
    assert tmp_path / ".out.tmp" in left
    for each in left:
        if each != path:
            with pytest.raises(UserError, match="left by a prepare that was interrupted"):
                reading.read(each)
    if old and renames < 2:
        same(prepared.load(path), OTHER)
    if not old:
        with pytest.raises(UserError):
            reading.read(tmp_path)
    with pytest.raises(RuntimeError):  # the next attempt fails too, and keeps the old folder
        prepared.save(SMALL, path, {}, lambda folder: (_ for _ in ()).throw(RuntimeError))
    assert list(tmp_path.iterdir()) == ([path] if old else [])
    if old:
        same(prepared.load(path), OTHER)
    prepared.save(SMALL, path, {})
    assert list(tmp_path.iterdir()) == [path]
    same(prepared.load(path), SMALL)


@pytest.mark.parametrize(
    "files",
    [
        {"out": "a file"},
        {"out/notes.txt": "mine"},
        {"out/run/meta.json": "{}"},
        {"out/meta.json": "{}"},
        {"out/meta.json": "[]"},
        {"out/meta.json": "{"},
        {"out/meta.json": '{"format": "another"}'},
        {"out/.hidden": ""},
    ],
    ids=repr,
)
def test_what_is_foreign_is_never_touched(tmp_path, files):
    for name, said in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(said)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="name another --output"):
        prepared.save(SMALL, tmp_path / "out", {})
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("stranger", ["run/checkpoint", "notes.txt"])
def test_what_lies_in_a_prepared_folder_is_not_removed_with_it(tmp_path, stranger):
    """A workdir may well be inside the folder that it was trained on."""
    prepared.save(OTHER, tmp_path / "out", {})
    (tmp_path / "out" / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / stranger).touch()
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=f"holds {stranger.partition('/')[0]} too: move that elsewhere"):
        prepared.save(SMALL, tmp_path / "out", {})
    assert snapshot(tmp_path) == before
    same(prepared.load(tmp_path / "out"), OTHER)


def test_empty_folders_links_and_the_current_folder_will_do(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    prepared.save(SMALL, tmp_path / "empty", {})
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    prepared.save(OTHER, tmp_path / "link", {})
    assert (tmp_path / "link").is_symlink()
    same(prepared.load(tmp_path / "empty"), OTHER)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    prepared.save(SMALL, ".", {})
    same(prepared.load(tmp_path / "here"), SMALL)
    assert sorted(os.listdir(tmp_path)) == ["empty", "here", "link"]


def write_pairs(path):
    """Writes lines of a user and an item that take more than 100 kB once prepared, and do not compress."""
    users = [hashlib.sha256(b"%d" % user).hexdigest() for user in range(2_000)]
    path.write_text("".join(f"{user} {item}\n" for at, user in enumerate(users) for item in (at % 7, at % 5)))


LIMITED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from jaxrec import cli
sys.exit(cli.main(["prepare", "--input", sys.argv[2], "--output", sys.argv[3]]))
"""


@pytest.mark.parametrize(
    ("limit", "old"), some([(a, b) for a in (0, 100, 1_000, 20_000) for b in (True, False)], (0, True), (1_000, False))
)
def test_a_file_that_the_kernel_refuses_to_grow_leaves_nothing(tmp_path, limit, old):
    """A limit on a process's files stands in for a full disk: the same call fails, for arrays or for Parquet."""
    write_pairs(tmp_path / "pairs.txt")
    path = tmp_path / "parent" / "out"
    if old:
        prepared.save(OTHER, path, {})
    before = snapshot(tmp_path)
    argv = [sys.executable, "-c", LIMITED, str(limit), str(tmp_path / "pairs.txt"), str(path)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith(f"jaxrec prepare: {path}: cannot be written (")
    assert "File too large" in ran.stderr and ran.stderr.endswith("free the disk, or name another --output\n")
    assert snapshot(tmp_path) == before


TINY = """
mount -t tmpfs -o size="$1" none "$2" || exit 99
"$3" -c "from jaxrec import cli; cli.run('prepare')" --input "$4" --output "$2/parent/out"
status=$?; ls -A "$2"; exit $status
"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="no way to mount a disk for this test alone")
@pytest.mark.parametrize("size", ["8k", "20k", "60k"])
def test_a_full_disk_says_so_and_is_left_empty(tmp_path, size):
    (tmp_path / "disk").mkdir()
    write_pairs(tmp_path / "pairs.txt")
    words = [size, str(tmp_path / "disk"), sys.executable, str(tmp_path / "pairs.txt")]
    ran = subprocess.run(["unshare", "-m", "sh", "-c", TINY, "sh", *words], capture_output=True, text=True, check=False)
    if ran.returncode == 99 or ran.stderr.startswith("unshare:"):
        pytest.skip(f"no disk may be mounted here: {ran.stderr}")
    assert ran.returncode == 2 and not ran.stdout, ran.stderr
    assert ran.stderr.startswith(f"jaxrec prepare: {tmp_path / 'disk' / 'parent' / 'out'}: cannot be written (")
    assert "No space left on device" in ran.stderr


def test_a_parent_that_may_not_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \(.*Not a directory\)"):
        prepared.save(SMALL, tmp_path / "file" / "out", {})
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if not os.access(closed, os.W_OK):
        with pytest.raises(UserError, match=r"cannot be written \(.*Permission denied\)"):
            prepared.save(SMALL, closed / "out", {})
    assert sorted(os.listdir(tmp_path)) == ["closed", "file"] and not os.listdir(closed)


def test_two_prepares_do_not_write_one_folder(tmp_path):
    data = from_sequences([[1, 2], [2, 3]])

    def another(folder):
        with pytest.raises(UserError, match="another prepare is writing there: wait for it"):
            prepared.save(data, tmp_path / "out", {})

    prepared.save(data, tmp_path / "out", {}, another)
    assert fingerprint(prepared.load(tmp_path / "out")) == fingerprint(data)
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["pre[v2]", "a**", "back\\slash", "n" * 255, "{a}?", "🙂 שלום"])
def test_a_folder_of_any_name_is_written_and_loaded(tmp_path, name):
    prepared.save(SMALL, tmp_path / name, {})
    same(loaded(tmp_path / name), SMALL)
    assert os.listdir(tmp_path) == [name]

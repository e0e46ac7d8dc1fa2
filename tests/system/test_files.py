"""Files are either complete or absent."""

import io
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from jaxrec.system import files
from jaxrec.system.errors import UserError
from jaxrec.system.files import MARK, parse_json, read_checked, replacing, sweep, write_checked, write_json, writing


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}])
def test_a_failed_write_leaves_what_was(tmp_path, value):
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises((TypeError, ValueError)):
        write_json(path, value)
    assert path.read_text() == '{\n  "a": 1\n}\n' and list(path.parent.iterdir()) == [path]


def test_a_block_cut_off_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_files_that_were_cut_off_are_swept_and_nothing_else(tmp_path):
    (tmp_path / f"{MARK}folder.tmp").mkdir()
    (tmp_path / f"{MARK}link.tmp").symlink_to(tmp_path / "a.tmp")
    for name in ("a.tmp", f"{MARK}b", f"{MARK}c.tmp"):
        (tmp_path / name).touch()
    left = {*os.listdir(tmp_path)} - {f"{MARK}c.tmp"}
    sweep(tmp_path)
    assert {*os.listdir(tmp_path)} == left


def test_a_name_as_long_as_any_is_written(tmp_path):
    write_json(tmp_path / ("n" * 255), {})
    assert [each.name for each in tmp_path.iterdir()] == ["n" * 255]


def test_what_a_disk_refuses_is_a_message(tmp_path):
    said = r"/a: can't be written \(No space left on device\): make room"
    with pytest.raises(UserError, match=said), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_while_a_file_is_written_is_no_full_disk(tmp_path):
    said = r"/b: can't be opened \(No such file .*, and it is needed to write .*/c/a: mend"
    with pytest.raises(UserError, match=said), replacing(tmp_path / "c" / "a"):
        (tmp_path / "b").read_text()
    (tmp_path / "d").touch()
    for other in ("d/e", "d/e/f"):  # in, or below, something that isn't a folder
        with pytest.raises(UserError, match=rf"/{other}: can't be written"), replacing(tmp_path / other):
            pass


def test_a_disk_that_polars_finds_full_is_a_message(tmp_path):
    with (
        pytest.raises(UserError, match=r"/a: can't be written \(No space left on device\): make room"),
        writing(tmp_path / "a"),
    ):
        raise pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")
    with pytest.raises(pl.exceptions.ComputeError, match="another"), writing(tmp_path / "a"):
        raise pl.exceptions.ComputeError("another")


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    target, link = tmp_path / "a.json", tmp_path / "link"
    write_json(target, 1)
    for place in (target, "/dev/null"):
        link.symlink_to(place)
        write_json(link, 2)
        assert not link.is_symlink() and link.read_text() == "2\n" and target.read_text() == "1\n"
        link.unlink()


def test_files_in_shared_memory_are_replaced_whole():
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("no shared memory")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        write_json(path := Path(place) / "a.json", 1)
        with open(path) as before:
            write_json(path, 2)
            assert before.read() == "1\n" and path.read_text() == "2\n"


def test_a_pipe_is_written_to_and_stays(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor() as threads:
        said = threads.submit(pipe.read_text)
        write_json(pipe, [1])
        assert said.result(10) == "[\n  1\n]\n"
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
    write_json("/dev/null", 1)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_what_is_written_to_the_output_goes_where_all_of_it_goes(tmp_path, name):
    code = f"from jaxrec.system.files import write_json; print('before'); write_json({name!r}, 1); print('after')"
    (tmp_path / "out").write_text("old\n")
    with open(tmp_path / "out", "ab") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "old\nbefore\n1\nafter\n"
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said == "before\n1\nafter\n"


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_what_has_no_name_is_no_file_to_write(path):
    with pytest.raises(UserError, match="is a folder, and a file is written there"), replacing(path):
        pass


def test_json_is_read_up_to_a_size(monkeypatch):
    monkeypatch.setattr(files, "SMALL", 4)
    assert parse_json(io.BytesIO(b"1234")) == 1234
    with pytest.raises(ValueError, match="over 4 bytes"):
        parse_json(io.BytesIO(b"12345"))


def test_checked_values_come_back_or_are_refused(tmp_path):
    path = tmp_path / "a.json"
    write_checked(path, {"a": [1, 0.1], "b": None})
    assert read_checked(path, "mend it") == {"a": [1, 0.1], "b": None}
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(UserError, match=r"a\.json: damaged: its content is not what was written: mend it"):
        read_checked(path, "mend it")

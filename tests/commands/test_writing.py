"""A stream of frames becomes one table in a file, which appears when it is complete."""

import io

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxrec.commands.writing import write
from jaxrec.system import console as consoles

FRAMES = [pl.DataFrame({"user": [1, 1, 2], "item": ["a", "b", "a"]}), pl.DataFrame({"user": [3], "item": ["c"]})]


@pytest.mark.parametrize(("suffix", "read"), [(".csv", pl.read_csv), (".parquet", pl.read_parquet)])
def test_frames_are_written_as_one_table(suffix, read, tmp_path):
    said = io.StringIO()
    write(iter(FRAMES), path := tmp_path / f"out{suffix}", 3, "users", consoles.make(file=said, width=200))
    assert_frame_equal(read(path), pl.concat(FRAMES))
    assert said.getvalue().startswith(f"{path}: 3 users in ") and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_frames_that_end_in_an_error_leave_what_was(suffix, tmp_path):
    def frames():
        yield FRAMES[0]
        raise KeyError("lost")

    (path := tmp_path / f"out{suffix}").write_text("before")
    with pytest.raises((KeyError, pl.exceptions.ComputeError), match="lost"):
        write(frames(), path, 3, "users", consoles.make(file=io.StringIO()))
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]

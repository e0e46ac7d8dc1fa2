"""Writes a stream of frames to a file, holding few of them in memory, and shows the progress."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxrec.system.console import printable
from jaxrec.system.files import replacing, writing

QUIET_SECONDS = 30  # seconds between lines if not on a terminal


def write(frames: Iterator[pl.DataFrame], path: Path, total: int, what: str, console: Console) -> None:
    """Writes frames of the same schema as Parquet or CSV, by the file's suffix; the file appears when complete.

    Args:
        frames: the frames.
        path: the file.
        total: expected number of distinct values in the first column, for the progress.
        what: name of what is counted, as "users".
        console: shows the progress.

    Raises:
        UserError: if it can't be written.
    """
    begun, done = time.monotonic(), 0
    with writing(path), replacing(path) as temporary, _progress(console, what, total) as advance:

        def counted():
            nonlocal done
            for frame in frames:
                number = frame[:, 0].n_unique()
                done += number
                advance(number)
                yield frame

        (_parquet if path.suffix == ".parquet" else _csv)(counted(), temporary)
    seconds = time.monotonic() - begun
    rate = done / max(seconds, 1e-9)
    console.print(printable(f"{path}: {done:,} {what} in {seconds:.1f} s, {rate:,.0f} a second"), soft_wrap=True)


def _parquet(frames, path):
    first = next(frames)
    every = itertools.chain([first], frames)
    source = register_io_source(lambda *_: every, schema=first.schema)
    source.sink_parquet(path, engine="streaming")


def _csv(frames, path):
    with open(path, "wb") as file:
        for number, frame in enumerate(frames):
            frame.write_csv(file, include_header=number == 0)


@contextlib.contextmanager
def _progress(console, what, total):
    """Shows a bar on a terminal, otherwise lines at intervals. Yields a function that adds to the number done."""
    bar = Progress(
        TextColumn(what), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    task, spoke, done = bar.add_task(what, total=total), time.monotonic(), 0

    def advance(number):
        nonlocal spoke, done
        done += number
        bar.advance(task, number)
        if not console.is_terminal and time.monotonic() - spoke > QUIET_SECONDS:
            spoke = time.monotonic()
            console.print(f"{done:,} of {total:,} {what}")

    with bar:
        yield advance

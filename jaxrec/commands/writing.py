"""Frames -> a file, one after the other, so that no more than a few are in memory; with the progress shown."""

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
from jaxrec.system.errors import UserError
from jaxrec.system.files import replacing, writing

QUIET_SECONDS = 30  # between lines where no one looks


def write(frames: Iterator[pl.DataFrame], path: Path, total: int, what: str, console: Console) -> None:
    """Write frames of one schema as Parquet or CSV, by the file's name; it is there once it is whole.

    Args:
        total: of what is done, and what: "users". A frame counts as many as it has distinct values in its first column.

    Raises:
        UserError: it can't be written.
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
    first = next(frames, None)
    if first is None:
        raise UserError("nothing to write: there are no users")
    every = itertools.chain([first], frames)
    source = register_io_source(lambda *_: every, schema=first.schema)
    source.sink_parquet(path, engine="streaming")


def _csv(frames, path):
    with open(path, "wb") as file:
        for number, frame in enumerate(frames):
            frame.write_csv(file, include_header=number == 0)


@contextlib.contextmanager
def _progress(console, what, total):
    """A bar on a terminal; a line now and then elsewhere. Gives the function that is told how many more are done."""
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

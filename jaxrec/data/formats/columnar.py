"""Reads Parquet and Arrow files as batches of the chosen columns."""

from collections.abc import Iterator
from functools import partial

import polars as pl

from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.opener import FLOOR, RATIO, Unreadable
from jaxrec.data.files.text import File
from jaxrec.data.formats import headers
from jaxrec.data.log import Batch
from jaxrec.data.values import nested
from jaxrec.system.errors import UserError

ROWS = 1 << 21  # rows per batch
SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc")
PARQUET, ARROW, STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"  # the first bytes of each format


def names(file: File) -> list[str]:
    """Returns the column names of a file, followed by the paths of nested fields, such as events.aid."""
    return nested.paths(schema(file))


def schema(file: File) -> pl.Schema:
    """Returns the column names and types of a file."""
    return _table(file).collect_schema()


def is_stream(file: File) -> bool:
    """Returns whether a file is an Arrow stream, which has to be read as a whole."""
    start = file.start(len(ARROW))
    return not (start.startswith(PARQUET) or file.suffix == ".parquet" or start == ARROW)


def head(file: File, columns: dict[str, str], rows: int = 1000) -> pl.DataFrame:
    """Returns the first rows of a file, with `columns` as in `read`."""
    try:
        return _chosen(file, columns).head(rows).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: damaged ({_one_line(error)}): fetch or write it again") from None


def read(file: File, columns: dict[str, str], odd: Oddities | None = None) -> Iterator[Batch]:
    """Reads a file in batches.

    Args:
        file: a Parquet or Arrow file.
        columns: {role: name, or a path as from `nested.paths`}.
        odd: records rows that repeat the header, which are left out; None to keep such rows.

    Raises:
        UserError: if the file is damaged.
    """
    done = 0
    if odd:
        odd.begin(file)
    try:
        for frame in _chosen(file, columns).collect_batches(chunk_size=ROWS, maintain_order=True):
            batch = Batch(frame, file, partial(record, frame, columns, done))
            yield headers.left_out(batch, columns, odd) if odd else batch
            done += len(frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: damaged after row {done:,} ({_one_line(error)}): fetch or write it again") from None


def _chosen(file: File, columns: dict[str, str]) -> pl.LazyFrame:
    known = schema(file)
    roots = list(dict.fromkeys(nested.root(known, name) for name in columns.values()))
    return select(_table(file, roots), known, columns)


def select(table: pl.LazyFrame, schema: pl.Schema, columns: dict[str, str]) -> pl.LazyFrame:
    """Selects the columns {role: name, or a path as from `nested.paths`} of a table of this schema, named by role."""
    return table.select(**{role: nested.column(schema, name) for role, name in columns.items()})


def _table(file: File, columns: list[str] | None = None) -> pl.LazyFrame:
    """Returns the table of a file. `columns`: those to load from a stream, which is read whole; None loads no rows."""
    start, source = file.start(len(ARROW)), file.on_disk()
    try:
        if start.startswith(PARQUET) or file.suffix == ".parquet":
            lazy = pl.scan_parquet(source, glob=False, hive_partitioning=False)
            _check_rows(file, lazy)
        elif start == ARROW:
            lazy = pl.scan_ipc(source, glob=False, hive_partitioning=False)
        else:
            lazy = pl.read_ipc_stream(source, columns=columns, n_rows=None if columns else 0).lazy()
        lazy.collect_schema()
        return lazy
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: cannot be read ({_one_line(error)}): fetch or write it again") from None


def _check_rows(file: File, lazy: pl.LazyFrame) -> None:
    """Checks that the number of rows is plausible for the file's size, if each row has at least one value."""
    if file.opener.allow_large:
        return
    rows = lazy.select(pl.len()).collect().item()
    size = file.path.stat().st_size
    if rows > max(FLOOR, RATIO * size):
        raise Unreadable(
            f"{file}: {rows:,} rows in {size:,} bytes, as in a file made to fill a disk: "
            "if you trust it, prepare it with --allow-large"
        )


def record(frame: pl.DataFrame, columns: dict[str, str], before: int, index: int) -> tuple[str, str]:
    """Returns (place, text) of a row, as `Batch.row` does. `before`: the number of rows before the frame."""
    values = {columns[role]: value for role, value in frame.row(index, named=True).items()}
    return f"row {before + index + 1}", str(values)


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120]

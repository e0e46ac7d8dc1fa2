"""Moves tables from Spark to the driver batch by batch, so that the driver holds one batch in memory at a time."""

import io
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa  # pyright: ignore[reportMissingImports]
from pyspark import StorageLevel  # pyright: ignore[reportMissingImports]

ARROW = {
    pl.String: pa.string(),
    pl.Int64: pa.int64(),
    pl.Float64: pa.float64(),
    pl.Float32: pa.float32(),
    pl.Int32: pa.int32(),
    pl.Int8: pa.int8(),
    pl.Boolean: pa.bool_(),
}


def to_arrow(frame: pl.DataFrame) -> pa.RecordBatch:
    """Returns a frame as an Arrow batch with types that Spark supports."""
    arrays = [
        series.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(ARROW[series.dtype.base_type()])
        for series in frame.get_columns()
    ]
    return pa.RecordBatch.from_arrays(arrays, names=frame.columns)


def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields each batch packed into a single row of bytes."""
    for batch in batches:
        if batch.num_rows:
            stream = io.BytesIO()
            with pa.ipc.new_stream(stream, batch.schema) as writer:
                writer.write_batch(batch)
            yield pa.RecordBatch.from_arrays([pa.array([stream.getvalue()], pa.binary())], names=["packed"])


def pinned(table: Any) -> Any:
    """Returns the same Spark DataFrame, computed now and stored.

    The rows are stored in the session's checkpoint folder if it has one, otherwise on the disks of the workers. Without
    this, the plan of each step would contain the plans of all steps before it.
    """
    if table.sparkSession.sparkContext.getCheckpointDir():
        return table.checkpoint()
    return table.localCheckpoint(storageLevel=StorageLevel.DISK_ONLY)


def frames(table: Any) -> Iterator[pl.DataFrame]:
    """Yields the rows of a Spark DataFrame in order, partition by partition."""
    for row in table.mapInArrow(pack, "packed binary").toLocalIterator():
        yield unpacked(row)


def first(table: Any) -> pl.DataFrame | None:
    """Returns the first batch of a Spark DataFrame; None if there are no rows."""
    rows = table.mapInArrow(pack, "packed binary").take(1)
    return unpacked(rows[0]) if rows else None


def unpacked(row: Any) -> pl.DataFrame:
    """Returns the batch that `pack` packed into a row."""
    return pl.read_ipc_stream(bytes(row[0]))

"""Moves the rows of a log, sorted and numbered, from Spark to files on this machine, one batch at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from pyspark.sql import DataFrame, functions as F  # pyright: ignore[reportMissingImports]

from jaxrec.data.event_types import MOST
from jaxrec.data.interactions import Catalogue, Interactions, Sessions, Types, to_array
from jaxrec.data.spark.filtering import Rows, running
from jaxrec.data.spark.packing import frames

PART = 1 << 21  # rows per partition of the sorted rows; the driver holds one partition at a time
KINDS = {"items": np.int32, "times": np.int64, "weights": np.float32, "types": np.uint8}


def interactions(rows: Rows, name: str, folder: Path) -> Interactions:
    """Returns the Interactions of filtered rows, whose arrays with one value per row are memory maps.

    Arrays with one value per user, item or session are in memory, as in training.

    Args:
        rows: the rows.
        name: name of the log.
        folder: where the files of the memory maps are written.
    """
    items = _ids(rows.table.select("item").distinct().withColumn("rows", F.lit(1)), "item")
    users = _ids(rows.table.groupBy("user").agg(F.count("*").alias("rows")), "user")
    offsets = np.append(0, np.cumsum(users[1]))
    names = _types(rows)
    starts, sessions, done = [], [], 0
    with _arrays(folder) as files:
        for frame in frames(_sorted(rows, names)):
            for column, file in files.items():
                if column in frame.columns:
                    file.write(np.ascontiguousarray(frame[column].to_numpy(), KINDS[column]).data)
            if "begins" in frame.columns:
                begins = frame["begins"].arg_true()
                starts.append(begins.to_numpy().astype(np.int64) + done)
                sessions.append(to_array(frame["session"].gather(begins)))
            done += len(frame)
    assert done == offsets[-1], f"{done:,} rows came where {offsets[-1]:,} were counted"
    maps = {column: _mapped(folder / column, kind) for column, kind in KINDS.items()}
    return Interactions(
        items=maps["items"],
        offsets=offsets,
        users=users[0],
        catalogue=Catalogue(items[0]),
        name=name,
        times=maps["times"] if rows.has("time") else None,
        relative=rows.relative and rows.has("time"),
        weights=maps["weights"] if rows.has("weight") else None,
        types=Types(maps["types"], names) if names else None,
        sessions=Sessions(np.append(np.concatenate(starts), done), np.concatenate(sessions)) if starts else None,
    )


def _ids(table: DataFrame, role: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids in a table of distinct ids, sorted, and their values of "rows"."""
    found = list(frames(table.orderBy(role)))
    ids = pl.concat([frame[role] for frame in found])
    return to_array(ids), np.concatenate([frame["rows"].to_numpy() for frame in found]).astype(np.int64)


def _types(rows: Rows) -> tuple[str, ...]:
    """Returns the event types that occur, sorted."""
    if not rows.has("type"):
        return ()
    found = rows.table.select("type").distinct().limit(MOST + 2).collect()
    return tuple(sorted(name for (name,) in found if name))


def _sorted(rows: Rows, types: tuple[str, ...]) -> DataFrame:
    """Returns the columns that are kept, with rows sorted by user and then in the order of the user's history."""
    table = rows.table
    numbers = running(table.select("item").distinct().withColumn("one", F.lit(1)), "item", "one")
    table = table.join(numbers.select("item", (F.col("before") + 1).cast("int").alias("items")), "item")
    kept = ["items"]
    if rows.has("session"):
        table = table.withColumn("begins", F.coalesce(rows.new_session(), F.lit(True)))
        kept += ["begins", "session"]
    if types:
        place = F.array_position(F.array(*map(F.lit, types)), F.coalesce("type", F.lit(""))).cast("int")
        table = table.withColumn("types", place)
        kept.append("types")
    for column, name in {"time": "times", "weight": "weights"}.items():
        if rows.has(column):
            table = table.withColumn(name, F.col(column))
            kept.append(name)
    parts = max(rows.steps[-1].rows // PART, 0) + 1
    by = ["user", *rows.order]
    return table.repartitionByRange(parts, *by).sortWithinPartitions(*by).select(*kept)


@contextlib.contextmanager
def _arrays(folder: Path) -> Iterator[dict]:
    with contextlib.ExitStack() as stack:
        yield {column: stack.enter_context((folder / column).open("wb")) for column in KINDS}


def _mapped(path: Path, kind: type) -> np.ndarray:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)

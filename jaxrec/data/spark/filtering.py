"""The filters of `data.filters` as Spark operations, in the same order and with the same counts."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from pyspark.sql import Column, DataFrame, Window, functions as F  # pyright: ignore[reportMissingImports]

from jaxrec.data import filters
from jaxrec.data.filters import Options, Step
from jaxrec.data.spark.packing import pinned, to_arrow
from jaxrec.data.spark.rows import PLACE
from jaxrec.system.errors import UserError

SEGMENT = "segment"  # number of a session within its history


@dataclass
class Rows:
    """The rows of a log in Spark: user, item and PLACE; time, weight, type and session if the log has them."""

    table: DataFrame
    name: str  #: name of the log, for messages
    relative: bool = False  #: whether times count from an unknown moment
    steps: list[Step] = field(default_factory=list)

    def has(self, column: str) -> bool:
        """Returns whether the rows have this column."""
        return column in self.table.columns

    @property
    def order(self) -> list[str]:
        """The columns by which a history is sorted."""
        return [*(["time"] if self.has("time") else []), *PLACE]

    def history(self) -> Any:
        """Returns the window over a user's rows, in order."""
        return Window.partitionBy("user").orderBy(*self.order)

    def new_session(self) -> Column:
        """Returns whether a row is in another session than the row before it in the history; null for the first row."""
        return F.col("session") != F.lag("session").over(self.history())

    def keep(self, table: DataFrame) -> DataFrame:
        """Replaces the rows by those of a table, computed now. Returns them."""
        self.table = pinned(table)
        return self.table

    def count(self, name: str) -> Step:
        """Counts the rows, users and items; adds them to the steps under this name, and returns them."""
        counts = [F.count("*"), F.countDistinct("user"), F.countDistinct("item")]
        rows, users, items = self.table.agg(*counts).first()
        self.steps.append(Step(name, users, items, rows))
        return self.steps[-1]


def apply(rows: Rows, options: Options) -> None:
    """Filters the rows in place, step by step.

    Raises:
        UserError: if a step needs times or weights that are missing, or leaves fewer than two items.
    """
    rows.count("read")

    def left(name: str, table: DataFrame) -> None:
        rows.keep(table)
        items = rows.count(name).items
        if (items or 0) < 2:
            raise UserError(f"{rows.name}: --{name} leaves {items} items: a recommender needs two or more")

    if options.drop_duplicates:
        left("drop-duplicates", _distinct(rows))
    if options.since is not None:
        begin = filters.micro(options.since, "since")
        left(f"since {options.since}", rows.table.filter(_dated(rows, "since") >= begin))
    if options.until is not None:
        end = filters.micro(options.until, "until")
        left(f"until {options.until}", rows.table.filter(_dated(rows, "until") < end))
    if options.min_rating is not None:
        if not rows.has("weight"):
            raise UserError(f"{rows.name}: no ratings for --min-rating: name their column with --weight COLUMN")
        least = float(np.float32(options.min_rating))
        left(f"min-rating {options.min_rating:g}", rows.table.filter(F.col("weight") >= F.lit(least)))
    if options.sample is not None:
        left(f"sample {options.sample:g}", _sampled(rows.table, options.sample))
    if options.collapse_repeats:
        again = F.col("item") == F.lag("item").over(rows.history())
        if rows.has("session"):
            again &= ~rows.new_session()
        marked = rows.table.withColumn("again", F.coalesce(again, F.lit(False)))
        left("collapse-repeats", marked.filter(~F.col("again")).drop("again"))
    if options.session_gap is not None:
        rows.keep(_with_gaps(rows, options.session_gap))
    if options.max_length is not None:
        few = _counted(rows.table, "user").filter(F.col("rows") <= options.max_length)
        left(f"max-length {options.max_length}", rows.table.join(few, "user", "left_semi"))
    if options.k_core is not None or options.min_length is not None:
        names = [f"{flag} {n}" for flag, n in (("k-core", options.k_core), ("min-length", options.min_length)) if n]
        least = options.k_core or 0
        _core(rows, max(least, options.min_length or 0), least)
        left(" --".join(names), rows.table)


def _numbered(rows: Rows, new: Column) -> DataFrame:
    """Returns the rows with SEGMENT, which is 1 at the beginning of a history and increases where `new` is true."""
    begins = rows.table.withColumn("begins", F.coalesce(new, F.lit(True)).cast("bigint"))
    running = rows.history().rowsBetween(Window.unboundedPreceding, Window.currentRow)
    return begins.withColumn(SEGMENT, F.sum("begins").over(running)).drop("begins")


def _distinct(rows: Rows) -> DataFrame:
    """Returns the rows without duplicates: of rows that differ only in their place, the first of the history."""
    same = ["user", "item", *(name for name in ("time", "weight", "type", "session") if rows.has(name))]
    number = F.row_number().over(Window.partitionBy(*same).orderBy(*rows.order))
    return rows.table.withColumn("number", number).filter(F.col("number") == 1).drop("number")


def _dated(rows: Rows, flag: str) -> Column:
    if not rows.has("time") or rows.relative:
        why = "has times that count from an unknown moment" if rows.has("time") else "has no times"
        raise UserError(f"{rows.name} {why}: --{flag} needs dates; name their column with --time, or leave it out")
    return F.col("time")


def _sampled(table: DataFrame, share: float) -> DataFrame:
    """Returns the rows of a sample of the users, as `filters.chosen` chooses them."""
    users = table.select("user").distinct()

    def choose(batches):
        for batch in batches:
            frame = pl.DataFrame(pl.from_arrow(batch))
            yield to_arrow(frame.filter(pl.Series(filters.chosen(frame["user"].to_numpy(), share), dtype=pl.Boolean)))

    return table.join(users.mapInArrow(choose, users.schema), "user", "left_semi")


def _with_gaps(rows: Rows, minutes: float) -> DataFrame:
    """Returns the rows with sessions split at gaps, in addition to existing ones, and numbered over all users."""
    if not rows.has("time"):
        raise UserError(f"{rows.name}: no times for --session-gap: name their column with --time")
    new = F.col("time") - F.lag("time").over(rows.history()) > F.lit(minutes * 60_000_000)
    if rows.has("session"):
        new |= rows.new_session()
    parted = rows.keep(_numbered(rows, new))
    before = running(parted.groupBy("user").agg(F.max(SEGMENT).alias("sessions")), "user", "sessions")
    numbered = parted.drop("session").join(before.select("user", "before"), "user")
    return numbered.withColumn("session", F.col("before") + F.col(SEGMENT)).drop("before")


def running(table: DataFrame, by: str, value: str) -> DataFrame:
    """Returns a table of distinct `by` with "before": the sum of `value` over all rows with smaller `by`."""
    number = max(table.sparkSession.sparkContext.defaultParallelism, 1)
    parted = pinned(table.repartitionByRange(number, by).withColumn("part", F.spark_partition_id()))
    sums = parted.groupBy("part").agg(F.sum(value)).orderBy("part").collect()
    starts, total = [], 0
    for part, most in sums:
        starts.append((part, total))
        total += most
    known = F.broadcast(table.sparkSession.createDataFrame(starts, "part int, start bigint"))
    within = Window.partitionBy("part").orderBy(by).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    before = F.sum(value).over(within) - F.col(value) + F.col("start")
    return parted.join(known, "part").withColumn("before", before).drop("part", "start")


def _counted(table: DataFrame, column: str) -> DataFrame:
    return table.groupBy(column).agg(F.count("*").alias("rows"))


def _core(rows: Rows, user_least: int, item_least: int) -> None:
    """Reduces the rows to the largest subset in which users and items have at least these numbers of rows."""
    before, left = -1, rows.table.count()
    while before != left:
        table = rows.table
        for column, least in (("user", user_least), ("item", item_least)):
            if least > 1:
                enough = _counted(rows.table, column).filter(F.col("rows") >= least)
                table = table.join(enough, column, "left_semi")
        before, left = left, rows.keep(table).count()

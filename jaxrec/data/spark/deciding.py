"""Decisions that depend on a whole table: its columns, the unit of its times, whether its ids are integers."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from pyspark.sql import DataFrame, SparkSession, functions as F  # pyright: ignore[reportMissingImports]

from jaxrec.data import columns as cols, ordering, tabular
from jaxrec.data.files.text import File, some
from jaxrec.data.formats import histories
from jaxrec.data.given import Input
from jaxrec.data.ids import Ids, unseen_note
from jaxrec.data.log import Batch
from jaxrec.data.spark import rows as reading
from jaxrec.data.spark.packing import first, frames
from jaxrec.data.spark.rows import FILE, Rules
from jaxrec.data.spark.tables import Source
from jaxrec.data.unread import times
from jaxrec.data.values import joined
from jaxrec.data.values.spellings import FLOAT, ODD, PADDED, UNSEEN, kind_of
from jaxrec.data.values.times import DAYS, Times
from jaxrec.data.values.units import FEW, RELATIVE
from jaxrec.system.errors import UserError

IDS = "user", "item", "session"  # roles whose values are ids
FACTORS = (1_000_000, 1_000, 1, 0.001)  # microseconds per unit
UNROLL = "write one row per item, as with Spark's explode, or prepare it with prepare.py"


class Decided(NamedTuple):
    """How a table is read, and what its first rows tell about it."""

    rules: Rules
    relative: bool  #: whether the times are known to count from an unknown moment
    whole: list[str]  #: columns whose floats are read as integers
    zoneless: bool  #: whether some dates had no time zone


def rules(source: Source, given: Input) -> Decided:
    """Chooses the columns of a table, and decides by its first rows how all rows are read.

    Raises:
        UserError: if a column is missing, or can't be read.
    """
    label, names = source.shards[0].label, [*source.names, *source.keys]
    if both := [name for name in source.keys if name in source.names]:
        raise UserError(f"{label}: {some(both)} is a column and in the names of folders: remove one of them")
    plain = Rules(columns={}, chosen={}, names=names, shards=source.shards, dialect=source.dialect)
    start = first(source.start)
    if start is not None and source.dialect:
        start, _ = reading.below(start, plain, source.dialect.top)
    if start is None or not len(start):
        raise UserError(f"{label}: no rows: put interactions there, one a row")

    def peek(chosen: dict[str, int]) -> Iterator[Batch]:
        flat = {role: at for role, at in chosen.items() if names[at] not in source.nested}
        batch = next(reading.read(start, plain, flat))
        lacking = [pl.lit(None).alias(role) for role in chosen if role not in flat]
        yield batch._replace(frame=batch.frame.with_columns(lacking))

    table = tabular.Table(names, [], peek, peek)
    chosen = tabular.choose(table, given.columns, label)
    if nested := [names[at] for at in chosen.values() if names[at] in source.nested]:
        raise UserError(f"{label}: {some(nested)}: lists or records, which are not read here: {UNROLL}")
    times.check(given, label, table, chosen)
    if "time" not in {*chosen, *given.columns}:
        ordering.check_dates([File(Path(shard.label)) for shard in source.shards])
    folders = f"; in the names of folders: {some(source.keys)}" if source.keys else ""
    given.say(cols.said(names, chosen, given.columns) + folders)
    found = Rules(
        columns={role: names[at] for role, at in chosen.items()},
        chosen=chosen,
        names=names,
        shards=source.shards,
        ids=given.ids,
        keep_na_ids=given.keep_na_ids,
        time_format=given.time_format,
        only=tuple(each.text for each in given.only.conditions),
        dialect=source.dialect,
    )
    log, (batch,) = found.log(), peek(chosen)
    if histories.are_lists(batch.frame["item"]):
        raise UserError(f"{label}: {names[chosen['item']]} holds lists, which are not read here: {UNROLL}")
    _check_joined(batch.frame, names[chosen["item"]], label, given)
    log.cleaned(batch)
    if log.times and log.times.written is None:
        cure = "give them times, or take the order of the file with --time none"
        raise UserError(f"{label}: no time in the first rows of {found.columns['time']}: {cure}")
    meant = [role for role in log.ids if kind_of(given.ids, role) == "integer"]
    kinds = {role: log.ids[role].kind == "integer" for role in meant}
    written = log.times.written if log.times else None
    relative = "time" in chosen and cols.plain(found.columns["time"]).startswith("relative")
    whole = [ids.name for ids in log.ids.values() if ids.whole]
    zoneless = bool(log.times and log.times.dates.zoneless)
    decided = Rules(**{**found.__dict__, "integer": kinds, "written": written})
    return Decided(decided, relative, whole, zoneless)


def _check_joined(frame: pl.DataFrame, column: str, label: str, given: Input) -> None:
    """Raises UserError if the items of the first rows are histories written as text."""
    if kind_of(given.ids, "item") == "text" or frame["item"].dtype != pl.String:
        return
    distinct = frame["item"].drop_nulls().unique(maintain_order=True)
    owner = frame["user" if "user" in frame.columns else "session"]
    user, item = (values.rank("dense").fill_null(0).to_numpy() for values in (owner, frame["item"]))
    known = len(distinct), len(frame), owner.n_unique(), [(user, item)]
    if (found := joined.example(distinct, *known)) and found[1]:
        raise UserError(joined.refusal(label, column, found[0]))


def timed(spark: SparkSession, table: DataFrame, decided: Decided, name: str) -> tuple[DataFrame, bool, str]:
    """Returns the rows with times in microseconds, whether they are relative, and a note.

    Raises:
        UserError: if the times have two units, or lie after the year 2200.
    """
    times = Times(decided.rules.columns["time"], decided.rules.time_format)
    times.written = decided.rules.written
    if times.dated:
        times.dates.zoneless = decided.zoneless
        if times.written == DAYS:
            times.add(pl.Series(list(table.agg(F.max("time")).first())))
        return table.drop("real"), False, times.close(False)[2]
    real = F.coalesce("real", F.col("time").cast("double"))
    small, large = (real > 0) & (real < RELATIVE), real >= RELATIVE
    least_most = lambda value, part: [end(F.when(part, value)) for end in (F.min, F.max)]
    ends = [end for value in (F.col("time"), real) for part in (small, large) for end in least_most(value, part)]
    *found, reals, rows, smalls = table.agg(*ends, F.count("real"), F.count("*"), F.count(F.when(small, 1))).first()
    found = found[4:] if reals else found[:4]
    few = smalls <= FEW * rows and found[-1] is not None  # the few small numbers may be damaged times
    values = pl.Series(found[2:] if few else [*found, 0], dtype=pl.Float64 if reals else pl.Int64).drop_nulls()
    times.add(values)
    try:
        micro, relative, note = times.close(decided.relative)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    factor = _factor(values.to_numpy(), micro)
    if values.dtype == pl.Float64:
        made = F.rint(real * F.lit(float(factor))).cast("bigint")
    else:
        made = F.col("time") * F.lit(factor) if factor >= 1 else F.expr("time div 1000")
    return table.withColumn("time", made).drop("real"), relative, note


def _factor(values: np.ndarray, micro: np.ndarray) -> float:
    """Returns the microseconds per unit, from some values and the microseconds that `Times` made of them."""

    def made(factor: float) -> np.ndarray:
        if values.dtype.kind == "f":
            return np.round(values * factor).astype(np.int64)
        return values * factor if factor >= 1 else values // 1000

    return next(factor for factor in FACTORS if (made(factor) == micro).all())


def identified(table: DataFrame, given: Input, decided: Decided) -> DataFrame:
    """Returns the rows with ids of one type per role, integers if all of them are; gives notes about the ids.

    Raises:
        UserError: if ids look like floats, or two may be spellings of one, unless their kind is given.
    """
    labels = [shard.label for shard in decided.rules.shards]
    for role in (role for role in IDS if role in decided.rules.columns):
        name, token, kind = decided.rules.columns[role], F.col(role), kind_of(given.ids, role)
        integer = F.expr(f"try_cast({role} as bigint)")
        is_integer = F.coalesce(integer.cast("string") == token, F.lit(False))
        odd = ~token.rlike(r"^-?\d+$")
        found = (
            table.select(role)
            .distinct()
            .agg(
                F.count("*").alias("count"),
                F.sum(is_integer.cast("int")).alias("integers"),
                F.max(token.rlike(f"{FLOAT}|{PADDED}|{ODD}")).alias("altered"),
                F.sum(odd.cast("int")).alias("odd"),
                F.min(F.when(odd, token)).alias("first_odd"),
                F.min(F.when(token.rlike(UNSEEN), token)).alias("unseen"),
            )
            .first()
        )
        if not kind and found["altered"]:
            _check_altered(table, role, name, labels)
        if name in decided.whole:
            given.say(f"{name}: floats, all of them whole numbers, read as integers")
        if not kind and 0 < found["odd"] < found["count"] // 2:
            given.say(f"{name}: ids are text, because of {found['first_odd']!r}")
        if found["unseen"] is not None:
            given.say(unseen_note(name, found["unseen"]))
        if kind != "text" and found["integers"] == found["count"]:
            table = table.withColumn(role, integer)
    return table


def _check_altered(table: DataFrame, role: str, name: str, labels: list[str]) -> None:
    """Checks, on the driver, ids that may have been altered or may be spelled in two ways.

    Raises:
        UserError: as for `Ids.order`.
    """
    ids = Ids(name)
    for frame in frames(table.groupBy(role).agg(F.min(FILE).alias(FILE)).orderBy(FILE, role)):
        for (file,), part in frame.group_by(FILE, maintain_order=True):
            ids.number(part[role], labels[int(str(file))])
    ids.order()

"""Prepares a log with Spark, from the table to the prepared folder."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from pyspark.sql import DataFrame, SparkSession, functions as F  # pyright: ignore[reportMissingImports]

from jaxrec.data import columns as cols, event_types, filters, prepared, summary
from jaxrec.data.attributes import items as tables_of_items, user_columns
from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.text import EXAMPLES, BadRows
from jaxrec.data.formats import dialects
from jaxrec.data.formats.only import Only
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import only_item
from jaxrec.data.reading import QUOTES
from jaxrec.data.spark import deciding, fetching, filtering, rows as reading
from jaxrec.data.spark.packing import frames, pinned, to_arrow
from jaxrec.data.spark.rows import BLOCK, FILE, LINE, ROW, STATE, TEXT, WHY
from jaxrec.data.spark.tables import Source, find, told
from jaxrec.data.values.spellings import MISSING, kind_of
from jaxrec.system.errors import UserError

BATCH = 1 << 17  # rows of an Arrow batch
SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH),
    "spark.sql.session.timeZone": "UTC",  # the zone of dates without one, as in `prepare`
}


def prepare(
    spark: SparkSession,
    data: "str | DataFrame",
    output: str | Path,
    *,
    columns: dict[str, str | None] | None = None,
    format: str | None = None,
    options: filters.Options | None = None,
    items: str | None = None,
    users: str | None = None,
    ids: str = "",
    keep_na_ids: bool = False,
    time_format: str | None = None,
    separator: str | None = None,
    quote: str = '"',
    only: Sequence[str] = (),
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    stage: Callable[[str], None] = lambda name: None,
) -> tuple[Interactions, list[filters.Step]]:
    """Writes the prepared folder that `jaxrec.prepare` would write, of a table that Spark reads, filters and sorts.

    This process holds one part of the rows in memory at a time, and the arrays with one value per user, item or
    session.

    Args:
        spark: the session.
        data: a path that the cluster can reach, a table's name with format "table", or a DataFrame.
        output: the folder to write, on this machine.
        columns: {role: column}, as for `data.reading.read`.
        format: as for `spark.tables.find`.
        options: the filters.
        items: path of a table of items on this machine; None to look for one beside a local table; "" for none.
        users: path of a table of users, likewise.
        ids: as for `data.reading.read`.
        keep_na_ids: as for `data.reading.read`.
        time_format: as for `data.reading.read`.
        separator: as for `data.reading.read`.
        quote: as for `data.reading.read`.
        only: as for `data.reading.read`.
        skip_bad_rows: whether to leave out unusable rows, with a note.
        say: receives notes, one line each.
        stage: receives the name of the current stage.

    Returns:
        The interactions, with arrays mapped from the folder, and the counts after each filter.

    Raises:
        UserError: if the table can't be read, or the folder can't be written.
    """
    kind_of(ids, "item")  # checks it
    if quote not in QUOTES:
        raise UserError(f"no quote {quote!r}: choose one of {', '.join(QUOTES)}")
    options = options or filters.Options()
    filters.check(options)
    path, notes = Path(output), []
    prepared.check(path)
    named = {role: "" if name == cols.NONE else name for role, name in (columns or {}).items() if name is not None}

    def note(line: str) -> None:
        notes.append(line)
        say(line)

    name = data if isinstance(data, str) else "DataFrame"
    given = Input(
        name=name,
        files=[],
        columns=named,
        bad=BadRows(skip_bad_rows, "Mend such rows, or leave them out: prepare with --on-bad-row skip"),
        odd=Oddities(),
        say=note,
        progress=lambda rows: None,
        items=items,
        users=users,
        ids=ids,
        keep_na_ids=keep_na_ids,
        time_format=time_format,
        only=Only(only),
    )
    before = {key: spark.conf.get(key) for key in SETTINGS}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for key, value in SETTINGS.items():
            spark.conf.set(key, value)
        with told(name), tempfile.TemporaryDirectory(prefix=".jaxrec-", dir=path.parent) as folder:
            stage("reading")
            separator = None if separator is None else dialects.separator(separator)
            source = find(spark, data, format, named, separator, QUOTES[quote], note)
            rows = _read(spark, source, given)
            stage("filtering")
            filtering.apply(rows, options)
            if given.only.conditions:
                rows.steps[:1] = filters.left_out(rows.steps[0], given.only.steps())
            stage("sorting")
            found = fetching.interactions(rows, name, Path(folder))
            found = _described(found, dataclasses.replace(given, files=source.local()))
            stage("writing")
            for user, share in summary.heavy(found):
                note(summary.warning(user, share, len(found.users)))
            for line in summary.padding(found):
                note(line)
            meta = prepared.meta_of(
                name,
                options,
                reading={"ids": ids, "keep_na_ids": keep_na_ids, "time_format": time_format, "only": [*only]},
                columns=columns or {},
                tables={"items": items, "users": users},
                notes=notes,
                steps=rows.steps,
                facts=summary.facts(found),
            )
            prepared.save(found, path, meta)
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)
    return prepared.load(path), rows.steps


def _read(spark: SparkSession, source: Source, given: Input) -> filtering.Rows:
    """Returns the good rows of a table, with ids and times in their final form.

    Raises:
        UserError: if bad rows may not be skipped, there are no rows or only one item, or ids look like floats.
    """
    decided = deciding.rules(source, given)
    if not source.ordered and "time" in decided.rules.columns:
        given.say("rows of equal time are in the order in which Spark reads them: the table gives none")
    clean = reading.cleaner(decided.rules, to_arrow)
    schema = ", ".join(f"{name} {kind}" for name, kind in reading.TYPES.items())
    every = pinned(source.rows.mapInArrow(clean, schema))
    counts = dict(every.groupBy(STATE).count().collect())
    if counts.get(reading.FATAL):
        raise UserError(every.filter(F.col(STATE) == reading.FATAL).orderBy(FILE, BLOCK).first()[WHY])
    if counts.get(reading.BAD):
        _note_bad(every, source, given.bad, counts[reading.BAD])
    number = counts.get(reading.GOOD, 0)
    given.bad.close(number)
    for frame in frames(every.filter(F.col(STATE) == reading.ONLY).select(TEXT)):
        for text in frame[TEXT].to_list():
            given.only.add_counts(json.loads(text))
    given.only.close(given.name, number)
    if not number and counts.get(reading.BAD):
        raise UserError(f"{given.name}: all {given.bad.count:,} rows are bad, the first: {given.bad.examples[0]}")
    if not number:
        raise UserError(f"{given.name}: no rows: put interactions there, one a row")
    chosen = decided.rules.columns
    kept = [*chosen, *(["real"] if "time" in chosen else []), *reading.PLACE]
    table = every.filter(F.col(STATE) == reading.GOOD).select(*kept)
    if "type" in chosen:
        table = _typed(table, source, chosen["type"], given)
    table, relative = deciding.identified(table, given, decided), False
    if table.select("item").distinct().limit(2).count() < 2:
        raise UserError(only_item(given.name, table.first()["item"]))
    if "time" in chosen:
        table, relative, note = deciding.timed(spark, table, decided, given.name)
        given.say(note)
    for line in given.bad.notes():
        given.say(line)
    if given.time_format and "time" not in chosen:
        raise UserError(f"{given.name}: no times for --time-format: name their column with --time")
    if "user" not in chosen:
        table = table.withColumnRenamed("session", "user")
    rows = filtering.Rows(table, given.name, relative)
    rows.keep(table)
    return rows


def _typed(table: DataFrame, source: Source, name: str, given: Input) -> DataFrame:
    """Returns the rows with event types as `event_types.Column` reads them; drops the column if no type is known."""
    most = event_types.MOST + len(MISSING) + 2
    found = dict(table.groupBy("type").agg(F.count("*")).limit(most).collect())
    column = event_types.Column(name, keep_na=given.keep_na_ids)
    column.add(pl.Series([*found], dtype=pl.String), source.shards[0].label)
    column.missing = {word: found[word] for word in column.missing}
    for note in column.notes():
        given.say(note)
    if not any(kind and kind not in column.missing for kind in found):
        return table.drop("type")
    known = F.when(F.col("type").isin([*column.missing]), "").otherwise(F.col("type"))
    return table.withColumn("type", known) if column.missing else table


def _note_bad(every: DataFrame, source: Source, bad: BadRows, number: int) -> None:
    """Records the bad rows, the first few with their places."""
    told_of = every.filter((F.col(STATE) == reading.BAD) & F.col(WHY).isNotNull())
    examples = told_of.orderBy(FILE, BLOCK, ROW).limit(EXAMPLES).collect()
    text = LINE in source.rows.columns
    for row in examples:
        earlier = (F.col(BLOCK) < row[BLOCK]) | ((F.col(BLOCK) == row[BLOCK]) & (F.col(ROW) < row[ROW]))
        at = source.rows.filter((F.col(FILE) == row[FILE]) & earlier).count() + 1
        bad.count += 1
        bad.examples.append(
            f"{source.shards[row[FILE]].label}, {'line' if text else 'row'} {at}: {row[TEXT]}: {row[WHY]}"
        )
    bad.count += number - len(examples)


def _described(found: Interactions, given: Input) -> Interactions:
    """Returns the interactions with the attributes from the tables of items and users."""
    if given.items is not None or given.files:
        column = given.columns.get("item")
        found = tables_of_items.described(found, given.items, given.files, given.name, column, given.say)
    return user_columns.described(found, given)

"""What Spark's Python workers do: they read and check the rows of a table by the rules of `prepare`."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.files.text import EXAMPLES, BadRows, File, short
from jaxrec.data.formats import tables
from jaxrec.data.formats.only import Only
from jaxrec.data.log import Batch, Log
from jaxrec.data.values import codes
from jaxrec.system.errors import UserError

#: columns with the place of a row: rank of the file, start of the part of the file, row number within the part
PLACE = FILE, BLOCK, ROW = "file", "block", "row"
LINE = "line"  # column with the lines of a text file, as bytes
STATE, WHY, TEXT = "state", "why", "text"  # columns with the outcome of reading a row
GOOD, BAD, FATAL, ONLY = 0, 1, 2, 3  # states: a good row, an unusable one, an error that ends the job, counts of `Only`
TYPES = {  # columns that `cleaner` yields, and their types in Spark
    "user": "string",
    "item": "string",
    "session": "string",
    "time": "bigint",
    "real": "double",  # times that aren't whole numbers; `time` is null then
    "weight": "float",
    "type": "string",
    FILE: "int",
    BLOCK: "bigint",
    ROW: "bigint",
    STATE: "tinyint",
    WHY: "string",
    TEXT: "string",
}
POLARS = {"string": pl.String, "bigint": pl.Int64, "double": pl.Float64, "float": pl.Float32, "int": pl.Int32}
POLARS["tinyint"] = pl.Int8


class Shard(NamedTuple):
    """A file of the table."""

    uri: str  #: its address, as Spark writes it
    label: str  #: for messages
    keys: Mapping[str, str | None]  #: {column: value} from the names of its folders


@dataclass(frozen=True)
class Lines(File):
    """Some lines of a file, which can be read like a file."""

    text: bytes = field(default=b"", compare=False, repr=False)
    label: str = ""

    def __str__(self) -> str:
        return self.label

    def open(self) -> io.BufferedIOBase:
        """Returns the lines as a stream."""
        return io.BufferedReader(io.BytesIO(self.text))  # pyright: ignore[reportArgumentType]


class Dialect(NamedTuple):
    """How the text files are written; see `dialects.Dialect`."""

    separator: str
    quote: str
    width: int  #: number of fields per row
    header: bool
    padded: bool  #: whether to strip spaces around all fields
    top: bytes  #: the lines before the first row of the first file, each ended by \\n


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How to read the rows; the driver decides it from the first rows and sends it to the workers."""

    columns: dict[str, str]  #: {role: column}
    chosen: dict[str, int]  #: {role: index of the column among `names`}
    names: list[str]  #: names of all columns, those from folder names last
    shards: list[Shard]  #: the files, by rank
    ids: str = ""
    keep_na_ids: bool = False
    time_format: str | None = None
    only: tuple[str, ...] = ()
    dialect: Dialect | None = None  #: of text files; None for a table with columns, named "c0", "c1", ...
    integer: dict[str, bool] = field(default_factory=dict)  #: {role: whether its ids are integers}, for ids="integer"
    written: str | None = None  #: how the times are written, see `Times.written`

    def log(self) -> Log:
        """Returns a Log that reads rows by these rules."""
        log = Log(self.columns, BadRows(True), self.ids, self.keep_na_ids, self.time_format)
        for role, integer in self.integer.items():
            log.ids[role].decide(integer)
        if log.times:
            log.times.written = self.written
        return log


def cleaner(rules: Rules, arrow: Callable[[pl.DataFrame], Any]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Returns the function from Arrow batches of the table to Arrow batches with the columns of TYPES.

    Args:
        rules: how to read the rows.
        arrow: converts a frame to an Arrow batch.
    """

    def clean(batches: Iterator[Any]) -> Iterator[Any]:
        log, place, top = rules.log(), None, b""
        for batch in batches:
            frame = pl.DataFrame(pl.from_arrow(batch))
            part = pl.struct(FILE, BLOCK).rle_id()
            for rows in frame.with_columns(part.alias("part")).partition_by("part", maintain_order=True):
                try:
                    if rules.dialect and place != (place := (rows[FILE][0], rows[BLOCK][0])):
                        top = rules.dialect.top if rows[BLOCK][0] == 0 else b""
                    if top:
                        rows, top = below(rows, rules, top)
                    for found in cleaned(rows, rules, log) if len(rows) else ():
                        yield arrow(found)
                except UserError as error:
                    yield arrow(_shaped(pl.DataFrame({STATE: [FATAL], WHY: [str(error)]})))
                    return

    return clean


def below(rows: pl.DataFrame, rules: Rules, top: bytes) -> tuple[pl.DataFrame, bytes]:
    """Returns the rows without the lines at the top of a file, and those of these lines that are still to come.

    Raises:
        UserError: if the top of the file differs from that of the first file.
    """
    number = min(top.count(b"\n"), len(rows))
    own = b"".join(line + b"\n" for line in rows[LINE][:number].to_list())
    if not top.startswith(own):
        shard = rules.shards[rows[FILE][0]]
        raise UserError(
            f"{shard.label}: begins with {short(own.decode(errors='replace').strip())}, {rules.shards[0].label} with "
            f"{short(top.decode(errors='replace').strip())}: give all files of the log the same header"
        )
    return rows[number:], top[len(own) :]


def cleaned(rows: pl.DataFrame, rules: Rules, log: Log) -> Iterator[pl.DataFrame]:
    """Yields consecutive rows of a part of a file, read and checked, with the columns of TYPES."""
    only = Only(rules.only)
    label = rules.shards[rows[FILE][0]].label
    for batch in only.rows(label, rules.names, rules.chosen | {ROW: -1}, lambda chosen: read(rows, rules, chosen)):
        frame, wrong = log.cleaned(batch)
        if log.types:
            log.types.add(frame["type"].clear(), batch.file)  # raises an error if the values can't be types
        bad = np.any([mask.to_numpy() for mask, _ in wrong], axis=0)
        yield _shaped(_good(frame.filter(pl.Series(~bad))), rows)
        if bad.any():
            yield _shaped(_bad(batch, np.flatnonzero(bad), wrong), rows)
    if only.conditions:
        yield _shaped(pl.DataFrame({STATE: [ONLY], TEXT: [json.dumps(only.counts())]}), rows)


def _good(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns good rows with columns named and typed as in TYPES."""
    named = {role: pl.col(role).cast(pl.String) for role in ("user", "item", "session") if role in frame.columns}
    if "type" in frame.columns:
        text = codes.text_of(frame["type"])
        assert text is not None, "the log checked it"
        frame = frame.with_columns(text.str.strip_chars().fill_null("").alias("type"))
    if "time" in frame.columns and frame["time"].dtype == pl.Float64:
        named |= {"time": pl.lit(None, pl.Int64), "real": pl.col("time")}
    return frame.with_columns(**named, **{STATE: pl.lit(GOOD)})


def _bad(batch: Batch, at: np.ndarray, wrong: list[tuple[pl.Series, str]]) -> pl.DataFrame:
    """Returns unusable rows, the first few with reason and text."""
    found = pl.DataFrame({ROW: batch.frame[ROW].gather(at), STATE: BAD})
    told = [
        (*batch.row(row), batch.why(row) or next(why for mask, why in wrong if mask[row]))
        for row in at[:EXAMPLES].tolist()
    ]
    rest = [None] * (len(at) - len(told))
    places = pl.Series([int(place) for place, _, _ in told] + rest, dtype=pl.Int64)
    texts = pl.Series([short(text) for _, text, _ in told] + rest, dtype=pl.String)
    whys = pl.Series([why for _, _, why in told] + rest, dtype=pl.String)
    return found.with_columns(places.fill_null(found[ROW]).alias(ROW), whys.alias(WHY), texts.alias(TEXT))


def _shaped(frame: pl.DataFrame, rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Returns a frame with all columns of TYPES. `rows`: gives the file and its part."""
    if rows is not None:
        frame = frame.with_columns(pl.lit(rows[FILE][0]).alias(FILE), pl.lit(rows[BLOCK][0]).alias(BLOCK))
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(POLARS[kind]).alias(name)
        for name, kind in TYPES.items()
    )


def read(rows: pl.DataFrame, rules: Rules, chosen: dict[str, int]) -> Iterator[Batch]:
    """Yields rows of a part of a file as batches of the columns {role: index}, including columns from folder names.

    Each batch also has the column ROW; `Batch.row` returns this number and the text of the row.
    """
    shard = rules.shards[rows[FILE][0]]
    named = {role: rules.names[at] for role, at in chosen.items() if role != ROW}
    own = {role: chosen[role] for role, name in named.items() if name not in shard.keys}
    folders = [pl.lit(shard.keys[name], pl.String).alias(role) for role, name in named.items() if name in shard.keys]
    for batch in (_of_text if rules.dialect else _of_columns)(rows, rules, shard, own or {"none": 0}):
        yield batch._replace(frame=batch.frame.with_columns(folders))


def _of_columns(rows: pl.DataFrame, rules: Rules, shard: Shard, chosen: dict[str, int]) -> Iterator[Batch]:
    """Yields rows of a table with columns, rather than lines of text."""
    frame = rows.select(ROW, **{role: f"c{at}" for role, at in chosen.items()})
    said = lambda index: str({rules.names[at]: frame[role][index] for role, at in chosen.items()})
    yield Batch(frame, shard.label, lambda index: (str(frame[ROW][index]), said(index)))


def _of_text(rows: pl.DataFrame, rules: Rules, shard: Shard, chosen: dict[str, int]) -> Iterator[Batch]:
    """Yields the rows that `tables.delimited` reads from lines of text, put below the top of the first file."""
    dialect, lines, places = rules.dialect, rows[LINE].to_list(), rows[ROW].to_numpy()
    assert dialect is not None
    before = dialect.top.count(b"\n")
    text = b"".join(line + b"\n" for line in lines)
    if tables.quoted(dialect.separator, dialect.quote) and b'"' in text:
        _check_quotes(shard, lines)
    file = Lines(Path(shard.label), text=dialect.top + text, label=shard.label)
    done = int(places[0]) if len(places) else 0
    for batch in tables.delimited(
        file,
        dialect.separator,
        dialect.width,
        chosen,
        dialect.header,
        quote=dialect.quote,
        before=before - dialect.header,
        padded=dialect.padded,
    ):
        numbers = pl.int_range(done, done + len(batch.frame), eager=True).alias(ROW)
        done += len(batch.frame)

        def row(index: int, batch=batch) -> tuple[str, str]:
            place, said = batch.row(index)
            return str(places[int(place.removeprefix("line ")) - 1 - before]), said

        yield batch._replace(frame=batch.frame.with_columns(numbers), row=row)


def _check_quotes(shard: Shard, lines: list[bytes]) -> None:
    """Checks that no quoted field spans lines, since Spark splits text into lines before it gets here."""
    for line in lines:
        if line.count(b'"') % 2:
            raise UserError(
                f"{shard.label}: {short(line.decode(errors='replace'))}: a quote that does not end in its line: Spark "
                "reads text a line at a time: write the table as Parquet, or say --quote none if quotes are plain "
                "characters there"
            )

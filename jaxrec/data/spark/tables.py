"""Finds the table to read with Spark: its files, their order, and its columns."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from py4j.protocol import Py4JJavaError  # pyright: ignore[reportMissingImports]
from pyspark.errors import AnalysisException, PySparkException  # pyright: ignore[reportMissingImports]
from pyspark.sql import DataFrame, SparkSession, functions as F, types  # pyright: ignore[reportMissingImports]

from jaxrec.data import discover
from jaxrec.data.files.text import File, some
from jaxrec.data.formats import dialects, tables
from jaxrec.data.ordering import ordered
from jaxrec.data.spark.packing import first
from jaxrec.data.spark.rows import BLOCK, FILE, LINE, ROW, Dialect, Lines, Shard
from jaxrec.system.errors import UserError

TEXT = {"csv": (".csv",), "tsv": (".tsv",), "text": (".txt", ".dat")}  # formats of text lines -> suffixes
FILES = {"parquet": (".parquet",), "orc": (".orc",)}  # formats with columns that are read file by file -> suffixes
TABLE, DELTA = "table", "delta"
OTHERS = {"json": (".json", ".jsonl", ".ndjson"), "avro": (".avro",), "arrow": (".arrow", ".feather", ".ipc")}
EXACT = {"recursiveFileLookup": "true", "__globPaths__": "false"}  # options that take paths literally


class Source(NamedTuple):
    """A table in Spark, whose rows have their places."""

    rows: DataFrame  #: with the columns "c0", "c1", ..., or LINE, and FILE, BLOCK, ROW
    start: DataFrame  #: the rows of the first file only, if there are files
    names: list[str]  #: names of the table's own columns
    nested: list[str]  #: those of the columns that hold lists or records
    shards: list[Shard]
    dialect: Dialect | None  #: dialect of lines of text
    ordered: bool  #: whether files give the order of rows with equal times

    @property
    def keys(self) -> list[str]:
        """The columns from folder names."""
        return [*self.shards[0].keys]

    def local(self) -> list[File]:
        """Returns those of the files that are on this machine."""
        paths = [Path(unquote(urlsplit(shard.uri).path)) for shard in self.shards if shard.uri.startswith("file:")]
        return [File(path) for path in paths if path.is_file()]


def find(
    spark: SparkSession,
    data: "str | DataFrame",
    format: str | None,
    columns: dict[str, str],
    separator: str | None,
    quote: str,
    say: Callable[[str], None],
) -> Source:
    """Returns the table at a path, or in a DataFrame, or with format "table" the one of this name in the catalogue.

    Args:
        spark: the session.
        data: a path in any file system that Spark supports, a table's name, or a DataFrame.
        format: "parquet", "orc", "csv", "tsv", "text", "delta", "table", or any other that the session can load; None
            to detect it.
        columns: {role: column}, as given by the user.
        separator: separator of text; None to detect it.
        quote: '"', or "" if quotes are plain characters.
        say: receives notes.

    Raises:
        UserError: if nothing is found, or the files are of several kinds.
    """
    if isinstance(data, DataFrame):
        return _of_frame(data, "DataFrame")
    if format == TABLE:
        return _of_frame(spark.table(data), data)
    format = format or (DELTA if _is_there(spark, f"{data.rstrip('/')}/_delta_log/*.json") else None)
    if format is not None and format not in TEXT | FILES:
        return _of_frame(spark.read.format(format).load(data), data)
    found = _files(spark, data)
    format, shards = _chosen(data, found, format, say)
    paths = [unquote(shard.uri) for shard in shards]
    if format in FILES:
        reader = spark.read.options(**EXACT).format(format)
        frame = reader.load(paths)
        start = spark.read.options(**EXACT).format(format).schema(frame.schema).load(paths[:1])
        return _columns(_placed(spark, frame, shards), _placed(spark, start, shards), frame, shards, True)
    lines = lambda some: _placed(
        spark, spark.read.options(**EXACT).text(some).select(F.col("value").cast("binary").alias(LINE)), shards
    ).select(LINE, FILE, BLOCK, ROW)
    separator = separator or ("\t" if format == "tsv" else None)
    names, dialect = _dialect(lines(paths[:1]), shards[0], columns, separator, quote)
    return Source(lines(paths), lines(paths[:1]), names, [], shards, dialect, True)


def _of_frame(frame: DataFrame, name: str) -> Source:
    """Returns the Source of a table whose files, if it has any, are left to Spark."""
    located = frame.select("*", F.lit(0).alias(FILE), F.lit(0).cast("bigint").alias(BLOCK))
    located = located.withColumn(ROW, F.monotonically_increasing_id())
    return _columns(located, located, frame, [Shard("", name, {})], False)


def _columns(rows: DataFrame, start: DataFrame, frame: DataFrame, shards: list[Shard], ordered: bool) -> Source:
    """Returns the Source of a table with columns, which are renamed to "c0", "c1", ..."""
    names = frame.columns
    nested = [
        field.name
        for field in frame.schema.fields
        if isinstance(field.dataType, types.ArrayType | types.MapType | types.StructType)
    ]
    plain = [at for at, name in enumerate(names) if name not in nested]
    if len({name.lower() for name in names}) < len(names):
        raise UserError(f"{shards[0].label}: two columns have the same name ({some(names, 30)}): rename one")
    own = [F.col(f"`{names[at].replace('`', '``')}`").alias(f"c{at}") for at in plain]
    renamed = lambda each: each.select(*own, FILE, BLOCK, ROW)
    return Source(renamed(rows), renamed(start), names, nested, shards, None, ordered)


def _placed(spark: SparkSession, frame: DataFrame, shards: list[Shard]) -> DataFrame:
    """Returns the rows with their places: rank of the file, start of the part of the file, row number within it."""
    ranks = spark.createDataFrame([(shard.uri, rank) for rank, shard in enumerate(shards)], f"uri string, {FILE} int")
    located = frame.select(
        "*",
        F.regexp_replace("_metadata.file_path", r"^(\w+):/(?=[^/])", "$1:///").alias("uri"),  # as inputFiles writes it
        F.col("_metadata.file_block_start").alias(BLOCK),
        F.monotonically_increasing_id().alias(ROW),
    )
    unknown = F.raise_error(F.concat(F.lit("a file that was not listed: "), "uri")).cast("int")
    joined = located.join(F.broadcast(ranks), "uri", "left")
    return joined.withColumn(FILE, F.coalesce(FILE, unknown)).drop("uri")


def _is_there(spark: SparkSession, pattern: str) -> bool:
    try:
        return bool(spark.read.format("binaryFile").load(pattern).inputFiles())
    except AnalysisException:
        return False


def _files(spark: SparkSession, data: str) -> list[str]:
    """Returns the URIs of the files at a path, at any depth."""
    try:
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        found = reader.load(data).inputFiles()
    except AnalysisException as error:
        if "PATH_NOT_FOUND" not in str(error):
            raise
        found = []
    if not found:
        raise UserError(f"{data}: no such file or folder, or it is empty: name one that Spark can reach")
    return list(found)


def _chosen(data: str, found: list[str], format: str | None, say) -> tuple[str, list[Shard]]:
    """Returns the format of the files, and the shards of the log among them, in the order of their names."""
    files = {uri: File(Path(unquote(urlsplit(uri).path)), root=_root(data, uri)) for uri in found}
    kinds: dict[str, list[str]] = {}
    for uri, file in files.items():
        if file.name not in discover.SIDE or len(files) == 1:
            ends = TEXT | FILES | OTHERS
            kind = format or next((kind for kind, suffixes in ends.items() if file.suffix in suffixes), "")
            kinds.setdefault(kind, []).append(uri)
    unknown = kinds.pop("", []) if len(kinds) > 1 else []
    kind = next(iter(kinds), "")
    if len(kinds) > 1 or kind not in TEXT | FILES:
        holds = some(sorted(files[uri].below for uri in found))
        what = "not Parquet, ORC or CSV by its name"
        if len(kinds) > 1:
            what = f"files of {some(sorted(kinds))} lie together"
        raise UserError(f"{data}: {what} ({holds}): name the files by a glob, or their format with --format")
    addresses = {files[uri]: uri for uri in kinds[kind]}
    shards = [addresses[file] for file in ordered(addresses, say)]
    if left := [files[uri].below for uri in unknown]:
        say(f"not read: {some(left)}")
    return kind, [Shard(uri, _label(uri), _keys(files[uri], files[shards[0]])) for uri in shards]


def _keys(file: File, first: File) -> dict[str, str | None]:
    if [*file.keys] != [*first.keys]:
        raise UserError(
            f"{file}: its folders say {some(file.keys)}, those of {first} {some(first.keys)}: shards have one header"
        )
    return file.keys


def _root(data: str, uri: str) -> Path | None:
    """Returns the folder given in `data` that contains a file; None if the file itself was given."""
    literal = []
    for part in PurePosixPath(urlsplit(data).path or "/" if "://" in data else data).parts:
        if any(mark in part for mark in "*?[{"):
            break
        literal.append(part)
    parts = PurePosixPath(unquote(urlsplit(uri).path)).parts[:-1]
    for begin in range(len(parts) - len(literal) + 1):
        end = begin + len(literal)
        if list(parts[begin:end]) == literal:
            return Path(*parts[:end]) if end else None
    return None


def _label(uri: str) -> str:
    return unquote(urlsplit(uri).path) if uri.startswith("file:") else unquote(uri)


def _dialect(
    lines: DataFrame, shard: Shard, columns: dict[str, str], separator: str | None, quote: str
) -> tuple[list[str], Dialect]:
    """Returns the column names and the dialect of text, from the first lines of the first file."""
    start = first(lines)
    text = b"" if start is None else b"".join(line + b"\n" for line in start[LINE].to_list())
    file = Lines(Path(shard.label), text=text, label=shard.label)
    found = dialects.find(file, columns, separator, quote)
    before = found.before + found.header
    top = b"".join(line + b"\n" for line in text.split(b"\n")[:before])
    padded = tables.is_padded(file, found.separator, "utf-8", found.before)
    return found.names, Dialect(found.separator, found.quote, len(found.names), found.header, padded, top)


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Converts errors of Spark into UserErrors with their first line."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        said = str(error.java_exception if isinstance(error, Py4JJavaError) else error)
        why = next(filter(None, (line.strip() for line in said.splitlines())), type(error).__name__)
        cure = "write its times as microseconds" if "NANOS" in why else "--debug shows more"
        raise UserError(f"{name}: Spark cannot read it ({why[:300]}): {cure}") from error

"""Every raw format -> Interactions: one function a format, known by the look of the file or named by the person."""

import difflib
import glob
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data import items, prepared, sequences, tables
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch, Log
from jaxrec.data.text import BadRows, File, short, some
from jaxrec.errors import UserError

SEPARATORS = (tables.LONG, "\t", ",", ";", "|")
JSON = (".json", ".jsonl", ".ndjson")
TEXT = (".csv", ".tsv")
RATINGS = ("ratings.dat", "ratings.csv", "u.data")  # of MovieLens
SIDE = (*items.NAMES, "stats.json", "meta.json")  # files beside the interactions, which hold none


class Input(NamedTuple):
    """What a reader is given."""

    name: str  # as the person wrote it
    files: list[File]  # in the order of their names
    columns: dict[str, str]  # {role: column} as the person said
    bad: BadRows
    say: Callable[[str], None]
    progress: Callable[[int], None]
    items: str | None  # the table of items, as the person said


def read(
    path: str | Path,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    items: str | None = None,
) -> Interactions:
    """The interactions of a folder, a file, a zip or a glob, in any format that this module knows.

    Args:
        format: a name of FORMATS; found by looking where it is None.
        columns: {"user", "item", "time", "weight", "session": a column's name, or its number from 1}.
        skip_bad_rows: leave out the rows that can't be used, and say so; else they are an error.
        say: told what was found out: which columns were taken, what unit the times have.
        progress: told how many rows are read, now and then.
        items: a table of the items' titles, prices and the like; None for items.csv, .tsv, .parquet or .jsonl beside
            the log, or what the format has; "" for none.

    Raises:
        UserError: naming the file, the line, the row and the cure, where a file is missing, broken or ambiguous.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"no format {format!r}: choose one of {', '.join(FORMATS)}")
    files = _list(str(path))
    if not files:
        raise UserError(f"{path}: nothing is in there: put interactions there")
    found, files = _recognise(str(path), files) if format is None else (format, _main(format, files))
    columns = {role: name for role, name in (columns or {}).items() if name is not None}
    if columns and format is None and found == "amazon":
        found = "table"  # whose columns are numbered
    if columns and found in ("prepared", "sequences", "movielens", "amazon"):
        flags = ", ".join(f"--{role}" for role in columns)
        raise UserError(f"{path}: read as {found}, whose columns are known: leave out {flags}, or say --format table")
    bad = BadRows(skip_bad_rows, "Mend such rows, or leave them out: prepare with --on-bad-row skip")
    interactions = FORMATS[found](Input(str(path), files, columns, bad, say, progress, items))
    for note in bad.notes():
        say(note)
    return interactions._replace(name=str(path))


def _list(path: str) -> list[File]:
    """The files that a path stands for."""
    given = Path(path).expanduser()
    if given.is_dir():
        if given.name.endswith(".tmp"):
            raise UserError(f"{path}: left by a prepare that was interrupted: remove it, and prepare again")
        inside = sorted(each for each in given.iterdir() if not each.name.startswith((".", "_")))
        files = [File(each) for each in inside if each.is_file()]
        if not files:
            cure = f"did you mean {_within(given)}?" if _within(given) else "name another folder, or the file itself"
            raise UserError(f"{path}: no file is in this folder, which holds {some(map(_name, inside))}: {cure}")
        return files
    if given.is_file():
        if zipfile.is_zipfile(given):
            try:
                with zipfile.ZipFile(given) as archive:
                    names = sorted(each.filename for each in archive.infolist() if not each.is_dir())
            except (zipfile.BadZipFile, OSError, RuntimeError, ValueError) as error:
                raise UserError(f"{path}: the zip is damaged ({error}): fetch it again") from None
            return [File(given, name) for name in names if not name.startswith("__MACOSX")]
        return [File(given)]
    if not given.exists() and (matches := sorted(glob.glob(str(given)))):
        return [File(Path(match)) for match in matches if Path(match).is_file()]
    parent = given.parent
    names = sorted(map(_name, parent.iterdir())) if parent.is_dir() else []
    near = sorted(difflib.get_close_matches(given.name, names, cutoff=0.5))
    cure = f"did you mean {some(near)}?" if near else f"{parent.absolute()} holds {some(names)}"
    raise UserError(f"{path}: no such file or folder: {cure}")


def _within(folder: Path) -> str:
    """The folders in a folder that can be read."""
    found = []
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.name.startswith("."):
            try:
                _recognise(str(each), _list(str(each)))
            except UserError:
                continue
            found.append(str(each))
    return some(found) if found else ""


def _name(path: Path) -> str:
    return path.name


def _main(format: str, files: list[File]) -> list[File]:
    """The files of a folder that a reader begins with, where the format was named."""
    wanted = {
        "prepared": lambda file: file.name == prepared.META,
        "sequences": lambda file: file.name == sequences.NAME,
        "movielens": lambda file: file.name in RATINGS,
        "recbole": lambda file: _suffix(file) == ".inter",
    }.get(format, _is_table)
    main = [file for file in files if wanted(file)] if len(files) > 1 else files
    if not main:
        raise UserError(f"{files[0].path.parent}: no file of the format {format} among {some(f.name for f in files)}")
    return main if format in ("table", "amazon") else main[:1]


def _is_table(file: File) -> bool:
    return file.name not in SIDE and _suffix(file) in (*tables.COLUMNAR, *JSON, *TEXT)


def _recognise(path: str, files: list[File]) -> tuple[str, list[File]]:
    """The format of some files, and those that its reader begins with."""
    alone = len(files) == 1
    by_name = {file.name: file for file in reversed(files)}
    if prepared.META in by_name and prepared.recognise(by_name[prepared.META].path):
        return "prepared", [by_name[prepared.META]]
    if "offsets.npy" in by_name:
        raise UserError(f"{path}: a prepared folder whose {prepared.META} is missing or damaged: prepare it again")
    if sequences.NAME in by_name:
        return "sequences", [min((f for f in files if f.name == sequences.NAME), key=lambda f: len(str(f)))]
    for name in RATINGS:
        if name in by_name and (name != "ratings.csv" or "movies.csv" in by_name):
            return "movielens", [by_name[name]]
    if inter := [file for file in files if _suffix(file) == ".inter"]:
        if len(inter) > 1:
            raise UserError(f"{path}: several .inter files ({some(f.name for f in inter)}): name the one to read")
        return "recbole", inter
    if alone:
        return _look(files[0]), files
    kinds = {}
    for file in files:
        if _is_table(file):
            kinds.setdefault(_suffix(file), []).append(file)
    if len(kinds) != 1:
        names = some(file.name for file in files)
        below = _within(Path(path)) if Path(path).is_dir() else ""
        why = f"files of {some(kinds)} lie together" if kinds else f"no {sequences.NAME} or other data"
        cure = f"did you mean {below}?" if below else "name the file that holds the interactions, or a glob"
        raise UserError(f"{path}: {why} in this folder, which holds {names}: {cure}")
    shards = next(iter(kinds.values()))
    for one, other in itertools.pairwise(shards):
        if one.name == other.name:
            raise UserError(f"{one} and {other} are one file twice: remove one, or name the one to read")
    return _look(shards[0]), shards


def _look(file: File) -> str:
    """The format of a lone file, by its name and its first line."""
    if _suffix(file) in tables.COLUMNAR:
        return "table"
    if _suffix(file) in JSON:
        return "table"
    line = tables.first_line(file)
    if line.startswith("{"):
        return "table"
    separator = _separator(line)
    names = tables.fields(line, separator)
    if any(map(cols.known, names)):
        return "table"
    if separator in (" ", "\t") and _suffix(file) not in TEXT:
        return "sequences"
    rated = separator == "," and len(names) == 4 and _is_rating(names[2]) and names[3].isdecimal()
    return "amazon" if rated else "table"


def _suffix(file: File) -> str:
    return Path(file.name).suffix.lower()


def _separator(line: str) -> str:
    """What parts the fields of a first line: the most frequent of the candidates, a space where there is none."""
    found = max(SEPARATORS, key=line.count)
    return found if line.count(found) else " "


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_rating(text: str) -> bool:
    return _is_number(text) and 0 <= float(text) <= 10


def _prepared(given: Input) -> Interactions:
    """A folder that `prepare` wrote."""
    interactions = prepared.load(given.files[0].path.parent)
    return interactions if given.items is None else _described(given, interactions)


def _sequences(given: Input) -> Interactions:
    """sequences.txt with what lies beside it; lines of a user and items; or of "user item"."""
    return _described(given, sequences.read(given.files[0], given.bad, given.say))


def _table(given: Input) -> Interactions:
    """CSV, TSV, JSON lines, Parquet or Arrow; one file, or shards of one kind."""
    log, relative = None, False
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.name for file in given.files)}")
    for file in given.files:
        names, batches = _columns_of(file, given)
        if log is not None and (missing := set(log.columns.values()) - set(names)):
            raise UserError(
                f"{file}: no column {some(sorted(missing))}, as {given.files[0]} has: shards have one header"
            )
        chosen = cols.choose(names, given.columns, file)
        if log is None:
            given.say(cols.said(names, chosen))
            log = Log({role: names[number] for role, number in chosen.items()}, given.bad)
            relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
        elif chosen.keys() != log.columns.keys():
            raise UserError(f"{file}: has columns for {some(chosen)}, the files before it for {some(log.columns)}")
        _collect(given, log, batches(chosen))
    return _named(given, log, relative)


def _columns_of(file: File, given: Input):
    """The columns of a table, and the batches of those that are chosen."""
    if _suffix(file) in tables.COLUMNAR:
        names = tables.columnar_names(file)
        return names, lambda chosen: tables.columnar(file, {role: names[at] for role, at in chosen.items()})
    line = tables.first_line(file)
    if _suffix(file) in JSON or line.startswith("{"):
        names = tables.keys(file)
        return names, lambda chosen: tables.json_lines(file, {role: names[at] for role, at in chosen.items()})
    separator = _separator(line)
    names = tables.fields(line, separator)
    numbered = given.columns and all(name.isdecimal() for name in given.columns.values() if name)
    header = not numbered or any(map(cols.known, names))
    if not header:
        _check_headless(file, separator, given)
        given.say(f"{file}: no header, the first row is {short(line)}")
        names = [f"column {number}" for number in range(1, len(names) + 1)]
    return names, lambda chosen: tables.delimited(file, separator, len(names), chosen, header)


def _check_headless(file: File, separator: str, given: Input) -> None:
    """That the first row is none of names: words where the second has numbers."""
    rows = [tables.fields(line, separator) for line in tables.first_lines(file)[:2]]
    at = [int(name) - 1 for name in given.columns.values() if name]
    if len(rows) == 2 and max(at) < min(map(len, rows)):
        first, second = ([_is_number(row[number]) for number in at] for row in rows)
        if all(second) and not any(first):
            raise UserError(f"{file}, line 1: {short(','.join(rows[0]))}: looks like a header: name the columns by it")


def _recbole(given: Input) -> Interactions:
    """RecBole's .inter, with the .item of the same name beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    if ":" not in line:
        raise UserError(f"{file}, line 1: {short(line)}: no typed header, as user_id:token is: name another --format")
    names = [name.partition(":")[0] for name in line.split("\t")]
    chosen = cols.choose(names, given.columns, file)
    given.say(cols.said(names, chosen))
    log = Log({role: names[number] for role, number in chosen.items()}, given.bad)
    _collect(given, log, tables.delimited(file, "\t", len(names), chosen))
    interactions = _histories(given, log)
    beside = file.beside(file.name.removesuffix(".inter") + ".item")
    if given.items is not None or beside is None:
        return _described(given, interactions, log.columns["item"])
    return items.describe(interactions, items.recbole(beside, log.columns["item"]), given.say)


def _movielens(given: Input) -> Interactions:
    """MovieLens' ratings.dat, ratings.csv or u.data, with titles and genres from beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    separator = _separator(line)
    names = tables.fields(line, separator)
    if not (header := any(map(cols.known, names))):
        names = ["user", "movieId", "rating", "timestamp"]
    chosen = cols.choose(names, {}, file)
    log = Log({role: names[at] for role, at in chosen.items()}, given.bad)
    _collect(given, log, tables.delimited(file, separator, len(names), chosen, header))
    interactions = _histories(given, log)
    about = None if given.items is not None else items.movielens(file)
    return _described(given, interactions) if about is None else items.describe(interactions, about, given.say)


def _amazon(given: Input) -> Interactions:
    """Amazon's ratings without a header: user, item, rating, time (2014), or item, user, rating, time (2018)."""
    log = Log({"user": "user", "item": "item", "weight": "rating", "time": "time"}, given.bad)
    flipped = None

    def in_order(batches):
        nonlocal flipped
        for batch in batches:
            if flipped is None:
                flipped = _items_first(batch)
                given.say(f"columns: {'item, user' if flipped else 'user, item'}, rating, time")
            yield batch._replace(frame=batch.frame.rename({"user": "item", "item": "user"})) if flipped else batch

    for file in given.files:
        chosen = {"user": 0, "item": 1, "weight": 2, "time": 3}
        _collect(given, log, in_order(tables.delimited(file, ",", 4, chosen, header=False)))
    return _described(given, _histories(given, log))


def _items_first(batch: Batch) -> bool:
    """Whether the first of the two columns of ids holds Amazon's items."""
    first, second = _asins(batch.frame["user"]), _asins(batch.frame["item"])
    if max(first, second) < 0.9 or abs(first - second) < 0.5:
        raise UserError(
            f"{batch.file}: four columns without a header: which is the user, which the item? "
            "Say --user 1 --item 2 --weight 3 --time 4, or as it is"
        )
    return first > second


def _asins(tokens: pl.Series) -> float:
    """The share of a column's first tokens that are Amazon's item numbers: B and nine more, or an ISBN."""
    return tokens.drop_nulls().head(1000).str.contains(r"^(B[0-9A-Z]{9}|[0-9]{9}[0-9X])$").mean() or 0.0


def _collect(given: Input, log: Log, batches: Iterator[Batch]) -> None:
    for batch in batches:
        log.add(batch)
        given.progress(log.rows)


def _histories(given: Input, log: Log, relative: bool = False) -> Interactions:
    interactions, notes = log.interactions(given.name, relative)
    for note in filter(None, notes):
        given.say(note)
    return interactions


def _named(given: Input, log: Log, relative: bool) -> Interactions:
    """The histories of a table, with what is known of its items."""
    return _described(given, _histories(given, log, relative), log.columns["item"])


def _described(given: Input, interactions: Interactions, column: str | None = None) -> Interactions:
    """The interactions with the table of items that was named, or lies beside the log.

    Args:
        column: of the item ids in the log.
    """
    return items.described(interactions, given.items, given.files, given.name, column, given.say)


#: a name for `--format` -> the reader
FORMATS = {
    "prepared": _prepared,
    "sequences": _sequences,
    "table": _table,
    "recbole": _recbole,
    "movielens": _movielens,
    "amazon": _amazon,
}

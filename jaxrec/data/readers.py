"""Every raw format -> Interactions: one function a format, known by the look of the file or named by the person."""

import difflib
import glob
import itertools
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data import items, prepared, sequences, tables
from jaxrec.data.ids import KINDS
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import ROLES, Batch, Log
from jaxrec.data.only import Only
from jaxrec.data.text import BadRows, File, short, some
from jaxrec.data.times import reads_as_times, reads_in_two_ways
from jaxrec.errors import UserError

NAMED = [role for role in ROLES if role != "weight"]  # the roles of a table that are known by names
SEPARATORS = (tables.LONG, "\t", ",", ";", "|")
JSON = (".json", ".jsonl", ".ndjson")
TEXT = (".csv", ".tsv")
RATINGS = ("ratings.dat", "ratings.csv", "u.data")  # of MovieLens
SIDE = ("items.csv", "stats.json", "meta.json")  # files beside the interactions, which hold none


class Input(NamedTuple):
    """What a reader is given."""

    name: str  # as the person wrote it
    files: list[File]  # in the order of their names
    columns: dict[str, str]  # {role: column} as the person said
    bad: BadRows
    say: Callable[[str], None]
    progress: Callable[[int], None]
    ids: str = ""
    keep_na_ids: bool = False
    time_format: str | None = None
    only: Only = Only()

    def log(self, columns: dict[str, str]) -> Log:
        """A log of these columns, {role: name}."""
        return Log(columns, self.bad, self.ids, self.keep_na_ids, self.time_format)

    def collect(self, log: Log, file, names: list[str], chosen: dict[str, int], batches) -> None:
        """Put the rows of a file into a log, those that are asked for alone.

        Args:
            names: of all columns. chosen: {role: number of its column}. batches: the function that reads such columns.
        """
        for batch in self.only.rows(file, names, chosen, batches):
            log.add(batch)
            self.progress(log.rows)


def read(
    path: str | Path,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    ids: str = "",
    keep_na_ids: bool = False,
    time_format: str | None = None,
    only: Sequence[str] = (),
    left_out: Callable[[str, int], None] = lambda step, rows: None,
) -> Interactions:
    """The interactions of a folder, a file, a zip or a glob, in any format that this module knows.

    Args:
        format: a name of FORMATS; found by looking where it is None.
        columns: {"user", "item", "time", "weight", "session": a column's name, its number from 1, or "none"}.
        skip_bad_rows: leave out the rows that can't be used, and say so; else they are an error.
        say: told what was found out: which columns were taken, what unit the times have.
        progress: told how many rows are read, now and then.
        ids: "integer" (1.0 is 1), "text" (as they stand), or "" for what `data.ids` makes of them.
        keep_na_ids: take words for a missing value, as NA, for ids.
        time_format: how dates are written, as strftime has it.
        only: conditions on the rows, as `Only` has them.
        left_out: told the name of every such condition, and how many rows it left out.

    Raises:
        UserError: naming the file, the line, the row and the cure, where a file is missing, broken or ambiguous.
    """
    if ids not in ("", *KINDS):
        raise UserError(f"no ids {ids!r}: choose one of {', '.join(KINDS)}")
    chosen = Only(only)
    if format is not None and format not in FORMATS:
        raise UserError(f"no format {format!r}: choose one of {', '.join(FORMATS)}")
    files = _list(str(path))
    if not files:
        raise UserError(f"{path}: nothing is in there: put interactions there")
    found, files = _recognise(str(path), files) if format is None else (format, _main(format, files))
    columns = {role: "" if name == cols.NONE else name for role, name in (columns or {}).items() if name is not None}
    if columns and format is None and found == "amazon":
        found = "table"  # whose columns are numbered
    if columns and found in ("prepared", "sequences", "movielens", "amazon"):
        flags = ", ".join(f"--{role}" for role in columns)
        raise UserError(f"{path}: read as {found}, whose columns are known: leave out {flags}, or say --format table")
    _check_flags(str(path), found, bool(only), bool(ids or keep_na_ids), bool(time_format))
    bad = BadRows(skip_bad_rows, "Mend such rows, or leave them out: prepare with --on-bad-row skip")
    given = Input(str(path), files, columns, bad, say, progress, ids, keep_na_ids, time_format, chosen)
    interactions = FORMATS[found](given)
    for note in bad.notes():
        say(note)
    for step, rows in chosen.steps():
        left_out(step, rows)
    if time_format and interactions.times is None:
        raise UserError(f"{path}: no times for --time-format: name their column with --time")
    return interactions._replace(name=str(path))


def _check_flags(path: str, format: str, only: bool, ids: bool, time_format: bool) -> None:
    """That a format has what the flags are about."""
    flags = {"--only": only} if format in ("prepared", "sequences") else {}
    flags |= {"--ids and --keep-na-ids": ids, "--time-format": time_format} if format == "prepared" else {}
    if wrong := [flag for flag, is_given in flags.items() if is_given]:
        raise UserError(f"{path}: read as {format}, which has no columns to read so: leave out {some(wrong)}")


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
    return prepared.load(given.files[0].path.parent)


def _sequences(given: Input) -> Interactions:
    """sequences.txt with what lies beside it; lines of a user and items; or of "user item"."""
    return sequences.read(
        given.files[0], given.bad, given.say, given.ids, given.keep_na_ids, time_format=given.time_format
    )


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
        chosen = cols.choose(names, given.columns, file, NAMED)
        if log is None:
            given.say(cols.said(names, chosen, given.columns))
            _check_order(given, file, names, chosen, batches)
            log = given.log({role: names[number] for role, number in chosen.items()})
            relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
        elif chosen.keys() != log.columns.keys():
            raise UserError(f"{file}: has columns for {some(chosen)}, the files before it for {some(log.columns)}")
        given.collect(log, file, names, chosen, batches)
    return _named(given, log, relative)


def _check_order(given: Input, file: File, names: list[str], chosen: dict[str, int], batches) -> None:
    """That a table without a known column of times has no other that reads as times.

    Args:
        batches: the function that reads columns.
    """
    rest = {f"column {number}": number for number in range(len(names)) if number not in chosen.values()}
    if "time" in chosen or "time" in given.columns or not rest:
        return
    if _suffix(file) in tables.COLUMNAR:
        frame = tables.columnar_head(file, {role: names[number] for role, number in rest.items()})
    else:
        frame = next((batch.frame for batch in batches(rest)), None)
    for role, number in rest.items() if frame is not None else ():
        values = frame[role].drop_nulls().head(1000)
        if (in_two_ways := reads_in_two_ways(values)) or reads_as_times(values):
            cols.refuse_order(names, number, file, in_two_ways)


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
    log = given.log({role: names[number] for role, number in chosen.items()})
    batches = partial(tables.delimited, file, "\t", len(names))
    _check_order(given, file, names, chosen, batches)
    given.collect(log, file, names, chosen, batches)
    interactions = _histories(given, log)
    beside = file.beside(file.name.removesuffix(".inter") + ".item")
    return items.describe(interactions, items.recbole(beside), given.say) if beside else interactions


def _movielens(given: Input) -> Interactions:
    """MovieLens' ratings.dat, ratings.csv or u.data, with titles and genres from beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    separator = _separator(line)
    names = tables.fields(line, separator)
    if not (header := any(map(cols.known, names))):
        names = ["user", "movieId", "rating", "timestamp"]
    chosen = cols.choose(names, {}, file)
    log = given.log({role: names[at] for role, at in chosen.items()})
    given.collect(log, file, names, chosen, partial(tables.delimited, file, separator, len(names), header=header))
    interactions = _histories(given, log)
    about = items.movielens(file)
    return interactions if about is None else items.describe(interactions, about, given.say)


def _amazon(given: Input) -> Interactions:
    """Amazon's ratings without a header: user, item, rating, time (2014), or item, user, rating, time (2018)."""
    log = given.log({"user": "user", "item": "item", "weight": "rating", "time": "time"})
    flipped = None

    for file in given.files:
        read = partial(tables.delimited, file, ",", 4, header=False)
        if flipped is None:
            flipped = any(map(_items_first, itertools.islice(read({"user": 0, "item": 1}), 1)))
            names = ["item", "user", "rating", "time"] if flipped else ["user", "item", "rating", "time"]
            given.say(f"columns: {', '.join(names)}")
        given.collect(log, file, names, {role: names.index(name) for role, name in log.columns.items()}, read)
    return _histories(given, log)


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


def _histories(given: Input, log: Log, relative: bool = False) -> Interactions:
    given.only.close(given.name, log.rows + log.bad.count)
    interactions, notes = log.interactions(given.name, relative)
    for note in filter(None, notes):
        given.say(note)
    return interactions


def _named(given: Input, log: Log, relative: bool) -> Interactions:
    """The histories of a table, with the titles of an items.csv in the same folder, where a folder was named."""
    interactions = _histories(given, log, relative)
    beside = given.files[0].beside("items.csv") if len(given.files) > 1 or Path(given.name).is_dir() else None
    return items.describe(interactions, items.table(beside), given.say) if beside else interactions


#: a name for `--format` -> the reader
FORMATS = {
    "prepared": _prepared,
    "sequences": _sequences,
    "table": _table,
    "recbole": _recbole,
    "movielens": _movielens,
    "amazon": _amazon,
}

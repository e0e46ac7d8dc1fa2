"""Every raw format -> Interactions: one function a format, known by the look of the file or named by the person."""

import difflib
import functools
import glob
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data import dialects, histories, items, prepared, sequences, tables, tabular, workbooks
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch, Log
from jaxrec.data.oddities import Oddities
from jaxrec.data.text import BadRows, File, short, some
from jaxrec.errors import UserError

TEXT = (".csv", ".tsv")
RATINGS = ("ratings.dat", "ratings.csv", "u.data")  # of MovieLens
QUOTES = {'"': '"', "none": ""}  # a word for `--quote` -> the character
SIDE = ("items.csv", "stats.json", "meta.json")  # files beside the interactions, which hold none


class Input(NamedTuple):
    """What a reader is given."""

    name: str  # as the person wrote it
    files: list[File]  # in the order of their names
    columns: dict[str, str]  # {role: column} as the person said
    bad: BadRows
    say: Callable[[str], None]
    progress: Callable[[int], None]
    separator: str | None = None  # of delimited text, as the person said
    quote: str = '"'  # "" where quotes are plain characters
    odd: Oddities | None = None
    format: str | None = None  # as the person said


def read(
    path: str | Path,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    separator: str | None = None,
    quote: str = '"',
) -> Interactions:
    """The interactions of a folder, a file, a zip or a glob, in any format that this module knows.

    Args:
        format: a name of FORMATS; found by looking where it is None.
        columns: {"user", "item", "time", "weight", "session": a column's name, or its number from 1}.
        skip_bad_rows: leave out the rows that can't be used, and say so; else they are an error.
        say: told what was found out: which columns were taken, what unit the times have.
        progress: told how many rows are read, now and then.
        separator: of delimited text: one character, "::", "tab", "space"; found by looking where it is None.
        quote: "none" where quotes are plain characters.

    Raises:
        UserError: naming the file, the line, the row and the cure, where a file is missing, broken or ambiguous.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"no format {format!r}: choose one of {', '.join(FORMATS)}")
    if quote not in QUOTES:
        raise UserError(f"no quote {quote!r}: choose one of {', '.join(QUOTES)}")
    separator = None if separator is None else dialects.separator(separator)
    files = _list(str(path))
    if not files:
        raise UserError(f"{path}: nothing is in there: put interactions there")
    found, files = _recognise(str(path), files) if format is None else (format, _main(format, files))
    columns = {role: name for role, name in (columns or {}).items() if name is not None}
    if columns and format is None and found == "amazon":
        found = "table"  # whose columns are numbered
    if separator is not None and format is None and found in ("sequences", "amazon"):
        found = "table"  # whose separator may be said
    if columns and found in ("prepared", "sequences", "movielens", "amazon"):
        flags = ", ".join(f"--{role}" for role in columns)
        raise UserError(f"{path}: read as {found}, whose columns are known: leave out {flags}, or say --format table")
    bad = BadRows(skip_bad_rows, "Mend such rows, or leave them out: prepare with --on-bad-row skip")
    _check_dialect(str(path), found, separator, quote)
    odd = Oddities()
    given = Input(str(path), files, columns, bad, say, progress, separator, QUOTES[quote], odd, format)
    interactions = FORMATS[found](given)
    for note in odd.notes() + bad.notes():
        say(note)
    return interactions._replace(name=str(path))


def _check_dialect(path: str, format: str, separator: str | None, quote: str) -> None:
    """That a format has the separator and the quotes that the person spoke of."""
    known = {"--separator": separator is not None and format != "table"}
    known["--quote"] = QUOTES[quote] == "" and format in ("prepared", "sequences")
    if wrong := [flag for flag, is_given in known.items() if is_given]:
        raise UserError(f"{path}: read as {format}: leave out {some(wrong)}, or say --format table")


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
        if zipfile.is_zipfile(given) and not workbooks.recognise(File(given)):
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
    return file.name not in SIDE and _suffix(file) in (*tables.COLUMNAR, *tabular.JSON, *TEXT, *workbooks.SUFFIXES)


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
    if _suffix(file) in tabular.JSON or workbooks.recognise(file):
        return "table"
    told, lines = dialects.first_rows(file)
    if told or lines[0].startswith("{"):
        return "table"
    separator, *others = dialects.candidates(lines, {})
    names = dialects.names_of(lines[0], separator)
    if others or any(map(cols.known, names)):
        return "table"
    if separator in (" ", "\t") and _suffix(file) not in TEXT:
        return "sequences"
    rated = separator == "," and len(names) == 4 and dialects.is_rating(names[2]) and names[3].isdecimal()
    return "amazon" if rated else "table"


def _suffix(file: File) -> str:
    return Path(file.name).suffix.lower()


def _separator(line: str) -> str:
    """What parts the fields of MovieLens' first line: the most frequent candidate, a space where there is none."""
    found = max(dialects.SEPARATORS, key=line.count)
    return found if line.count(found) else " "


def _prepared(given: Input) -> Interactions:
    """A folder that `prepare` wrote."""
    return prepared.load(given.files[0].path.parent)


def _sequences(given: Input) -> Interactions:
    """sequences.txt with what lies beside it; lines of a user and items; or of "user item"."""
    return sequences.read(given.files[0], given.bad, given.say, asked=given.format == "sequences")


def _table(given: Input) -> Interactions:
    """CSV, TSV, JSON lines, Parquet, Arrow or a workbook; one file, or shards of one kind."""
    log, relative = None, False
    given = given._replace(say=functools.cache(given.say))  # shards have the same to say
    if len(given.files) > 1:
        given.say(f"{len(given.files)} files: {some(file.name for file in given.files)}")
    for file in given.files:
        names, lists, batches = tabular.columns_of(file, given)
        if log is not None and (missing := set(log.columns.values()) - set(names)):
            raise UserError(
                f"{file}: no column {some(sorted(missing))}, as {given.files[0]} has: shards have one header"
            )
        chosen = tabular.choose(names, lists, given.columns, file)
        if log is None:
            given.say(cols.said(names, chosen))
            log = Log({role: names[number] for role, number in chosen.items()}, given.bad)
            relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
        elif chosen.keys() != log.columns.keys():
            raise UserError(f"{file}: has columns for {some(chosen)}, the files before it for {some(log.columns)}")
        _collect(given, log, batches(chosen))
    return _named(given, log, relative)


def _recbole(given: Input) -> Interactions:
    """RecBole's .inter, with the .item of the same name beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    if ":" not in line:
        raise UserError(f"{file}, line 1: {short(line)}: no typed header, as user_id:token is: say --format table")
    names, kinds = dialects.typed(line)
    chosen = cols.choose(names, dialects.with_lists(names, kinds, given.columns), file)
    given.say(cols.said(names, chosen))
    log = Log({role: names[number] for role, number in chosen.items()}, given.bad)
    _collect(given, log, _recbole_rows(file, given, names, kinds)(chosen))
    interactions = _histories(given, log)
    beside = file.beside(file.name.removesuffix(".inter") + ".item")
    return items.describe(interactions, items.recbole(beside), given.say) if beside else interactions


def _recbole_rows(file: File, given: Input, names: list[str], kinds: list[str]):
    """The function that reads the chosen columns of an .inter: {role: number} -> batches.

    A column item_id_list beside item_id holds the items before it, as do those of times and ratings.
    """

    def batches(chosen):
        before = {f"{histories.BEFORE}{role}": f"{names[at]}_list" for role, at in chosen.items()}
        every = chosen | {role: names.index(name) for role, name in before.items() if name in names}
        lists = [role for role, at in every.items() if kinds[at].endswith("_seq") or at not in chosen.values()]
        read = lambda: (
            histories.split(batch, lists)
            for batch in tables.delimited(file, "\t", len(names), every, quote=given.quote, odd=given.odd)
        )
        named = {role: names[at] for role, at in chosen.items()}
        return histories.rows(read, named, given.say, grows=len(every) > len(chosen))

    return batches


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
    options = {"quote": given.quote, "odd": given.odd}
    _collect(given, log, tables.delimited(file, separator, len(names), chosen, header, **options))
    interactions = _histories(given, log)
    about = items.movielens(file)
    return interactions if about is None else items.describe(interactions, about, given.say)


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
        options = {"quote": given.quote, "odd": given.odd}
        _collect(given, log, in_order(tables.delimited(file, ",", 4, chosen, header=False, **options)))
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

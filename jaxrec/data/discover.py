"""Finds the files of a log from a path: a file, a zip, a glob or a folder tree."""

import difflib
import glob
import itertools
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jaxrec.config import registry
from jaxrec.data import prepared
from jaxrec.data.files import beside, walking
from jaxrec.data.files.opener import Opener, Unreadable
from jaxrec.data.files.text import MARK, File, shown, some
from jaxrec.data.files.walking import check_number, is_hidden, once, refuse, scan, walk
from jaxrec.data.formats import columnar, json_lines, sequences, tables, workbooks
from jaxrec.data.ordering import ordered
from jaxrec.system.errors import UserError
from jaxrec.system.files import expand, open_regular

TEXT = (".csv", ".tsv")
RATINGS = ("ratings.dat", "ratings.csv", "u.data")  # MovieLens files of ratings
SIDE = (
    *beside.NAMES,
    *(name.replace("item", "user") for name in beside.NAMES),
    "stats.json",
    "meta.json",
    *(walking.STATE, "dataset_info.json", "dataset_infos.json", "dataset_dict.json"),  # of Hugging Face's data sets
)  # files beside the interactions that hold no interactions
PROSE = (".md", ".rst", ".html", ".pdf")  # documents: never shards
ZIPS = (b"PK\3\4", b"PK\5\6", b"PK\7\10")  # first bytes of zips
WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".ods")  # zips that are a single document
BLANK = 1 << 12  # a file of this many bytes or more never counts as blank
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")  # bytes that text never has
READMES = ("readme", "license", "licence", "copying", "changelog", "notice")
SEPARATORS = (tables.LONG, "\t", ",", ";", "|")  # a text file whose first line has one is a table


def find(path: str, format: str | None, opener: Opener, say: Callable[[str], None]) -> tuple[str | None, list[File]]:
    """Returns the format of a path (None if the first file must be inspected), and the files to start from.

    Args:
        path: a file, a zip, a glob or a folder.
        format: the given format; None to detect it by names and first bytes.
        opener: opens the files.
        say: receives notes about files left out.

    Raises:
        UserError: if nothing is found, or several logs.
    """
    given = expand(path)
    if table := next((each for each in given.absolute().parents if walking.is_delta(each)), None):
        raise walking.of_delta(given, table)
    try:
        if given.is_dir():
            return _in_folder(given, format, opener, say)
        if given.exists():
            files = _unzipped([File(given, opener=opener)])
            if len(files) > 1:
                return _among(given, format, files, say)
        else:
            files = _of_glob(given, opener, say)
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror}): check the path and permissions") from None
    if not files:
        raise UserError(f"{shown(path)}: nothing is in there: put interactions there")
    if len(files) == 1:
        return format or _marked(given, files)[0], files
    if format is not None and _begins(format):
        return format, _named(given, format, files)
    name, chosen = (format, []) if format else _marked(given, files)
    return name, chosen or _shards(given, files, lambda file: file.suffix or kind(file), say, format is not None)


def matches(given: Path) -> list[Path]:
    """Returns the paths that match a glob, sorted. Existing folders in it are taken literally.

    Raises:
        UserError: for `**`, or more than MOST files.
    """
    root = _literal(given)
    pattern = str(given.relative_to(root))
    if not glob.has_magic(pattern):
        return []
    if "**" in pattern:
        raise UserError(f"{shown(given)}: ** is not supported: name the folder, whose subfolders are read too")
    found = list(itertools.islice(glob.iglob(pattern, root_dir=root), walking.MOST + 1))
    check_number(given, len(found))
    wanted = Path(pattern).parts
    seen = lambda parts: (
        not any(is_hidden(part) and part[0] != want[0] for part, want in zip(parts, wanted, strict=True))
    )
    return sorted(root / each for each in found if seen(Path(each).parts) and os.path.lexists(root / each))


def kind(file: File) -> str:
    """Returns "parquet", "arrow", "json" or "text", by the first bytes, or by the name if these don't tell."""
    start = file.start(64)
    if start.startswith(columnar.PARQUET) or file.suffix == ".parquet":
        return "parquet"
    if start.startswith((columnar.ARROW, columnar.STREAM)) or file.suffix in columnar.SUFFIXES:
        return "arrow"
    return "json" if file.suffix in json_lines.SUFFIXES or start.removeprefix(MARK).startswith(b"{") else "text"


def _in_folder(given: Path, format: str | None, opener: Opener, say) -> tuple[str | None, list[File]]:
    """Like `find`, for a folder: considers its files, then those below it, then its zip."""
    if given.name.endswith(".tmp"):
        raise UserError(f"{given}: left by a prepare that was interrupted: remove it, and prepare again")
    inside = scan(given)
    own, links = once(given, inside.files)
    files = [File(each, root=given, opener=opener) for each in own]
    if files and format is not None and _begins(format):
        return format, _named(given, format, files)
    name, chosen = (None, []) if format else _marked(given, files)
    if name:
        return name, chosen
    if shards := _tables(given, files, say, format is not None):
        if inside.folders:
            say(f"not read: {some(f'{each.name}/' for each in inside.folders)}")
        _say_links(links, say)
        refuse(inside.others)
        return format, shards
    below = [File(each, root=given, opener=opener) for each in walk(given, say) if each.parent != given]
    marked = sorted({file.path.parent for file in below if _is_marker(file)})
    if not marked and (shards := _tables(given, [*files, *below], say, format is not None)):
        refuse(inside.others)
        return format, shards
    zips = [file for file in files if file.suffix == ".zip"]
    if len(zips) == 1 and not marked:
        return find(str(zips[0].path), format, opener, say)
    if not marked and (shards := _tables(given, _unzipped(zips), say, format is not None)):
        return format, shards
    if len(files) == 1 and not marked:  # regardless of its name
        return format, files
    refuse(inside.others)
    why = f"no {sequences.NAME} or other data in this folder" if files else "no file is in this folder"
    cure = (
        "name the file that holds the interactions, or a glob" if files else "name another folder, or the file itself"
    )
    names = [each.name for each in sorted(itertools.chain(*inside))]
    raise UserError(_holding(given, why, names, f"did you mean {some(marked)}?" if marked else cure))


def _among(given: Path, format: str | None, files: list[File], say) -> tuple[str | None, list[File]]:
    """Like `find`, for the members of a zip."""
    if format is not None and _begins(format):
        return format, _named(given, format, files)
    name, chosen = (None, []) if format else _marked(given, files)
    if chosen := chosen or _tables(given, files, say, format is not None):
        return name or format, chosen
    names = some(file.below for file in files)
    raise UserError(
        f"{given}: no {sequences.NAME} or other data in this zip, which holds {names}: unzip it, and name it"
    )


def _of_glob(given: Path, opener: Opener, say) -> list[File]:
    found = matches(given)
    if not found:
        raise UserError(f"{shown(given)}: no such file or folder: {_near(given)}")
    within = {each for match in found if match.is_dir() for each in walk(match, say)}
    within |= {match for match in found if not match.is_dir()}
    own, links = once(_literal(given), sorted(within))
    _say_links(links, say)
    return _unzipped([File(each, root=_literal(given), opener=opener) for each in own])


def _say_links(links: list[Path], say) -> None:
    if links:
        say(f"not read: {some(links)}: {'a link' if len(links) == 1 else 'links'} to what is read")


def _unzipped(files: list[File]) -> list[File]:
    """Returns the files with zips replaced by their members; workbooks, which are zips too, remain."""
    found = []
    for file in files:
        is_zip = _is_zip(file) and file.suffix not in WORKBOOKS
        inside = file.opener.names(file.path) if is_zip else []
        if not is_zip or workbooks.PART in inside:
            found.append(file)
            continue
        names = sorted(map(Path, inside), key=lambda name: name.parts)
        found += [replace(file, member=str(name)) for name in names if not any(map(is_hidden, name.parts))]
    return found


def _is_zip(file: File) -> bool:
    """Returns whether a file on disk is a zip, rather than a compressed file that unpacks to one."""
    if file.start(4) not in ZIPS:
        return False
    with open_regular(file.path) as raw:
        return raw.read(4) in ZIPS


def _begins(format: str) -> bool:
    """Returns whether a format starts from one file, rather than from shards."""
    return registry.find("reader", format).begins is not None


def _named(given: Path, format: str, files: list[File]) -> list[File]:
    """Returns the file that a format's reader starts from."""
    begins = registry.find("reader", format).begins
    main = [file for file in files if begins(file)]
    if not main:
        raise UserError(f"{given}: no file of the format {format} among {some(file.name for file in files)}")
    return [_only(given, main)]


def _marked(given: Path, files: list[File]) -> tuple[str | None, list[File]]:
    """Returns the format that a file's name identifies, and that file; (None, []) if there is none."""
    names = {file.name for file in files}
    for file in files:
        if file.name == prepared.META and not file.member and prepared.recognise(file.path):
            return "prepared", [file]
    if "offsets.npy" in names:
        cure = "unzip it, and name the folder" if files[0].member else "prepare it again"
        raise UserError(f"{given}: a prepared folder whose {prepared.META} is missing or damaged: {cure}")
    for format in ("sequences", "movielens", "recbole"):
        begins = registry.find("reader", format).begins
        main = [file for file in files if begins(file)]
        if format == "movielens":
            best = next((name for name in RATINGS if name in names), None)
            main = [file for file in main if file.name == best and (best != "ratings.csv" or "movies.csv" in names)]
        if main:
            return format, [_only(given, main)]
    return None, []


def _is_marker(file: File) -> bool:
    return file.name in ("offsets.npy", sequences.NAME, *RATINGS[::2]) or file.suffix == ".inter"


def _only(given: Path, files: list[File]) -> File:
    """Returns the only file; among files of the same name the uncompressed one, or the one at the top."""
    first = min(files, key=lambda file: len(str(file)))
    if others := [
        file for file in files if file.name != first.name or file.folders[: len(first.folders)] != first.folders
    ]:
        names = some(file.below for file in files)
        of_recbole = all(file.suffix == ".inter" for file in files)
        what = "several .inter files" if of_recbole else f"{len(others) + 1} logs"
        all_of_them = ", or read all as one log with --format table" if of_recbole else ""
        raise UserError(f"{given}: {what} ({names}): name the one to read{all_of_them}")
    return first


def _tables(given: Path, files: list[File], say, mixed: bool) -> list[File]:
    """Returns the files of a folder or zip that are tables, under any name."""
    files = walking.without_caches(files, say)
    known = lambda file: (
        file.suffix if file.suffix in (*columnar.SUFFIXES, *json_lines.SUFFIXES, *TEXT, *workbooks.SUFFIXES) else None
    )
    if any(known(file) and file.name not in SIDE for file in files):
        return _shards(given, files, known, say, mixed)
    return _shards(given, files, _labels(files).get, say, mixed)


def _shards(given: Path, files: list[File], label: Callable, say, mixed: bool) -> list[File]:
    """Returns the labelled files, sorted: the shards of a log. `mixed`: whether labels may differ."""
    kinds = {}
    for file in files:
        if file.name not in SIDE and (found := label(file)):
            kinds.setdefault(found, []).append(file)
    if len(kinds) > 1 and not mixed:
        why = f"files of {some(sorted(kinds))} lie together in this folder"
        cure = "name the file that holds the interactions, or a glob; --format table reads them all"
        raise UserError(_holding(given, why, [file.below for file in files], cure))
    shards = ordered(itertools.chain(*kinds.values()), say)
    filled = [file for file in shards if not _is_blank(file)] if len(shards) > 1 else shards
    shards = filled or shards
    taken = {*shards}
    if taken and (left := [file for file in files if file not in taken and not _is_aside(file)]):
        say(f"not read: {some(file.below for file in left)}")
    walking.check_distinct(shards)
    return shards


def _is_blank(file: File) -> bool:
    """Returns whether a file holds nothing but white space, as an export without rows may."""
    start = file.start(BLANK)
    return len(start) < BLANK and not start.removeprefix(MARK).strip()


def _is_aside(file: File) -> bool:
    return file.name in SIDE or file.suffix in PROSE or file.name.lower().startswith(READMES)


def _looks_like(file: File) -> str | None:
    """Returns the kind of table, by content: parquet, arrow, JSON or text with a separator; None if it is no table."""
    if _is_aside(file) or file.suffix == ".zip":
        return None
    if (found := kind(file)) != "text":
        return found
    separator, count = _separated(_first_line(file))
    return f"text with {separator!r}" if count else None


def _separated(line: str) -> tuple[str, int]:
    """Returns the likeliest separator of a line, and how often it occurs."""
    separator = max(SEPARATORS, key=line.count)
    return separator, line.count(separator)


def _first_line(file: File) -> str:
    """Returns the first line of a file, "" if it is not text."""
    try:
        return next(iter(tables.first_lines(file)), "")
    except Unreadable:
        raise
    except UserError:
        return ""


def _labels(files: list[File]) -> dict[File, str]:
    """Returns {file: kind of table} for the files that are tables by their content.

    Text that is not UTF-8 gets the kind of another file with the same extension, separator and number of columns;
    reading it then reports the encoding.
    """
    found = {file: label for file in files if (label := _looks_like(file))}
    texts = ((file, label) for file, label in found.items() if label.startswith("text"))
    shapes = {(file.suffix, _separated(_first_line(file))): label for file, label in texts}
    for file in (each for each in files if each not in found and not _is_aside(each)):
        start = file.start(BLANK).removeprefix(MARK)
        shape = file.suffix, _separated(start.partition(b"\n")[0].decode("latin-1"))
        if shape in shapes and not CONTROL.search(start):
            found[file] = shapes[shape]
    return found


def _holding(given: Path, why: str, names: list[str], cure: str) -> str:
    return f"{given}: {why}, which holds {some(names)}: {cure}"


def _literal(given: Path) -> Path:
    """Returns the deepest existing folder above a glob."""
    return next(each for each in (*given.parents, Path()) if each.is_dir())


def _near(given: Path) -> str:
    """Returns a hint about a path that doesn't exist."""
    if given.is_symlink():
        return "a link to nowhere: mend it"
    parent = given.parent
    names = sorted(each.name for each in parent.iterdir()) if parent.is_dir() else []
    near = sorted(difflib.get_close_matches(given.name, names, cutoff=0.5))
    return f"did you mean {some(near)}?" if near else f"{shown(parent.absolute())} holds {some(names)}"

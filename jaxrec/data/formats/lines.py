"""Tells apart histories and table rows without a header, in lines of three or more tokens, and suggests a command."""

import re
import shlex
from collections.abc import Callable, Iterable

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.files.text import File
from jaxrec.data.formats import tables
from jaxrec.data.formats.dialects import is_number, is_rating
from jaxrec.data.values import forms
from jaxrec.data.values.times import reads_as_times

SAMPLE = 1000  # lines examined
LEAST = 3  # minimum number of lines below a header
MOMENT = 1e8  # smallest time in seconds since 1970
DATE = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?([T ].*)?|\d\d?[-/.]\d\d?[-/.]\d{2,4}([T ,].*)?"
    r"|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
)
WRITTEN = re.compile(forms.LIKE)
LEVELS = 20  # maximum number of distinct ratings
ORDER = ("--user", "--item", "--weight", "--time")
LISTS = 0.5  # minimum share of lines that have a list after the user
CONTROL = "".join(map(chr, range(1, 9)))  # control characters, by which Hive separates fields by default
MARKED = f"~^#!*&$%\\{CONTROL}"  # characters that may separate fields and are rare in ids
MARKS = re.compile(r"(#|//|%)+")  # comment marks
SINGLE_TABS = "awk -v OFS='\\t' '{$1=$1; print}'"


def as_table(file: File) -> tuple[str, bool] | None:
    """Returns the command that reads the lines as table rows (user, item, ...), and whether they look like rows.

    Returns None if the lines differ in their number of columns. Lines look like rows if a later column holds only
    times, ratings or numbers and the item column doesn't, or if the item column is the only one that holds times.
    """
    rows, split = _rows(file)
    if split is None or len(rows[0]) < 3:
        return None
    columns = list(zip(*rows, strict=True))
    clear = [is_like for is_like in (_is_moment, is_rating) if not _all(is_like, columns[1])]
    clear += [is_number] * (not any(map(is_number, columns[1])))
    looks = any(_all(is_like, values) for is_like in clear for values in columns[2:])
    timed = [reads_as_times(pl.Series(values)) for values in columns[1:]]
    looks |= timed[0] and not any(timed[1:])
    said = _flags(columns, range(1, len(columns) + 1))
    if split is str.split:
        tabs = f"{unpacked(file)}`{SINGLE_TABS} {shlex.quote(str(file))} >table.tsv`"
        return f"{tabs}, then `--input table.tsv --format table {said}`", looks
    return f"`--format table {said}`", looks


def unpacked(file: File) -> str:
    """Returns the words to put before a command that needs plain text; "" if the file is plain text."""
    return "unpacking it, " * bool(file.member or not str(file.path).endswith(file.name))


def tabbed(file: File) -> str | None:
    """Returns the command that reads lines as table rows, if they can hardly be histories; otherwise None.

    Such lines all have the same number of tabs, some cells are empty or hold several words, and either a column holds
    times or users recur.
    """
    rows = [line.split("\t") for line in tables.first_lines(file)[:SAMPLE] if line.strip()]
    if len(rows) < LEAST or len(rows[0]) < 3 or any(len(row) != len(rows[0]) for row in rows):
        return None
    names: Iterable = range(1, len(rows[0]) + 1)
    if not any(map(is_number, rows[0])) and any(_all(is_number, column) for column in zip(*rows[1:], strict=True)):
        names = map(shlex.quote, rows.pop(0))
    full = [[cell.strip() for cell in row] for row in rows if all(map(str.strip, row))]
    columns = list(zip(*full, strict=True))
    is_timed = 2 * len(full) >= len(rows) and any(_all(_is_moment, column) for column in columns[1:])
    apart = any(len(cell.split()) != 1 for row in rows for cell in "\t".join(row).rstrip().split("\t"))
    again = len({row[0] for row in rows}) < len(rows)
    if not columns or not ((is_timed and (apart or len(full) < len(rows))) or (apart and again)):
        return None
    return f"`--format table {_flags(columns, names)}`"


def marked(file: File) -> str | None:
    """Returns the command that reads lines as table rows separated by a mark such as ~; None if they aren't.

    Each line must have the same number of fields, at least three, with blanks only in times. One of the fields must
    hold times, unless the mark is a control character.
    """
    lines = [line for line in tables.first_lines(file)[:SAMPLE] if line.strip()]
    if len(lines) < LEAST:
        return None
    for mark in dict.fromkeys(each for each in lines[0] if each in MARKED):
        rows = [[cell.strip() for cell in line.split(mark)] for line in lines]
        if len(rows[0]) < 3 or any(len(row) != len(rows[0]) for row in rows):
            continue
        named = not any(map(_is_moment, rows[0])) and any(map(cols.is_time, rows[0]))
        names: Iterable = map(shlex.quote, rows.pop(0)) if named else range(1, len(rows[0]) + 1)
        columns = list(zip(*rows, strict=True))
        timed = [at for at, column in enumerate(columns) if _all(_is_moment, column)]
        if any(" " in cell or "\t" in cell for at, column in enumerate(columns) if at not in timed for cell in column):
            continue
        if (timed and timed != [0]) or mark in CONTROL:
            told = f"$'\\x{ord(mark):02x}'" if mark in CONTROL else shlex.quote(mark)
            return f"`--format table --separator {told} {_flags(columns, names)}`"
    return None


def header_cure(file: File) -> str | None:
    """Returns what to do about a first line that looks like a header or a comment; None otherwise.

    A header has only words where all other lines have a number as the user or as the first item.
    """
    (names, *rows), split = _rows(file)
    if len(rows) < LEAST or len(names) < 2:
        return None
    ids = list(zip(*(row[:2] for row in rows), strict=False))
    is_comment = MARKS.fullmatch(names[0]) and not any(map(MARKS.match, ids[0]))
    if not is_comment and (any(map(is_number, names)) or not any(_all(is_number, column) for column in ids)):
        return None
    if is_comment or split is None:
        return "remove it"
    return f"prepare it with `--format table {_flags(list(zip(*rows, strict=True)), map(shlex.quote, names))}`"


def lists_cure(file: File) -> str | None:
    """Returns what to do about lines of a user and a list without spaces, such as 1,2,3; None for other lines."""
    rows, split = _rows(file)
    if split is None or len(rows) < LEAST or len(rows[0]) != 2:
        return None
    for mark in ",;|":
        parts = [row[1].split(mark) for row in rows]
        differ = min(map(len, parts)) < max(map(len, parts))
        if differ and all(map(all, parts)) and sum(len(each) > 1 for each in parts) >= LISTS * len(parts):
            return f"put spaces for the {mark!r} between its items"
    return None


def _rows(file: File) -> tuple[list[list[str]], Callable | None]:
    """Returns the first lines as rows, and the function that splits all into the same number of values, or None."""
    lines = [line for line in tables.first_lines(file)[:SAMPLE] if line.strip()]
    for split in (lambda line: line.split("\t"), lambda line: line.split(" "), str.split):
        rows = [[value.strip() for value in split(line)] for line in lines]
        if len(rows[0]) > 1 and all(len(row) == len(rows[0]) and all(row) for row in rows):
            return rows, split
    return rows, None


def _flags(columns: list[tuple[str, ...]], names: Iterable) -> str:
    """Returns the flags for the columns: user, item, and times and ratings, recognised by their values.

    The second column is the item unless it holds dates or is the only column of times. Then another column is; COLUMN
    stands for it if there are several candidates. If there is no other column, it is the second after all.
    """
    names, rest = list(names), list(range(1, len(columns)))
    times = [at for at in rest if _all(_is_moment, columns[at])] if len(rest) > 1 else []
    if times[:1] == [1] and len(times) > 1 and _all(is_number, columns[1]):
        times = times[1:]  # large ids, with the times in a later column
    rest = [at for at in rest if at not in times[:1]]
    chosen = {"--user": names[0], "--item": names[rest[0]] if rest[0] == 1 or len(rest) == 1 else "COLUMN"}
    ratings = [at for at in rest[1:] if _all(is_rating, columns[at]) and len({*columns[at]}) <= LEVELS]
    if rest[0] == 1 and (ratings or (len(rest) == 2 and _all(is_number, columns[rest[1]]))):
        chosen["--weight"] = names[(ratings or rest[1:])[0]]
    if times:
        chosen["--time"] = names[times[0]]
    return " ".join(f"{flag} {chosen[flag]}" for flag in ORDER if flag in chosen)


def _all(is_like, values: Iterable[str]) -> bool:
    return all(map(is_like, values))


def _is_moment(text: str) -> bool:
    """Returns whether a text is a date, or a plausible number of seconds (or milliseconds, ...) since 1970."""
    return bool(DATE.fullmatch(text) or WRITTEN.match(text)) or (is_number(text) and MOMENT <= float(text) < 2.0**63)

"""Lines of three tokens or more without a header: histories, or rows of a table? What to say where it is a table."""

import re
import shlex
from collections.abc import Callable, Iterable

from jaxrec.data import tables
from jaxrec.data.dialects import is_number, is_rating
from jaxrec.data.text import File

SAMPLE = 1000  # lines that are looked at
LEAST = 3  # lines below a header, by which it is known
MOMENT = 1e8  # seconds since 1970, and so for other units
DATE = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?([T ].*)?|\d\d?[-/.]\d\d?[-/.]\d{2,4}([T ,].*)?"
    r"|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
)
LISTS = 0.5  # of the lines, from which on what stands beside the user is a list
MARKS = re.compile(r"(#|//|%)+")  # of a comment
SINGLE_TABS = "awk -v OFS='\\t' '{$1=$1; print}'"


def as_table(file: File) -> tuple[str, bool] | None:
    """The command that reads lines as rows of a user, an item and more, and whether they look like such rows.

    None where they have no number of columns in common. Columns of times and ratings are known by their values, where
    those of the items are others.
    """
    rows, split = _rows(file)
    if split is None or len(rows[0]) < 3:
        return None
    columns = list(zip(*rows, strict=True))
    clear = [is_like for is_like in (_is_moment, is_rating) if not _all(is_like, columns[1])]
    clear += [is_number] * (not any(map(is_number, columns[1])))
    looks = any(_all(is_like, values) for is_like in clear for values in columns[2:])
    said = _flags(columns, range(1, len(columns) + 1))
    if split is str.split:
        packed = "unpacking it, " * bool(file.member or not str(file.path).endswith(file.name))
        tabs = f"{packed}`{SINGLE_TABS} {shlex.quote(str(file))} >table.tsv`"
        return f"{tabs}, then `--input table.tsv --format table {said}`", looks
    return f"`--format table {said}`", looks


def header_cure(file: File) -> str | None:
    """What to do about a first line that seems to name columns, or to be a comment; None where it does not.

    A header has words alone, where all other lines have numbers for the user or the first item.
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
    """What to do about lines of a user and a list without spaces, as 1,2,3; None where they hold none."""
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
    """The first lines as rows of values, and what splits them into one number of these; else at spaces, and None."""
    lines = [line for line in tables.first_lines(file)[:SAMPLE] if line.strip()]
    for split in (lambda line: line.split("\t"), lambda line: line.split(" "), str.split):
        rows = [[value.strip() for value in split(line)] for line in lines]
        if len(rows[0]) > 1 and all(len(row) == len(rows[0]) and all(row) for row in rows):
            return rows, split
    return rows, None


def _flags(columns: list[tuple[str, ...]], names: Iterable) -> str:
    """The flags that name columns: the user, the item, and those of times and ratings by their values."""
    names = list(names)
    flags = {"--user": names[0], "--item": names[1]}
    for name, values in list(zip(names, columns, strict=True))[2:]:
        flag = "--time" if _all(_is_moment, values) else "--weight" if _all(is_number, values) else ""
        if flag:
            flags.setdefault(flag, name)
    return " ".join(f"{flag} {name}" for flag, name in flags.items())


def _all(is_like, values: Iterable[str]) -> bool:
    return all(map(is_like, values))


def _is_moment(text: str) -> bool:
    """Whether a text reads as a date, or as seconds and the like since 1970."""
    return bool(DATE.fullmatch(text)) or (is_number(text) and MOMENT <= float(text) < 2.0**63)

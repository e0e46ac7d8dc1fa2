"""Lines of three tokens or more without a header: histories, or rows of a table? What to say where it is a table."""

import re
import shlex
from collections.abc import Iterable

from jaxrec.data import tables
from jaxrec.data.dialects import is_number, is_rating
from jaxrec.data.text import File

SAMPLE = 1000  # lines that are looked at
MOMENT = 1e8  # seconds since 1970, and so for other units
DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?([T ].*)?")
SINGLE_TABS = "awk -v OFS='\\t' '{$1=$1; print}'"


def as_table(file: File) -> tuple[str, bool] | None:
    """The command that reads lines as rows of a user, an item and more, and whether they look like such rows.

    None where they have no number of columns in common. Columns of times and ratings are known by their values, where
    those of the items are others.
    """
    lines = [line for line in tables.first_lines(file)[:SAMPLE] if line.strip()]
    for split in (lambda line: line.split("\t"), lambda line: line.split(" "), str.split):
        rows = [split(line) for line in lines]
        if rows and len(rows[0]) > 2 and all(len(row) == len(rows[0]) and all(row) for row in rows):
            break
    else:
        return None
    columns = [[value.strip() for value in column] for column in zip(*rows, strict=True)]
    flags = {"--user": 1, "--item": 2}
    for number, values in enumerate(columns[2:], 3):
        flag = "--time" if _all(_is_moment, values) else "--weight" if _all(is_number, values) else ""
        if flag:
            flags.setdefault(flag, number)
    clear = [is_like for is_like in (_is_moment, is_rating) if not _all(is_like, columns[1])]
    clear += [is_number] * (not any(map(is_number, columns[1])))
    looks = any(_all(is_like, values) for is_like in clear for values in columns[2:])
    said = " ".join(f"{flag} {number}" for flag, number in flags.items())
    if split is str.split:
        packed = "unpacking it, " * bool(file.member or not str(file.path).endswith(file.name))
        tabs = f"{packed}`{SINGLE_TABS} {shlex.quote(str(file))} >table.tsv`"
        return f"{tabs}, then `--input table.tsv --format table {said}`", looks
    return f"`--format table {said}`", looks


def _all(is_like, values: Iterable[str]) -> bool:
    return all(map(is_like, values))


def _is_moment(text: str) -> bool:
    """Whether a text reads as a date, or as seconds and the like since 1970."""
    return bool(DATE.fullmatch(text)) or (is_number(text) and MOMENT <= float(text) < 2.0**63)

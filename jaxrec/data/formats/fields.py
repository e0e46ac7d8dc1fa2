"""Reads small text tables: yields the fields of each row with its line number."""

import csv
import re
from collections.abc import Iterator

from jaxrec.data.files.text import File, csv_rows, fail, pieces
from jaxrec.data.formats import tables
from jaxrec.system.errors import UserError


def of_csv(file: File) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, fields) of a CSV file; the header comes first, with stripped names.

    Spaces around fields are kept, unless the file pads its fields; see `tables.is_padded`.

    Raises:
        UserError: if the file is empty or its quotes are broken.
    """
    separator, before = _separator(tables.first_lines(file))
    padded, line, first = tables.is_padded(file, separator, "utf-8", before), 0, True
    rows = csv_rows(_numbered(file, count := [0]), strict=True, delimiter=separator)
    try:
        for row in rows:
            start, line = line, count[0]
            if row and start >= before:
                yield start + 1, [name.strip() for name in row] if first else _bare(row, padded)
                first = False
    except csv.Error as error:
        cure = "shorten it, or mend the quote that does not end" if "limit" in str(error) else "mend the quotes"
        raise UserError(f"{file}, line {line + 1}: not CSV ({error}): {cure}") from None
    if first:
        raise UserError(f"{file}, line 1: the file is empty: give it a header and rows, or remove it")


def _bare(row: list[str], padded: bool) -> list[str]:
    return [field.strip(" ") for field in row] if padded else row


def _separator(lines: list[str]) -> tuple[str, int]:
    """Returns the separator, and the number of lines above the header.

    The separator is the one in Excel's `sep=` line, otherwise the candidate that is most frequent in the header.
    """
    above = next((number for number, line in enumerate(lines) if line.strip()), 0)
    line = "".join(lines[above : above + 1])
    if found := tables.names_separator(line.strip(" ")):
        return found, above + 1
    plain = re.sub('"[^"]*"', "", line)
    return max(",", "\t", ";", "|", key=plain.count), above


def _numbered(file: File, count: list[int]):
    """Yields the lines of a file with their line ends; counts them in `count[0]`."""
    for piece in pieces(file):
        for text in piece.lines():
            count[0] += 1
            yield f"{text}\n"


def split(file: File, separator: str, encoding: str = "utf-8", least: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, fields) of a file without quotes; treats spaces as `of_csv` does.

    Raises:
        UserError: if the file is empty, or a line has fewer than `least` fields.
    """
    padded, empty = tables.is_padded(file, separator, encoding), True
    for piece in pieces(file, encoding=encoding):
        for line, text in enumerate(piece.lines(), piece.first):
            if not text.strip():
                continue
            fields = text.split(separator)
            if len(fields) < least:
                fail(file, line, text, f"{len(fields)} fields where {least} or more are expected: mend the line")
            yield line, _bare(fields, padded)
            empty = False
    if empty:
        raise UserError(f"{file}, line 1: the file is empty: fetch it again, or remove it")

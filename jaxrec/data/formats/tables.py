"""Reads delimited text as batches of the chosen columns, and the first lines of any text file."""

import csv
import re
from collections.abc import Iterator
from functools import partial

import polars as pl

from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.text import File, Piece, csv_rows, newlines, pieces
from jaxrec.data.formats import headers, quotes
from jaxrec.data.log import Batch
from jaxrec.system.errors import UserError

HEAD = 1 << 20  # bytes read for the first lines
SPAN = 100  # maximum lines of a quoted field
#: first line that tells Excel the separator; programs that took it for a row have added a separator per column
EXCEL = re.compile(r'"?sep=(?:([^":])\1*|:)?"?', re.IGNORECASE)
LONG = "::"  # two-character separator, replaced by UNIT for reading
UNIT = "\x1f"


def first_line(file: File, encoding: str = "utf-8") -> str:
    """Returns the first line, without its line end.

    Raises:
        UserError: if the file is empty or not text, or the line is blank.
    """
    lines = first_lines(file, encoding)
    if lines and lines[0].strip():
        return lines[0]
    if any(map(str.strip, lines)):
        raise UserError(f"{file}, line 1: a blank line before the first row: remove it")
    raise UserError(f"{file}, line 1: the file is empty: put interactions there, one a row")


def first_lines(file: File, encoding: str = "utf-8") -> list[str]:
    """Returns the complete lines at the beginning of a file.

    Raises:
        UserError: if the file is not text, or its first line doesn't end within a MiB.
    """
    for piece in pieces(file, size=HEAD, encoding=encoding, most=HEAD):
        return piece.lines()
    return []


def names_separator(line: str) -> str:
    """Returns the separator that a first line such as `sep=;` tells Excel; "" if it tells none."""
    return (line.strip('"')[4:5] or ",") if EXCEL.fullmatch(line) else ""


def quoted(separator: str, quote: str = '"') -> bool:
    """Returns whether double quotes protect separators."""
    return bool(quote) and separator != LONG


def fields(line: str, separator: str, quote: str = '"') -> list[str]:
    """Returns the fields of a line, unquoted and stripped."""
    if quoted(separator, quote) and '"' in line:
        return [field.strip() for field in next(csv_rows([line], delimiter=separator), [])]
    return [field.strip() for field in line.split(separator)]


def delimited(
    file: File,
    separator: str,
    width: int,
    columns: dict[str, int],
    header: bool = True,
    encoding: str = "utf-8",
    *,
    quote: str = '"',
    before: int = 0,
    odd: Oddities | None = None,
    padded: bool | None = None,
) -> Iterator[Batch]:
    """Reads delimited text, quoted or not, in batches.

    Args:
        file: the file.
        separator: a character, or LONG.
        width: number of fields per row; rows may end with additional separators.
        columns: {role: index of the field, from 0}.
        header: whether there is a header; rows that repeat it are left out.
        encoding: of the text.
        quote: '"', or "" if quotes are plain characters.
        before: number of lines before the header, or before the first row if there is none.
        odd: records repeated headers and quoted fields that span lines.
        padded: whether to strip spaces around all fields; None to decide by the first lines, see `is_padded`.

    Raises:
        UserError: if the header is repeated with its columns in another order.
    """
    has_quotes, skip, title, odd = quoted(separator, quote), before + header, b"", odd or Oddities()
    odd.begin(file)
    one = UNIT if separator == LONG else separator
    names = {str(number): role for role, number in columns.items()}
    padded = is_padded(file, separator, encoding, before) if padded is None else padded
    as_they_stand = pl.selectors.by_name("user", "item", "session", require_all=False)
    for piece in pieces(file, quotes=has_quotes, encoding=encoding):
        while skip and piece.text:
            title, _, text = piece.text.partition(b"\n")
            piece, skip = Piece(text, piece.first + 1), skip - 1
        if separator == LONG:
            piece = piece._replace(text=piece.text.replace(LONG.encode(), UNIT.encode()))
        if not piece.text:
            continue
        lines, why, text = None, {}, piece.text
        frame = _fast(text, one, has_quotes, width, names)
        if frame is None:
            rows = _rows(piece, one, has_quotes, file, odd)
            frame, lines, why = _line_by_line(rows, width, columns, quotes.split(separator))
        if b" " in text:
            stripped = pl.selectors.all() if padded else pl.selectors.all() - as_they_stand
            frame = frame.with_columns(stripped.str.strip_chars(" "))
        row = partial(row_of, piece, lines, one, separator)
        batch = Batch(frame.select(list(columns)), file, row, partial(_why, row, why, separator, width, quote))
        if header:
            every = fields(title.decode(), separator, quote)
            named = {role: every[at] for role, at in columns.items()}
            split = lambda index, row=row: fields(row(index)[1], separator, quote)
            batch = headers.left_out(batch, named, odd, every, split)
        yield batch


def _fast(text: bytes, separator: str, has_quotes: bool, width: int, names: dict[str, str]) -> pl.DataFrame | None:
    """Returns one row per line from the fast reader; None if it would reject, miscount or silently alter any row.

    Args:
        text: whole lines.
        separator: a character.
        has_quotes: whether double quotes protect separators.
        width: number of fields per row.
        names: {index of the field, as text: role}.
    """
    if b"\n\n" in text or text.startswith(b"\n"):
        return None
    if has_quotes and b'"' in text and not quotes.are_whole(text, separator):
        return None
    if b"\\" in text and quotes.are_split(text, separator, width):
        return None
    over = str(width)  # an extra column for surplus fields, which polars ignores when it reads only some columns
    head = separator.join(map(str, range(width + 1))) + "\n"
    try:
        frame = pl.read_csv(
            head.encode() + text,
            separator=separator,
            columns=[*names, over],
            infer_schema=False,
            quote_char='"' if has_quotes else None,
        )
    except pl.exceptions.PolarsError:
        return None
    counted = len(frame) == newlines(text) and frame[over].null_count() == len(frame)
    return frame.rename(names) if counted else None


def is_padded(file: File, separator: str, encoding: str, before: int = 0) -> bool:
    """Returns whether the file pads its fields with spaces, around column names or after every separator."""
    lines = [line for line in first_lines(file, encoding)[before:][:100] if line]
    if any(field.strip(" ") != field for field in (lines or [""])[0].split(separator)):
        return True
    rows = lines[1:] or lines
    every = [line.count(separator) for line in rows]
    return min(every, default=0) > 1 and every == [line.count(f"{separator} ") for line in rows]


def _line_by_line(rows, width: int, columns: dict[str, int], split: str):
    """Parses rows without the fast reader. Returns (rows, their lines, {index of a row: what is wrong with it}).

    `split`: what is wrong with a row that backslashes split.
    """
    found = {role: [] for role in columns}
    lines, why, is_cut = [], {}, False
    for line, at, span, values in rows:
        was_cut, is_cut = is_cut, values is not None and quotes.is_split(values, width)
        if values is None:
            why[len(lines)] = ""  # its quotes are broken
        elif is_cut or (was_cut and len(values) < width):  # a row, or the rest of the one before
            why[len(lines)] = split
        elif "".join(values[width : width + 1]).strip(" "):
            why[len(lines)] = _count(len(values), width)
        lines.append((line, at, span))
        usable = len(lines) - 1 not in why
        for role, number in columns.items():
            found[role].append(values[number] if values and usable and number < len(values) else None)
    return pl.DataFrame(found, schema=dict.fromkeys(found, pl.String)), lines, why


def _rows(piece: Piece, separator: str, has_quotes: bool, file: File, odd: Oddities):
    """Yields (line number, index of the line in the piece, number of lines, fields or None) for each row.

    Args:
        piece: whole lines of the file.
        separator: a character.
        has_quotes: whether double quotes protect separators.
        file: the file, for `odd`.
        odd: records quoted fields that span lines.
    """
    text, at = piece.lines(), 0
    while at < len(text):
        values, span = _split(text, at, separator, has_quotes)
        if span > 1:
            odd.spans(file, piece.first + at, sum("\n" in value for value in values or ()))
        if text[at]:
            yield piece.first + at, at, span, values
        at += span


def _split(text: list[str], at: int, separator: str, has_quotes: bool) -> tuple[list[str] | None, int]:
    """Returns the fields of the row that begins at a line (None if its quotes are broken), and its number of lines."""
    if not has_quotes or '"' not in text[at]:
        return text[at].split(separator), 1
    for span in range(1, min(SPAN, len(text) - at) + 1):
        row = "\n".join(text[at : at + span])
        try:
            return next(csv_rows([row], delimiter=separator, strict=True)), span
        except csv.Error as error:
            if "unexpected end" not in str(error):
                break
    return None, 1


def row_of(piece: Piece, lines: list | None, one: str, separator: str, index: int) -> tuple[str, str]:
    """Returns (place, text) of a row, as `Batch.row` does."""
    number, at, span = lines[index] if lines else (piece.first + index, index, 1)
    text = b"\n".join(piece.text.split(b"\n")[at : at + span]).decode()
    return f"line {number}", text.replace(one, separator)


def _why(row, why: dict[int, str], separator: str, width: int, quote: str, index: int) -> str | None:
    if index in why:
        return why[index] or quotes.flaw(row(index)[1])
    found = len(fields(row(index)[1], separator, quote))
    return _count(found, width) if found != width else None


def _count(found: int, width: int) -> str:
    field = "field" if found == 1 else "fields"
    return f"{found} {field} where the first line has {width}: mend the row, or quote a field that holds a separator"

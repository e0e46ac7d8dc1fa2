"""Tables of any kind -> batches of the wanted columns: delimited text, JSON lines, Parquet and Arrow."""

import ast
import contextlib
import csv
import json
import re
from collections.abc import Iterator
from functools import partial

import polars as pl

from jaxrec.data import nested
from jaxrec.data.log import Batch
from jaxrec.data.oddities import Oddities
from jaxrec.data.text import File, Piece, newlines, pieces, short
from jaxrec.errors import UserError

HEAD = 1 << 20  # bytes in which a first line ends
ROWS = 1 << 21  # of a batch of Parquet
SPAN = 100  # lines that a quoted field may go on for
COLUMNAR = (".parquet", ".arrow", ".feather", ".ipc")
LONG = "::"  # a separator of two characters, which is read as the one below
UNIT = "\x1f"
OTHERWISE = re.compile(rb"[\[,:][ \t]*(-?[0-9]+[.eE]|-0)")  # numbers in JSON that the fast reader writes in another way
BROKEN = "a quote that does not end, or text after one: mend the quotes, or prepare with --quote none"


def first_line(file: File, encoding: str = "utf-8") -> str:
    """The first line, without its end.

    Raises:
        UserError: the file is empty, or no text; the line is blank.
    """
    lines = first_lines(file, encoding)
    if lines and lines[0].strip():
        return lines[0]
    if any(map(str.strip, lines)):
        raise UserError(f"{file}, line 1: a blank line before the first row: remove it")
    raise UserError(f"{file}, line 1: the file is empty: put interactions there, one a row")


def first_lines(file: File, encoding: str = "utf-8") -> list[str]:
    """The lines at the beginning of a file, as far as they are whole.

    Raises:
        UserError: it is no text, or its first line does not end within a MiB.
    """
    for piece in pieces(file, size=HEAD, encoding=encoding, most=HEAD):
        return piece.lines()
    return []


def quoted(separator: str, quote: str = '"') -> bool:
    """Whether a separator within double quotes is none."""
    return bool(quote) and separator != LONG


def fields(line: str, separator: str, quote: str = '"') -> list[str]:
    """The fields of a line, unquoted and stripped."""
    if quoted(separator, quote) and '"' in line:
        with contextlib.suppress(csv.Error):  # a quoted field longer than its limit
            return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
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
) -> Iterator[Batch]:
    """Delimited text, quoted or not.

    Args:
        width: fields of a row, which may end in more separators. columns: {role: number of the field, from 0}.
        header: whether the first line is one; lines that are the same as it are left out.
        quote: "" where quotes are plain characters. before: lines before the first row, or before the header.
        odd: takes what is worth a word.
    """
    has_quotes, skip, title, odd = quoted(separator, quote), before + header, b"", odd or Oddities()
    odd.begin(file)
    one = UNIT if separator == LONG else separator
    head = (one.join(map(str, range(width + 1))) + "\n").encode()
    over = str(width)  # the field after the last, for polars does not count the fields where it reads but some
    names = {str(number): role for role, number in columns.items()} | {over: over}
    for piece in pieces(file, quotes=has_quotes, encoding=encoding):
        while skip and piece.text:
            title, _, text = piece.text.partition(b"\n")
            piece, skip = Piece(text, piece.first + 1), skip - 1
        if separator == LONG:
            piece = piece._replace(text=piece.text.replace(LONG.encode(), UNIT.encode()))
        if not piece.text:
            continue
        lines, why = None, {}
        try:
            frame = pl.read_csv(
                head + piece.text,
                separator=one,
                columns=list(names),
                infer_schema=False,
                quote_char='"' if has_quotes else None,
            ).rename(names)
        except pl.exceptions.PolarsError:
            frame = None
        text = piece.text
        counted = frame is not None and len(frame) == newlines(text) and frame[over].null_count() == len(frame)
        again = _again(title.decode().replace(separator, one), one, has_quotes, text) if header else []
        if not counted or b"\n\n" in text or text.startswith(b"\n") or again:
            rows = _rows(piece, one, has_quotes, again, file, odd)
            frame, lines, why = _line_by_line(rows, width, columns)
        if b" " in text:
            frame = frame.with_columns(pl.all().str.strip_chars(" "))
        row = partial(_row, piece, lines, one, separator)
        yield Batch(frame.select(list(columns)), file, row, partial(_why, row, why, separator, width, quote))


def _again(title: str, separator: str, has_quotes: bool, text: bytes) -> list[str]:
    """The lines in which a header comes again in a text: as it is, and with its names in quotes or without."""
    names = fields(title, separator, '"' if has_quotes else "")
    ways = {title, *(separator.join(f"{mark}{name}{mark}" for name in names) for mark in ("", '"' * has_quotes))}
    lines = [mark + way for mark in ("", "\ufeff") for way in ways]
    return [line for line in lines if text.startswith(f"{line}\n".encode()) or f"\n{line}\n".encode() in text]


def _line_by_line(rows, width: int, columns: dict[str, int]):
    """For what the fast reader refuses or would miscount: the same rows, their lines, what is wrong with some."""
    found = {role: [] for role in columns}
    lines, why = [], {}
    for line, at, span, values in rows:
        if values is None:
            why[len(lines)] = BROKEN
        elif "".join(values[width : width + 1]).strip(" "):
            why[len(lines)] = _count(len(values), width)
        lines.append((line, at, span))
        usable = len(lines) - 1 not in why
        for role, number in columns.items():
            found[role].append(values[number] if usable and number < len(values) else None)
    return pl.DataFrame(found, schema=dict.fromkeys(found, pl.String)), lines, why


def _rows(piece: Piece, separator: str, has_quotes: bool, titles: list[str], file: File, odd: Oddities):
    """(number of the line, its place in the piece, how many lines it has, fields or None) of every row of a piece.

    Args:
        titles: the lines of a header, which are no rows.
    """
    text, at = piece.lines(), 0
    while at < len(text):
        if text[at] in titles:
            odd.header(file, piece.first + at)
            at += 1
            continue
        values, span = _split(text, at, separator, has_quotes)
        if span > 1:
            odd.spans(file, piece.first + at, sum("\n" in value for value in values))
        if text[at]:
            yield piece.first + at, at, span, values
        at += span


def _split(text: list[str], at: int, separator: str, has_quotes: bool) -> tuple[list[str] | None, int]:
    """The fields of the row that begins at a line, and how many lines it has; None where its quotes are broken."""
    if not has_quotes or '"' not in text[at]:
        return text[at].split(separator), 1
    for span in range(1, min(SPAN, len(text) - at) + 1):
        row = "\n".join(text[at : at + span])
        try:
            return next(csv.reader([row], delimiter=separator, strict=True)), span
        except csv.Error as error:
            if "unexpected end" not in str(error):
                break
    return None, 1


def _row(piece: Piece, lines, one: str, separator: str, index: int) -> tuple[str, str]:
    number, at, span = lines[index] if lines else (piece.first + index, index, 1)
    text = b"\n".join(piece.text.split(b"\n")[at : at + span]).decode()
    return f"line {number}", text.replace(one, separator)


def _why(row, why: dict[int, str], separator: str, width: int, quote: str, index: int) -> str | None:
    if index in why:
        return why[index]
    found = len(fields(row(index)[1], separator, quote))
    return _count(found, width) if found != width else None


def _count(found: int, width: int) -> str:
    field = "field" if found == 1 else "fields"
    return f"{found} {field} where the first line has {width}: mend the row, or quote a field that holds a separator"


def keys(file: File) -> list[str]:
    """The keys of the first objects of a file of JSON lines, then the fields within: events.aid."""
    return nested.paths(json_schema(file))


def json_schema(file: File) -> dict[str, pl.DataType]:
    """The keys of the first objects of a file of JSON lines, and what they hold.

    Raises:
        UserError: the first line is no object.
    """
    line = first_line(file)
    try:
        _object(line)
    except ValueError as error:
        cure = "JSON lines are expected, an object a line"
        if line.startswith("["):
            cure += "; this is one list: `jq -c '.[]'` makes lines of it"
        raise UserError(f"{file}, line 1: {short(line)}: {error}: {cure}") from None
    return nested.shape(_first_objects(file))


def _first_objects(file: File) -> Iterator[dict]:
    """The objects among the first lines of a file; a bad row is said of when its turn comes."""
    for line in first_lines(file)[:1000]:
        with contextlib.suppress(ValueError):
            yield _object(line)


def json_lines(file: File, columns: dict[str, str]) -> Iterator[Batch]:
    """JSON objects, one a line; or Python's dict literals, as some old dumps have.

    Args:
        columns: {role: key, or a path of `nested.paths`}.
    """
    shape = nested.shape(_first_objects(file), columns.values())
    wanted = {role: nested.column(shape, key) for role, key in columns.items()}
    listed = any(dtype.is_nested() for dtype in shape.values())
    literal = False  # of Python: no need to try the fast reader again
    for piece in pieces(file):
        frame, lines, why = None, None, {}
        fast = not literal and b"\n\n" not in piece.text and not piece.text.startswith(b"\n")
        if fast and not (listed and OTHERWISE.search(piece.text)):
            try:
                frame = pl.read_ndjson(piece.text, schema=shape).select(**wanted)
            except pl.exceptions.PolarsError:
                frame = None
        if frame is None or len(frame) != newlines(piece.text) or _nested(frame):
            frame, lines, why, literal = _object_by_object(piece, columns, shape)
        row = partial(_row, piece, lines, "\n", "\n")
        yield Batch(frame, file, row, why.get)


def _nested(frame: pl.DataFrame) -> bool:
    """Whether a value may be an object or a list, of which the fast reader makes text."""
    texts = (values.explode() if values.dtype == pl.List(pl.String) else values for values in frame)
    return any(values.dtype.is_nested() or values.str.contains(r"^[\[{]").any() for values in texts)


def _object_by_object(piece: Piece, columns: dict[str, str], shape):
    found = {role: [] for role in columns}
    lines, why, literal = [], {}, False
    for at, line in enumerate(piece.lines()):
        if not line.strip():
            continue
        try:
            values = _object(line)
            literal |= line.startswith(("{'", "{u'"))
        except ValueError as error:
            why[len(lines)], values = str(error), {}
        lines.append((piece.first + at, at, 1))
        for role, key in columns.items():
            try:
                value = nested.value(shape, values, key, _token)
            except ValueError as error:
                why[len(lines) - 1], value = str(error), None
            found[role].append(value)
    types = pl.DataFrame(schema=shape).select(**{role: nested.column(shape, key) for role, key in columns.items()})
    return pl.DataFrame(found, schema=types.schema), lines, why, literal


def _token(value) -> str:
    """A string, number or boolean of JSON as text."""
    if isinstance(value, float) and value.is_integer():  # as the fast reader prints it
        value = f"{value:.0f}"
    return value if isinstance(value, str) else json.dumps(value)


def _object(line: str) -> dict:
    """The dict of a line. Raises ValueError that says why there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        try:  # never eval: literals alone, of what JSON has too
            value = json.loads(json.dumps(ast.literal_eval(line)))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"not JSON ({error}): mend the line") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object: an object with a key for every column is expected")
    return value


def columnar_names(file: File) -> list[str]:
    """The columns of a Parquet or Arrow file, then the fields within: events.aid."""
    return nested.paths(columnar_schema(file))


def columnar_schema(file: File) -> pl.Schema:
    """The columns of a Parquet or Arrow file, and their types."""
    return _columnar(file).collect_schema()


def columnar(file: File, columns: dict[str, str]) -> Iterator[Batch]:
    """Parquet or Arrow.

    Args:
        columns: {role: name, or a path of `nested.paths`}.
    """
    table = _columnar(file)
    schema = table.collect_schema()
    wanted = table.select(**{role: nested.column(schema, name) for role, name in columns.items()})
    done = 0
    try:
        for frame in wanted.collect_batches(chunk_size=ROWS, maintain_order=True):
            yield Batch(frame, file, partial(_record, frame, columns, done))
            done += len(frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: damaged after row {done:,} ({_one_line(error)}): fetch or write it again") from None


def _columnar(file: File) -> pl.LazyFrame:
    source = file.open().read() if file.member else file.path
    try:
        if file.name.lower().endswith(".parquet"):
            lazy = pl.scan_parquet(source, glob=False)
        elif file.begins(b"ARROW1"):
            lazy = pl.scan_ipc(source, glob=False)
        else:
            lazy = pl.read_ipc_stream(source).lazy()
        lazy.collect_schema()
        return lazy
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: cannot be read ({_one_line(error)}): fetch or write it again") from None


def _record(frame: pl.DataFrame, columns: dict[str, str], before: int, index: int) -> tuple[str, str]:
    values = {columns[role]: value for role, value in frame.row(index, named=True).items()}
    return f"row {before + index + 1}", str(values)


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120]

"""Tables of any kind -> batches of the wanted columns: delimited text, JSON lines, Parquet and Arrow."""

import ast
import contextlib
import csv
import json
import re
from collections.abc import Iterator
from functools import partial

import polars as pl

from jaxrec.data.log import Batch
from jaxrec.data.opener import FLOOR, RATIO, Unreadable
from jaxrec.data.text import File, Piece, csv_rows, newlines, pieces, short
from jaxrec.errors import UserError

HEAD = 1 << 20  # bytes in which a first line ends
ROWS = 1 << 21  # of a batch of Parquet
SPAN = 100  # lines that a quoted field may go on for
COLUMNAR = (".parquet", ".arrow", ".feather", ".ipc")
LONG = "::"  # a separator of two characters, which is read as the one below
UNIT = "\x1f"
PARQUET, ARROW, STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"  # what such files begin with
PLAIN = "a string or a number is expected"
NUMERIC = {"time", "weight"}  # roles whose numbers may be written in any way
HALF = re.compile(  # of a character beyond 16 bits, alone
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


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


def fields(line: str, separator: str) -> list[str]:
    """The fields of a line, unquoted and stripped."""
    if separator != LONG and '"' in line:
        line_of = next(csv_rows([line], delimiter=separator), [])
        return [field.strip() for field in line_of]
    return [field.strip() for field in line.split(separator)]


def delimited(
    file: File, separator: str, width: int, columns: dict[str, int], header: bool = True, encoding: str = "utf-8"
) -> Iterator[Batch]:
    """Delimited text, quoted or not.

    Args:
        width: fields of a row, which may end in more separators. columns: {role: number of the field, from 0}.
        header: whether the first line is one.
    """
    one = UNIT if separator == LONG else separator
    head = (one.join(map(str, range(width + 1))) + "\n").encode()
    over = str(width)  # the field after the last, for polars does not count the fields where it reads but some
    names = {str(number): role for role, number in columns.items()} | {over: over}
    padded = _padded(file, separator, encoding)
    as_they_stand = pl.selectors.by_name("user", "item", "session", require_all=False)
    for piece in pieces(file, quotes=separator != LONG, encoding=encoding):
        if header:
            text = piece.text.partition(b"\n")[2]
            piece, header = Piece(text, piece.first + 1), False
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
                quote_char=None if separator == LONG else '"',
            ).rename(names)
        except pl.exceptions.PolarsError:
            frame = None
        text = piece.text
        counted = frame is not None and len(frame) == newlines(text) and frame[over].null_count() == len(frame)
        if not counted or b"\n\n" in text or text.startswith(b"\n"):
            frame, lines, why = _line_by_line(piece, one, width, columns)
        if b" " in text:
            stripped = pl.selectors.all() if padded else pl.selectors.all() - as_they_stand
            frame = frame.with_columns(stripped.str.strip_chars(" "))
        row = partial(_row, piece, lines, one, separator)
        yield Batch(frame.select(list(columns)), file, row, partial(_why, row, why, separator, width))


def _padded(file: File, separator: str, encoding: str) -> bool:
    """Whether spaces around fields are the file's style: they are around names, or follow every separator."""
    lines = [line for line in first_lines(file, encoding)[:100] if line]
    if any(field.strip(" ") != field for field in (lines or [""])[0].split(separator)):
        return True
    rows = lines[1:] or lines
    every = [line.count(separator) for line in rows]
    return min(every, default=0) > 1 and every == [line.count(f"{separator} ") for line in rows]


def _line_by_line(piece: Piece, separator: str, width: int, columns: dict[str, int]):
    """For what the fast reader refuses or would miscount: the same rows, their lines, what is wrong with some."""
    found = {role: [] for role in columns}
    lines, why, text, at = [], {}, piece.lines(), 0
    while at < len(text):
        values, span = _split(text, at, separator)
        if values is None:
            why[len(lines)] = "a quote that does not end, or text after one: mend the quotes"
        elif "".join(values[width : width + 1]).strip(" "):
            why[len(lines)] = _count(len(values), width)
        if text[at]:
            lines.append((piece.first + at, at, span))
            usable = len(lines) - 1 not in why
            for role, number in columns.items():
                found[role].append(values[number] if usable and number < len(values) else None)
        at += span
    return pl.DataFrame(found, schema=dict.fromkeys(found, pl.String)), lines, why


def _split(text: list[str], at: int, separator: str) -> tuple[list[str] | None, int]:
    """The fields of the row that begins at a line, and how many lines it has; None where its quotes are broken."""
    if separator == UNIT or '"' not in text[at]:
        return text[at].split(separator), 1
    for span in range(1, min(SPAN, len(text) - at) + 1):
        row = "\n".join(text[at : at + span])
        try:
            return next(csv_rows([row], delimiter=separator, strict=True)), span
        except csv.Error as error:
            if "unexpected end" not in str(error):
                break
    return None, 1


def _row(piece: Piece, lines, one: str, separator: str, index: int) -> tuple[str, str]:
    number, at, span = lines[index] if lines else (piece.first + index, index, 1)
    text = b"\n".join(piece.text.split(b"\n")[at : at + span]).decode()
    return f"line {number}", text.replace(one, separator)


def _why(row, why: dict[int, str], separator: str, width: int, index: int) -> str | None:
    if index in why:
        return why[index]
    found = len(fields(row(index)[1], separator))
    return _count(found, width) if found != width else None


def _count(found: int, width: int) -> str:
    field = "field" if found == 1 else "fields"
    return f"{found} {field} where the first line has {width}: mend the row, or quote a field that holds a separator"


def keys(file: File) -> list[str]:
    """The keys of the first objects of a file of JSON lines.

    Raises:
        UserError: the first line is no object, or has a key twice.
    """
    line = first_line(file)
    try:
        found = dict.fromkeys(_object(line, once=True))
        for more in first_lines(file)[1:1000]:
            with contextlib.suppress(ValueError):  # a bad row is said of when its turn comes
                found |= dict.fromkeys(_object(more))
        return list(found)
    except ValueError as error:
        cure = "JSON lines are expected, an object a line"
        if line.startswith("["):
            cure += "; this is one list: `jq -c '.[]'` makes lines of it"
        raise UserError(f"{file}, line 1: {short(line)}: {error}: {cure}") from None


def json_lines(file: File, columns: dict[str, str]) -> Iterator[Batch]:
    """JSON objects, one a line; or Python's dict literals, as some old dumps have.

    Args:
        columns: {role: key}.
    """
    schema = dict.fromkeys(columns.values(), pl.String)
    literal = False  # of Python: no need to try the fast reader again
    as_written = _written_otherwise([key for role, key in columns.items() if role not in NUMERIC])
    for piece in pieces(file):
        frame, lines, why = None, None, {}
        blank = b"\n\n" in piece.text or piece.text.startswith(b"\n")
        if not literal and not blank and not _misread(piece.text, as_written):
            try:
                frame = pl.read_ndjson(piece.text, schema=schema).select(
                    **{role: pl.col(key) for role, key in columns.items()}
                )
            except pl.exceptions.PolarsError:
                frame = None
        if frame is None or len(frame) != newlines(piece.text) or _nested(frame):
            frame, lines, why, literal = _object_by_object(piece, columns)
        row = partial(_row, piece, lines, "\n", "\n")
        yield Batch(frame, file, row, why.get)


def _written_otherwise(keys: list[str]) -> str:
    """A pattern of numbers of these keys that the fast reader would not give back as they are written: 1.0, 1e5, -0."""
    spellings = {json.dumps(key, ensure_ascii=ascii) for key in keys if _is_text(key) for ascii in (True, False)}
    names = "|".join(re.escape(spelling) for spelling in sorted(spellings))
    return rf"(?:{names})[ \t]*:[ \t]*(?:-?[0-9]+[.eE]|-0)"


def _misread(text: bytes, as_written: str) -> bool:
    """Whether the fast reader would change something: half a character, or what the pattern finds."""
    if b"\\u" in text and HALF.search(text):
        return True
    return pl.Series([text], dtype=pl.Binary).cast(pl.String).str.contains(as_written).item()


def _nested(frame: pl.DataFrame) -> bool:
    """Whether a value may be an object or a list, of which the fast reader makes text."""
    return frame.select(pl.any_horizontal(pl.all().str.contains(r"^[\[{]").any())).item()


def _object_by_object(piece: Piece, columns: dict[str, str]):
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
            value = values.get(key)
            if isinstance(value, dict | list):
                why[len(lines) - 1] = f"{key} is {'an object' if isinstance(value, dict) else 'a list'}: {PLAIN}"
                value = None
            if isinstance(value, str) and not _is_text(value):
                why[len(lines) - 1] = f"{key} holds half a character (a lone surrogate): write it whole"
                value = None
            found[role].append(value if value is None or isinstance(value, str) else json.dumps(value))
    return pl.DataFrame(found, schema=dict.fromkeys(found, pl.String)), lines, why, literal


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(line: str, once: bool = False) -> dict:
    """The dict of a line, its numbers as they are written. Raises ValueError that says why there is none.

    Args:
        once: whether a key may stand there but once; else the first of its values is taken.
    """

    def of_pairs(pairs):
        found = {}
        for key, value in pairs:
            if once and key in found:
                raise KeyError(key)
            found.setdefault(key, value)
        return found

    as_written = {"parse_float": str, "parse_int": str, "object_pairs_hook": of_pairs}
    try:
        value = json.loads(line, **as_written)
    except KeyError as error:
        raise ValueError(f"the key {error} has two values: keep one") from None
    except (ValueError, RecursionError) as error:
        try:  # never eval: literals alone, of what JSON has too
            value = json.loads(json.dumps(ast.literal_eval(line)), **as_written)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"not JSON ({error}): mend the line") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object: an object with a key for every column is expected")
    return value


def columnar_names(file: File) -> list[str]:
    """The columns of a Parquet or Arrow file."""
    return list(_columnar(file).collect_schema())


def columnar_head(file: File, columns: dict[str, str], rows: int = 1000) -> pl.DataFrame:
    """The first rows of a Parquet or Arrow file, as `columnar` has them."""
    wanted = _columnar(file).select(**{role: pl.col(name) for role, name in columns.items()})
    try:
        return wanted.head(rows).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: damaged ({_one_line(error)}): fetch or write it again") from None


def columnar(file: File, columns: dict[str, str]) -> Iterator[Batch]:
    """Parquet or Arrow.

    Args:
        columns: {role: name}.
    """
    wanted = _columnar(file, list(columns.values())).select(**{role: pl.col(name) for role, name in columns.items()})
    done = 0
    try:
        for frame in wanted.collect_batches(chunk_size=ROWS, maintain_order=True):
            yield Batch(frame, file, partial(_record, frame, columns, done))
            done += len(frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: damaged after row {done:,} ({_one_line(error)}): fetch or write it again") from None


def _columnar(file: File, columns: list[str] | None = None) -> pl.LazyFrame:
    """The table of a file. `columns`: those to hold where all are read at once, as of a stream; None: no rows of it."""
    start, source = file.start(len(ARROW)), file.on_disk()
    try:
        if start.startswith(PARQUET) or file.suffix == ".parquet":
            lazy = pl.scan_parquet(source, glob=False, hive_partitioning=False)
            _check_rows(file, lazy)
        elif start == ARROW:
            lazy = pl.scan_ipc(source, glob=False, hive_partitioning=False)
        else:
            lazy = pl.read_ipc_stream(source, columns=columns, n_rows=None if columns else 0).lazy()
        lazy.collect_schema()
        return lazy
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file}: cannot be read ({_one_line(error)}): fetch or write it again") from None


def _check_rows(file: File, lazy: pl.LazyFrame) -> None:
    """That a Parquet file's rows are not out of all proportion to its bytes, one of a value each at least."""
    if file.opener.allow_large:
        return
    rows = lazy.select(pl.len()).collect().item()
    size = file.path.stat().st_size
    if rows > max(FLOOR, RATIO * size):
        raise Unreadable(
            f"{file}: {rows:,} rows in {size:,} bytes, as files have that are made to fill a disk: "
            "if these are not, prepare them with --allow-large"
        )


def _record(frame: pl.DataFrame, columns: dict[str, str], before: int, index: int) -> tuple[str, str]:
    values = {columns[role]: value for role, value in frame.row(index, named=True).items()}
    return f"row {before + index + 1}", str(values)


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120]

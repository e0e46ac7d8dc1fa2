"""Reads JSON lines as batches of the chosen keys, with values spelled as in the file."""

import ast
import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import partial

import polars as pl

from jaxrec.data.files.text import File, Piece, fail, newlines, pieces, short
from jaxrec.data.formats.tables import HEAD, first_line, first_lines, row_of
from jaxrec.data.log import Batch
from jaxrec.data.values import nested
from jaxrec.system.errors import UserError

FIRST, LATER = 1000, 50  # objects searched for keys: the first ones, and at most this many later ones with new keys
SUFFIXES = (".json", ".jsonl", ".ndjson")
NUMERIC = {"time", "weight"}  # roles whose numbers need not keep their spelling
OTHERWISE = re.compile(rb"[\[,:][ \t]*(-?[0-9]+[.eE]|-0)")  # numbers that the fast reader reformats
COLUMNS = re.compile(rb'\s*\{"(?:[^"\\]|\\.)*":\{"0":')  # pandas' default form: the first column, {row number: value}
HALF = re.compile(  # lone UTF-16 surrogates
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def names(file: File) -> list[str]:
    """Returns the keys of the first objects of a file, followed by the paths of nested fields, such as events.aid."""
    return nested.paths(schema(file))


def schema(file: File) -> dict[str, pl.DataType]:
    """Returns the keys and types of the first objects of a file.

    Raises:
        UserError: if the first line is not an object, or repeats a key.
    """
    start = file.start(HEAD)
    if COLUMNS.match(start) and b"\n" not in start.strip():
        cure = "write it with to_json(..., orient='records', lines=True)"
        raise UserError(f"{file}, line 1: one object of all columns, as pandas' to_json() writes it: {cure}")
    line = first_line(file)
    try:
        _object(line, once=True)
    except ValueError as error:
        cure = "JSON lines are expected, an object a line"
        if line.startswith("["):
            cure += "; this is one list: `jq -c '.[]'` makes lines of it"
        elif "Extra data" in str(error) and "}{" in line.replace(" ", ""):
            cure += "; these are several on one line: `jq -c .` puts each on its own"
        elif line.strip() == "{":
            cure += "; if this is one object over several lines, `jq -c '.NAME[]'` makes lines of its list NAME"
        raise UserError(f"{file}, line 1: {short(line)}: {error}: {cure}") from None
    return nested.shape(_first_objects(file))


def _first_objects(file: File) -> Iterator[dict]:
    """Yields the first objects, and some later ones with other keys; skips bad rows, which `read` reports."""
    known, more = set(), LATER
    for number, line in enumerate(first_lines(file)):
        if not more:
            return
        with contextlib.suppress(ValueError):
            found = _object(line)
            if number < FIRST or not known.issuperset(found):
                more -= number >= FIRST
                known.update(found)
                yield found


def read(file: File, columns: dict[str, str]) -> Iterator[Batch]:
    """Reads JSON objects, one per line, or Python dict literals, which some old dumps hold.

    Args:
        file: the file.
        columns: {role: key, or a path as from `nested.paths`}.
    """
    shape = nested.shape(_first_objects(file), columns.values())
    wanted = {role: nested.column(shape, key) for role, key in columns.items()}
    listed = any(dtype.is_nested() for dtype in shape.values())
    literal = False  # whether Python literals were met, which the fast reader can't read
    as_written = _written_otherwise(key for role, key in columns.items() if role not in NUMERIC)
    for piece in pieces(file):
        frame, lines, why = None, None, {}
        fast = not literal and b"\n\n" not in piece.text and not piece.text.startswith(b"\n")
        if fast and not (listed and OTHERWISE.search(piece.text)) and not _misread(piece.text, as_written):
            try:
                frame = pl.read_ndjson(piece.text, schema=shape).select(**wanted)
            except pl.exceptions.PolarsError:
                frame = None
        if frame is None or len(frame) != newlines(piece.text) or _nested(frame):
            frame, lines, why, literal = _object_by_object(piece, columns, shape)
        row = partial(row_of, piece, lines, "\n", "\n")
        yield Batch(frame, file, row, why.get)


def _written_otherwise(keys: Iterable[str]) -> str:
    """Returns a pattern that matches numbers of these keys that the fast reader would reformat: 1.0, 1e5, -0."""
    last = [each for key in keys for each in (key, key.rpartition(".")[2]) if _is_text(each)]
    spellings = {json.dumps(key, ensure_ascii=ascii) for key in last for ascii in (True, False)}
    names = "|".join(re.escape(spelling) for spelling in sorted(spellings))
    return rf"(?:{names})[ \t]*:[ \t]*(?:-?[0-9]+[.eE]|-0)"


def _misread(text: bytes, as_written: str) -> bool:
    """Returns whether the fast reader would alter the text: lone surrogates, or numbers that match the pattern."""
    if b"\\u" in text and HALF.search(text):
        return True
    return pl.Series([text], dtype=pl.Binary).cast(pl.String).str.contains(as_written).item()


def _nested(frame: pl.DataFrame) -> bool:
    """Returns whether any value may be an object or a list, which the fast reader turns into text."""
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
                value = nested.value(shape, values, key, partial(_token, key))
            except ValueError as error:
                why[len(lines) - 1], value = str(error), None
            found[role].append(value)
    types = pl.DataFrame(schema=shape).select(**{role: nested.column(shape, key) for role, key in columns.items()})
    return pl.DataFrame(found, schema=types.schema), lines, why, literal


def _token(key: str, value) -> str:
    """Returns a JSON string, number or boolean as text. `key`: for messages.

    Raises:
        ValueError: if a string isn't valid text.
    """
    if isinstance(value, str) and not _is_text(value):
        raise ValueError(f"{key} holds half a character (a lone surrogate): write it whole")
    return value if isinstance(value, str) else json.dumps(value)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_json(file: File, text: bytes) -> bytes:
    """Returns lines of JSON or of Python dict literals, which some old dumps hold, as lines of JSON.

    Raises:
        UserError: if a line is neither.
    """
    found = []
    for number, line in enumerate(text.decode().split("\n"), 1):
        with contextlib.suppress(ValueError):
            found.append(json.dumps(json.loads(line)))
            continue
        if not line.strip():
            continue
        try:  # never eval; only literals that JSON has too
            found.append(json.dumps(ast.literal_eval(line)))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            fail(file, number, line, "neither JSON nor a Python dict: mend it")
    return "".join(f"{line}\n" for line in found).encode()


def _object(line: str, once: bool = False) -> dict:
    """Parses a line as a dict, with numbers as text, spelled as in the file.

    Args:
        line: a line.
        once: whether repeated keys are an error; otherwise the first value is used.

    Raises:
        ValueError: if the line isn't an object; says why.
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
        try:  # never eval; only literals that JSON has too
            value = json.loads(json.dumps(ast.literal_eval(line)), **as_written)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"not JSON ({error}): mend the line") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object: an object with a key for every column is expected")
    return value

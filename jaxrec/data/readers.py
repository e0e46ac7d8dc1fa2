"""Files of histories -> Interactions: sequences.txt (with items.csv beside it) and lines of "user item".

What counts as what:
- A folder is read by its sequences.txt, else its sequences.txt.gz.
- In a file so named every line is a user (or session) and then that user's items, oldest first.
- Any other text file with exactly two tokens on every line is "user item" lines, the SASRec repositories' format: a
  user's items in the order of the lines, users in the order they first appear. Otherwise it is sequences.
- Tokens stand between runs of spaces or tabs. Which tokens become integers: `interactions.as_ids`.
- Text is UTF-8, with or without a byte order mark, with any line ends; gzip is known by its first bytes.
- Blank lines may end a file but not stand within it, where they may be a history that was lost.
- items.csv (item_id, and title or genres) names the items that occur; its other rows and columns are ignored.
"""

import csv
import difflib
import gzip
import io
import re
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from jaxrec.data.interactions import Catalogue, Interactions, assemble
from jaxrec.errors import UserError

SEQUENCES = ("sequences.txt", "sequences.txt.gz")
PIECE = 1 << 26  # characters split at once: a single string of polars ends at 4 GiB


def read(path: str | Path) -> Interactions:
    """The interactions of a folder or file, in any format this module knows.

    Raises UserError, naming the file, the line, the row and the cure, where a file is missing, broken or ambiguous.
    """
    path = _find(Path(path).expanduser())
    text = _single_spaced(_text(path))
    _check_blank(path, text)
    lines = _split(text, "\n")
    counts = lines.str.count_matches(" ", literal=True).to_numpy().astype(np.int64) + 1
    if len(alone := np.flatnonzero(counts < 2)):
        row = lines[int(alone[0])]
        hint = " (a comma or semicolon does not separate tokens: spaces and tabs do)" if re.search("[,;]", row) else ""
        _fail(path, alone[0] + 1, row, f"a user without an item: add the items or remove the line{hint}")
    tokens = _split(text.replace("\n", " "), " ")
    heads = np.cumsum(counts) - counts
    users = tokens.gather(heads)
    if path.name not in SEQUENCES and (counts == 2).all():
        users, items, lengths = _group(users, tokens.gather(heads + 1))
    else:
        _check_distinct(path, users, lines, counts)
        is_item = np.ones(len(tokens), bool)
        is_item[heads] = False
        items, lengths = tokens.filter(pl.Series(is_item)), counts - 1
    data = assemble(users, items, lengths, str(path))
    if len(data.catalogue.ids) < 2:
        _fail(path, 1, lines[0], f"{items[0]} is the only item of the file: a recommender needs two or more")
    if path.name in SEQUENCES and (beside := path.with_name("items.csv")).is_file():
        data = data._replace(catalogue=_name_items(data.catalogue, beside))
    return data


def _find(path: Path) -> Path:
    """The file to read: `path` itself, or the sequences within it."""
    if path.is_dir():
        for name in SEQUENCES:
            if (path / name).is_file():
                return path / name
        names = sorted(entry.name for entry in path.iterdir())
        below = [str(path / name) for name in names if any((path / name / file).is_file() for file in SEQUENCES)]
        cure = f"did you mean {some(below)}?" if below else "put it there, or name another folder or the file itself"
        raise UserError(f"{path}: no {' or '.join(SEQUENCES)} in this folder, which holds {some(names)}: {cure}")
    if not path.exists():
        names = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, cutoff=0.5)
        cure = f"did you mean {some(near)}?" if near else f"{path.parent.absolute()} holds {some(names)}"
        raise UserError(f"{path}: no such file or folder: {cure}")
    return path


def _text(path: Path) -> str:
    r"""The file's text, unzipped where it is gzip, with \n at the line ends; never empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None
    if data.startswith(b"\x1f\x8b"):
        data = _unzip(path, data)
    elif data and path.suffix == ".gz":
        raise UserError(f"{path}, line 1: not gzip, though the name ends in .gz: rename it, or fetch it again")
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        row = data.split(b"\n")[line - 1].decode(errors="replace")
        _fail(path, line, row, "not UTF-8 text: convert it, as by `iconv -f latin1 -t utf-8`")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        _fail(path, line, text.split("\n")[line - 1], "a zero byte, so this is no text file: convert it to text")
    if not text.strip():
        raise UserError(f"{path}, line 1: the file is empty: put a user and that user's items on every line")
    return text


def _unzip(path: Path, data: bytes) -> bytes:
    parts = []
    try:
        with gzip.open(io.BytesIO(data)) as file:
            while part := file.read1():
                parts.append(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        line = sum(part.count(b"\n") for part in parts) + 1
        cure = f"the gzip data are cut or damaged ({error}): fetch the file again"
        raise UserError(f"{path}, line {line} or later: {cure}") from None
    return b"".join(parts)


def _single_spaced(text: str) -> str:
    """One space between tokens, none at the ends of a line, no newline after the last."""
    text = text.replace("\t", " ")
    if "  " in text:
        text = re.sub(" {2,}", " ", text)
    return text.replace(" \n", "\n").replace("\n ", "\n").strip(" ").rstrip("\n")


def _split(text: str, separator: str) -> pl.Series:
    pieces, start = [], 0
    while start < len(text):
        end = text.find(separator, start + PIECE)
        end = len(text) if end < 0 else end
        pieces.append(pl.Series([text[start:end]]).str.split(separator).explode())
        start = end + 1
    return pl.concat(pieces)


def _group(users: pl.Series, items: pl.Series) -> tuple[pl.Series, pl.Series, np.ndarray]:
    """Lines of user and item -> users by first appearance, items by user in the order of the lines, lengths."""
    distinct = users.unique(maintain_order=True)
    codes = users.cast(pl.Enum(distinct)).to_physical().to_numpy()
    order = np.argsort(codes, kind="stable")
    return distinct, items.gather(order), np.bincount(codes, minlength=len(distinct))


def _check_blank(path: Path, text: str) -> None:
    text = "\n" + text
    if (at := text.find("\n\n")) >= 0:
        cure = "a blank line before the end of the file: remove it, or restore the history it held"
        _fail(path, text.count("\n", 0, at + 1), "", cure)


def _check_distinct(path: Path, users: pl.Series, lines: pl.Series, counts: np.ndarray) -> None:
    if users.n_unique() == len(users):
        return
    again = int(np.flatnonzero(~users.is_first_distinct().to_numpy())[0])
    first = users.index_of(users[again])
    cure = "join that user's items into one line"
    if path.name not in SEQUENCES:  # more often "user item" lines with a flaw, or a table
        odd = int(np.flatnonzero(counts != 2)[0])
        cure += f"; or, if these are 'user item' lines, mend line {odd + 1}, with {counts[odd]} tokens instead of two"
        cure += f": {_short(lines[odd])}"
    _fail(path, again + 1, lines[again], f"user {users[again]} has line {first + 1} already: {cure}")


def _name_items(catalogue: Catalogue, path: Path) -> Catalogue:
    """The catalogue with the titles and genres of an items.csv, as far as it has the columns."""
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    names: dict[str, list[str]] = {}
    line = 1
    try:
        header = [column.strip() for column in next(rows)]
        if "item_id" not in header:
            _fail(path, 1, ",".join(header), "no column item_id: name the column of the item ids so")
        key = header.index("item_id")
        for row in rows:
            start, line = line + 1, rows.line_num
            if not row:
                continue
            if len(row) != len(header):
                cure = f"{len(row)} fields where the header has {len(header)}: quote a field that holds a comma"
                _fail(path, start, ",".join(row), cure)
            if row[key].strip() in names:
                _fail(path, start, ",".join(row), f"item {row[key].strip()} has a line already: keep one of them")
            names[row[key].strip()] = row
    except csv.Error as error:
        raise UserError(f"{path}, line {line + 1}: not CSV ({error}): mend the quotes") from None
    known = [names.get(str(item)) for item in catalogue.ids.tolist()]
    columns = {name: at for at, name in enumerate(header) if at != key}
    about = {name: [row[at].strip() if row else "" for row in known] for name, at in columns.items()}
    return catalogue._replace(about=pl.DataFrame(about, schema=dict.fromkeys(about, pl.String)))


def _fail(path: Path, line: int, row: str, cure: str) -> NoReturn:
    raise UserError(f"{path}, line {line}: {_short(row)}: {cure}")


def _short(row: str, most: int = 60) -> str:
    return repr(row if len(row) <= most else row[:most] + " ...")


def some(names: list[str], most: int = 10) -> str:
    """The first few names, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"

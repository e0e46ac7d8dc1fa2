"""Reads plain, compressed or zipped text files in pieces of whole lines, with line numbers; collects bad rows."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import numpy as np

from jaxrec.data.files import signatures
from jaxrec.data.files.opener import SUFFIXES, Damaged, Opener, Unreadable
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError

PIECE = 1 << 25  # bytes
LINES = 1 << 20  # maximum lines of a piece, and of consecutive blank lines
LINE = 1 << 26  # maximum bytes of a line
SPAN = 10_000  # maximum lines of a quoted field
BLOCK = 1 << 20  # bytes read or examined at once
MARK = b"\xef\xbb\xbf"  # byte order mark
NO_TEXT = b"\xff"  # a byte that doesn't occur in UTF-8
EXAMPLES = 5
NAME = 200  # maximum characters of a name in a message
BAD = 1_000_000  # number of bad rows after which reading stops
NO_OTHERS = "All rows are bad, so skipping them would leave none: mend them"
MISSING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class File:
    """A file, or a member of a zip."""

    path: Path
    member: str = ""
    root: Path | None = field(default=None, compare=False)  #: the folder it was found in, or None
    opener: Opener = field(default_factory=Opener, compare=False, repr=False)

    def __str__(self) -> str:
        text = f"{self.path}/{self.member}" if self.member else str(self.path)
        return text.replace("\n", "\\n")

    @property
    def name(self) -> str:
        """The last part of the name, without suffixes like .gz."""
        name = Path(self.member or self.path).name
        while name.lower().endswith((*SUFFIXES, ".snappy")):
            name = name[: name.rindex(".")]
        return name

    @property
    def suffix(self) -> str:
        """The suffix of `name`, in lower case."""
        return Path(self.name).suffix.lower()

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of its folders below the given path."""
        above = self.path.parent.relative_to(self.root).parts if self.root else ()
        return above + Path(self.member).parts[:-1]

    @property
    def below(self) -> str:
        """The name, with the folders below the given path."""
        return "/".join((*self.folders, self.name))

    @property
    def keys(self) -> dict[str, str | None]:
        """{key: value} from folder names such as `day=2024-01-01`; None for Hive's marker of a missing value.

        Raises:
            UserError: if a key occurs twice, or a name isn't UTF-8.
        """
        found = {}
        for folder in self.folders:
            key, equals, value = folder.partition("=")
            if key and equals:
                if key in found:
                    raise UserError(f"{self}: two of its folders say {key}: rename one")
                try:
                    found[key] = None if value == MISSING else unquote(value, errors="strict")
                    (found[key] or "").encode()
                except UnicodeError:
                    raise UserError(f"{self}: the folder {folder} is not named in UTF-8: rename it") from None
        return found

    def beside(self, name: str, above: bool = False) -> "File | None":
        """Returns the file of this name in the same folder, plain or compressed; None if there is none.

        Args:
            name: the file name.
            above: whether to look in parent folders too, up to the given path.
        """
        names = (name, *(name + suffix for suffix in SUFFIXES))
        if self.member:
            within = Path(self.member).parts[:-1]
            for deep in range(len(within), -1 if above else len(within) - 1, -1):
                for inner in ("/".join((*within[:deep], each)) for each in names):
                    if self.opener.has(self.path, inner):
                        return replace(self, member=inner)
        if above or not self.member:
            deep = len(self.path.parent.relative_to(self.root).parts) if self.root and above else 0
            for folder in self.path.parents[: deep + 1]:
                for path in (folder / each for each in names):
                    if path.is_file():
                        return replace(self, path=path, member="")
        return None

    def start(self, most: int) -> bytes:
        """Returns up to `most` bytes from the beginning."""
        with self.open() as stream:
            return stream.read(most)

    def open(self) -> io.BufferedIOBase:
        """Returns the decompressed bytes as a stream; see `Opener.open`."""
        return self.opener.open(self.path, self.member, str(self))

    def on_disk(self) -> Path | bytes:
        """Returns the decompressed data as a path or as bytes; see `Opener.on_disk`."""
        return self.opener.on_disk(self.path, self.member, str(self))


class Piece(NamedTuple):
    """Consecutive whole lines of a file."""

    text: bytes  #: UTF-8, each line ended by \n
    first: int  #: number of the first line, from 1

    def lines(self) -> list[str]:
        """Returns the lines, without line ends."""
        return self.text.decode().split("\n")[:-1]


def pieces(
    file: File, size: int | None = None, encoding: str = "utf-8", quotes: bool = False, most: int | None = None
) -> Iterator[Piece]:
    r"""Yields a file's lines in pieces of about `size` bytes, with \n as line end and without a byte order mark.

    Args:
        file: the file.
        size: bytes of a piece; PIECE by default.
        encoding: of the text.
        quotes: whether double quotes protect line ends. Within quotes, \r and \r\n are kept unless they are the file's
            line end.
        most: maximum bytes of a line; LINE by default.

    Raises:
        UserError: if the file can't be read, isn't text, is truncated, has a line of over `most` bytes, or has over
            LINES blank lines in a row; names the line where possible.
    """
    size, most = max(size or PIECE, len(MARK)), most or LINE
    line, rest, blank, end, begins, ends = 1, b"", 0, False, True, b"\n"
    with file.open() as stream:
        while not end:
            chunk = _chunk(file, stream, size, line, rest)
            if begins:
                signatures.check(file, chunk)
            end = len(chunk) < size
            text = rest + (chunk.removeprefix(MARK) if begins else chunk)
            ends = _line_end(chunk) if begins else ends
            begins = False
            if b"\r" in text:
                held = b"\r" if text.endswith(b"\r") and not end else b""  # the \n may be in the next chunk
                text = _with_plain_ends(text.removesuffix(held), ends, quotes) + held
            if end and text and not text.endswith(b"\n"):
                text += b"\n"
            cut = len(text) if end else _cut(text, quotes and len(text) < 2 * size)
            text, rest = text[:cut], text[cut:]
            if len(rest) >= most and b"\n" not in rest[:most]:
                at = line + newlines(text)
                raise UserError(f"{file}, line {at}: no line end in {most:,} bytes: one row per line is expected")
            for part in _parted(text, quotes):
                blank = blank + len(part) if part.startswith(b"\n") and not part.strip(b"\n") else 0
                if blank > LINES:
                    raise UserError(f"{file}, line {line}: over {LINES:,} blank lines one after another: remove them")
                yield Piece(_decoded(file, line, part, encoding), line)
                line += newlines(part)


def _chunk(file: File, stream, size: int, line: int, rest: bytes) -> bytes:
    """Returns the next `size` bytes, fewer at the end. `line`, `rest`: number and first bytes of an unfinished line."""
    parts, left = [], size
    try:
        while left and (part := stream.read1(min(left, BLOCK))):
            parts.append(part)
            left -= len(part)
    except Damaged as error:
        reached = line + newlines(rest) + sum(map(newlines, parts))
        raise Unreadable(str(error).replace(str(file), f"{file}, line {reached} or later", 1)) from None
    return b"".join(parts)


def _parted(text: bytes, quotes: bool) -> Iterator[bytes]:
    """Yields whole lines in parts of at most about LINES lines, which bounds the memory that is taken per line."""
    begin = lines = 0
    for at in range(BLOCK, len(text), BLOCK):
        lines += newlines(text[at - BLOCK : at])
        if lines >= LINES and (cut := _cut(text[begin:at], quotes)):
            yield text[begin : begin + cut]
            begin, lines = begin + cut, 0
    if begin < len(text):
        yield text[begin:]


def _line_end(text: bytes) -> bytes:
    r"""Returns the line end of the first line: \n, \r\n, or \r as on some old systems."""
    at = text.find(b"\n")
    if at < 0:
        return b"\r"
    return b"\r\n" if text[at - 1 : at] == b"\r" else b"\n"


def _with_plain_ends(text: bytes, ends: bytes, quotes: bool) -> bytes:
    r"""Replaces \r\n and \r by \n; within double quotes, if `quotes`, only the file's own line end `ends`."""
    codes = kept = np.zeros(0, np.uint8)
    if quotes and ends != b"\r" and b'"' in text and NO_TEXT not in text:
        codes = np.frombuffer(text, np.uint8)
        kept = codes == ord("\r")
        if ends == b"\r\n":
            kept &= np.append(codes[1:], 0) != ord("\n")
    if kept.any():
        within = np.cumsum(codes == ord('"'), dtype=np.uint8) % 2 == 1
        text = np.where(kept & within, NO_TEXT[0], codes).astype(np.uint8).tobytes()
    plain = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return plain.replace(NO_TEXT, b"\r") if kept.any() else plain


def newlines(text: bytes) -> int:
    """Returns the number of newlines, several times faster than bytes.count."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _cut(text: bytes, quotes: bool) -> int:
    """Returns the end of the last whole line, 0 if there is none; quotes that span over SPAN lines count as broken."""
    last = cut = text.rfind(b"\n") + 1
    odd = quotes and b'"' in text and text.count(b'"', 0, cut) % 2
    for _ in range(SPAN):
        if not (cut and odd):
            return cut
        before = text.rfind(b"\n", 0, cut - 1) + 1  # within quotes: go back to the previous line end
        odd = (odd + text.count(b'"', before, cut)) % 2
        cut = before
    return cut if not odd else last


def csv_rows(lines: Iterable[str], **options: Any) -> Iterator[list[str]]:
    """Yields rows as `csv.reader` does, but allows fields of up to LINE characters.

    Raises:
        csv.Error: as `csv.reader`, after yielding the rows before the error.
    """
    reader = csv.reader(lines, **options)
    while True:
        before = csv.field_size_limit(LINE)  # a setting of the whole process, so restore it
        try:
            row = next(reader)
        except StopIteration:
            return
        finally:
            csv.field_size_limit(before)
        yield row


def _decoded(file: File, first: int, text: bytes, encoding: str) -> bytes:
    try:
        decoded = text.decode(encoding)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start)
        row = text.split(b"\n")[line].decode(errors="replace")
        fail(file, first + line, row, f"not UTF-8 text: {signatures.conversion(text)}")
    if "\0" in decoded:
        line = decoded.count("\n", 0, decoded.index("\0"))
        row = decoded.split("\n")[line]
        fail(file, first + line, row, f"a zero byte, so this is no text file: {signatures.conversion(text)}")
    return text if encoding == "utf-8" else decoded.encode()


class BadRows:
    """Collects unusable rows: their number and the first few. `close` raises an error unless they are to be skipped.

    Args:
        skip: whether to skip them.
        cure: what to do about them, for the error message.
    """

    def __init__(self, skip: bool = False, cure: str = ""):
        self.skip, self.cure, self.count, self.examples = skip, cure, 0, []

    def add(self, file: object, place: str, row: str, why: str) -> None:
        """Records a row. `place`: such as "line 7". `why`: what is wrong, and a cure."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{file}, {place}: {short(row)}: {why}")
        self.add_number(1)

    def add_number(self, number: int) -> None:
        """Records rows of which only the number is kept.

        Raises:
            UserError: if there are now more than BAD rows, and they may not be skipped.
        """
        self.count += number
        if self.count > BAD:
            self.close()

    def close(self, others: int = 1) -> None:
        """Raises UserError with the first bad rows, unless there are none or they are skipped.

        Args:
            others: number of usable rows; if there are none, skipping the bad ones is no cure.
        """
        if self.count and not self.skip:
            whole = "in all" if self.count <= BAD else "so far: the rest was not read"
            more = f"({self.count:,} such rows {whole})" if self.count > 1 else ""
            raise UserError("\n".join(filter(None, (*self.examples, more, self.cure if others else NO_OTHERS))))

    def notes(self) -> list[str]:
        """Returns notes about the skipped rows."""
        if not self.count:
            return []
        head = f"{self.count:,} bad rows skipped, the first:" if self.count > 1 else "1 bad row skipped:"
        return [head, *self.examples]


def fail(file: object, line: int, row: str, cure: str) -> NoReturn:
    """Raises UserError for a row, with its place and a cure."""
    raise UserError(f"{file}, line {line}: {short(row)}: {cure}")


def short(row: str, most: int = 60) -> str:
    """Returns a row, quoted and shortened for a message."""
    return repr(row if len(row) <= most else row[:most] + " ...")


def some(names: Iterable, most: int = 10) -> str:
    """Returns the first few names for a message."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more if names else "nothing"


def shown(name: object) -> str:
    """Returns a name for a message, on a single line of limited length."""
    return printable(str(name).replace("\n", "\\n"), NAME)

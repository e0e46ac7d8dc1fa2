"""Text files in pieces of whole lines: plain, compressed, or within a zip; line numbers kept, bad rows collected."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import numpy as np

from jaxrec.data.opener import SUFFIXES, Damaged, Opener, Unreadable
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError

PIECE = 1 << 25  # bytes
LINES = 1 << 20  # of a piece; and how many may be blank one after another
LINE = 1 << 26  # bytes of a line
SPAN = 10_000  # lines that a quoted field may go on for
BLOCK = 1 << 20  # bytes that are looked at together
MARK = b"\xef\xbb\xbf"  # of byte order
NO_TEXT = b"\xff"  # a byte that UTF-8 does not have
EXAMPLES = 5
NAME = 200  # characters of a name in a message
BAD = 1_000_000  # bad rows after which a file is read no further
MISSING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class File:
    """A file, or a member of a zip."""

    path: Path
    member: str = ""
    root: Path | None = field(default=None, compare=False)  # the folder it was found below; None: it was named
    opener: Opener = field(default_factory=Opener, compare=False, repr=False)

    def __str__(self) -> str:
        text = f"{self.path}/{self.member}" if self.member else str(self.path)
        return text.replace("\n", "\\n")

    @property
    def name(self) -> str:
        """The last part of its name, without .gz and the like."""
        name = Path(self.member or self.path).name
        while name.lower().endswith((*SUFFIXES, ".snappy")):
            name = name[: name.rindex(".")]
        return name

    @property
    def suffix(self) -> str:
        """That of `name`, in lower case."""
        return Path(self.name).suffix.lower()

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders that it lies in, below what was named."""
        above = self.path.parent.relative_to(self.root).parts if self.root else ()
        return above + Path(self.member).parts[:-1]

    @property
    def below(self) -> str:
        """Its name with its folders."""
        return "/".join((*self.folders, self.name))

    @property
    def keys(self) -> dict[str, str | None]:
        """What its folders are called by: `day=2024-01-01` says day; None where it says that the value is missing.

        Raises:
            UserError: a name twice, or what is no text.
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
        """The file called so in the same folder, plain or compressed; None if there is none.

        Args:
            above: whether it may lie in a folder above, as far as what was named.
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
        """Its first bytes."""
        with self.open() as stream:
            return stream.read(most)

    def open(self) -> io.BufferedIOBase:
        """Its bytes, decompressed: a stream; see `Opener.open`."""
        return self.opener.open(self.path, self.member, str(self))

    def on_disk(self) -> Path | bytes:
        """Its bytes, decompressed, for a reader that needs them whole; see `Opener.on_disk`."""
        return self.opener.on_disk(self.path, self.member, str(self))


class Piece(NamedTuple):
    """Some whole lines of a file."""

    text: bytes  # UTF-8, every line ended by \n
    first: int  # the number of its first line, from 1

    def lines(self) -> list[str]:
        return self.text.decode().split("\n")[:-1]


def pieces(
    file: File, size: int | None = None, encoding: str = "utf-8", quotes: bool = False, most: int | None = None
) -> Iterator[Piece]:
    r"""The lines of a file in pieces of about `size` bytes; line ends \r\n and \r become \n, a byte order mark goes.

    Args:
        quotes: whether a line end within double quotes is none; there \r stays, unless lines end so, and so does \r\n.
        most: bytes that a line may have.

    Raises:
        UserError: it can't be read, is no text, its compressed data are cut, it has a line of over `most` bytes or
            over LINES blank ones; with the line where that shows.
    """
    size, most = max(size or PIECE, len(MARK)), most or LINE
    line, rest, blank, end, begins, ends = 1, b"", 0, False, True, b"\n"
    with file.open() as stream:
        while not end:
            chunk = _chunk(file, stream, size, line, rest)
            end = len(chunk) < size
            text = rest + (chunk.removeprefix(MARK) if begins else chunk)
            ends = _line_end(chunk) if begins else ends
            begins = False
            if b"\r" in text:
                held = b"\r" if text.endswith(b"\r") and not end else b""  # its \n may come with the next chunk
                text = _with_plain_ends(text.removesuffix(held), ends, quotes) + held
            if end and text and not text.endswith(b"\n"):
                text += b"\n"
            cut = len(text) if end else _cut(text, quotes and len(text) < 2 * size)
            text, rest = text[:cut], text[cut:]
            if len(rest) >= most and b"\n" not in rest[:most]:
                at = line + newlines(text)
                raise UserError(f"{file}, line {at}: no line end in {most:,} bytes: a row a line is expected")
            for part in _parted(text, quotes):
                blank = blank + len(part) if part.startswith(b"\n") and not part.strip(b"\n") else 0
                if blank > LINES:
                    raise UserError(f"{file}, line {line}: over {LINES:,} blank lines one after another: remove them")
                yield Piece(_decoded(file, line, part, encoding), line)
                line += newlines(part)


def _chunk(file: File, stream, size: int, line: int, rest: bytes) -> bytes:
    """The next `size` bytes, fewer at the end. `line`, `rest`: the next line's number and what is held of it."""
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
    """Whole lines in parts of some LINES lines or fewer: what is held of a line is more than its bytes."""
    begin = lines = 0
    for at in range(BLOCK, len(text), BLOCK):
        lines += newlines(text[at - BLOCK : at])
        if lines >= LINES and (cut := _cut(text[begin:at], quotes)):
            yield text[begin : begin + cut]
            begin, lines = begin + cut, 0
    if begin < len(text):
        yield text[begin:]


def _line_end(text: bytes) -> bytes:
    r"""What the first line of a text ends in: \n, \r\n, or \r as on some old systems."""
    at = text.find(b"\n")
    if at < 0:
        return b"\r"
    return b"\r\n" if text[at - 1 : at] == b"\r" else b"\n"


def _with_plain_ends(text: bytes, ends: bytes, quotes: bool) -> bytes:
    r"""The text with \n for \r\n and \r; within quotes, where these count, what is no end of the file's lines stays."""
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
    """How many lines end in a text: bytes.count, several times faster."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _cut(text: bytes, quotes: bool) -> int:
    """Where the last whole line ends; 0 where none does. Quotes of over SPAN lines are taken to be broken."""
    last = cut = text.rfind(b"\n") + 1
    odd = quotes and b'"' in text and text.count(b'"', 0, cut) % 2
    for _ in range(SPAN):
        if not (cut and odd):
            return cut
        before = text.rfind(b"\n", 0, cut - 1) + 1  # within quotes: the line end before
        odd = (odd + text.count(b'"', before, cut)) % 2
        cut = before
    return cut if not odd else last


def csv_rows(lines: Iterable[str], **options: Any) -> Iterator[list[str]]:
    """`csv.reader`, for fields of up to LINE characters.

    Raises:
        csv.Error: as it does; the rows so far have been given.
    """
    reader = csv.reader(lines, **options)
    while True:
        before = csv.field_size_limit(LINE)  # of the whole process
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
        found = "utf-16" if text.count(b"\0") > len(text) // 4 else "latin1"
        fail(file, first + line, row, f"not UTF-8 text: convert it, as by `iconv -f {found} -t utf-8`")
    if "\0" in decoded:
        line = decoded.count("\n", 0, decoded.index("\0"))
        row = decoded.split("\n")[line]
        fail(file, first + line, row, "a zero byte, so this is no text file: convert it to text")
    return text if encoding == "utf-8" else decoded.encode()


class BadRows:
    """The rows that can't be used: the first few, and how many. Unless they are to be skipped, `close` raises.

    Args:
        cure: what may be done about all of them, for the message.
    """

    def __init__(self, skip: bool = False, cure: str = ""):
        self.skip, self.cure, self.count, self.examples = skip, cure, 0, []

    def add(self, file: object, place: str, row: str, why: str) -> None:
        """Note a row. `place`: as "line 7". `why`: what is wrong, and the cure."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{file}, {place}: {short(row)}: {why}")
        self.add_number(1)

    def add_number(self, number: int) -> None:
        """Note more of them, without saying which.

        Raises:
            UserError: they are more than BAD, and not to be skipped.
        """
        self.count += number
        if self.count > BAD:
            self.close()

    def close(self) -> None:
        if self.count and not self.skip:
            whole = "in all" if self.count <= BAD else "so far: the rest was not read"
            more = f"({self.count:,} such rows {whole})" if self.count > 1 else ""
            raise UserError("\n".join(filter(None, (*self.examples, more, self.cure))))

    def notes(self) -> list[str]:
        """What to say of the rows that were skipped."""
        if not self.count:
            return []
        head = f"{self.count:,} bad rows skipped, the first:" if self.count > 1 else "1 bad row skipped:"
        return [head, *self.examples]


def fail(file: object, line: int, row: str, cure: str) -> NoReturn:
    """Raise the UserError for a row."""
    raise UserError(f"{file}, line {line}: {short(row)}: {cure}")


def short(row: str, most: int = 60) -> str:
    """A row for a message."""
    return repr(row if len(row) <= most else row[:most] + " ...")


def some(names: Iterable, most: int = 10) -> str:
    """The first few names, for a message."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more if names else "nothing"


def shown(name: object) -> str:
    """A name for a message: on one line, no longer than a line."""
    return printable(str(name).replace("\n", "\\n"), NAME)

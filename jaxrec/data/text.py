"""Text files in pieces of whole lines: plain, gzip, or within a zip; line numbers kept, bad rows collected."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from jaxrec.errors import UserError

PIECE = 1 << 26  # bytes
MARK = b"\xef\xbb\xbf"  # of byte order
NO_TEXT = b"\xff"  # a byte that UTF-8 does not have
EXAMPLES = 5


class File(NamedTuple):
    """A file, or a member of a zip."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The last part of its name, without .gz."""
        return Path(self.member or self.path).name.removesuffix(".gz")

    def beside(self, name: str) -> "File | None":
        """The file called so in the same folder, plain or gzip; None if there is none."""
        for each in (name, f"{name}.gz"):
            if self.member:
                inner = str(Path(self.member).with_name(each))
                with zipfile.ZipFile(self.path) as archive:
                    if inner in archive.namelist():
                        return self._replace(member=inner)
            elif self.path.with_name(each).is_file():
                return File(self.path.with_name(each))
        return None

    def begins(self, mark: bytes) -> bool:
        """Whether these are its first bytes."""
        with self.open() as stream:
            return stream.read(len(mark)) == mark

    def open(self) -> io.BufferedIOBase:
        """Its bytes, decompressed.

        Raises:
            UserError: it can't be read.
        """
        try:
            archive = zipfile.ZipFile(self.path) if self.member else None
            raw = archive.open(self.member) if archive else self.path.open("rb", buffering=0)
            stream = io.BufferedReader(raw)
            start = stream.peek(2)[:2]
        except OSError as error:
            raise UserError(f"{self}: cannot be read ({error.strerror}): check the file and its permissions") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last of a password, or a method
            raise UserError(f"{self}: the zip is damaged or locked ({error}): fetch it again") from None
        if start == b"\x1f\x8b":
            return gzip.GzipFile(fileobj=stream)
        if start and str(self.member or self.path).endswith(".gz"):
            raise UserError(f"{self}, line 1: not gzip, though the name ends in .gz: rename it, or fetch it again")
        return stream


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
        quotes: whether a line end within double quotes is none; there a lone \r stays, unless all lines end so.
        most: bytes that a line may have.

    Raises:
        UserError: it can't be read, is no text, or its compressed data are cut; with the line where that shows.
    """
    size, line, rest, begins, old = max(size or PIECE, len(MARK)), 1, b"", True, False
    with file.open() as stream:
        while True:
            parts, left = [], size
            try:
                while left and (part := stream.read1(left)):
                    parts.append(part)
                    left -= len(part)
            except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
                reached = line + rest.count(b"\n") + sum(part.count(b"\n") for part in parts)
                cure = f"the compressed data are cut or damaged ({error}): fetch the file again"
                raise UserError(f"{file}, line {reached} or later: {cure}") from None
            chunk = b"".join(parts)
            end = left > 0
            text = rest + (chunk.removeprefix(MARK) if begins else chunk)
            old = b"\n" not in chunk if begins else old  # of a system whose lines end in \r
            begins = False
            if b"\r" in text:
                held = b"\r" if text.endswith(b"\r") and not end else b""  # its \n may come with the next chunk
                text = _with_plain_ends(text.removesuffix(held), quotes and not old) + held
            if end and text and not text.endswith(b"\n"):
                text += b"\n"
            cut = len(text) if end else _cut(text, quotes and len(text) < 4 * size)
            text, rest = text[:cut], text[cut:]
            if most and len(rest) >= most:
                raise UserError(f"{file}, line {line}: no line end in {most:,} bytes: a row a line is expected")
            if text:
                yield Piece(_decoded(file, line, text, encoding), line)
                line += newlines(text)
            if end:
                return


def _with_plain_ends(text: bytes, quotes: bool) -> bytes:
    r"""The text with \n for \r\n and \r; a \r alone within quotes stays, where these count."""
    lone = np.zeros(0, bool)
    if quotes and b'"' in text and NO_TEXT not in text:
        codes = np.frombuffer(text, np.uint8)
        lone = (codes == ord("\r")) & (np.append(codes[1:], 0) != ord("\n"))
    if lone.any():
        within = np.cumsum(codes == ord('"'), dtype=np.uint8) % 2 == 1
        text = np.where(lone & within, NO_TEXT[0], codes).astype(np.uint8).tobytes()
    plain = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return plain.replace(NO_TEXT, b"\r") if lone.any() else plain


def newlines(text: bytes) -> int:
    """How many lines end in a text: bytes.count, several times faster."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _cut(text: bytes, quotes: bool) -> int:
    """Where the last whole line ends; 0 where none does."""
    cut = text.rfind(b"\n") + 1
    odd = quotes and b'"' in text and text.count(b'"', 0, cut) % 2
    while cut and odd:  # within quotes: the line end before
        before = text.rfind(b"\n", 0, cut - 1) + 1
        odd = (odd + text.count(b'"', before, cut)) % 2
        cut = before
    return cut


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

    def add(self, file, place: str, row: str, why: str) -> None:
        """Note a row. `place`: as "line 7". `why`: what is wrong, and the cure."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{file}, {place}: {short(row)}: {why}")

    def add_number(self, number: int) -> None:
        """Note more of them, without saying which."""
        self.count += number

    def close(self) -> None:
        if self.count and not self.skip:
            more = f"({self.count:,} such rows in all)" if self.count > 1 else ""
            raise UserError("\n".join(filter(None, (*self.examples, more, self.cure))))

    def notes(self) -> list[str]:
        """What to say of the rows that were skipped."""
        if not self.count:
            return []
        head = f"{self.count:,} bad rows skipped, the first:" if self.count > 1 else "1 bad row skipped:"
        return [head, *self.examples]


def fail(file, line: int, row: str, cure: str) -> NoReturn:
    """Raise the UserError for a row."""
    raise UserError(f"{file}, line {line}: {short(row)}: {cure}")


def short(row: str, most: int = 60) -> str:
    """A row for a message."""
    return repr(row if len(row) <= most else row[:most] + " ...")


def some(names, most: int = 10) -> str:
    """The first few names, for a message."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"

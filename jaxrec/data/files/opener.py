"""Opens the files of an input: detects compression by the first bytes, limits the unpacked size, detects changes."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.system.errors import UserError
from jaxrec.system.files import SMALL, open_regular

RATIO = 200  # ratio of unpacked to packed bytes above which --allow-large is required
FLOOR = 1 << 28  # unpacked bytes per input that are always allowed
MEMBERS = 100_000  # maximum members of a zip
DIRECTORY = 1 << 24  # maximum bytes of a zip's central directory
CHUNK = 1 << 22  # bytes written to disk at once
PACKED = 1 << 16  # compressed bytes of bzip2 and xz read at once
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)  # RuntimeError: encrypted


class Unreadable(UserError):
    """A file that can't be read, or exceeds the limits."""


class Damaged(Unreadable):
    """Compressed data that are truncated or damaged."""

    def __init__(self, label: str, why: str):
        super().__init__(f"{label}: the compressed data are cut or damaged ({why}): fetch the file again")


class Packing(NamedTuple):
    """A compression format."""

    name: str
    suffixes: tuple[str, ...]
    marks: tuple[bytes, ...]  #: possible first bytes of a file
    unpack: Callable  #: stream -> (stream, exceptions for damaged data)


class _Streams:
    """Reads concatenated streams of bzip2 or xz, with zero bytes between or after them as padding.

    The readers of the standard library stop silently at anything else that follows a stream; this one raises an error.
    """

    def __init__(self, packed, make: Callable):
        self._packed, self._make = packed, make
        self._stream, self._is_first = make(), True

    def read1(self, size: int) -> bytes:
        """Returns up to `size` bytes, b"" at the end."""
        while True:
            packed = b""
            if self._stream.eof:
                packed = self._stream.unused_data.lstrip(b"\0")
                while not packed:
                    if not (packed := self._packed.read1(PACKED)):
                        return b""
                    packed = packed.lstrip(b"\0")
                self._stream, self._is_first = self._make(), False
            elif self._stream.needs_input and not (packed := self._packed.read1(PACKED)):
                raise EOFError("it ends within a stream")
            try:
                data = self._stream.decompress(packed, size)
            except (OSError, lzma.LZMAError) as error:
                if self._is_first:
                    raise
                raise lzma.LZMAError(f"what follows its end is not another stream: {error}") from None
            if data:
                return data

    def close(self):
        """Does nothing: the compressed stream is closed by its owner."""


def _by(make: Callable) -> Callable:
    return lambda stream: (_Streams(stream, make), ())


def _zstd(stream):
    try:
        from compression import zstd  # Python 3.14+  # pyright: ignore[reportMissingImports]
    except ImportError:
        from backports import zstd
    return zstd.ZstdFile(stream), (zstd.ZstdError,)


PACKINGS = (
    Packing("gzip", (".gz",), (b"\x1f\x8b",), lambda stream: (gzip.GzipFile(fileobj=stream), (gzip.BadGzipFile,))),
    Packing(
        "zstd",
        (".zst", ".zstd"),
        (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))),
        _zstd,
    ),
    Packing(
        "bzip2",
        (".bz2",),
        tuple(b"BZh%d" % level + block for level in range(1, 10) for block in (b"1AY&SY", b"\x17rE8P\x90")),
        _by(bz2.BZ2Decompressor),
    ),
    Packing("xz", (".xz", ".lzma"), (b"\xfd7zXZ\0", b"\x5d\0\0"), _by(lzma.LZMADecompressor)),
)
SUFFIXES = tuple(suffix for packing in PACKINGS for suffix in packing.suffixes)
LONGEST = max(len(mark) for packing in PACKINGS for mark in packing.marks)


class Opener:
    """Opens files and members of zips, counts their unpacked bytes in total, and remembers the files it read.

    Args:
        allow_large: whether data may unpack to more than RATIO times their size.
    """

    def __init__(self, allow_large: bool = False):
        self.allow_large = allow_large
        self.packed = self.unpacked = 0  # bytes of compressed data read so far
        self._reached = {}  # (path, member) -> its share of these counts
        self._sizes = {}  # (path, member) -> compressed bytes in the zip
        self._left = {}  # path of a zip -> its bytes not yet attributed to a member
        self._stamps = {}  # path -> identity, size and time, to detect changes
        self._archive: tuple[Path, zipfile.ZipFile] | None = None  # the zip opened last
        self._on_disk: tuple[tuple[Path, str], bytes | _Spooled] | None = None  # ((path, member), bytes) unpacked last

    def open(self, path: Path, member: str, label: str) -> io.BufferedReader:
        """Returns the decompressed bytes of a file, or of a member of a zip.

        Raises:
            Unreadable: if it can't be read; also while reading, if it is damaged or exceeds the allowed unpacked size.
        """
        try:
            raw, size = self._member(path, member) if member else self._file(path)
            stream: io.BufferedReader = io.BufferedReader(raw)
            start = stream.peek(LONGEST)[:LONGEST]
        except OSError as error:
            why = error.strerror or str(error)
            raise Unreadable(f"{label}: cannot be read ({why}): check the file and its permissions") from None
        except DAMAGED as error:
            raise Unreadable(f"{label}: the zip is damaged or encrypted ({error}): fetch it again") from None
        packing = next((each for each in PACKINGS if start.startswith(each.marks)), None)
        if packing is None:
            _check_suffix(member or path.name, start, label)
            if not member:
                return stream
        try:
            inner, errors = packing.unpack(stream) if packing else (stream, ())
        except ModuleNotFoundError:
            raise Unreadable(f"{label}: compressed by zstd: pip install backports.zstd, or unpack it") from None
        key, place = (path, member), (lambda: size) if member else raw.tell
        count = lambda reached: self._count(key, place(), reached, label)
        return io.BufferedReader(_Unpacked(inner, stream, errors, count, label), 1 << 16)

    def names(self, path: Path) -> list[str]:
        """Returns the names of a zip's members, without folders.

        Raises:
            Unreadable: if the zip is damaged, or has too many members or two of the same name.
        """
        try:
            members = [each.filename for each in self._zip(path).infolist() if not each.is_dir()]
        except OSError as error:
            raise Unreadable(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from None
        except Unreadable:
            raise
        except (*DAMAGED, ValueError) as error:
            raise Unreadable(f"{path}: the zip is damaged ({error}): fetch it again") from None
        if len(members) > MEMBERS:
            raise Unreadable(
                f"{path}: {len(members):,} files in a zip, over {MEMBERS:,}: unzip it, and name the folder"
            )
        (name, times), *_ = [*Counter(members).most_common(1), ("", 0)]
        if times > 1:
            raise Unreadable(f"{path}: holds {name} {times} times: unzip it, and name the one to read")
        return members

    def has(self, path: Path, member: str) -> bool:
        """Returns whether a zip has this member."""
        return member in self._zip(path).NameToInfo

    def on_disk(self, path: Path, member: str, label: str) -> Path | bytes:
        """Returns the decompressed data for readers that need all of it: a path, or the bytes if they are few.

        If the path is a temporary file, it is deleted when the next file is requested.

        Raises:
            Unreadable: as `open`; also if the disk is full.
        """
        if self._on_disk and self._on_disk[0] == (path, member):
            return _place(self._on_disk[1])
        self._on_disk = None
        with self.open(path, member, label) as stream:
            if not isinstance(stream.raw, _Unpacked):
                return path
            begun = stream.read(SMALL + 1)
            held = begun if len(begun) <= SMALL else _Spooled(begun, stream, label)
        self._on_disk = ((path, member), held)
        return _place(held)

    def close(self) -> None:
        """Closes all open files.

        Raises:
            UserError: if a file has changed since it was first read.
        """
        self._archive = self._on_disk = None
        for path, stamp in self._stamps.items():
            try:
                same = _stamp(os.stat(path)) == stamp
            except OSError:
                same = False
            if not same:
                raise UserError(f"{path}: changed while it was read: wait until it is written, or read a copy of it")

    def _file(self, path: Path) -> tuple[io.FileIO, int]:
        raw = open_regular(path)
        status = os.fstat(raw.fileno())
        self._stamps.setdefault(path, _stamp(status))
        return raw, status.st_size

    def _member(self, path: Path, member: str) -> tuple[Any, int]:
        archive = self._zip(path)
        if member not in archive.NameToInfo:
            raise zipfile.BadZipFile(f"{member} is not in it")
        known = archive.getinfo(member)
        if (path, member) not in self._sizes:  # members may overlap, so count no byte of the zip twice
            self._sizes[path, member] = min(known.compress_size, self._left[path])
            self._left[path] -= self._sizes[path, member]
            size = self._sizes[path, member]
            self._count((path, member), size, known.file_size, f"{path}/{member}")
        return archive.open(member), self._sizes[path, member]

    def _zip(self, path: Path) -> zipfile.ZipFile:
        if self._archive is None or self._archive[0] != path:
            raw, size = self._file(path)
            self._archive = path, zipfile.ZipFile(_Directory(raw, path))
            self._left.setdefault(path, size)
        return self._archive[1]

    def _count(self, key, packed: int, unpacked: int, label: str) -> None:
        before = self._reached.get(key, (0, 0))  # a file opened again is counted once
        self._reached[key] = max(packed, before[0]), max(unpacked, before[1])
        self.packed += self._reached[key][0] - before[0]
        self.unpacked += self._reached[key][1] - before[1]
        if self.unpacked > max(FLOOR, RATIO * self.packed) and not self.allow_large:
            raise Unreadable(
                f"{label}: {self.packed:,} compressed bytes unpack to over {self.unpacked:,}, more than {RATIO} times "
                "as many, as in a file made to fill a disk: if you trust it, prepare it with --allow-large"
            )


class _Unpacked(io.RawIOBase):
    """A decompressing stream that counts its bytes and raises the same errors for all formats."""

    def __init__(self, stream, packed, errors, count, label):
        self._stream, self._packed, self._errors = stream, packed, (*DAMAGED, *errors)
        self._count, self._label, self._reached = count, label, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        try:
            data = self._stream.read1(len(buffer))
        except self._errors as error:
            raise Damaged(self._label, str(error)) from None
        except OSError as error:
            if error.errno is None:  # bz2 raises this for damaged data
                raise Damaged(self._label, str(error)) from None
            raise Unreadable(f"{self._label}: cannot be read ({error.strerror}): fetch the file again") from None
        buffer[: len(data)] = data
        self._reached += len(data)
        self._count(self._reached)
        return len(data)

    def close(self):
        self._stream.close()
        self._packed.close()
        super().close()


class _Directory(io.BufferedReader):
    """A zip file that rejects a central directory of over DIRECTORY bytes; it closes when nothing refers to it."""

    def __init__(self, raw: io.FileIO, path: Path):
        super().__init__(raw)
        self._path = path

    def __del__(self):
        self.close()

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY:
            raise Unreadable(f"{self._path}: a zip with over {MEMBERS:,} files: unzip it, and name the folder")
        return super().read(size)


def _place(held: "bytes | _Spooled") -> Path | bytes:
    return held if isinstance(held, bytes) else held.place


class _Spooled:
    """A temporary file with the bytes of a stream; it is deleted with this object."""

    def __init__(self, begun: bytes, stream, label: str):
        self._file = tempfile.NamedTemporaryFile(prefix="jaxrec-")  # noqa: SIM115
        self.place = Path(self._file.name)
        try:
            part = begun
            while part:
                if shutil.disk_usage(self.place.parent).free < 2 * CHUNK + len(part):
                    raise OSError(None, "no space is left")
                self._file.write(part)
                part = stream.read(CHUNK)
            self._file.flush()
        except OSError as error:
            where = f"{self.place.parent} ({error.strerror})"
            raise Unreadable(f"{label}: cannot be unpacked to {where}: set TMPDIR to a larger disk") from None


def _check_suffix(name: str, start: bytes, label: str) -> None:
    suffix = Path(name).suffix.lower()
    if start and suffix in SUFFIXES:
        packing = next(each for each in PACKINGS if suffix in each.suffixes)
        cure = "rename it, or fetch it again"
        raise Unreadable(f"{label}, line 1: not {packing.name}, though the name ends in {suffix}: {cure}")


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

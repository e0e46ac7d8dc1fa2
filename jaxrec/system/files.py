"""Atomic writes, and bounded reads of regular files."""

import contextlib
import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxrec.system import checksums
from jaxrec.system.errors import UserError

SMALL = 1 << 26  # maximum bytes of a file that is read at once
CHECKSUM = "checksum"  # key of a JSON file's checksum of its other keys
MARK = ".jaxrec-"  # prefix of temporary files
ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
BROKEN = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/(?!/)")  # an address that went through pathlib
#: how polars reports a disk that takes no more data
FULL = re.compile(rf"\(os error ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG})\)")
DEVICES = "/dev", "/dev/fd"  # folders of devices, and of links to what a process has open
SPECIAL = "*?[]{}\\"  # characters of paths that Orbax, or libraries below it, treat as patterns


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Converts OSErrors in the block to a UserError that names the file, or one elsewhere that was needed for it."""
    try:
        yield
    except BrokenPipeError:  # from printing in the meantime
        raise
    except OSError as error:
        other = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        if other and _is_elsewhere(other, path):
            raise UserError(
                f"{other}: can't be opened ({error.strerror}), and it is needed to write {path}: mend that, "
                "and run the same command again"
            ) from error
        raise _unwritten(path, error.strerror or error) from error
    except Exception as error:  # polars has its own errors for a disk that takes no more data
        if not (full := FULL.search(str(error))):
            raise
        raise _unwritten(path, os.strerror(int(full[1]))) from error


def _unwritten(path, reason):
    return UserError(
        f"{path}: can't be written ({reason}): make room, mend the disk or name another place, and run the same "
        "command again"
    )


def _is_elsewhere(name: str, path: str | Path) -> bool:
    """Returns whether a file lies neither in the folder of a path nor above it."""
    file, folder = Path(os.path.abspath(name)), Path(os.path.abspath(path)).parent
    return not (file.is_relative_to(folder) or folder.is_relative_to(file))


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary file beside the path, which replaces it if the block succeeds, and is removed otherwise.

    Its name is unpredictable, so that no link can be placed there beforehand. A link is replaced, not followed; a pipe
    or a device, such as /dev/stdout, is written to.

    Raises:
        UserError: if it can't be written.
    """
    path = Path(path)
    if not path.name:
        raise UserError(f"{str(path)!r} is a folder, and a file is written there: name one in it")
    with writing(path):
        is_stream = _is_stream(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.gettempdir()) if is_stream else path.parent
        temporary = folder / f"{MARK}{secrets.token_hex(8)}.tmp"
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        try:
            yield temporary
            if is_stream:
                with open(temporary, "rb") as source, _opened(path) as stream:
                    shutil.copyfileobj(source, stream)
            else:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _opened(path: Path) -> BinaryIO:
    """Opens a pipe or a device for writing. One the process has open, as /dev/stdout, continues where it stands."""
    if own := re.fullmatch(r"/dev/(?:stdout|stderr|fd/(\d+))", os.path.abspath(path)):
        sys.stdout.flush()
        number = {"stdout": 1, "stderr": 2}.get(path.name) or int(own[1])
        return os.fdopen(os.dup(number), "wb")
    return open(path, "wb")


def _is_stream(path: Path) -> bool:
    """Returns whether a path is a pipe or a device. Links may have been planted, so only those in DEVICES count."""
    if path.is_symlink() or path.is_file():
        return os.path.dirname(os.path.abspath(path)) in DEVICES
    return path.exists() and not path.is_file() and not path.is_dir()


def sweep(folder: Path) -> None:
    """Removes temporary files left by killed processes."""
    for entry in os.scandir(folder):
        if entry.name.startswith(MARK) and entry.name.endswith(".tmp") and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as JSON.

    Raises:
        ValueError: if it contains a number that is not finite.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Returns the value of a JSON file.

    Raises:
        ValueError: if it isn't JSON, or has more than SMALL bytes.
        OSError: if it can't be read.
    """
    with open_regular(path) as stream:
        return parse_json(stream)


def parse_json(stream: io.RawIOBase | io.BufferedIOBase) -> Any:
    """Returns the value of a stream of JSON.

    Raises:
        ValueError: if it isn't JSON, is nested too deeply, or has more than SMALL bytes.
    """
    data = bytearray()
    while part := stream.read(min(SMALL + 1 - len(data), 1 << 20)):
        data += part
        if len(data) > SMALL:
            raise ValueError(f"over {SMALL:,} bytes, and no such file is that large")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None


def open_regular(path: str | Path) -> io.FileIO:
    """Opens a regular file for reading; never blocks on pipes.

    Raises:
        UserError: if it is a pipe, a socket, a device or a folder.
        OSError: if it can't be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return io.FileIO(handle)
    os.close(handle)
    raise UserError(f"{path}: {NO_FILE}")


NO_FILE = "a pipe, a socket, a device or a folder, not a file: write the content to a file, and name that"


def is_address(name: object) -> bool:
    """Returns whether a name is an address, such as one of an object store.

    >>> is_address("s3://bucket/log.csv"), is_address("log.csv"), is_address("synthetic:users=20")
    (True, False, False)
    """
    return isinstance(name, str) and ADDRESS.match(name) is not None


def path_or_address(name: str | os.PathLike) -> Path | str:
    """Returns an address as it is, and the Path of anything else.

    >>> path_or_address("runs/a"), path_or_address("s3://bucket/runs/a")
    (PosixPath('runs/a'), 's3://bucket/runs/a')
    """
    return str(name) if is_address(name) else Path(_text(name))


def workdir_at(name: str | os.PathLike) -> Path | str:
    """Returns the address of a workdir as it is, and otherwise its absolute path.

    Raises:
        UserError: if it was an address that pathlib has changed.
    """
    return str(name) if is_address(name) else local(name, "a workdir").absolute()


def below(folder: Path | str, name: str) -> Path | str:
    """Returns the path, or address, of a name in a folder, which may be an address.

    >>> below("s3://bucket/runs/", "a")
    's3://bucket/runs/a'
    """
    return folder / name if isinstance(folder, Path) else f"{folder.rstrip('/')}/{name}"


def local(path: str | os.PathLike, what: str) -> Path:
    """Returns a path on this machine's disks.

    Args:
        path: the path.
        what: what lies there, for the message.

    Raises:
        UserError: if it is an address, which would become a folder named "s3:".
    """
    text = _text(path)
    if is_address(text) or BROKEN.match(text):
        raise UserError(
            f"{text}: {what} lies on a disk of this machine, not in an object store: name a folder here"
            + (", or give the address as text, since pathlib changes it" if BROKEN.match(text) else "")
        )
    return Path(path)


def _text(path: object) -> str:
    """Returns a path as text.

    Raises:
        UserError: if it isn't a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"a path is expected, and this is of type {type(path).__name__}: give text, or a pathlib.Path")
    return str(os.fspath(path))


def expand(path: str | Path) -> Path:
    """Expands `~` to the home folder; unchanged if there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def write_checked(path: str | Path, values: dict) -> None:
    """Writes a dictionary as JSON, with a checksum of its content."""
    write_json(path, values | {CHECKSUM: checksums.of_json(values)})


def read_checked(path: str | Path, cure: str) -> dict:
    """Returns the dictionary of a JSON file, verified by its checksum if it has one.

    Args:
        path: the file.
        cure: what to do if it is damaged, for the message.

    Raises:
        UserError: if it can't be read, isn't JSON, or has changed since it was written.
    """
    try:
        values = read_json(path)
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged: not JSON ({error}): {cure}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged: a {type(values).__name__}, not a dictionary: {cure}")
    known = values.pop(CHECKSUM, None)
    if known is not None and known != checksums.of_json(values):
        raise UserError(f"{path}: damaged: its content is not what was written: {cure}")
    return values


@contextlib.contextmanager
def plain(folder: str | Path) -> Iterator[Path]:
    """Yields a path to a folder without pattern characters, control characters or invalid text.

    If its own path has such characters, yields a temporary symbolic link to it, for the duration of the block.

    Raises:
        UserError: if the link can't be created.
    """
    folder = Path(folder).absolute()
    if not _is_special(str(folder)):
        yield folder
        return
    try:
        with tempfile.TemporaryDirectory(prefix="jaxrec-") as own:
            if _is_special(own):
                raise UserError(f"{own} can't be the folder for temporary files: set TMPDIR to one without {SPECIAL}")
            link = Path(own) / "folder"
            link.symlink_to(folder)
            yield link
    except OSError as error:
        if error.filename is None or "jaxrec-" not in str(error.filename):
            raise
        raise UserError(f"{folder}: can't be reached by a link in the folder for temporary files: {error}") from error


def _is_special(path):
    return any(char in SPECIAL or char < " " or "\ud800" <= char <= "\udfff" for char in path)

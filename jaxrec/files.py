"""Files that are whole or not there; regular files alone, and small ones within bounds."""

import contextlib
import io
import json
import os
import stat
from pathlib import Path

from jaxrec.errors import UserError

SMALL = 1 << 26  # bytes of a file that is read whole


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside this one, which takes its place when the block ends well and is removed otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write a value as JSON.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path):
    """The value of a JSON file.

    Raises:
        ValueError: it is no JSON, or of more than SMALL bytes. OSError: it can't be read.
    """
    with open_regular(path) as stream:
        return parse_json(stream)


def parse_json(stream: io.RawIOBase | io.BufferedIOBase):
    """The value of a stream of JSON.

    Raises:
        ValueError: it is no JSON, lists or objects lie too deep within each other, or it has more than SMALL bytes.
    """
    data = bytearray()
    while part := stream.read(min(SMALL + 1 - len(data), 1 << 20)):
        data += part
        if len(data) > SMALL:
            raise ValueError(f"over {SMALL:,} bytes, and no such file is that large")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("lists or objects too deep within each other") from None


def open_regular(path: str | Path) -> io.FileIO:
    """A file's bytes; never waits for what another process may write.

    Raises:
        UserError: a pipe, a socket, a device or a folder. OSError: it can't be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return io.FileIO(handle)
    os.close(handle)
    raise UserError(f"{path}: {NO_FILE}")


NO_FILE = "a pipe, a socket, a device or a folder, where a file is read: write the content to a file, and name that"


def expand(path: str | Path) -> Path:
    """A path with `~` as the home folder; as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)

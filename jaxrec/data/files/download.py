"""Downloads a file: resumes an interrupted download, verifies the file, and puts it in place only when complete."""

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich import filesize, progress
from rich.console import Console

from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError

TIMEOUT = 30  # seconds without data
RETRIES = 4  # maximum consecutive retries without progress
WAIT = 1.0  # seconds before the first retry; doubles with each further one
CHUNK = 1 << 16
COLUMNS = (progress.BarColumn, progress.DownloadColumn, progress.TransferSpeedColumn, progress.TimeRemainingColumn)


class _Cut(Exception):
    """A temporary server failure or an incomplete response: retrying may get the rest."""


def download(url: str, path: str | Path, *, checksum: str | None = None, console: Console | None = None) -> None:
    """Downloads a file to `path` unless it exists. Keeps a partial file as `path`.part, which the next call resumes.

    If another process is downloading the same file, waits for it to finish.

    Args:
        url: the address of the file.
        path: where to put it.
        checksum: "md5:HEX", "sha256:HEX", "git:HEX" (git's blob hash), or "md5-url:URL", of a file that holds the MD5.
        console: for the progress bar; standard error by default.

    Raises:
        UserError: if there is no connection, the server answers with an error, retries don't overcome an interruption,
            the checksum differs, the disk is full, or the path can't be written.
    """
    path = Path(path).absolute()
    by_hand = f"download it by other means and put it as {path}"
    console = console or consoles.make(stderr=True)
    bar = progress.Progress(*(each() for each in COLUMNS), console=console, disable=not console.is_terminal)
    bar.add_task("", total=None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path, console) as file:
            if file is None:
                return
            kind, expected = _expected(checksum, path, console)
            with bar:
                _receive(url, file, bar)
            if kind and (found := _digest(file.name, kind)) != expected.lower():
                _remove(file.name)
                what = f"the checksum differs ({kind} {found} instead of {expected}): damaged, or another version"
                raise UserError(f"{url}: {what}; the file was removed: try again, or {by_hand}")
            os.fsync(file.fileno())
            Path(file.name).replace(path)
            _remove(file.name)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: {error}: {by_hand}") from error
    except urllib.error.URLError as error:
        raise UserError(f"{url}: no connection ({error.reason}): check the network, or {by_hand}") from error
    except _Cut as error:
        what = f"{error} after {_so_far(bar)}"
        raise UserError(f"{url}: {what}: try again, which resumes from there, or {by_hand}") from error
    except OSError as error:  # from the disk; network errors are caught above
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            what = f"{path} cannot be written ({error.strerror})"
            raise UserError(f"{url}: {what}: make {path.parent} a folder that you can write to") from error
        missing = bar.tasks[0].remaining
        room = filesize.decimal(int(missing)) if missing else "some"
        cure = f"free {room} of disk space in {path.parent} and try again, which resumes from there"
        raise UserError(f"{url}: the disk is full: {cure}") from error


@contextlib.contextmanager
def _held(path, console):
    """Yields the locked partial file, open for appending; None if `path` exists, perhaps written by another process."""
    part = path.with_name(path.name + ".part")
    while not path.exists():
        with part.open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console.print(f"another process is downloading {path}: waiting for it", soft_wrap=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
                continue  # renamed or removed by the process that held the lock
            if not path.exists():
                try:
                    yield file
                finally:
                    if part.exists() and not part.stat().st_size:
                        _remove(part)  # nothing was received
                return
            _remove(part)
    yield None


def _receive(url, file, bar):
    """Appends the missing bytes; reconnects after interruptions, up to RETRIES times without progress."""
    begun = furthest = file.seek(0, os.SEEK_END)
    failures = 0
    bar.reset(bar.task_ids[0], completed=begun)
    while True:
        try:
            return _connect(url, file, bar)
        except (_Cut, urllib.error.URLError) as error:
            have = file.seek(0, os.SEEK_END)
            failures = 1 if have > furthest else failures + 1
            furthest = max(have, furthest)
            lost = isinstance(error, _Cut) or (furthest > begun and not isinstance(error, urllib.error.HTTPError))
            if not lost or failures > RETRIES:
                raise
            wait = WAIT * 2 ** (failures - 1)
            bar.console.print(f"{error} after {_so_far(bar)}: trying again in {wait:g} s", soft_wrap=True)
            time.sleep(wait)


def _connect(url, file, bar):
    """Appends the bytes of one connection; starts over if the file has changed or the server doesn't support Range."""
    have, tag = file.seek(0, os.SEEK_END), Path(f"{file.name}.tag")
    of, _, known = tag.read_text().partition("\n") if have and tag.exists() else ("", "", "")
    headers = {"Range": f"bytes={have}-", "If-Range": known} if known and of == url else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the remote file is shorter than the local part
            file.truncate(0)
        if error.code in (408, 416, 429) or error.code >= 500:
            raise _Cut(str(error)) from error
        raise
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Cut(f"no answer ({error})") from error
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            if have:
                file.truncate(0)
            if response.status == 206:
                raise _Cut("the server sent another part than the one requested")
            have = 0
            _remember(tag, url, response.headers)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        size = filesize.decimal(total) if total else "size unknown"
        onwards = f", of which {filesize.decimal(have)} are already here" if have else ""
        bar.console.print(f"downloading {url} ({size}{onwards})", soft_wrap=True)
        bar.reset(bar.task_ids[0], completed=have, total=total)
        for chunk in _chunks(response):
            rest = memoryview(chunk)
            while rest:  # a disk that fills up accepts only part of it
                rest = rest[file.write(rest) :]
            bar.advance(bar.task_ids[0], len(chunk))
    if total is not None and file.seek(0, os.SEEK_END) != total:
        raise _Cut("cut")


def _chunks(response):
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"cut ({error})") from error


def _remember(tag, url, headers):
    """Stores the value for If-Range: the strong ETag, otherwise the modification date."""
    etag = headers.get("ETag") or "W/"
    if known := headers.get("Last-Modified") if etag.startswith("W/") else etag:
        tag.write_text(f"{url}\n{known}")
    else:
        tag.unlink(missing_ok=True)


def _expected(checksum, path, console):
    """Returns the kind and the hex digits of a checksum; downloads those given by URL."""
    kind, _, value = (checksum or "").partition(":")
    if kind != "md5-url":
        return kind, value
    published = path.with_name(path.name + ".md5")
    download(value, published, console=console)
    digits = re.search(rb"\b[0-9a-fA-F]{32}\b", published.read_bytes())
    published.unlink()
    if not digits:
        raise UserError(f"{value}: no MD5 of 32 digits in it, so {path} cannot be checked: put one into {published}")
    return "md5", digits[0].decode()


def _digest(path, kind):
    start = {"md5": hashlib.md5, "sha256": hashlib.sha256, "git": hashlib.sha1}[kind]()
    if kind == "git":
        start.update(b"blob %d\0" % os.path.getsize(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: start).hexdigest()


def _so_far(bar):
    have, total = bar.tasks[0].completed, bar.tasks[0].total
    return f"{have:,} of {total:,} bytes" if total else f"{have:,} bytes"


def _remove(part):
    for path in (Path(part), Path(f"{part}.tag")):
        path.unlink(missing_ok=True)

"""Lists the files in folders, each once even if links lead to it, up to a maximum number and depth."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from jaxrec.data.files.text import File, shown, some
from jaxrec.system import checksums
from jaxrec.system.errors import UserError

MOST, DEEP = 100_000, 32  # maximum number of files per log, and depth of folders
HEAD, FEW = 1 << 16, 2  # bytes examined of a file, and lines that two files may share by chance
STATE = "state.json"  # file in a data set saved by Hugging Face's library
DELTA = "_delta_log"  # folder of a Delta table that holds its log


class Folder(NamedTuple):
    """The contents of a folder, without hidden names and names like Spark's _SUCCESS."""

    files: list[Path]
    folders: list[Path]
    others: list[Path]  #: broken links, pipes, sockets, devices


def scan(folder: Path) -> Folder:
    """Returns the contents of a folder. Raises UserError if it can't be read, or is the folder of a Delta table."""
    found = Folder([], [], [])
    try:
        if is_delta(folder):
            raise of_delta(folder, folder)
        for each in sorted(folder.iterdir()):
            if not is_hidden(each.name):
                (found.files if each.is_file() else found.folders if each.is_dir() else found.others).append(each)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from None
    return found


def is_delta(path: str | Path) -> bool:
    """Returns whether a path is the folder of a Delta table."""
    return os.path.isdir(os.path.join(path, DELTA))  # also False for a string that is no path


def of_delta(path: Path, table: Path) -> UserError:
    """Returns the error for reading the files of a Delta table like any others. `table`: the folder of the table."""
    what = "a Delta table" if path == table else f"of the Delta table {table}"
    return UserError(f"{path}: {what}, whose files hold removed rows too: name the table's folder alone as the log")


def is_hidden(name: str) -> bool:
    """Returns whether files and folders of this name are skipped."""
    return name.startswith((".", "~$", "__MACOSX")) or (name.startswith("_") and "=" not in name)  # ~$: Excel's locks


def walk(root: Path, say: Callable[[str], None]) -> list[Path]:
    """Returns the files below a folder, each once even if links lead to it."""
    seen, found, waiting, later = {_identity(root)}, [], [root], []  # later: links, which are followed last
    while waiting or later:
        each = waiting.pop() if waiting else later.pop(0)
        if each.is_symlink() and each != root:
            if _identity(each) in seen:
                say(f"not read: {shown(each)}: a link to what is read")
                continue
            seen.add(_identity(each))
            if each.is_file():
                found.append(each)
                continue
        if len(each.relative_to(root).parts) > DEEP:
            raise UserError(f"{shown(each)}: over {DEEP} folders within each other: name one closer to the files")
        inside = scan(each)
        refuse(inside.others)
        later += [one for one in (*inside.files, *inside.folders) if one.is_symlink()]
        files, folders = ([one for one in group if not one.is_symlink()] for group in inside[:2])
        seen.update(map(_identity, (*files, *folders)))
        found += files
        waiting += folders
        check_number(root, len(found))
    return sorted(found)


def once(root: Path, paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Returns the paths below a folder to be read, and those left out because they link to the same files."""
    paths, same = list(paths), {}
    for each in paths:
        same.setdefault(_identity(each) if each.exists() else each, []).append(each)
    kept, base = set(), os.path.realpath(root)
    for group in same.values():
        direct = [each for each in group if os.path.realpath(each) == os.path.join(base, each.relative_to(root))]
        kept.update(direct or group[:1])
    return [each for each in paths if each in kept], [each for each in paths if each not in kept]


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def refuse(others: list[Path]) -> None:
    """Raises UserError if there is anything that is neither a file nor a folder. `others`: from `Folder`."""
    for each in others:
        what = "a link to nowhere" if each.is_symlink() else "a pipe, a socket or a device"
        raise UserError(f"{shown(each)}: {what}, where files are expected: remove it, or name the files by a glob")


def check_number(given: Path, number: int) -> None:
    """Raises UserError if there are more than MOST files."""
    if number > MOST:
        raise UserError(f"{shown(given)}: over {MOST:,} files: name some of them, or join them into fewer")


def without_caches(files: list[File], say: Callable[[str], None]) -> list[File]:
    """Returns the files without the caches that lie beside a data set saved by Hugging Face's library.

    The state.json of such a data set names its own files; other .arrow files beside it are caches.
    """
    caches = []
    for state in (file for file in files if file.name == STATE and not file.member):
        beside = [file for file in files if file.path.parent == state.path.parent and file.suffix == ".arrow"]
        try:
            own = {each["filename"] for each in json.loads(state.path.read_bytes())["_data_files"]}
        except (OSError, ValueError, LookupError, TypeError, RecursionError):  # a state.json of another program
            continue
        if own <= {file.name for file in beside}:
            caches += [file for file in beside if file.name not in own]
    if caches:
        say(f"not read: {some(file.below for file in caches)}: not among the files that {STATE} names")
    return [file for file in files if file not in caches]


def say_copies(files: list[File], say: Callable[[str], None]) -> None:
    """Notes files that are byte-for-byte copies of others, in folders that add the same columns.

    Files of very few lines, such as only a header, don't count, nor do members of zips and files that can't be read.
    """
    sizes, seen, found = {}, {}, []
    for file in (file for file in files if not file.member and file.path.is_file()):
        sizes.setdefault(file.path.stat().st_size, []).append(file)
    for file in (file for same in sizes.values() if len(same) > 1 for file in same):
        with contextlib.suppress(OSError):
            other = seen.setdefault((checksums.of_file(file.path), *file.keys.items()), file)
            start = file.start(HEAD) if other is not file else b""
            if len(start) == HEAD if b"\0" in start else start.count(b"\n") > FEW:
                found.append((other, file))
    if found:
        (one, other), *more = found
        also = f" (and {len(more):,} more equal another)" if more else ""
        say(f"{other.below} equals {one.below} byte for byte{also}, and is read too: if these are copies, remove them")


def check_distinct(files: list[File]) -> None:
    """Checks that no file occurs twice, such as plain and compressed, or also in a zip."""
    seen = {}
    for file in files:
        other = seen.setdefault((file.path.parent, Path(file.member).parts[:-1], file.name), file)
        if other is not file and not (file.member and file.path != other.path):
            raise UserError(f"{other} and {file} are the same file twice: remove one, or name the one to read")

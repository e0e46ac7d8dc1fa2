"""Finds the tables of items and users that lie beside a log."""

import hashlib
import os
from pathlib import Path

from jaxrec.data.files.text import File, some
from jaxrec.system.errors import UserError

NAMES = ("items.csv", "items.tsv", "items.parquet", "items.jsonl")  # of tables of items; any may be compressed


def table(log: list[File], folder: str, role: str = "item") -> File | None:
    """Returns the table of items (or users) in the given folder, the log's common folder, or beside the log's files.

    RecBole's table beside an .inter has the same name as the .inter, and is preferred. None if there is no table.

    Args:
        log: the files of the log.
        folder: the log's path as given.
        role: what the table describes, "item" or "user".

    Raises:
        UserError: if a folder has two tables, or if several of the log's folders have different ones.
    """
    places, names = [], [name.replace("item", role) for name in NAMES]
    if log[0].suffix == ".inter" and (own := log[0].beside(log[0].name.removesuffix(".inter") + f".{role}")):
        return own  # RecBole's
    if Path(folder).expanduser().is_dir():
        places.append(File(Path(folder).expanduser() / log[0].path.name))
    if len(log) > 1 and not log[0].member:
        places.append(File(Path(os.path.commonpath([file.path.parent for file in log])) / log[0].path.name))
    own = {(file.path.parent, file.member.rpartition("/")[0]): file for file in reversed(log)}  # one file per folder
    for group in (*([place] for place in places), [*reversed(own.values())]):
        found = [each for place in group for name in names if (each := place.beside(name)) and each not in log]
        if len(found) > 1 and (len(group) == 1 or not _are_same(found)):
            what = f"{'two' if len(found) == 2 else f'{len(found):,}'} tables of {role}s"
            cure = "remove one" if len(group) == 1 else f"join them into one for it; --{role}s '' ignores them all"
            raise UserError(f"{some(found, 3)}: {what}: name one with prepare's --{role}s, or {cure}")
        if found:
            return found[0]
    return None


def _are_same(files: list[File]) -> bool:
    """Returns whether files have the same content."""
    contents = set()
    for file in files:
        with file.open() as stream:
            contents.add(hashlib.file_digest(stream, "sha256").digest())
    return len(contents) == 1

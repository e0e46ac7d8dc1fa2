"""Reads the live rows of Delta tables, with the packages deltalake and polars.

A table's folder also holds the files of removed rows; its log says which rows are live. The live rows are written to
a Parquet file in the cache, once for each version of the table, and this file is read like any other.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from jaxrec.data.discover import SIDE
from jaxrec.data.files.walking import DELTA
from jaxrec.system.errors import UserError
from jaxrec.system.files import FULL, MARK, replacing

ROWS = "rows.parquet"


def live(folder: Path, cache: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """Returns a folder with the live rows of a Delta table as Parquet, and the tables of items and users beside them.

    Args:
        folder: the table's folder.
        cache: the folder of copies.
        say: receives a note.

    Raises:
        UserError: if the table can't be read, or the package deltalake is missing.
    """
    table = _opened(folder)
    place = cache / "delta" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    home = place / f"{table.metadata().id}-{table.version()}" / folder.name
    if not (home / ROWS).exists():
        shutil.rmtree(place, ignore_errors=True)  # copies of other versions
        with replacing(home / ROWS) as temporary:
            try:
                pl.scan_delta(table).sink_parquet(temporary)
            except Exception as error:  # polars and deltalake raise various exceptions for what they don't support
                if FULL.search(str(error)):
                    raise
                raise _unreadable(folder, error) from error
    for file in folder.iterdir():
        if file.is_file() and is_beside(file.name):
            with replacing(home / file.name) as temporary:
                shutil.copyfile(file, temporary)
    say(f"{folder}: a Delta table: the live rows of its version {table.version():,} are read")
    return home


def files(folder: Path) -> list[str]:
    """Returns the paths, within its folder, of the files with a Delta table's live rows. Reads only the table's log.

    Raises:
        UserError: if the table can't be read, a file lies elsewhere, or the package deltalake is missing.
    """
    root = folder.resolve()
    found = [Path(uri.removeprefix("file://")) for uri in _opened(root).file_uris()]
    if others := [path for path in found if not path.is_relative_to(root)]:
        raise UserError(f"{folder}: a Delta table with files elsewhere ({others[0]}): write a deep copy of it")
    return sorted(str(path.relative_to(root)) for path in found)


def is_needed(name: str) -> bool:
    """Whether an object in a Delta table's folder is needed besides the files that `files` returns: if it is part of
    its log, says which rows of a file are removed, or is a table beside it."""
    return name.startswith(f"{DELTA}/") or name.endswith(".bin") or is_beside(name)


def is_beside(name: str) -> bool:
    """Whether this is the name of a file beside a log: a table of items or users, vectors of items, or metadata."""
    return not name.startswith(MARK) and (name.startswith(("items.", "users.")) or name in SIDE)


def _opened(folder: Path) -> Any:
    """Returns the DeltaTable of a folder."""
    try:
        import deltalake
    except ImportError:
        raise UserError(
            f"{folder}: a Delta table, whose files hold removed rows too: reading it needs deltalake: pip install "
            "'jaxrec[delta]'"
        ) from None
    try:
        return _plain(deltalake.DeltaTable)(str(folder))
    except Exception as error:  # the exceptions of deltalake and of its parts have no common class
        raise _unreadable(folder, error) from error


def _plain(kind: type) -> type:
    """Returns a DeltaTable class whose file paths are those on disk: deltalake writes a space in the root as %20."""

    class Plain(kind):
        def file_uris(self, *args, **options) -> list[str]:
            root = self.table_uri.removeprefix("file://")
            found = super().file_uris(*args, **options)
            return [unquote(root) + uri.removeprefix(root) if uri.startswith(root) else uri for uri in found]

        def deletion_vectors(self, *args, **options) -> pl.DataFrame:
            found = pl.DataFrame(super().deletion_vectors(*args, **options))
            paths = [unquote(uri) for uri in found["filepath"]]
            if others := {path.removeprefix("file://") for path in paths} - {*self.file_uris()}:
                raise ValueError(f"its log lists removed rows of {min(others)}, which is not one of its files")
            return found.with_columns(pl.Series("filepath", paths, pl.String))

    return Plain


def _unreadable(folder: Path, error: Exception) -> UserError:
    why = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    return UserError(
        f"{folder}: a Delta table that can't be read here ({why}): prepare it with python -m jaxrec.data.spark, or "
        "write its rows as Parquet"
    )

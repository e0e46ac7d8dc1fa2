"""The prepared folder: memory-mappable arrays, ids and catalogue as Parquet, and metadata as JSON."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from jaxrec.data.interactions import (
    ID,
    Catalogue,
    Interactions,
    Sessions,
    Types,
    UserColumns,
    describe,
    fingerprint,
    to_array,
)
from jaxrec.data.text import some
from jaxrec.system import checksums, files
from jaxrec.system.errors import UserError

META, FORMAT = "meta.json", "jaxrec interactions 1"
ARRAYS = ("items", "offsets", "times", "weights")  # [N], offsets [U + 1], as .npy
USERS, CATALOGUE, SESSIONS = "users.parquet", "catalogue.parquet", "sessions.parquet"
COLUMNS = "user_columns.parquet"
READ = {USERS, CATALOGUE, SESSIONS, COLUMNS, "sessions.npy", "types.npy", *(f"{name}.npy" for name in ARRAYS)}
MOST = 1 << 24  # maximum bytes of a meta.json
NAME = 200  # maximum bytes of a name that temporary names are derived from


def save(
    interactions: Interactions, path: str | Path, meta: dict, extra: Callable[[Path], None] = lambda folder: None
) -> None:
    """Writes a prepared folder atomically: under a temporary name, renamed when complete.

    Args:
        interactions: the data.
        path: the folder; an earlier prepared folder there is replaced.
        meta: plain values that describe the preparation; stored in meta.json with the counts and the fingerprint.
        extra: (folder) -> None, writes more files into the folder.

    Raises:
        UserError: if something else is at the path, it can't be written, or the disk is full. Leaves nothing behind.
    """
    path = Path(path)
    check(path)
    with _building(path) as folder:
        for name in ARRAYS:
            if (array := getattr(interactions, name)) is not None:
                _write_array(folder / f"{name}.npy", array)
        _write_ids(folder / USERS, interactions.users)
        interactions.catalogue.save(folder / CATALOGUE)
        if interactions.sessions is not None:
            _write_array(folder / "sessions.npy", interactions.sessions.offsets)
            _write_ids(folder / SESSIONS, interactions.sessions.ids)
        if interactions.types is not None:
            _write_array(folder / "types.npy", interactions.types.numbers)
        if interactions.user_columns is not None:
            with (folder / COLUMNS).open("wb") as file:
                interactions.user_columns.about.write_parquet(file)
        extra(folder)
        written = sorted(file.name for file in folder.iterdir())
        facts = {
            "format": FORMAT,
            "files": written,
            "checksums": {name: checksums.of_file(folder / name) for name in written if name in READ},
            "fingerprint": fingerprint(interactions),
            **describe(interactions),
            "relative_times": interactions.relative,
            "train_sessions": interactions.train_sessions,
            **({} if interactions.types is None else {"types": list(interactions.types.names)}),
            **meta,
        }
        files.write_checked(folder / META, facts)  # last: a folder without it is not a prepared one


def load(path: str | Path) -> Interactions:
    """Loads a prepared folder, with memory-mapped arrays. `verify` checks their contents.

    Raises:
        UserError: if the folder is incomplete or damaged.
    """
    path = Path(path)
    with _whole(path):
        meta = _checked_meta(path)
        _check_files(path, meta, {USERS, CATALOGUE, SESSIONS, COLUMNS})
        names = [name.removesuffix(".npy") for name in meta["files"] if name in READ and name.endswith(".npy")]
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
        sessions, types = arrays.pop("sessions", None), arrays.pop("types", None)
        if sessions is not None:
            sessions = Sessions(sessions, _read_ids(path / SESSIONS))
        interactions = Interactions(
            **arrays,
            users=_read_ids(path / USERS),
            catalogue=Catalogue.load(path / CATALOGUE),
            name=str(path),
            relative=meta["relative_times"],
            types=None if types is None else Types(types, tuple(meta["types"])),
            sessions=sessions,
            train_sessions=meta["train_sessions"],
            digest=meta["fingerprint"],
            user_columns=_read_columns(path / COLUMNS) if COLUMNS in meta["files"] else None,
        )
        _check_form(interactions, meta)
        return interactions


def verify(interactions: Interactions) -> None:
    """Checks that a loaded prepared folder is as it was written. Reads every byte.

    Raises:
        UserError: if it is not.
    """
    path = Path(interactions.name)
    with _whole(path):
        meta = _checked_meta(path)
        if "checksums" in meta:
            _check_files(path, meta, READ)
        elif fingerprint(replace(interactions, digest=None)) != meta["fingerprint"]:  # written by an earlier version
            raise ValueError("arrays or ids: not what was written")
        most = len(interactions.catalogue.ids)
        if len(interactions.items) and not 1 <= interactions.items.min() <= interactions.items.max() <= most:
            raise ValueError(f"items.npy: numbers beyond the {most:,} items of the catalogue")
        if interactions.types and interactions.types.numbers.max(initial=0) > len(interactions.types.names):
            raise ValueError(f"types.npy: numbers beyond the {len(interactions.types.names)} types of {META}")


@contextlib.contextmanager
def _whole(path: Path):
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # np.load and polars raise various exceptions for damaged files
        raise UserError(f"{path}: a prepared folder that is not whole ({_said(error)}): prepare it again") from None


def _checked_meta(path: Path) -> dict:
    file = path / META
    if not file.is_file() or file.stat().st_size > MOST:
        raise ValueError(f"{META}: gone, or no such thing")
    return files.read_checked(file, "it is written with the folder")


def _check_files(path: Path, meta: dict, which: set) -> None:
    if gone := [name for name in meta["files"] if name in READ and not (path / name).is_file()]:
        raise ValueError(f"{some(gone)}: gone")
    known = meta.get("checksums", {})
    if changed := [name for name in sorted(which & known.keys()) if checksums.of_file(path / name) != known[name]]:
        raise ValueError(f"{some(changed)}: not what was written")


def _check_form(data: Interactions, meta: dict) -> None:
    users, items, rows = len(data.users), len(data.catalogue.ids), len(data.items)
    if (users, items, rows) != (meta["users"], meta["items"], meta["interactions"]):
        raise ValueError(f"{users:,} users, {items:,} items and {rows:,} interactions")
    kinds = {"items": "<i4", "offsets": "<i8", "times": "<i8", "weights": "<f4"}
    for name, kind in kinds.items():
        array = getattr(data, name)
        if array is not None and (array.ndim != 1 or array.dtype != kind):
            raise ValueError(f"{name}.npy: {array.dtype} of {array.ndim} dimensions")
    numbers, names = data.types[:2] if data.types else (None, ())
    if numbers is not None and (numbers.ndim != 1 or numbers.dtype != "u1" or not all(type(x) is str for x in names)):
        raise ValueError("types.npy, or what meta.json says of them")
    if any(len(column) != rows for column in (data.times, data.weights, numbers) if column is not None):
        raise ValueError("arrays that do not fit together")
    for offsets, ids in ((data.offsets, data.users), *([data.sessions] if data.sessions else [])):
        if len(offsets) != len(ids) + 1 or offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
            raise ValueError("offsets that do not part the rows")
    if data.user_columns is not None and len(data.user_columns.about) != users:
        raise ValueError(f"{COLUMNS}: not a row a user")
    if not 0 <= (data.train_sessions or 0) <= users:
        raise ValueError(f"{META}: {data.train_sessions} training sessions of {users:,}")


def recognise(meta: Path) -> bool:
    """Returns whether a meta.json belongs to a prepared folder."""
    return _meta(meta).get("format") == FORMAT


def check(path: str | Path) -> None:
    """Checks that a prepared folder may be written to this path.

    Raises:
        UserError: if something other than a prepared folder is there.
    """
    path = files.local(path, "a prepared folder that is written so")
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir())
        if inside and not recognise(path / META):
            raise UserError(f"{path}: not empty, and no prepared folder: name another --output")
        written = {META, *_meta(path / META).get("files", ())}
        if others := [name for name in inside if name not in written]:
            raise UserError(f"{path}: holds {some(others)} too: move that elsewhere, or name another --output")
    elif path.exists():
        raise UserError(f"{path}: a file, where a folder is to be written: name another --output")


def _meta(file: Path) -> dict:
    """Reads a meta.json; {} if it is missing or unreadable."""
    try:
        meta = files.read_json(file)
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


@contextlib.contextmanager
def _building(path: Path):
    path = path.resolve()  # a symbolic link stays a link
    name = path.name if len(os.fsencode(path.name)) <= NAME else checksums.of_text(repr(path.name))
    folder, before = path.with_name(f".{name}.tmp"), path.with_name(f".{name}.before.tmp")
    made = [each for each in path.parents if not each.exists()]
    _check_unlocked(folder)
    lock = None
    try:
        if before.exists() and not path.exists():  # an earlier process was killed between the two renames
            before.rename(path)
        for left in (folder, before):
            shutil.rmtree(left, ignore_errors=True)
        folder.mkdir(parents=True)
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        for file in folder.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        if path.exists():
            path.rename(before)
        folder.rename(path)
        made = []
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{path}: cannot be written ({_said(error)}): free the disk, or name another --output"
        ) from None
    finally:
        if before.exists() and not path.exists():
            before.rename(path)
        for left in (folder, before):
            shutil.rmtree(left, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def _check_unlocked(folder: Path) -> None:
    """Checks that no other process is writing this temporary folder; one left by a killed process is unlocked."""
    if not folder.is_dir():
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder}: another prepare is writing there: wait for it, or name another --output") from None
    finally:
        os.close(handle)


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save doesn't report why writing failed
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(np.ascontiguousarray(array).data)


def _write_ids(path: Path, ids: np.ndarray) -> None:
    with path.open("wb") as file:
        pl.DataFrame({ID: ids if ids.dtype.kind == "i" else ids.tolist()}).write_parquet(file)


def _read_ids(path: Path) -> np.ndarray:
    with path.open("rb") as file:  # polars would read a path as a glob pattern
        return to_array(pl.read_parquet(file)[ID])


def _read_columns(path: Path) -> UserColumns:
    with path.open("rb") as file:
        return UserColumns(pl.read_parquet(file))


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
    return str(error).partition("\n")[0]

"""The prepared folder: arrays to be mapped, ids and catalogue as Parquet, and what was done, as JSON."""

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from jaxrec.data.interactions import ID, Catalogue, Interactions, Sessions, describe, fingerprint, to_array
from jaxrec.data.text import some
from jaxrec.errors import UserError
from jaxrec.files import read_json

META, FORMAT = "meta.json", "jaxrec interactions 1"
ARRAYS = ("items", "offsets", "times", "weights")  # [N] and [U + 1], as .npy
USERS, CATALOGUE, SESSIONS = "users.parquet", "catalogue.parquet", "sessions.parquet"


def save(interactions: Interactions, path: str | Path, meta: dict, extra=lambda folder: None) -> None:
    """Write a prepared folder: under a temporary name, which it loses when it is whole.

    Args:
        path: takes the place of what `save` wrote there before.
        meta: of how it came about, plain values; kept in meta.json with the counts and the fingerprint.
        extra: (folder) -> None, writes more files into it.

    Raises:
        UserError: something else lies at the path; it can't be written, or the disk is full. Nothing is left then.
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
        extra(folder)
        facts = {
            "format": FORMAT,
            "files": sorted(file.name for file in folder.iterdir()),
            "fingerprint": fingerprint(interactions),
            **describe(interactions),
            "relative_times": interactions.relative,
            "train_sessions": interactions.train_sessions,
            **meta,
        }
        (folder / META).write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n")  # last: it makes a folder one


def load(path: str | Path) -> Interactions:
    """A prepared folder, its arrays mapped, not read.

    Raises:
        UserError: it is not whole.
    """
    path = Path(path)
    try:
        meta = read_json(path / META)
        if gone := [name for name in meta["files"] if not (path / name).is_file()]:
            raise ValueError(f"{some(gone)}: gone")
        names = [name.removesuffix(".npy") for name in meta["files"] if name.endswith(".npy")]
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
        sessions = arrays.pop("sessions", None)
        if sessions is not None:
            sessions = Sessions(sessions, _read_ids(path / SESSIONS))
        interactions = Interactions(
            **arrays,
            users=_read_ids(path / USERS),
            catalogue=Catalogue.load(path / CATALOGUE),
            name=str(path),
            relative=meta["relative_times"],
            sessions=sessions,
            train_sessions=meta["train_sessions"],
            digest=meta["fingerprint"],
        )
        _check_lengths(interactions, meta)
    except Exception as error:  # whatever np.load makes of a damaged file
        raise UserError(f"{path}: a prepared folder that is not whole ({_said(error)}): prepare it again") from None
    return interactions


def _check_lengths(data: Interactions, meta: dict) -> None:
    users, items, rows = len(data.users), len(data.catalogue.ids), len(data.items)
    if (users, items, rows) != (meta["users"], meta["items"], meta["interactions"]):
        raise ValueError(f"{users:,} users, {items:,} items and {rows:,} interactions")
    columns = [array for array in (data.times, data.weights) if array is not None]
    parts = [(data.offsets, data.users), *([data.sessions] if data.sessions else [])]
    if any(len(column) != rows for column in columns) or any(len(offsets) != len(ids) + 1 for offsets, ids in parts):
        raise ValueError("arrays that do not fit together")


def recognise(meta: Path) -> bool:
    """Whether a meta.json is that of a prepared folder."""
    return _meta(meta).get("format") == FORMAT


def check(path: str | Path) -> None:
    """That a prepared folder may be written there.

    Raises:
        UserError: something lies there that is none.
    """
    path = Path(path)
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
    """A meta.json; {} where there is none, or none that can be read."""
    try:
        meta = read_json(file)
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


@contextlib.contextmanager
def _building(path: Path):
    path = path.resolve()  # a link stays one
    folder = path.with_name(f".{path.name}.tmp")
    before = path.with_name(f".{path.name}.before.tmp")
    made = [each for each in path.parents if not each.exists()]
    _check_unlocked(folder)
    lock = None
    try:
        if before.exists() and not path.exists():  # one was killed between the two renames
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
    """That no other process is writing this temporary folder; what one left that was killed is not locked."""
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
    with path.open("wb") as file:  # np.save does not say why a disk refuses
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(np.ascontiguousarray(array))


def _write_ids(path: Path, ids: np.ndarray) -> None:
    pl.DataFrame({ID: ids if ids.dtype.kind == "i" else ids.tolist()}).write_parquet(path)


def _read_ids(path: Path) -> np.ndarray:
    return to_array(pl.read_parquet(path)[ID])


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
    return str(error).partition("\n")[0]

"""The prepared folder: memory-mappable arrays, ids and catalogue as Parquet, and metadata as JSON."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import filters
from jaxrec.data.files.text import some
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
from jaxrec.data.storage import folders, maps
from jaxrec.data.storage.folders import said
from jaxrec.data.storage.spill import MEMORY, Store
from jaxrec.system import checksums, files
from jaxrec.system.errors import UserError

META, FORMAT = "meta.json", "jaxrec interactions 1"
ARRAYS = ("items", "offsets", "times", "weights")  # [N], offsets [U + 1], as .npy
USERS, CATALOGUE, SESSIONS = "users.parquet", "catalogue.parquet", "sessions.parquet"
COLUMNS = "user_columns.parquet"
READ = {USERS, CATALOGUE, SESSIONS, COLUMNS, "sessions.npy", "types.npy", *(f"{name}.npy" for name in ARRAYS)}
MOST = 1 << 24  # maximum bytes of a meta.json


def meta_of(
    source: str,
    options: filters.Options,
    *,
    reading: Mapping[str, Any],
    columns: Mapping[str, str | None],
    tables: Mapping[str, str | None],
    notes: Sequence[str],
    steps: Sequence[filters.Step],
    facts: Mapping[str, Any],
) -> dict:
    """Returns the contents of meta.json that describe a preparation, without options that are off.

    Args:
        source: what was read.
        options: the filters.
        reading: {option: value} for reading.
        columns: {role: column} as given.
        tables: {"items" or "users": the table, or None}.
        notes: lines for people.
        steps: the counts after each step.
        facts: as from `summary.facts`.
    """
    told = lambda values: {name: value for name, value in values.items() if value not in (None, False, "", [], ())}
    return {
        "source": source,
        "options": told(dataclasses.asdict(options)),
        "reading": told(reading),
        "columns": told(columns),
        **{f"{name}_table": table for name, table in tables.items() if table is not None},
        "notes": [*notes],
        "steps": [step._asdict() for step in steps],
        "facts": facts,
    }


def save(
    interactions: Interactions,
    path: str | Path,
    meta: dict,
    extra: Callable[[Path], None] = lambda folder: None,
    store: Store = MEMORY,
) -> None:
    """Writes a prepared folder atomically: under a temporary name, renamed when complete.

    Args:
        interactions: the data.
        path: the folder; an earlier prepared folder there is replaced.
        meta: plain values that describe the preparation; stored in meta.json with the counts and the fingerprint.
        extra: (folder) -> None, writes more files into the folder.
        store: where the data's arrays are kept; their files are moved.

    Raises:
        UserError: if something else is at the path, it can't be written, or the disk is full. Leaves nothing behind.
    """
    path = Path(path)
    check(path)
    with folders.building(path) as folder:
        for name in ARRAYS:
            if (array := getattr(interactions, name)) is not None:
                _place(array, folder / f"{name}.npy", store)
        _write_ids(folder / USERS, interactions.users)
        interactions.catalogue.save(folder / CATALOGUE)
        if interactions.sessions is not None:
            _write_array(folder / "sessions.npy", interactions.sessions.offsets)
            _write_ids(folder / SESSIONS, interactions.sessions.ids)
        if interactions.types is not None:
            _place(interactions.types.numbers, folder / "types.npy", store)
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
        if not all(1 <= part.min() <= part.max() <= most for part in maps.pieces(interactions.items)):
            raise ValueError(f"items.npy: numbers beyond the {most:,} items of the catalogue")
        if (types := interactions.types) and any(part.max() > len(types.names) for part in maps.pieces(types.numbers)):
            raise ValueError(f"types.npy: numbers beyond the {len(interactions.types.names)} types of {META}")


@contextlib.contextmanager
def _whole(path: Path):
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # np.load and polars raise various exceptions for damaged files
        raise UserError(f"{path}: a prepared folder that is not whole ({said(error)}): prepare it again") from None


def _checked_meta(path: Path) -> dict:
    file = path / META
    if not file.is_file() or file.stat().st_size > MOST:
        raise ValueError(f"{META}: gone, or too large to be one")
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
            raise ValueError("offsets that do not divide up the rows")
    if data.user_columns is not None and len(data.user_columns.about) != users:
        raise ValueError(f"{COLUMNS}: not one row per user")
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
    path = files.local(path, "a prepared folder that is written this way")
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir())
        if inside and not recognise(path / META):
            raise UserError(f"{path}: not empty, and not a prepared folder: name another --output")
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


def _place(array: np.ndarray, path: Path, store: Store) -> None:
    """Moves the file of an array to a path, or writes one."""
    if not store.give(array, path):
        _write_array(path, array)


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save doesn't report why writing failed
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for part in maps.pieces(array):
            file.write(np.ascontiguousarray(part).data)


def _write_ids(path: Path, ids: np.ndarray) -> None:
    with path.open("wb") as file:
        pl.DataFrame({ID: ids if ids.dtype.kind == "i" else ids.tolist()}).write_parquet(file)


def _read_ids(path: Path) -> np.ndarray:
    with path.open("rb") as file:  # polars would read a path as a glob pattern
        return to_array(pl.read_parquet(file)[ID])


def _read_columns(path: Path) -> UserColumns:
    with path.open("rb") as file:
        return UserColumns(pl.read_parquet(file))

"""Object stores: tables and prepared folders at s3://, gs://, hf:// and the like, with fsspec.

Each file there is fetched into the cache, and fetched again only if it has changed. A prepared folder is written there
file by file too, its meta.json last: a folder without it is not a prepared one.
"""

import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, ParamSpec, TypeVar

from rich import filesize

from jaxrec.data import delta, prepared
from jaxrec.data.files import walking
from jaxrec.data.files.text import some
from jaxrec.system import files, objects
from jaxrec.system.errors import UserError

LISTING = "files.json"  # what was fetched
UNCHANGED = "unchanged since it was fetched"
PLOTS = "plots.png"
P = ParamSpec("P")
T = TypeVar("T")


def fetch(address: str, cache: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """Returns the path of a copy of a file, a folder, or the files of a glob; fetches what is new or has changed.

    The tables of items and users beside a single file, or beside the files of a glob, are fetched too.

    Args:
        address: such as s3://bucket/logs; the credentials are those that the store's own tools use.
        cache: the folder of copies.
        say: receives a note.

    Raises:
        UserError: if nothing is there, it can't be reached, or the store's package is missing.
    """
    store, path = objects.opened(address)
    with objects.resolving(address):
        found, root = _found(store, path)
    if not found:
        raise UserError(f"{address}: no such file or folder: check the address, and that you may list and read it")
    with objects.reaching(address):
        _check_delta(address, store, path, root, found)
    place = cache / "stores" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
    home, there = place / PurePosixPath(root).name, {_below(name, root): told for name, told in found.items()}
    copy = objects.Copy(store, root, there, home, place / LISTING)
    with objects.reaching(address):
        if is_delta := any(name.startswith(f"{walking.DELTA}/") for name in there):
            names = [name for name in there if delta.is_needed(name)]
            copy.fetch(names)
            names += [name for name in delta.files(home) if name not in names]
        else:
            names = [name for name in there if not any(map(walking.is_hidden, PurePosixPath(name).parts))]
        walking.check_number(Path(address), len(names))
        if gone := [name for name in names if name not in there]:
            raise UserError(f"{address}: {gone[0]}, with live rows of the Delta table, is gone: put it back")
        copy.fetch(names)
        copy.keep(names)
    size = sum(there[name].get("size") or 0 for name in copy.fetched)
    fetched = f"fetched {len(copy.fetched):,} files, {filesize.decimal(size)}" if copy.fetched else UNCHANGED
    say(f"{address}: {fetched}, into {home}")
    return home if is_delta else home / _below(path, root)


def _check_delta(address: str, store: Any, path: str, root: str, found: Iterable[str]) -> None:
    """Checks that an address within a Delta table, or above one, is the folder of a table itself."""
    parents = [str(each) for each in PurePosixPath(root).parents][:-1] + [root] * (path != root)
    within = [name for name in found if walking.DELTA in PurePosixPath(_below(name, root)).parts[1:]]
    if within or any(objects.exists(store, f"{each}/{walking.DELTA}") for each in parents):
        raise UserError(
            f"{address}: of a Delta table, whose files hold removed rows too: name the table's folder alone"
        )


def _below(name: str, root: str) -> str:
    return str(PurePosixPath(name).relative_to(root))


def putting(prepare: Callable[P, T]) -> Callable[P, T]:
    """Wraps a function that writes a prepared folder to the keyword `output`, so that this may be an address too.

    The meta.json there is removed first and written last, so that an incomplete folder is not a prepared one.

    Raises:
        UserError: if something else is at the address, or it can't be written.
    """

    @functools.wraps(prepare)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        if not files.is_address(address := kwargs.get("output")):
            return prepare(*args, **kwargs)
        store, root = objects.opened(address := str(address))
        with objects.reaching(address):
            there = [str(PurePosixPath(name).relative_to(root)) for name in store.find(root)]
        if there and prepared.META not in there:
            raise UserError(f"{address}: not empty, and not a prepared folder: name another --output")
        if others := [name for name in there if name not in {prepared.META, PLOTS, *prepared.READ}]:
            raise UserError(f"{address}: holds {some(others)} too: move that elsewhere, or name another --output")
        with tempfile.TemporaryDirectory(prefix="jaxrec-") as folder:
            made = Path(folder) / PurePosixPath(root).name
            kwargs["output"] = made
            result = prepare(*args, **kwargs)
            names = sorted(file.name for file in made.iterdir() if file.name != prepared.META)
            with objects.reaching(address):
                for name in sorted(there, key=lambda name: name != prepared.META):
                    store.rm_file(f"{root}/{name}")
                for name in [*names, prepared.META]:
                    store.put_file(str(made / name), f"{root}/{name}")
        if hasattr(result, "dataset"):
            result.dataset = address  # pyright: ignore[reportAttributeAccessIssue]
        return result

    return wrapped


def _found(store: Any, path: str) -> tuple[dict[str, dict], str]:
    """Returns {name: the store's facts} for the files at a path, and the folder that they are copied from."""
    if "**" in path:
        raise UserError(f"{path}: ** is not supported: name the folder, whose subfolders are read too")
    if any(mark in path for mark in "*?["):
        parts = PurePosixPath(path).parts
        literal = next(at for at, part in enumerate(parts) if any(mark in part for mark in "*?["))
        root = str(PurePosixPath(*parts[:literal]))
        found = store.glob(path, detail=True)
        folders = [name for name, told in found.items() if told["type"] == "directory"]
        found = {name: told for name, told in found.items() if told["type"] == "file"}
        for folder in folders:
            found |= objects.find(store, folder)
        return (found | _beside(store, root), root) if found else ({}, root)
    found = objects.find(store, path)
    if list(found) == [path]:
        root = str(PurePosixPath(path).parent)
        return found | _beside(store, root), root
    return found, path


def _beside(store: Any, root: str) -> dict[str, dict]:
    """Returns the tables of items and users, and vectors of items, in a folder."""
    told = store.ls(root, detail=True)
    is_beside = lambda name: delta.is_beside(PurePosixPath(name).name)
    return {each["name"]: each for each in told if each["type"] == "file" and is_beside(each["name"])}

"""Object stores: tables and prepared folders at s3://, gs://, hf:// and the like, by fsspec.

What lies there is fetched into the cache, file by file, and fetched again only where it has changed. A prepared folder
is written there file by file too, its meta.json last: a folder without it is not a prepared one.
"""

import contextlib
import functools
import hashlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ParamSpec, TypeVar

from rich import filesize

from jaxrec.data import prepared, walking
from jaxrec.data.discover import DELTA, SIDE
from jaxrec.data.text import some
from jaxrec.system import files
from jaxrec.system.errors import UserError

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "az": "adlfs"}
PACKAGES |= {"abfs": "adlfs", "abfss": "adlfs", "http": "aiohttp", "https": "aiohttp"}
LISTING = "files.json"  # what was fetched
STAMPS = "ETag", "etag", "md5Hash", "blob_id", "oid", "LastModified", "last_modified", "updated", "mtime", "created"
PLOTS = "plots.png"
P = ParamSpec("P")
T = TypeVar("T")


def fetch(address: str, cache: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """Returns the path of a copy of a file, a folder, or the files of a glob; fetches what is new or has changed.

    Beside a single file, or the files of a glob, lie the tables of items and users that are beside it there.

    Args:
        address: as s3://bucket/logs, with the credentials that the store's own tools take.
        cache: the folder of copies.
        say: receives a note.

    Raises:
        UserError: if nothing is there, it can't be reached, or the store's package is missing.
    """
    store, path = _store(address)
    with _reaching(address):
        found, root = _found(store, path)
    if not found:
        raise UserError(f"{address}: no such file or folder: check the address, and that you may list and read it")
    with _reaching(address):
        is_delta = store.exists(f"{root}/{DELTA}") or any(DELTA in PurePosixPath(name).parts for name in found)
    if is_delta:
        raise UserError(
            f"{address}: a Delta table, whose files hold removed rows too: prepare it by python -m jaxrec.data.spark, "
            "or write it as Parquet"
        )
    names = {name: str(PurePosixPath(name).relative_to(root)) for name in found if _is_read(name, root)}
    walking.check_number(Path(address), len(names))
    place = cache / "stores" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
    home = place / PurePosixPath(root).name
    listing = place / LISTING
    known = _listing(listing)
    stamps = {own: _stamp(found[name]) for name, own in names.items()}
    new = [name for name, own in names.items() if known.get(own) != stamps[own] or not (home / own).is_file()]
    for own in known.keys() - stamps.keys():
        (home / own).unlink(missing_ok=True)
    with _reaching(address):
        for name in new:
            with files.replacing(home / names[name]) as temporary:
                store.get_file(name, str(temporary))
    files.write_json(listing, stamps)
    size = sum(found[name].get("size") or 0 for name in new)
    fetched = f"fetched {len(new):,} files, {filesize.decimal(size)}" if new else "unchanged since it was fetched"
    say(f"{address}: {fetched}, into {home}")
    below = PurePosixPath(path).relative_to(root) if path != root else PurePosixPath()
    return home / below


def putting(prepare: Callable[P, T]) -> Callable[P, T]:
    """Wraps a function with a keyword `output`, a prepared folder to write, so that it may be an address too.

    Its meta.json is removed first and put last, so that a folder which is not whole is not a prepared one.

    Raises:
        UserError: if something else is at the address, or it can't be written.
    """

    @functools.wraps(prepare)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        if not files.is_address(address := kwargs.get("output")):
            return prepare(*args, **kwargs)
        store, root = _store(address := str(address))
        with _reaching(address):
            there = [str(PurePosixPath(name).relative_to(root)) for name in store.find(root)]
        if there and prepared.META not in there:
            raise UserError(f"{address}: not empty, and no prepared folder: name another --output")
        if others := [name for name in there if name not in {prepared.META, PLOTS, *prepared.READ}]:
            raise UserError(f"{address}: holds {some(others)} too: move that elsewhere, or name another --output")
        with tempfile.TemporaryDirectory(prefix="jaxrec-") as folder:
            made = Path(folder) / PurePosixPath(root).name
            kwargs["output"] = made
            result = prepare(*args, **kwargs)
            names = sorted(file.name for file in made.iterdir() if file.name != prepared.META)
            with _reaching(address):
                for name in sorted(there, key=lambda name: name != prepared.META):
                    store.rm_file(f"{root}/{name}")
                for name in [*names, prepared.META]:
                    store.put_file(str(made / name), f"{root}/{name}")
        if hasattr(result, "dataset"):
            result.dataset = address  # pyright: ignore[reportAttributeAccessIssue]
        return result

    return wrapped


def _store(address: str) -> tuple[Any, str]:
    """Returns the file system of an address, and the path within it."""
    kind = address.partition(":")[0].lower()
    try:
        import fsspec
    except ImportError:
        raise UserError(f"{address}: reading it needs fsspec: pip install 'jaxrec[stores]'") from None
    try:
        store, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = PACKAGES.get(kind, "the package of fsspec for it")
        raise UserError(f"{address}: reading it needs {package} ({error}): pip install {package}") from None
    except ValueError as error:
        raise UserError(
            f"{address}: no such store ({error}): name a folder or file, or s3://, gs:// or hf://"
        ) from None
    store.invalidate_cache()
    return store, path.rstrip("/")


def _found(store: Any, path: str) -> tuple[dict[str, dict], str]:
    """Returns {name: what the store tells} of the files at a path, and the folder that they are copied from."""
    if "**" in path:
        raise UserError(f"{path}: ** stands for nothing here: name the folder, whose folders are read too")
    if any(mark in path for mark in "*?["):
        parts = PurePosixPath(path).parts
        literal = next(at for at, part in enumerate(parts) if any(mark in part for mark in "*?["))
        root = str(PurePosixPath(*parts[:literal]))
        found = store.glob(path, detail=True)
        folders = [name for name, told in found.items() if told["type"] == "directory"]
        found = {name: told for name, told in found.items() if told["type"] == "file"}
        for folder in folders:
            found |= store.find(folder, detail=True)
        return (found | _beside(store, root), root) if found else ({}, root)
    found = store.find(path, detail=True)
    if list(found) == [path]:
        root = str(PurePosixPath(path).parent)
        return found | _beside(store, root), root
    return found, path


def _beside(store: Any, root: str) -> dict[str, dict]:
    """Returns the tables of items and users, and vectors of items, in a folder."""
    side = lambda name: name.startswith(("items.", "users.")) or name in SIDE
    told = store.ls(root, detail=True)
    return {each["name"]: each for each in told if each["type"] == "file" and side(PurePosixPath(each["name"]).name)}


def _is_read(name: str, root: str) -> bool:
    return not any(map(walking.is_hidden, PurePosixPath(name).relative_to(root).parts))


def _stamp(told: dict) -> list[str]:
    return [str(told.get("size")), *(str(told[key]) for key in STAMPS if key in told)]


def _listing(path: Path) -> dict:
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turns the errors of a store into a UserError."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{address}: no such file or folder: check the address, and that you may list it") from None
    except (OSError, *_errors()) as error:
        why = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise UserError(f"{address}: cannot be reached ({why}): check the address, credentials and network") from error


def _errors() -> tuple[type[Exception], ...]:
    """Returns the errors of the stores' packages that are no OSErrors."""
    found = []
    for module, name in (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError")):
        with contextlib.suppress(ImportError):
            found.append(getattr(importlib.import_module(module), name))
    return tuple(found)

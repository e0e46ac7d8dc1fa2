"""Object stores (s3://, gs:// and the like) by fsspec: opens them, lists them, and names their errors."""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from jaxrec.system import files
from jaxrec.system.errors import UserError

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "az": "adlfs"}
PACKAGES |= {"abfs": "adlfs", "abfss": "adlfs", "http": "aiohttp", "https": "aiohttp"}
STAMPS = "ETag", "etag", "md5Hash", "blob_id", "oid", "LastModified", "last_modified", "updated", "mtime", "created"
#: errors of the stores' packages that aren't OSErrors
OWN_ERRORS = {"botocore.exceptions": ("BotoCoreError", "ClientError"), "aiohttp": ("ClientError",)}
OWN_ERRORS |= {"gcsfs.retry": ("HttpError",), "google.auth.exceptions": ("GoogleAuthError",)}
OWN_ERRORS |= {"azure.core.exceptions": ("AzureError",), "httpx": ("HTTPError",), "httpx2": ("HTTPError",)}
OWN_ERRORS |= {"huggingface_hub.errors": ("EntryNotFoundError",)}
#: what the client of a hub raises, itself or a subclass, for a path that lies in no repository
STRANGE = ValueError, NotImplementedError


def opened(address: str) -> tuple[Any, str]:
    """Returns fsspec's file system of an address, and the path within it.

    Raises:
        UserError: if there is no such store, or its package is missing.
    """
    kind = address.partition(":")[0].lower()
    try:
        import fsspec
    except ImportError:
        raise UserError(f"{address}: reaching it needs fsspec: pip install 'jaxrec[stores]'") from None
    try:
        store, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = PACKAGES.get(kind, "the package of fsspec for it")
        raise UserError(f"{address}: reaching it needs {package} ({error}): pip install {package}") from None
    except ValueError as error:
        if kind in PACKAGES:  # such as by Azure, without an account
            raise _unreachable(address, error) from error
        raise UserError(
            f"{address}: no such store ({error}): name a folder or file, or s3://, gs:// or hf://"
        ) from None
    store.invalidate_cache()
    return store, path.rstrip("/")


def find(store: Any, path: str) -> dict[str, dict]:
    """Returns {name: metadata} of the object at a path, or of all objects below it."""
    found = store.find(path, detail=True)
    return found if isinstance(found, dict) else {name: store.info(name) for name in found}  # a single one at az://


def listed(store: Any, root: str) -> dict[str, dict]:
    """Returns {name below the root: metadata} of all objects below the root, as they are now."""
    store.invalidate_cache()
    found = find(store, root)
    return {str(PurePosixPath(name).relative_to(root)): told for name, told in found.items() if name != root}


def stamp(told: dict) -> list[str]:
    """Returns the parts of an object's metadata that change when the object does."""
    return [str(told.get("size")), *(str(told[key]) for key in STAMPS if key in told)]


def get(store: Any, name: str, path: Path) -> None:
    """Copies an object to a path atomically: on failure, the path still has what was there before.

    Raises:
        FileNotFoundError: if there is no such object.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{files.MARK}{secrets.token_hex(8)}.tmp")
    try:
        store.get_file(name, str(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Copy:
    """A copy of objects in a folder, for which only new and changed objects are fetched.

    Attributes:
        fetched: the names of the objects that were fetched.
    """

    def __init__(self, store: Any, root: str, there: dict[str, dict], folder: Path, listing: Path):
        """
        Args:
            store: fsspec's file system.
            root: path of the objects in it.
            there: {name below the root: metadata}.
            folder: of the copy.
            listing: the file that records what was fetched earlier.
        """
        self._store, self._root, self._there, self._folder, self._listing = store, root, there, folder, listing
        self._known, self.fetched = _read_listing(listing), []

    def fetch(self, names: Iterable[str]) -> None:
        """Fetches objects, by their names below the root.

        Raises:
            FileNotFoundError: if one is gone.
            OSError, or another of `errors`: if the store can't be reached.
        """
        for name in names:
            now = stamp(self._there[name])
            if self._known.get(name) != now or not (self._folder / name).is_file():
                get(self._store, f"{self._root}/{name}", self._folder / name)
                self._known[name] = now
                self.fetched.append(name)
        files.write_json(self._listing, self._known)

    def keep(self, names: Iterable[str]) -> None:
        """Removes what was fetched earlier, except these."""
        for name in self._known.keys() - set(names):
            (self._folder / name).unlink(missing_ok=True)
            del self._known[name]
        files.write_json(self._listing, self._known)


def _read_listing(path):
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def reaching(address: str) -> Iterator[None]:
    """Turns the errors of a store into a UserError that names the address."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{address}: no such file or folder: check the address, and that you may list it") from None
    except (*errors(), json.JSONDecodeError) as error:  # the latter if a web page answers instead of the store
        raise _unreachable(address, error) from error


@contextlib.contextmanager
def resolving(address: str) -> Iterator[None]:
    """As `reaching`, for the first access to an address, which may not be a valid one of its store."""
    try:
        with reaching(address):
            yield
    except UserError:
        raise
    except STRANGE as error:
        raise UserError(f"{address}: no address in such a store ({said(error)})") from error


def exists(store: Any, path: str) -> bool:
    """Whether anything is at a path; False for paths that a store can't have, such as above a hub's repositories."""
    try:
        return store.exists(path)
    except json.JSONDecodeError:  # also a ValueError, from a web page that answers instead of the store
        raise
    except STRANGE:
        return False


def _unreachable(address, error):
    return UserError(f"{address}: cannot be reached ({said(error)}): check the address, credentials and network")


def said(error: BaseException) -> str:
    """Returns the text of an error, in at most one line."""
    told = getattr(error, "server_message", None) or str(error)  # a hub's own message says more than its client's
    return told.strip().partition("\n")[0][:200] or type(error).__name__


def errors() -> tuple[type[Exception], ...]:
    """Returns the classes of errors that stores raise, from those of their packages that are imported."""
    found: list[type[Exception]] = [OSError]
    for module, names in OWN_ERRORS.items():
        there = vars(sys.modules[module]) if module in sys.modules else {}  # not every version has all of them
        found += [there[name] for name in names if name in there]
    return tuple(found)


def name_of(address: str | os.PathLike) -> str:
    """Returns the last part of an address or path.

    >>> name_of("s3://bucket/runs/a/"), name_of("runs/a")
    ('a', 'a')
    """
    return PurePosixPath(os.fspath(address)).name

"""A workdir, the folder of one training: locked while it trains, and tied to its config and data."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrec.config import parsing as configs
from jaxrec.config.keys import Config
from jaxrec.data.attributes import features, topics, user_columns
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import Catalogue, Interactions, describe, fingerprint
from jaxrec.system import checksums
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError
from jaxrec.system.files import local, read_checked, replacing, sweep, write_checked
from jaxrec.training.workdirs.checkpoint import Checkpoints

CONFIG, CATALOGUE, DONE, LOCK = "config.json", "catalogue.parquet", "done.json", ".lock"
TYPES = "types"  #: key of `Stored.data`: the names of the types of events, by their numbers from 1
COLUMNS = "user_columns"  #: key of `Stored.data`: what `user_columns.stored` returned
USERS = "users.parquet"  #: of a model with vectors for users
#: keys that may differ when a training is resumed: the data are identified by their fingerprint; how steps are fed,
#: called and saved changes no result; the rows per microbatch only change rounding; a bonus only changes answers
FREE = {"dataset", "patience", "cold_bonus", "microbatch_rows", "feed", "steps_per_call", "launcher", "save_every"}
FREE |= {"mesh.data", "mesh.item", "mesh.dense"}  # where rows and params are placed
FREE |= {"model.remat"}  # what is computed twice
log = logging.getLogger("jaxrec")


class Stored(NamedTuple):
    """What a workdir stores about its training."""

    config: configs.Config
    data: dict  #: fingerprint and counts
    files: dict  #: {name: checksum} of the other files; early versions stored none


class Place:
    """The identity of the folder at a workdir's path, to notice if it is moved."""

    def __init__(self, path: Path):
        self.path, self._inode = path, _inode(path)

    def check(self) -> None:
        """Checks that the path still leads to the same folder.

        Raises:
            UserError: it was moved or removed.
        """
        if _inode(self.path) != self._inode:
            raise UserError(
                f"{self.path} was moved or removed while it trained: put it back, or name its new place with "
                "--workdir; the same command goes on from its last checkpoint"
            )

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """A context in which a write error is reported as the move of the workdir, if that is its cause."""
        try:
            yield
        except (OSError, UserError):
            self.check()
            raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Place]:
    """Locks a workdir, which is created if it doesn't exist, and yields its Place. The lock ends with the process.

    Raises:
        UserError: another process has locked it, or it can't be used.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: the name is not valid Unicode: name another --workdir") from None
    path = local(path, "a workdir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / LOCK, "r+", errors="replace", opener=_opened)  # noqa: SIM115
    except OSError as error:
        said = f"its {LOCK} is a link" if (path / LOCK).is_symlink() else error.strerror or error
        raise UserError(f"{path}: can't be used as a workdir: {said}; name another with --workdir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(20).strip()
            raise UserError(
                f"{path} is in use by another training (process {holder if holder.isdecimal() else 'unknown'}): "
                "wait for it, stop it, or name another --workdir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        sweep(path)
        yield Place(path)


def claim(
    path: Path,
    config: Config,
    interactions: Interactions,
    dataset: str,
    catalogue: Catalogue | None = None,
    users: Users | None = None,
    last: int | None = None,
    asked: Interactions | None = None,
) -> None:
    """Stores config and data in a new workdir; if it has a checkpoint, checks that they are the same.

    Args:
        path: Path, locked.
        config: Config.
        interactions: the data of the training.
        dataset: the absolute path of the data.
        catalogue: the catalogue of the split; by default that of the data.
        users: Users, for a model with user embeddings.
        last: the last step of the training, if known.
        asked: the data as they are split, with the columns of users that the model is shown.

    Raises:
        UserError: it has another config or other data, and the message shows the difference; it is already trained
            beyond the last step; or it is damaged.
    """
    data = {"fingerprint": fingerprint(interactions), **describe(interactions)}
    if interactions.types is not None:
        data[TYPES] = list(interactions.types.names)
    if (columns := user_columns.stored(asked or interactions)) is not None:
        data[COLUMNS] = columns
    values = configs.to_dict(config) | {"dataset": dataset}
    stored = None
    if has_begun(path):
        stored = read(path)
        differences = _differences(
            configs.to_dict(stored.config), values, config.optim.schedule in ("constant", "plateau")
        )
        if stored.data["fingerprint"] != data["fingerprint"]:
            differences.append(
                f"  data: {_counts(stored.data)} in {stored.config.dataset} -> {_counts(data)} in {dataset}"
            )
        if stored.config.user_features == config.user_features and stored.data.get(COLUMNS) != columns:
            differences.append(f"  users: {config.user_features} of the table of users is not what it was")
        differences += _other_features(path, stored, config, catalogue or interactions.catalogue)
        if differences:
            raise UserError(
                "\n".join([f"{path} was made with another configuration or other data:", *differences])
                + "\nGo back to these values, or name another --workdir"
            )
        if last and config.epochs < stored.config.epochs:
            _check_last(path, config, last)
    else:
        for made in (DONE, USERS):
            (path / made).unlink(missing_ok=True)
    known = stored.files if stored else {}
    save = {CATALOGUE: (catalogue or interactions.catalogue).save} | ({USERS: users.save} if users else {})
    files = {name: _written(path / name, write, known.get(name)) for name, write in save.items()}
    write_checked(path / CONFIG, {"config": values, "data": data, "files": files})


def _check_last(path, config, last):
    with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:
        newest = checkpoints.latest() or 0
    if newest > last:
        raise UserError(
            f"{path} is trained to step {newest:,}, and config.epochs={config.epochs} ends at step {last:,}: ask for "
            "at least as many epochs as it has, or name another --workdir"
        )


def _written(file, save, known):
    """Writes a file of the workdir unless it has the known checksum. Returns its checksum."""
    if known and known == (found := _checksum(file)):
        return found
    if known:
        log.warning("%s", printable(f"{file} was damaged: it is written anew, from the data"))
    with replacing(file) as temporary:
        save(temporary)
        return checksums.of_file(temporary)


def read(path: Path) -> Stored:
    """Reads the Stored config and data of a workdir.

    Raises:
        UserError: it is not a workdir, or its config is damaged.
    """
    file, cure = path / CONFIG, "put back a copy, or train into a new workdir"
    if not file.exists():
        near = ", ".join(sorted(each.name for each in _inside(path.parent) if (each / CONFIG).exists()))
        hint = f"; beside it are {near}" if near else ""
        if (path / "checkpoints").exists():
            raise UserError(f"{path} has checkpoints but no {CONFIG}: {cure}{hint}")
        raise UserError(f"{path} is not a workdir of a training (it has no {CONFIG}){hint}: name the folder of one")
    values = read_checked(file, cure)
    try:
        config, data = configs.from_stored(values["config"]), values["data"]
        _counts(data)
        if not isinstance(data["fingerprint"], str):
            raise TypeError("a fingerprint is text")
    except (KeyError, TypeError, ValueError) as error:
        said = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{file}: damaged, or of another version of jaxrec ({said}): {cure}") from None
    if extra := values.keys() - {"config", "data", "files"}:
        raise UserError(f"{file}: damaged, or of another version of jaxrec ({min(extra)}: no such key): {cure}")
    return Stored(config, data, values.get("files", {}))


def has_begun(path: Path) -> bool:
    """Whether the workdir has a checkpoint."""
    return any(step.name.isdecimal() for step in _inside(path / "checkpoints"))


def is_done(path: Path) -> bool:
    """Whether the workdir has the result of a complete training. A damaged result is logged, and doesn't count."""
    if not (path / DONE).exists():
        return False
    try:
        read_checked(path / DONE, "it is written anew")
    except UserError as error:
        log.warning("%s", printable(str(error)))
        return False
    return True


def catalogue(path: Path, stored: Stored) -> Catalogue:
    """Loads the Catalogue of a workdir.

    Raises:
        UserError: it is missing or damaged.
    """
    return _loaded(path / CATALOGUE, stored, Catalogue.load)


def users(path: Path, stored: Stored) -> Users | None:
    """Loads the Users of a workdir whose model has user embeddings; None if an earlier version didn't store them.

    Raises:
        UserError: they are missing or damaged.
    """
    if USERS not in stored.files and not (path / USERS).exists():
        return None
    return _loaded(path / USERS, stored, Users.load)


def _loaded(file, stored, load):
    cure, known = "the training's command, run again, writes it anew", stored.files.get(file.name)
    if known not in (None, checksum := _checksum(file)):
        raise UserError(f"{file}: {'damaged' if checksum else 'gone'}: {cure}")
    try:
        return load(file)
    except Exception as error:  # whatever polars makes of a damaged file
        raise UserError(f"{file}: gone or damaged ({type(error).__name__}): {cure}") from error


def check_data(path: Path, stored: Stored, interactions: Interactions) -> None:
    """Checks that `interactions` are the data of the training.

    Raises:
        UserError: they are not.
    """
    if fingerprint(interactions) != stored.data["fingerprint"]:
        raise UserError(
            f"{path} was trained on other data ({_counts(stored.data)}) than {interactions.name} holds "
            f"({_counts(describe(interactions))}): name the original with --dataset, or from Python as data="
        )


def check_columns(path: Path, stored: Stored, asked: Interactions) -> None:
    """Checks that the columns of users that the model is shown are those of the training.

    Args:
        asked: the data as they are split.

    Raises:
        UserError: they are not.
    """
    if stored.data.get(COLUMNS) != user_columns.stored(asked):
        raise UserError(
            f"{path} was trained with {stored.config.user_features} of users, and the table of users is not what it "
            "was: put back the one of the training"
        )


def _opened(path, _):
    """Opens or creates a file without following links or waiting for pipes."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _inside(folder):
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _inode(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _checksum(file):
    """The checksum of a file; None if it can't be read."""
    try:
        return checksums.of_file(file)
    except OSError:
        return None


def _differences(before, after, epochs_free):
    before, after = configs.flatten(before), configs.flatten(after)
    free = FREE | ({"epochs"} if epochs_free else set())
    none = "(none)"  # models and losses have keys of their own
    pairs = {key: (before.get(key, none), after.get(key, none)) for key in {**before, **after} if key not in free}
    return [f"  config.{key}: {old!r} -> {new!r}" for key, (old, new) in pairs.items() if old != new]


def _other_features(path, stored, config, catalogue):
    """A line for each of `config.features` and `config.topic` whose columns have changed."""
    found, other = [], "of the table of items is not what it was"
    if config.features and stored.config.features == config.features:
        kept = _loaded(path / CATALOGUE, stored, Catalogue.load)
        before, now = (features.build(each, features.parse(config.features)) for each in (kept, catalogue))
        same = before.names == now.names and all(map(np.array_equal, before[:2], now[:2]))
        found += [] if same else [f"  items: {config.features} {other}"]
    if "switch" in config.context and stored.config.topic == config.topic:
        kept = _loaded(path / CATALOGUE, stored, Catalogue.load)
        before, now = (topics.values(each, config.topic) for each in (kept, catalogue))
        same = before is not None and now is not None and np.array_equal(before, now)
        found += [] if same else [f"  items: {config.topic or 'the column of topics'} {other}"]
    return found


def _counts(data):
    return f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions"

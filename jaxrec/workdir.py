"""A workdir: one training's folder. Locked while it runs; refused to another config or other data."""

import contextlib
import fcntl
import json
import os
from typing import NamedTuple

from jaxrec import config as configs
from jaxrec.data.interactions import describe, fingerprint
from jaxrec.errors import UserError
from jaxrec.files import replacing, write_json

CONFIG, CATALOGUE, DONE, LOCK = "config.json", "catalogue.parquet", "done.json", ".lock"
USERS = "users.parquet"  #: of a model with vectors of users
#: keys that may differ when a training goes on: the data are known by their fingerprint, and how many rows are taken at
#: once changes rounding alone
FREE = {"dataset", "patience", "rows_at_once"}


class Stored(NamedTuple):
    """What a workdir says of its training."""

    config: configs.Config
    data: dict  #: fingerprint and counts


@contextlib.contextmanager
def locked(path):
    """Hold the workdir, created if need be; the lock ends with the process.

    Raises:
        UserError: another process holds it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / LOCK).open("a+")
    except OSError as error:
        raise UserError(f"{path}: can't be used as a workdir: {error.strerror}; name another with --workdir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{path} is in use by another training (process {file.read().strip() or 'unknown'}): "
                "wait for it, stop it, or name another --workdir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def claim(path, config, interactions, dataset, catalogue=None, users=None):
    """Make the workdir this config's and these data's, or check that it is where it holds a checkpoint.

    Args:
        path: Path, locked. config: Config. interactions: of the training. dataset: where they lie, absolute.
        catalogue: the split's, where it is not theirs. users: users.Users of a model that has vectors of them.

    Raises:
        UserError: it was made with another config or other data; the message shows the difference.
    """
    data = {"fingerprint": fingerprint(interactions), **describe(interactions)}
    values = configs.to_dict(config) | {"dataset": dataset}
    if (path / CONFIG).exists() and any(step.name.isdigit() for step in path.glob("checkpoints/*")):
        stored = read(path)
        differences = _differences(configs.to_dict(stored.config), values, config.optim.schedule == "constant")
        if stored.data["fingerprint"] != data["fingerprint"]:
            differences.append(
                f"  data: {_counts(stored.data)} in {stored.config.dataset} -> {_counts(data)} in {dataset}"
            )
        if differences:
            raise UserError(
                "\n".join([f"{path} was made with another configuration or other data:", *differences])
                + "\nGo back to these values, or name another --workdir"
            )
    else:
        for made in (DONE, USERS):
            (path / made).unlink(missing_ok=True)
        with replacing(path / CATALOGUE) as temporary:
            (catalogue or interactions.catalogue).save(temporary)
    if users is not None and not (path / USERS).exists():  # nor did trainings keep them always
        with replacing(path / USERS) as temporary:
            users.save(temporary)
    write_json(path / CONFIG, {"config": values, "data": data})


def read(path):
    """The Stored config and data of a workdir.

    Raises:
        UserError: it is no workdir.
    """
    file = path / CONFIG
    if not file.exists():
        near = ", ".join(sorted(p.parent.name for p in path.parent.glob(f"*/{CONFIG}"))) if path.parent.is_dir() else ""
        hint = f"; beside it are {near}" if near else ""
        raise UserError(f"{path} is not a workdir of a training (it has no {CONFIG}){hint}: name one with --workdir")
    values = json.loads(file.read_text())
    return Stored(configs.from_stored(values["config"]), values["data"])


def check_data(path, stored, interactions):
    """That these are the data of the training.

    Raises:
        UserError: they are others.
    """
    if fingerprint(interactions) != stored.data["fingerprint"]:
        raise UserError(
            f"{path} was trained on other data ({_counts(stored.data)}) than {interactions.name} holds "
            f"({_counts(describe(interactions))}): name the original with --dataset"
        )


def _differences(before, after, epochs_free):
    before, after = configs.flatten(before), configs.flatten(after)
    free = FREE | ({"epochs"} if epochs_free else set())
    return [
        f"  config.{key}: {before[key]!r} -> {after[key]!r}"
        for key in after
        if key not in free and before[key] != after[key]
    ]


def _counts(data):
    return f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions"

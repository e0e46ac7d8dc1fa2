"""Loads a trained workdir as a Recommender."""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxrec.config.keys import Config
from jaxrec.data.attributes import newcomers, user_columns
from jaxrec.data.attributes.users import Users
from jaxrec.inference import changes, placed
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import hardware
from jaxrec.models.entry import has_users
from jaxrec.system.files import path_or_address
from jaxrec.training.building import model_for, model_with
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.fetching import here


def load(
    path: str | os.PathLike,
    checkpoint: str | int = "best",
    approximate: bool = False,
    items: Any = None,
    item_devices: int = 1,
    stock: str | os.PathLike | None = None,
) -> Recommender:
    """Returns the Recommender of a workdir.

    Args:
        path: the workdir, or its address in an object store, such as s3://bucket/runs/a.
        checkpoint: "best", "latest" or a step.
        approximate: whether to score only likely candidates, for large catalogues on a CPU (see `candidates`).
        items: a table of items, as a path or in memory. Items that the training lacks are recommended too, by what it
            has learned of their features.
        item_devices: number of devices over which the rows of the item tables are split, for a catalogue that does not
            fit on one.
        stock: the file of a service's `--stock`, whose changes are applied to the catalogue.

    Raises:
        UserError: there is no training or no such checkpoint; a library is missing; the number of devices is not a
            multiple of `item_devices`; the file of changes can't be read.
    """
    recommender = loaded(path, checkpoint, approximate, items, item_devices)
    return recommender if stock is None else changes.onto(recommender, changes.read(Path(stock)))


def loaded(
    path: str | os.PathLike,
    checkpoint: str | int = "best",
    approximate: bool = False,
    items: Any = None,
    item_devices: int = 1,
    together: bool = False,
) -> Recommender:
    """As `load`, without changes of the catalogue. together: as for `restore_params`."""
    mesh, copy = placed.mesh_of(item_devices), here(path, checkpoint)
    stored = workdir.read(copy)
    catalogue = workdir.catalogue(copy, stored)
    types = stored.data.get(workdir.TYPES, [])
    columns = user_columns.restored(stored.data.get(workdir.COLUMNS))
    config = answering(stored.config)
    model = model_for(config, catalogue, stored.data["users"], len(types), columns)
    if items is not None:
        catalogue = newcomers.joined(catalogue, items)
        model = model_with(config, model, catalogue)
    params, step = placed.restored(copy, model, checkpoint, mesh, together)
    users = _users(copy, stored) if has_users(config) else None
    named = path_or_address(path)
    return Recommender(config, model, params, catalogue, step, named, approximate, users, types, columns, mesh)


def answering(config: Config) -> Config:
    """Returns the configuration that answers for a training: on a CPU in float32, which is faster there than less."""
    return replace(config, precision="float32") if hardware.is_cpu() else config


def _users(path: Path, stored: workdir.Stored) -> Users | None:
    """Returns the Users of a workdir; None with a warning if an earlier version didn't store them."""
    found = workdir.users(path, stored)
    if found is None:
        warnings.warn(
            f"{path} has user vectors, but no {workdir.USERS} that says whose: everyone is answered as a new user. "
            "Running the training's command again writes it, and trains no further",
            stacklevel=4,
        )
    return found

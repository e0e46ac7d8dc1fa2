"""Restores the params of a workdir's checkpoint."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import jax

from jaxrec.models.model import Model
from jaxrec.system import arguments
from jaxrec.system.console import printable
from jaxrec.training import leaves
from jaxrec.training.checkpoint import Checkpoints, abstract
from jaxrec.training.fetching import here

log = logging.getLogger("jaxrec")


def restore_params(path: Path | str, model: Model, checkpoint: str | int | None, sharding: Any) -> tuple[Any, int]:
    """The params of a workdir's checkpoint with a sharding, or on the host where it is None; and its step.

    The path may be an address in an object store.
    """
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    wanted = jax.tree.map(leaves.on_host, shapes) if sharding is None else abstract(shapes, sharding)
    with contextlib.closing(Checkpoints(here(path, checkpoint), read_only=True)) as checkpoints:
        params, step, damaged = checkpoints.take(
            arguments.checkpoint_name(checkpoint), lambda step: checkpoints.restore_params(step, wanted)
        )
    for error in damaged.values():
        log.warning("%s", printable(f"{error}: checkpoint {step} is taken in its place"))
    return params, step

"""Restores the params of a workdir's checkpoint."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import jax

from jaxrec.kernels import placement, processes
from jaxrec.models.model import Model
from jaxrec.system import arguments
from jaxrec.system.console import printable
from jaxrec.training.workdirs import leaves
from jaxrec.training.workdirs.checkpoint import Checkpoints
from jaxrec.training.workdirs.fetching import here
from jaxrec.training.workdirs.leaves import abstract

log = logging.getLogger("jaxrec")


def restore_params(
    path: Path | str, model: Model, checkpoint: str | int | None, sharding: Any, together: bool = False
) -> tuple[Any, int]:
    """Returns the params of a workdir's checkpoint, and its step.

    Args:
        path: the workdir, or its address in an object store.
        model: the model of the training.
        checkpoint: "best", "latest" or a step; None for the best.
        sharding: where to put the params; None for the host.
        together: whether all processes of the job call this. Then only the first one reads, and sends to the others.
    """
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    if not (together and processes.several()):
        return _restored(path, shapes, checkpoint, sharding)
    read = []

    def first():
        params, step = _restored(path, shapes, checkpoint, None)
        read.append(params)
        return step

    step = processes.of_first(first)
    params = processes.arrays_from_first(read[0] if read else None, shapes)
    return params if sharding is None else placement.on(params, sharding), step


def _restored(path, shapes, checkpoint, sharding):
    wanted = jax.tree.map(leaves.on_host, shapes) if sharding is None else abstract(shapes, sharding)
    with contextlib.closing(Checkpoints(here(path, checkpoint), read_only=True)) as checkpoints:
        params, step, damaged = checkpoints.take(
            arguments.checkpoint_name(checkpoint), lambda step: checkpoints.restore_params(step, wanted)
        )
    for error in damaged.values():
        log.warning("%s", printable(f"{error}: checkpoint {step} is used instead"))
    return params, step

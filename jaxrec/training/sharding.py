"""Where a training lies on its devices by `config.mesh`, and how its State comes from checkpoints and goes into them.

With `item` above 1 every table of items, and what the optimiser keeps of it, is padded to a multiple of `item` rows and
split. Checkpoints have neither padding nor a mesh: they hold the tables whole, whatever devices they came from.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec as P

from jaxrec.config.keys import MeshConfig
from jaxrec.kernels import reductions, shards
from jaxrec.kernels.placement import ITEM, Devices, item_axis, mesh_of
from jaxrec.models.model import Model
from jaxrec.models.sharded import sharded
from jaxrec.system.errors import UserError
from jaxrec.training import launch, sparse
from jaxrec.training.step import State


def mesh_for(config: MeshConfig, devices: Sequence) -> Mesh:
    """The mesh that a configuration asks for.

    Raises:
        UserError: these are not as many devices as it takes.
    """
    number, item = len(devices), config.item
    if (config.data or number // item) * item == number:
        return mesh_of(devices, item)
    known = f"config.mesh.item is {item}" + (f" and config.mesh.data {config.data}" if config.data else "")
    sizes = [size for size in range(1, number + 1) if number % size == 0]
    near = min(sizes, key=lambda size: (abs(size - item), size))
    raise UserError(
        f"{known}, and there {'is 1 device' if number == 1 else f'are {number} devices'}: set config.mesh.item={near}"
        f"{f' (of {number} it can be ' + ', '.join(map(str, sizes)) + ')' if number > 1 else ''}, and leave "
        "config.mesh.data out"
    )


def mesh_that_fits(config: MeshConfig, devices: Devices) -> Mesh:
    """The mesh for answers of a training: its own number of shares where these devices are a multiple, else one."""
    if isinstance(devices, Mesh):
        return devices
    return mesh_of(devices, config.item if len(devices) % config.item == 0 else 1)


def model_on(model: Model, mesh: Mesh) -> Model:
    """The model with its tables split as a mesh has it; one that is so already stays."""
    axis = item_axis(mesh)
    return model if axis in (None, model.item_axis) else sharded(model, axis, mesh.shape[axis])


def norm(model: Model, grads: Any) -> jax.Array:
    """The global 2-norm of gradients, those of split tables summed over the devices that hold them."""
    over = lambda name: model.item_axis if name in model.item_tables else None
    squares = [
        shards.total(reductions.total(x**2), over(name)) for name, part in grads.items() for x in jax.tree.leaves(part)
    ]
    return jnp.sqrt(sum(squares))


def specs_of(model: Model, optimiser: optax.GradientTransformationExtraArgs, state: State) -> Any:
    """How a State lies on a mesh.

    Args:
        model: with its tables split, or whole.
        optimiser: as from `optim.optimiser`.
        state: State, of arrays or shapes.
    """
    if model.item_axis is None:
        return launch.SPECS
    tables = sparse.tables_of(model, optimiser, state.params, state.opt)
    params, opt = (jax.tree.map(lambda uses: P(ITEM) if uses else P(), each) for each in tables)
    average = launch.SPECS.average if state.average is None else params
    return launch.SPECS._replace(params=params, opt=opt, average=average)

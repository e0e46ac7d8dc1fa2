"""How `config.mesh` places the model and the State of a training on its devices.

With `item` above 1, every item table and its optimiser state are padded to a multiple of `item` rows and split.
Checkpoints have neither padding nor a mesh: they store whole tables, whatever devices they came from.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec as P

from jaxrec.config.keys import MeshConfig
from jaxrec.kernels import reductions, shards
from jaxrec.kernels.placement import AXIS, ITEM, Devices, data_size, item_axis, mesh_of
from jaxrec.models.model import Model
from jaxrec.models.sharded import sharded
from jaxrec.system.errors import UserError
from jaxrec.training import launch
from jaxrec.training.steps import fsdp
from jaxrec.training.steps.fsdp import Sharded
from jaxrec.training.steps.step import State


def mesh_for(config: MeshConfig, devices: Sequence) -> Mesh:
    """Returns the mesh that a configuration asks for.

    Raises:
        UserError: it does not fit the number of devices.
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
    """Returns the mesh for inference with a trained model: with its own `item` if that divides the devices, else 1."""
    if isinstance(devices, Mesh):
        return devices
    return mesh_of(devices, config.item if len(devices) % config.item == 0 else 1)


def model_on(model: Model, mesh: Mesh) -> Model:
    """Returns the model with its tables split as a mesh requires; unchanged if they already are."""
    axis = item_axis(mesh)
    return model if axis in (None, model.item_axis) else sharded(model, axis, mesh.shape[axis])


def fsdp_for(config: MeshConfig, model: Model, mesh: Mesh) -> Sharded | None:
    """Returns how a model's params other than item tables are split; None if every device has them whole."""
    if config.dense == "replicated" or data_size(mesh) == 1:
        return None
    params = jax.eval_shape(model.init, jax.random.key(0))
    return fsdp.shard(params, model.item_tables, data_size(mesh))


def norm(model: Model, split: Sharded | None, grads: Any) -> jax.Array:
    """Returns the global 2-norm of gradients; for split params, it sums over the devices that hold their parts."""
    over = lambda name: model.item_axis if name in model.item_tables else None
    whole, parts = (grads, []) if split is None else split.partition(grads)
    squares = [
        shards.total(reductions.total(x**2), over(name)) for name, part in whole.items() for x in jax.tree.leaves(part)
    ]
    if parts:
        squares.append(shards.total(jnp.stack([reductions.total(x**2) for x in parts]).sum(), AXIS))
    return jnp.sqrt(sum(squares))


def specs_of(
    model: Model, optimiser: optax.GradientTransformationExtraArgs, state: State, split: Sharded | None = None
) -> Any:
    """Returns how a State is placed on a mesh: a State of PartitionSpecs.

    Args:
        model: the model, with its tables split or whole.
        optimiser: as from `optim.optimiser`.
        state: State, of arrays or shapes.
        split: how params other than item tables are split, if they are.
    """
    if model.item_axis is None and split is None:
        return launch.SPECS
    tables = model.item_tables if model.item_axis else ()
    params: Any = {
        name: jax.tree.map(lambda _, name=name: P(ITEM) if name in tables else P(), part)
        for name, part in state.params.items()
    }
    params = split.specs(params) if split else params
    opt = optax.tree_utils.tree_map_params(
        optimiser, lambda _, spec: spec, state.opt, params, transform_non_params=lambda _: P()
    )
    average = launch.SPECS.average if state.average is None else params
    return launch.SPECS._replace(params=params, opt=opt, average=average)

"""Where the params of an engine lie: on one device, or with the tables of items split over several."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from jaxrec.kernels import placement, shards
from jaxrec.kernels.placement import ITEM
from jaxrec.models.features import BONUS, folded
from jaxrec.models.model import Model
from jaxrec.models.sharded import sharded
from jaxrec.system.errors import UserError
from jaxrec.training.workdirs.restore import restore_params

OFFERED = "offered"  # in params: [V] float32, 0 for rows of items that can be recommended, -inf for others


def mesh_of(item_devices: int) -> Mesh | None:
    """The mesh of this process's devices on which so many of them share the rows of the tables; None for one.

    Raises:
        UserError: these devices don't divide so.
    """
    if type(item_devices) is not int or item_devices < 1:
        raise UserError(f"item_devices is {item_devices!r}: it must be a whole number of devices, 1 or more")
    if item_devices == 1:
        return None
    devices = placement.local()
    if len(devices) % item_devices:
        can = [str(size) for size in range(1, len(devices) + 1) if len(devices) % size == 0]
        there = "there is 1 device" if len(devices) == 1 else f"there are {len(devices)} devices"
        raise UserError(f"item_devices is {item_devices}, and {there}: it can be {', '.join(can)}")
    return placement.mesh_of(devices, item_devices)


def folded_on(model: Model, params: Any, mesh: Mesh | None) -> tuple[Model, Any]:
    """The model as its programs run on a mesh, with a share of the tables on each device, and its params: `folded`."""
    return folded(model if mesh is None else sharded(model, ITEM, mesh.shape[ITEM]), params)


def restored(
    path: Any, model: Model, checkpoint: str | int, mesh: Mesh | None, together: bool = False
) -> tuple[Any, int]:
    """The params of a workdir's checkpoint on their devices, and its step: as `restore_params`.

    The tables of a mesh are put together on the host, and never whole on a device.
    """
    if mesh is None:
        return restore_params(path, model, checkpoint, placement.one_device(), together)
    params, step = restore_params(path, model, checkpoint, None, together)
    return put(model, params, mesh), step


def put(model: Model, params: Any, mesh: Mesh | None) -> Any:
    """The params on their devices, split tables padded with zero rows."""
    return jax.device_put(params) if mesh is None else shards.put(params, specs(model, params, mesh), mesh, ITEM)


def whole(model: Model, params: Any, mesh: Mesh | None) -> Any:
    """The params of a model with its tables whole, without padding; of a mesh on the host."""
    return params if mesh is None else shards.whole(params, jax.eval_shape(model.init, jax.random.key(0)))


def per_item(model: Model, params: Any) -> list[str]:
    """The names of the params with a row per item."""
    return [name for name in (*model.item_tables, BONUS, OFFERED) if name in params]


def specs(model: Model, params: Any, mesh: Mesh | None) -> Any:
    """How each of the params lies on a mesh; None where there is none."""
    if mesh is None:
        return None
    split = per_item(model, params)
    return {name: P(ITEM) if name in split else P() for name in params}


def jitted(program: Callable, mesh: Mesh | None, tree: Any, args: Sequence[P]) -> Callable:
    """The program (tree, *args), on a mesh run by each device on its share; what it answers is the same on all.

    Args:
        program: a function of arrays.
        mesh: of the engine.
        tree: how its parts lie on the mesh.
        args: how the other arguments do.
    """
    if mesh is None:
        return jax.jit(program)
    split = jax.shard_map(program, mesh=mesh, in_specs=(tree, *args), out_specs=P(), check_vma=False)
    return jax.jit(split, in_shardings=jax.tree.map(lambda spec: NamedSharding(mesh, spec), (tree, *args)))

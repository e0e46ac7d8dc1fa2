"""Places the params of an engine: on one device, or with the item tables split over several."""

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
    """Returns the mesh of this process's devices on which `item_devices` share the rows of the tables; None for 1.

    Raises:
        UserError: `item_devices` is not a divisor of their number.
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
    """Returns `folded` of a model and its params; on a mesh, for programs that see one device's share of the tables."""
    return folded(model if mesh is None else sharded(model, ITEM, mesh.shape[ITEM]), params)


def restored(
    path: Any, model: Model, checkpoint: str | int, mesh: Mesh | None, together: bool = False
) -> tuple[Any, int]:
    """Returns the params of a workdir's checkpoint, on their devices, and its step, as `restore_params` does.

    With a mesh, the tables are assembled on the host, and are never whole on a device.
    """
    if mesh is None:
        return restore_params(path, model, checkpoint, placement.one_device(), together)
    params, step = restore_params(path, model, checkpoint, None, together)
    return put(model, params, mesh), step


def put(model: Model, params: Any, mesh: Mesh | None) -> Any:
    """Returns the params on their devices; split tables are padded with zero rows."""
    return jax.device_put(params) if mesh is None else shards.put(params, specs(model, params, mesh), mesh, ITEM)


def whole(model: Model, params: Any, mesh: Mesh | None) -> Any:
    """Returns the params of a model with whole tables, without padding; from a mesh, on the host."""
    return params if mesh is None else shards.whole(params, jax.eval_shape(model.init, jax.random.key(0)))


def per_item(model: Model, params: Any) -> list[str]:
    """Returns the names of the params with a row per item."""
    return [name for name in (*model.item_tables, BONUS, OFFERED) if name in params]


def specs(model: Model, params: Any, mesh: Mesh | None) -> Any:
    """Returns the PartitionSpec of each of the params; None without a mesh."""
    if mesh is None:
        return None
    split = per_item(model, params)
    return {name: P(ITEM) if name in split else P() for name in params}


def jitted(program: Callable, mesh: Mesh | None, tree: Any, args: Sequence[P]) -> Callable:
    """Jits a program (tree, *args). On a mesh, each device runs it on its share, and all return the same.

    Args:
        program: a function of arrays.
        mesh: the engine's mesh, or None.
        tree: the PartitionSpecs of the tree.
        args: the PartitionSpecs of the other arguments.
    """
    if mesh is None:
        return jax.jit(program)
    split = jax.shard_map(program, mesh=mesh, in_specs=(tree, *args), out_specs=P(), check_vma=False)
    return jax.jit(split, in_shardings=jax.tree.map(lambda spec: NamedSharding(mesh, spec), (tree, *args)))

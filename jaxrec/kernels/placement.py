"""The devices of a run, and how arrays are placed on them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

from jaxrec.kernels import processes

AXIS = "data"  #: the device axis that the rows of a step are split over
ITEM = "item"  #: the device axis that the rows of item tables are split over, if a mesh has one

Devices = Sequence | Mesh  #: devices with the single axis `AXIS`; or a mesh


def local() -> list:
    """The devices of this process."""
    return jax.local_devices()


def all_devices() -> list:
    """The devices of all processes of the job, or of this process if it is the only one."""
    return jax.devices() if processes.several() else local()


def mesh_of(devices: Devices, item: int = 1) -> Mesh:
    """A mesh of these devices: with the single axis `AXIS`, or with `item` devices along a second axis, `ITEM`."""
    if isinstance(devices, Mesh):
        return devices
    sizes, names = ((len(devices),), (AXIS,)) if item == 1 else ((len(devices) // item, item), (AXIS, ITEM))
    return jax.make_mesh(sizes, names, axis_types=(AxisType.Auto,) * len(names), devices=devices)


def item_axis(devices: Devices) -> str | None:
    """The axis that item tables are split over; None if every device holds them whole."""
    return ITEM if ITEM in mesh_of(devices).axis_names else None


def item_spec(devices: Devices) -> P:
    """The PartitionSpec of arrays with a row per item."""
    return P(ITEM) if item_axis(devices) else P()


def data_size(devices: Devices) -> int:
    """The number of devices that the rows of a step are split over."""
    return mesh_of(devices).shape[AXIS]


def put(tree: Any, devices: Devices) -> Any:
    """Replicates the arrays of a tree on all devices."""
    return on(tree, replicated(devices))


def spread(tree: Any, devices: Devices) -> Any:
    """Splits the arrays of a tree over `AXIS` along their first axis, a multiple of `data_size(devices)`."""
    return on(tree, NamedSharding(mesh_of(devices), P(AXIS)))


def spans(devices: Devices) -> bool:
    """Whether some of these devices belong to another process."""
    every = devices.devices.flat if isinstance(devices, Mesh) else devices
    return any(device.process_index != jax.process_index() for device in every)


def own_shares(devices: Devices) -> np.ndarray:
    """Returns which of the `data_size(devices)` shares along `AXIS` lie on devices of this process, ascending.

    >>> own_shares(local()).tolist() == list(range(data_size(local())))
    True
    """
    mesh = mesh_of(devices)
    by_share = mesh.devices.reshape(mesh.shape[AXIS], -1)
    here = [any(device.process_index == jax.process_index() for device in share) for share in by_share]
    return np.flatnonzero(here)


def spread_own(tree: Any, devices: Devices) -> Any:
    """As `spread`, for arrays of which this process has only its `own_shares`, one after another."""
    sharding, own = NamedSharding(mesh_of(devices), P(AXIS)), own_shares(devices)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def leaf(x):
        size = len(x) // len(own)

        def share(index):
            place = np.searchsorted(own, (index[0].start or 0) // size) * size
            return x[place : place + size]

        return jax.make_array_from_callback((size * data_size(devices), *x.shape[1:]), sharding, share)

    return jax.tree.map(leaf, tree)


def on(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Places the arrays of a tree with a sharding, which may span devices of several processes."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: processes.on_devices(x, sharding), tree)


def replicated(devices: Devices) -> NamedSharding:
    """The sharding of arrays that are replicated on these devices."""
    return NamedSharding(mesh_of(devices), P())


def one_device() -> jax.sharding.SingleDeviceSharding:
    """The sharding of arrays that are on the first device of this process alone."""
    return jax.sharding.SingleDeviceSharding(local()[0])


def host() -> Any:
    """The device for programs that run on the host; None (the default device) if JAX has no CPU."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None

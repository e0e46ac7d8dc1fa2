"""The devices of a run, and how arrays are placed on them."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

from jaxrec.system.errors import UserError

AXIS = "data"  #: the device axis that the rows of a step are split over


def local() -> list:
    """All devices of this process.

    Raises:
        UserError: if the job has several processes, which is not supported.
    """
    if jax.process_count() > 1:
        raise UserError("training over several processes is not supported: start one process that sees all its devices")
    return jax.local_devices()


def mesh_of(devices: Sequence) -> Mesh:
    """A mesh of these devices with the single axis `AXIS`."""
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def put(tree: Any, devices: Sequence) -> Any:
    """Replicates the arrays of a tree on all devices."""
    return jax.device_put(tree, replicated(devices))


def spread(tree: Any, devices: Sequence) -> Any:
    """Splits the arrays of a tree over the devices along their first axis, a multiple of the number of devices."""
    return jax.device_put(tree, NamedSharding(mesh_of(devices), P(AXIS)))


def replicated(devices: Sequence) -> NamedSharding:
    """The sharding of arrays that are replicated on these devices."""
    return NamedSharding(mesh_of(devices), P())


def one_device() -> jax.sharding.SingleDeviceSharding:
    """The sharding of arrays that are on the first device alone."""
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])

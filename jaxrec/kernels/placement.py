"""The devices of a run, and how arrays are placed on them."""

import jax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.system.errors import UserError

AXIS = "data"  #: the device axis that the rows of a step are split over


def local():
    """All devices of this process.

    Raises:
        UserError: if the job has several processes, which is not supported.
    """
    if jax.process_count() > 1:
        raise UserError("training over several processes is not supported: start one process that sees all its devices")
    return jax.local_devices()


def mesh_of(devices):
    """A mesh of these devices with the single axis `AXIS`."""
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def put(tree, devices):
    """Replicates the arrays of a tree on all devices."""
    return jax.device_put(tree, replicated(devices))


def spread(tree, devices):
    """Splits the arrays of a tree over the devices along their first axis, a multiple of the number of devices."""
    return jax.device_put(tree, NamedSharding(mesh_of(devices), P(AXIS)))


def replicated(devices):
    """The sharding of arrays that are replicated on these devices."""
    return NamedSharding(mesh_of(devices), P())

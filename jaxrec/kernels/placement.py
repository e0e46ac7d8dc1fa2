"""Which devices take part, and what lies where on them."""

import jax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.system.errors import UserError

AXIS = "data"  #: over which the rows of a step are split


def local():
    """The devices that take part: all of this process.

    Raises:
        UserError: in a job of several processes, which is not supported.
    """
    if jax.process_count() > 1:
        raise UserError("training over several processes is not supported: start one process that sees all its devices")
    return jax.local_devices()


def mesh_of(devices):
    """A mesh of one axis over these devices."""
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def put(tree, devices):
    """The arrays of a tree on every device, whole."""
    return jax.device_put(tree, replicated(devices))


def spread(tree, devices):
    """The arrays of a tree split over the devices along their first axis, which must be a multiple of them."""
    return jax.device_put(tree, NamedSharding(mesh_of(devices), P(AXIS)))


def replicated(devices):
    """The sharding of what is whole on every device."""
    return NamedSharding(mesh_of(devices), P())

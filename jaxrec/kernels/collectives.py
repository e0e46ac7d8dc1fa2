"""What the devices of an axis tell each other. One alone is told nothing: XLA's CPU would copy it all to do so."""

import jax


def psum(tree, axis):
    """The sums over all devices, the same on each."""
    return tree if jax.lax.axis_size(axis) == 1 else jax.lax.psum(tree, axis)


def all_gather(x, axis):
    """The arrays of all devices one after the other, in the order of the devices: [N, ...] -> [devices x N, ...]."""
    return x if jax.lax.axis_size(axis) == 1 else jax.lax.all_gather(x, axis, tiled=True)


def mark_replicated(x, axis):
    """x, of which every device has the same; said so to shard_map's check."""
    return x if jax.lax.axis_size(axis) == 1 else jax.lax.pmax(x, axis)

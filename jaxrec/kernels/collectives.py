"""Collectives over a device axis.

On a single device they return their input: XLA's CPU backend would copy it. Along an axis of one device of a mesh of
several `psum` and `mark_replicated` don't: only a sum counts as replicated for shard_map.
"""

from typing import Any

import jax


def psum(tree: Any, axis: str) -> Any:
    """The sum of each array over all devices."""
    return tree if _alone(axis) else jax.lax.psum(tree, axis)


def all_gather(x: jax.Array, axis: str) -> jax.Array:
    """Concatenates the arrays of all devices, in device order: [N, ...] -> [devices x N, ...]."""
    return x if jax.lax.axis_size(axis) == 1 else jax.lax.all_gather(x, axis, tiled=True)


def mark_replicated(x: jax.Array, axis: str) -> jax.Array:
    """Returns x, which is equal on all devices, as a value that shard_map's replication check accepts."""
    return x if _alone(axis) else jax.lax.pmax(x, axis)


def _alone(axis):
    return jax.lax.axis_size(axis) == 1 and jax.sharding.get_abstract_mesh().size <= 1

"""Collectives over a device axis.

On a single device they return their input, which XLA's CPU backend would otherwise copy. The exception is `psum` and
`mark_replicated` along an axis of one device in a mesh of several, since for shard_map only a reduction's result is
replicated.
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

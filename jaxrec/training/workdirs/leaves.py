"""Describes the arrays of trees by their paths: their dtypes, shapes and checksums."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.system import checksums


def described(by: Callable, **trees: Any) -> dict[str, Any]:
    """Returns {path: by(leaf)} of all leaves; a path begins with the name of its tree."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): by(leaf) for path, leaf in leaves}


def form(leaf: Any) -> list:
    """Returns [dtype, shape] of an array or a ShapeDtypeStruct."""
    return [str(leaf.dtype), list(leaf.shape)]


def abstract(tree: Any, sharding: Any) -> Any:
    """Returns the shapes of a tree of arrays, with a sharding, as targets to restore into."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def differing(saved: Mapping[str, list], wanted: Mapping[str, list]) -> list[str]:
    """Returns the sorted paths in the wanted trees at which the form of the saved arrays differs from the wanted one.

    Args:
        saved: as `described` by `sealed`.
        wanted: as `described` by `form`.
    """
    trees = {path.split("/")[0] for path in wanted}
    own = {path: value[:2] for path, value in saved.items() if path.split("/")[0] in trees}
    return sorted(path for path in own.keys() | wanted if own.get(path) != wanted.get(path))


def on_host(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns a placeholder to restore an array on the host into: it has the array's shape, but not its memory."""
    return np.broadcast_to(np.zeros((), shape.dtype), shape.shape)


def one_copy(leaf: Any) -> Any:
    """Returns the first device's data of an array that all devices hold whole, without a copy; others unchanged."""
    return leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf


def sealed(leaf: Any) -> list:
    """Returns [dtype, shape, checksum] of an array."""
    return [*form(leaf), checksums.of_array(np.asarray(one_copy(leaf)))]

"""Describes the arrays of trees by their paths: their dtypes, shapes and checksums."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.system import checksums


def described(by: Callable, **trees: Any) -> dict[str, Any]:
    """{path: by(leaf)} of all leaves; a path begins with the name of its tree."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): by(leaf) for path, leaf in leaves}


def form(leaf: Any) -> list:
    """[dtype, shape] of an array or a ShapeDtypeStruct."""
    return [str(leaf.dtype), list(leaf.shape)]


def abstract(tree: Any, sharding: Any) -> Any:
    """The shapes of a tree of arrays with a sharding, as targets to restore into."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def differing(saved: Mapping[str, list], wanted: Mapping[str, list]) -> list[str]:
    """The paths, sorted, at which arrays were saved in another form than is wanted, in the trees that are wanted.

    Args:
        saved: as `described` by `sealed`.
        wanted: as `described` by `form`.
    """
    trees = {path.split("/")[0] for path in wanted}
    own = {path: value[:2] for path, value in saved.items() if path.split("/")[0] in trees}
    return sorted(path for path in own.keys() | wanted if own.get(path) != wanted.get(path))


def on_host(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    """What stands for an array on the host, to restore into: of its shape, without its memory."""
    return np.broadcast_to(np.zeros((), shape.dtype), shape.shape)


def one_copy(leaf: Any) -> Any:
    """An array that all devices hold whole as the first one's, without a copy; any other as it is."""
    return leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf


def sealed(leaf: Any) -> list:
    """[dtype, shape, checksum] of an array."""
    return [*form(leaf), checksums.of_array(np.asarray(one_copy(leaf)))]

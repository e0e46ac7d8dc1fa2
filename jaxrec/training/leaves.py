"""The arrays of trees, named by their paths: of which form they are, and with which checksum."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxrec.system import checksums


def described(by: Callable, **trees: Any) -> dict[str, Any]:
    """{path: what `by` makes of the leaf}; a path begins with its tree's name."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): by(leaf) for path, leaf in leaves}


def form(leaf: Any) -> list:
    """[dtype, shape] of an array, or of what stands for one."""
    return [str(leaf.dtype), list(leaf.shape)]


def sealed(leaf: Any) -> list:
    """[dtype, shape, checksum] of an array, on devices or not."""
    if isinstance(leaf, jax.Array) and leaf.is_fully_replicated:  # of the whole, JAX would keep a copy on the host
        return [*form(leaf), checksums.of_array(leaf.addressable_data(0))]
    return [*form(leaf), checksums.of_array(np.asarray(leaf))]

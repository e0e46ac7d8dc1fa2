"""Packs small params into two arrays while a program runs: accelerators take a kernel or more to update an array."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

SMALL = 1 << 18  #: elements of the largest array that is packed
UNUSED = 32  #: number of zeros before the matrices: XLA slices all of them in one kernel, unless one begins at 0
APART = 4  #: maximum number of arrays for which XLA concatenates in a kernel that does nothing else
PACKED = ("packed_vectors", "packed_matrices")  #: names of the params that stand for the packed ones


def packed(parts: Any, state: Any) -> tuple[Any, Any, Callable]:
    """Packs the small params of a step into two arrays, in the params and in all trees like them.

    Params with at most one axis become a vector, the others a matrix with one row, since weight decay may treat the two
    differently. The gradient is packed as it is computed, so the optimiser, norms and sums over devices see two arrays.
    Their results are the same, except for the order of sums. The model gets a copy of the vectors that `parts.by_row`
    names for each row of a microbatch, so that the gradients of all of them are summed over the rows together.

    Args:
        parts: step.Parts; `parts.tables` are not packed.
        state: step.State.

    Returns:
        (Parts, State, a function that unpacks a State).
    """
    packing, of_model = _Packing(state.params, parts.tables, parts.by_row), parts.loss_and_grad
    rows = parts.microbatch_rows if any(packing.shared) else 0

    def loss_and_grad(params, batch):
        loss, grads, carry = of_model(packing.unpack(params, rows), batch)
        return loss, packing.pack(grads, rows), carry

    def throughout(function, state):
        """A State with the function applied to all trees that are like its params."""
        form = jax.tree.structure(state.params)
        is_like = lambda tree: jax.tree.structure(tree) == form
        apply = lambda tree: function(tree) if is_like(tree) else tree
        params, opt, average = jax.tree.map(apply, (state.params, state.opt, state.average), is_leaf=is_like)
        return state._replace(params=params, opt=opt, average=average)

    parts = dataclasses.replace(parts, loss_and_grad=loss_and_grad)
    return parts, throughout(packing.pack, state), lambda state: throughout(packing.unpack, state)


class _Packing:
    """Which params are packed, and how.

    Attributes:
        leaves: the packed params.
        shared: for each of them, whether the model may be given a copy per row.
    """

    def __init__(self, params: dict, tables: Collection[str], by_row: Collection[str]):
        is_small = lambda leaf: leaf.size <= SMALL and leaf.dtype == jnp.float32
        names = [name for name in params if name not in tables and all(map(is_small, jax.tree.leaves(params[name])))]
        found, self.form = jax.tree.flatten_with_path({name: params[name] for name in names})
        self.names, self.leaves = set(names), [leaf for _, leaf in found]
        self.shared = [leaf.ndim == 1 and path[-1].key in by_row for path, leaf in found]

    def pack(self, params: dict, rows: int = 0) -> dict:
        """Packs the params; with `rows`, packs gradients of the result of `unpack`, and sums them over the rows."""
        leaves = self.form.flatten_up_to({name: params[name] for name in self.names})
        vectors, matrices = [], [jnp.zeros((1, UNUSED))]
        for leaf, like, shared in zip(leaves, self.leaves, self.shared, strict=True):
            if like.ndim > 1:
                matrices.append(leaf.reshape(1, -1))
            elif rows:
                whole = lambda leaf=leaf: jnp.zeros((rows, leaf.size)).at[0].set(leaf.reshape(-1))
                vectors.append(leaf if shared else whole())
            else:
                vectors.append(leaf.reshape(-1))
        packed = _concatenated(vectors) if vectors else jnp.zeros(0)
        kept = {name: tree for name, tree in params.items() if name not in self.names}
        return kept | dict(zip(PACKED, (packed.sum(0) if rows else packed, _concatenated(matrices)), strict=True))

    def unpack(self, params: dict, rows: int = 0) -> dict:
        """Unpacks the params; with `rows`, vectors [D] that the model may be given per row become [rows, D]."""
        flat, begin, leaves = [params[name].reshape(-1) for name in PACKED], [0, UNUSED], []
        for leaf, shared in zip(self.leaves, self.shared, strict=True):
            group = leaf.ndim > 1
            x = flat[group][begin[group] : begin[group] + leaf.size].reshape(leaf.shape)
            leaves.append(jnp.broadcast_to(x, (rows, x.size)) if rows and shared else x)
            begin[group] += leaf.size
        kept = {name: tree for name, tree in params.items() if name not in PACKED}
        return kept | self.form.unflatten(leaves)


def _concatenated(arrays):
    """Joins arrays along the last axis; few of them only once, where XLA would do so in each kernel that reads them."""
    packed = jnp.concatenate(arrays, axis=-1)
    return jax.lax.optimization_barrier(packed) if len(arrays) <= APART else packed

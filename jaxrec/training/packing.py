"""Small params as few arrays while a program runs: on accelerators an update of an array costs a kernel or more."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

SMALL = 1 << 18  #: elements of the largest array that is packed
UNUSED = 32  #: zeros before the matrices: XLA slices all of them by one kernel, unless one begins at 0
PACKED = ("packed_vectors", "packed_matrices")  #: names of the params that stand for the packed ones


def packed(parts: Any, state: Any) -> tuple[Any, Any, Callable]:
    """A step's Parts and State with small params as two arrays, in the params and in all that is like them.

    Those of one axis or none become a vector, the others a matrix of one row, since weight decay tells these apart.
    The gradient is packed as it is computed, so the optimiser, norms and sums over devices see two arrays. What they
    compute is the same, but for the order in which norms are summed. With `parts.vector_rows` the model is given each
    vector once a row, so that the gradients of all vectors are summed over the rows together.

    Args:
        parts: step.Parts; `parts.tables` are not packed.
        state: step.State.

    Returns:
        (Parts, State, a function that unpacks a State).
    """
    packing, of_model = _Packing(state.params, parts.tables), parts.loss_and_grad

    def loss_and_grad(params, batch):
        loss, grads, carry = of_model(packing.unpack(params, by_row=parts.vector_rows), batch)
        return loss, packing.pack(grads, by_row=parts.vector_rows), carry

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
    """Which params are packed, and how."""

    def __init__(self, params: dict, tables: Collection[str]):
        is_small = lambda leaf: leaf.size <= SMALL and leaf.dtype == jnp.float32
        names = [name for name in params if name not in tables and all(map(is_small, jax.tree.leaves(params[name])))]
        self.names = set(names)
        self.leaves, self.form = jax.tree.flatten({name: params[name] for name in names})

    def pack(self, params: dict, by_row: int = 0) -> dict:
        """The params as they are packed; with `by_row`, those of `unpack` summed over its rows."""
        leaves = self.form.flatten_up_to({name: params[name] for name in self.names})
        groups: tuple[list, list] = [], []
        for leaf, like in zip(leaves, self.leaves, strict=True):
            of_row = by_row and like.ndim == 1
            groups[like.ndim > 1].append(leaf if of_row else leaf.reshape(-1))
        if by_row:
            alone = lambda x: jnp.zeros((by_row, x.size), x.dtype).at[0].set(x)
            groups = [each if each.ndim == 2 else alone(each) for each in groups[0]], groups[1]
        kept = {name: tree for name, tree in params.items() if name not in self.names}
        groups[1].insert(0, jnp.zeros(UNUSED))
        vectors, matrices = (jnp.concatenate(group, -1) if group else jnp.zeros(0) for group in groups)
        return kept | {PACKED[0]: vectors.sum(0) if vectors.ndim == 2 else vectors, PACKED[1]: matrices[None]}

    def unpack(self, params: dict, by_row: int = 0) -> dict:
        """The params of the packed ones; with `by_row`, vectors [D] as [by_row, D]."""
        flat, begin, leaves = [params[name].reshape(-1) for name in PACKED], [0, UNUSED], []
        for leaf in self.leaves:
            group = leaf.ndim > 1
            part = slice(begin[group], begin[group] + leaf.size)
            leaves.append(flat[group][part].reshape(leaf.shape))
            begin[group] += leaf.size
        if by_row:
            leaves = [jnp.broadcast_to(x, (by_row, x.size)) if x.ndim == 1 else x for x in leaves]
        kept = {name: tree for name, tree in params.items() if name not in PACKED}
        return kept | self.form.unflatten(leaves)

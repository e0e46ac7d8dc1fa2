"""Params that are no table of items, split over the devices that share the rows of a step (`config.mesh.dense`).

Every device keeps its part of each of them, and of what the optimiser keeps of it. Where a step uses one, it is put
together (all-gather); the gradient of it is summed to each device's part alone (reduce-scatter), which the optimiser
then moves: of ZeRO's stages the third (Rajbhandari et al. 2020), as in FSDP. What is put together is not kept from the
forward pass to the backward pass, but put together again, so a device need not hold a whole copy of the params at any
moment, nor a whole gradient; it sends half as much again as where whole gradients are summed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxrec.kernels import shards
from jaxrec.kernels.placement import AXIS

WHOLE = -1  # in place of an axis: every device has the array whole


@dataclass(frozen=True)
class Sharded:
    """How params are sharded over `AXIS`. Inside of shard_map a device has its part of each."""

    axes: Any  #: a tree like the params, of the axis along which each is split, or `WHOLE`
    form: Any  #: a tree like the params, of their shapes without padding
    size: int  #: the number of devices

    def padded(self, params: Any) -> Any:
        """The params with zeros appended, so that all devices' parts are equal."""
        return jax.tree.map(self._padded, params, self.axes)

    def cropped(self, params: Any) -> Any:
        """The inverse of `padded`, of arrays that are whole."""
        crop = lambda x, axis, form: x if axis == WHOLE else jax.lax.slice_in_dim(x, 0, form.shape[axis], axis=axis)
        return jax.tree.map(crop, params, self.axes, self.form)

    def local(self, params: Any) -> Any:
        """The params as a device may differentiate by them alone: what every device has whole, marked as its own."""
        own = lambda x, axis: jax.lax.pcast(x, AXIS, to="varying") if axis == WHOLE else x
        return jax.tree.map(own, params, self.axes)

    def gathered(self, params: Any) -> Any:
        """A device's own copy of the params, whole, from its parts."""
        return jax.tree.map(self._whole, params, self.axes, self.form)

    def value_and_grad(self, loss: Callable) -> Callable:
        """As `jax.value_and_grad` with `has_aux`, of a function of whole params, where a device has parts of them.

        What is put together for the forward pass is not kept for the backward pass, but put together again after it.

        Args:
            loss: (params, *args) -> (loss, anything), with params that every device has whole.

        Returns:
            (params, *args) -> ((loss, anything), gradient): of params that are split, summed to this device's part;
            that of others is this device's own.
        """

        def of_parts(params, *args):
            whole = self.gathered(params)
            value, back, rest = jax.vjp(lambda whole: loss(whole, *args), whole, has_aux=True)
            before, axes, forms = (self.partition(tree)[1] for tree in (whole, self.axes, self.form))
            # without the barrier the compiler would keep what it has
            parts, _ = jax.lax.optimization_barrier((self.partition(params)[1], value))
            again = {id(x): self._whole(*each) for x, *each in zip(before, parts, axes, forms, strict=True)}
            back = jax.tree.map(lambda x: again.get(id(x), x), back)
            (grads,) = back(jnp.ones_like(value))
            return (value, rest), jax.tree.map(self._part, grads, self.axes)

        return of_parts

    def psum(self, loss_and_grads: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        """The loss and the gradients of `local` params, summed over the devices; those of parts are so already."""
        loss, grads = loss_and_grads
        loss, whole = jax.lax.psum((loss, self.partition(grads)[0]), AXIS)
        return loss, jax.tree.map(lambda axis, x, whole: whole if axis == WHOLE else x, self.axes, grads, whole)

    def specs(self, params: Any) -> Any:
        """The PartitionSpec of each of the params; of tables as `params` has it."""
        spec = lambda given, axis: given if axis == WHOLE else P(*(None,) * axis, AXIS)
        return jax.tree.map(spec, params, self.axes)

    def partition(self, tree: Any) -> tuple[Any, list]:
        """A tree like the params, with None in place of what is split; and that in a list."""
        kept = jax.tree.map(lambda x, axis: x if axis == WHOLE else None, tree, self.axes)
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(self.axes), strict=True)
        return kept, [x for x, axis in pairs if axis != WHOLE]

    def _whole(self, x, axis, form):
        if axis == WHOLE:
            return x
        whole = jax.lax.all_gather(x, AXIS, axis=axis, tiled=True)
        return jax.lax.slice_in_dim(whole, 0, form.shape[axis], axis=axis)

    def _part(self, x, axis):
        if axis == WHOLE:
            return x
        return jax.lax.psum_scatter(self._padded(x, axis), AXIS, scatter_dimension=axis, tiled=True)

    def _padded(self, x, axis):
        missing = 0 if axis == WHOLE else -x.shape[axis] % self.size
        return jnp.pad(x, [(0, missing if axis == at else 0) for at in range(x.ndim)]) if missing else x


def shard(params: dict, tables: Any, size: int) -> Sharded:
    """How a model's params are sharded: each array is split along the axis that makes the smallest parts.

    Args:
        params: of the model, as shapes.
        tables: names of those that are tables of items, which are not split so.
        size: the number of devices.

    >>> shapes = {"items": jax.ShapeDtypeStruct((9, 4), float), "layer": jax.ShapeDtypeStruct((1, 6), float)}
    >>> shard(shapes, ["items"], size=3).axes
    {'items': -1, 'layer': 1}
    """

    def axis(shape):
        parts = [shards.rows_per_device(rows, size) / rows if rows else 1 for rows in shape]
        return parts.index(min(parts)) if min(parts, default=1) < 1 else WHOLE

    axes = {
        name: jax.tree.map(lambda x, of=name: WHOLE if of in tables else axis(x.shape), part)
        for name, part in params.items()
    }
    return Sharded(axes, params, size)

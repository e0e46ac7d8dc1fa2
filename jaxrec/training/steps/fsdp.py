"""Splits the params other than item tables over the devices that share the rows of a step (`config.mesh.dense`).

Each device keeps its part of every such param and of its optimiser state. Where a step uses a param, it is gathered
from all devices (all-gather); its gradient is summed into each device's part only (reduce-scatter), which the optimiser
then updates. This is stage 3 of ZeRO (Rajbhandari et al. 2020), as in FSDP. Gathered params are not kept from the
forward pass to the backward pass, but gathered again, so a device never has to hold a whole copy of the params, nor a
whole gradient. In return, it sends 1.5 times as much as when whole gradients are summed.
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
    """How params are sharded over `AXIS`. Inside shard_map, a device has its part of each."""

    axes: Any  #: a tree like the params, of the axis along which each is split, or `WHOLE`
    form: Any  #: a tree like the params, of their shapes without padding
    size: int  #: the number of devices

    def padded(self, params: Any) -> Any:
        """Returns the params with zeros appended, so that all devices' parts have the same size."""
        return jax.tree.map(self._padded, params, self.axes)

    def cropped(self, params: Any) -> Any:
        """The inverse of `padded`, of arrays that are whole."""
        crop = lambda x, axis, form: x if axis == WHOLE else jax.lax.slice_in_dim(x, 0, form.shape[axis], axis=axis)
        return jax.tree.map(crop, params, self.axes, self.form)

    def local(self, params: Any) -> Any:
        """Marks the params that every device has whole as the device's own, to differentiate on each device alone."""
        own = lambda x, axis: jax.lax.pcast(x, AXIS, to="varying") if axis == WHOLE else x
        return jax.tree.map(own, params, self.axes)

    def gathered(self, params: Any) -> Any:
        """Returns a device's own copy of the whole params, gathered from their parts."""
        return jax.tree.map(self._whole, params, self.axes, self.form)

    def value_and_grad(self, loss: Callable) -> Callable:
        """Like `jax.value_and_grad` with `has_aux`, for a function of whole params, of which a device has only parts.

        Params gathered for the forward pass are not kept for the backward pass, but gathered again after it.

        Args:
            loss: (params, *args) -> (loss, anything), with params that every device has whole.

        Returns:
            (params, *args) -> ((loss, anything), gradient). The gradient of split params is summed into this device's
            part; that of the others is this device's own.
        """

        def of_parts(params, *args):
            whole = self.gathered(params)
            value, back, rest = jax.vjp(lambda whole: loss(whole, *args), whole, has_aux=True)
            before, axes, forms = (self.partition(tree)[1] for tree in (whole, self.axes, self.form))
            # without the barrier, the compiler would keep the gathered params
            parts, _ = jax.lax.optimization_barrier((self.partition(params)[1], value))
            again = {id(x): self._whole(*each) for x, *each in zip(before, parts, axes, forms, strict=True)}
            back = jax.tree.map(lambda x: again.get(id(x), x), back)
            (grads,) = back(jnp.ones_like(value))
            return (value, rest), jax.tree.map(self._part, grads, self.axes)

        return of_parts

    def psum(self, loss_and_grads: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        """Sums the loss and the gradients of `local` params over the devices; those of split params already are."""
        loss, grads = loss_and_grads
        loss, whole = jax.lax.psum((loss, self.partition(grads)[0]), AXIS)
        return loss, jax.tree.map(lambda axis, x, whole: whole if axis == WHOLE else x, self.axes, grads, whole)

    def specs(self, params: Any) -> Any:
        """Returns the PartitionSpec of each param; those that are not split keep their spec in `params`."""
        spec = lambda given, axis: given if axis == WHOLE else P(*(None,) * axis, AXIS)
        return jax.tree.map(spec, params, self.axes)

    def partition(self, tree: Any) -> tuple[Any, list]:
        """Returns a tree like the params with None in place of the split ones, and a list of the split ones."""
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
    """Returns how a model's params are sharded: each array is split along the axis that makes the smallest parts.

    Args:
        params: the shapes of the model's params.
        tables: names of the item tables, which are not split in this way.
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

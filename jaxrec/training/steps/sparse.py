"""Row-sparse updates: a step reads and writes only the table rows of its own items.

The touched rows are gathered, and replace the tables in the params and in the optimiser's state. Items are relabelled
with their index among these rows, so that model, loss and optimiser see a small catalogue. Then the rows are scattered
back. Untouched rows don't change, nor do their moments: they neither decay nor move (lazy, as in the authors' GRU4Rec
and PyTorch's SparseAdam). So the result equals the dense optimiser's if a zero gradient changes nothing, as with
Adagrad and SGD without momentum.

For a small catalogue the tables are updated whole, and a mask tells the optimiser which rows to keep.

If the rows of the tables are split over a mesh axis, each device gathers the touched rows among those that it holds,
into the same number of slots on every device. Together these form a small catalogue that is split in the same way.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec.config.keys import OptimConfig
from jaxrec.kernels import shards, sizes
from jaxrec.kernels.collectives import all_gather, mark_replicated
from jaxrec.kernels.placement import AXIS
from jaxrec.models.model import Model


def wrapping(config: OptimConfig, model: Model, optimiser: optax.GradientTransformationExtraArgs) -> Callable:
    """Returns the wrapper of a step's update that a configuration asks for."""
    return on_touched_rows(model, optimiser) if config.sparse else lambda update: update


def on_touched_rows(model: Model, optimiser: optax.GradientTransformationExtraArgs) -> Callable:
    """Returns a wrapper that makes a step's update read and write only the touched rows of tables.

    Args:
        model: Model.
        optimiser: as from `optim.optimiser`.

    Returns:
        (update) -> update, both (params, optimiser's state, step.Batch) -> (params, optimiser's state, anything). The
        inner update also has `touched_mask`, the `used` of an optimiser.
    """

    def wrap(update):
        def sparse_update(params, opt, batch):
            tables = tables_of(model, optimiser, params, opt)
            touched, batch = _relabel_batch(batch, len(model.output_embedding(params)[0]), model.item_axis)
            gathered_params, gathered_opt = (gather(touched, *each) for each in zip((params, opt), tables, strict=True))
            touched_mask = mask_of(touched, gathered_params, tables[0])
            *new, rest = update(gathered_params, gathered_opt, batch, touched_mask)
            params, opt = (scatter(touched, *each) for each in zip((params, opt), new, tables, strict=True))
            return params, opt, rest

        return sparse_update

    return wrap


def _relabel_batch(batch, items, item_axis):
    ids, shared = (batch.stream.items, batch.targets, batch.negatives.items), batch.negatives.shared_by == "batch"
    touched, *ids = relabel(*ids, items, AXIS, negatives_shared=shared, item_axis=item_axis)
    negatives = dataclasses.replace(batch.negatives, items=ids[2])
    batch = batch._replace(stream=batch.stream._replace(items=ids[0]), targets=ids[1], negatives=negatives)
    if touched.at is None:
        return touched, batch
    return touched, batch._replace(items=jax.tree.map(lambda x: x.at[touched.at].get(mode="clip"), batch.items))


class Rows(NamedTuple):
    """The rows that a step touches, equal on all devices."""

    at: Any  #: [U] int32, with repeats, and V for no row; or None if tables are updated whole
    used: dict  #: {"inputs", "targets"} -> [U] or [V] bool, whether they use the row; only the first of repeats is True


def relabel(
    inputs: jax.Array,
    targets: jax.Array,
    negatives: jax.Array,
    items: int,
    axis: str,
    *,
    negatives_shared: bool,
    item_axis: str | None = None,
) -> tuple[Rows, *tuple[jax.Array, ...]]:
    """Returns the Rows of all devices' batches, and this device's items as their indices among these rows, from 1.

    Args:
        inputs: int32 of any shape, items 1..V; others (0 or -1) stay as they are.
        targets: as inputs.
        negatives: as inputs.
        items: V, the number of rows of the tables; of split tables, that of one device.
        axis: the name of the device axis.
        negatives_shared: whether all devices have the same negatives.
        item_axis: the axis that the rows of the tables are split over, if they are.

    Returns:
        (Rows, inputs, targets, negatives)
    """
    ids = [inputs, targets, negatives]
    every = [all_gather(each.reshape(-1), axis) for each in ids[: 3 - negatives_shared]]
    every = [mark_replicated(each, axis) for each in every + ids[3 - negatives_shared :]]
    ends = np.cumsum([len(each) for each in every])
    row = shards.place(jnp.concatenate(every) - 1, items, item_axis)
    row = jnp.where(row >= 0, row, items)
    if items <= sizes.MASKED_ROWS_PER_TOUCHED * len(row):
        return Rows(None, _marks(row, ends[0], items)), inputs, targets, negatives
    if sizes.compares_pairs(len(row), len(row)):
        at, place, used = row, *_firsts(row, ends[0])
    else:
        at = jnp.sort(row)
        place = jnp.searchsorted(at, row).astype(jnp.int32)
        used = _marks(place, ends[0], len(row))
    if item_axis is not None:  # the device that holds a row says what its index is
        place = shards.total(jnp.where(row < items, shards.first_row(len(row), item_axis) + place, 0), item_axis)

    def own(number, places):
        old = ids[number]
        begin = 0 if negatives_shared and number == 2 else jax.lax.axis_index(axis) * old.size
        new = jax.lax.dynamic_slice_in_dim(places, begin, old.size).reshape(old.shape) + 1
        return jnp.where(old > 0, new.astype(old.dtype), old)

    return Rows(at, used), *(own(number, places) for number, places in enumerate(jnp.split(place, ends[:-1])))


def _marks(place, end, size):
    """Which of `size` places the inputs (the first `end` elements of `place`) and the targets (the others) have."""
    if sizes.compares_pairs(size, len(place)):
        same_SU = jnp.arange(size)[:, None] == place
        is_input = jnp.arange(len(place)) < end
        return {"inputs": (same_SU & is_input).any(1), "targets": (same_SU & ~is_input).any(1)}
    mark = lambda places: jnp.zeros(size, bool).at[places].set(True, mode="drop")
    return {"inputs": mark(place[:end]), "targets": mark(place[end:])}


def _firsts(row, end):
    """(the place where each row comes first, which of these places are used as in `_marks`), by comparing all pairs."""
    place = jnp.arange(len(row), dtype=jnp.int32)
    same_UU = row[:, None] == row
    first = lambda among: jnp.where(same_UU & among, place, len(row)).min(1)
    as_input, as_target = first(place < end), first(place >= end)
    found = jnp.minimum(as_input, as_target)
    is_first = found == place
    return found, {"inputs": is_first & (as_input < len(row)), "targets": is_first & (as_target < len(row))}


def gather(rows: Rows, tree: Any, tables: Any) -> Any:
    """Replaces each table of a tree by its touched rows. `tables` says which leaves are tables (see `tables_of`)."""
    if rows.at is None:
        return tree
    return jax.tree.map(lambda x, uses: x.at[rows.at].get(mode="clip") if uses else x, tree, tables)


def scatter(rows: Rows, tree: Any, new: Any, tables: Any) -> Any:
    """Writes the used rows of each table, after an update of what `gather` returned, back into the tree."""
    if rows.at is None:
        return new

    def leaf(old, new, uses):
        return old.at[jnp.where(_used(rows, uses), rows.at, len(old))].set(new, mode="drop") if uses else new

    return jax.tree.map(leaf, tree, new, tables)


def mask_of(rows: Rows, tree: Any, tables: Any) -> Any:
    """Returns a mask for each leaf of the params that broadcasts to it: the used rows of tables, True for other leaves.

    None if rows were gathered, since `scatter` then writes only the used ones.
    """
    if rows.at is not None:
        return None
    leaf = lambda x, uses: _used(rows, uses).reshape(-1, *(1,) * (x.ndim - 1)) if uses else np.True_
    return jax.tree.map(leaf, tree, tables)


def _used(rows, uses) -> Any:
    return sum(rows.used[use] for use in sorted(uses)) > 0


def tables_of(model: Model, optimiser: optax.GradientTransformationExtraArgs, params: Any, opt: Any) -> tuple[Any, Any]:
    """Returns the uses ("inputs", "targets") of each leaf of params and optimiser's state: none if it is no table."""
    uses = {name: frozenset(model.item_tables.get(name, ())) for name in params}
    of_params = {name: jax.tree.map(lambda _, uses=uses[name]: uses, params[name]) for name in params}
    of_opt = optax.tree_utils.tree_map_params(
        optimiser, lambda _, uses: uses, opt, of_params, transform_non_params=lambda _: frozenset()
    )
    return of_params, of_opt

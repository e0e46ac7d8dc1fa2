"""Row-sparse updates: a step reads and writes the rows of its own items in every table, whatever the catalogue.

The rows are moved out, and stand in for the tables in the params and in the optimiser's state; items are relabelled by
their places among these rows, so that model, loss and optimiser see a small catalogue; then the rows are put back. Rows
that are not touched stay as they are, their moments too: they neither decay nor move (lazy, as the authors of GRU4Rec
and PyTorch's SparseAdam do it). So the result is that of the dense optimiser where a gradient of zero changes nothing
there: of Adagrad and of gradient descent, without momentum.

Of a small catalogue the tables stand for themselves, and the optimiser is told which rows to leave.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec.config.keys import OptimConfig
from jaxrec.kernels import sizes
from jaxrec.kernels.collectives import all_gather, mark_replicated, psum
from jaxrec.kernels.placement import AXIS
from jaxrec.models.model import Model


def wrapping(config: OptimConfig, model: Model, optimiser: optax.GradientTransformationExtraArgs) -> Callable:
    """What makes of a step's update the one that a configuration asks for. config: OptimConfig."""
    if config.sparse:
        return on_touched_rows(model, optimiser)
    return decaying_touched_rows(model, optimiser) if config.decayed == "rows" else lambda update: update


def on_touched_rows(model: Model, optimiser: optax.GradientTransformationExtraArgs) -> Callable:
    """What makes of a step's update one that reads and writes the touched rows of the tables alone.

    Args:
        model: models.Model.
        optimiser: of optim.

    Returns:
        (update) -> update, both (params, optimiser's state, step.Batch) -> (params, optimiser's state, anything); the
        one that is given takes `touched_mask` too, as an optimiser's `used`.
    """

    def wrap(update):
        def sparse_update(params, opt, batch):
            tables = tables_of(model, optimiser, params, opt)
            touched, batch = _relabel_batch(batch, len(model.output_embedding(params)[0]))
            gathered_params, gathered_opt = (gather(touched, *each) for each in zip((params, opt), tables, strict=True))
            touched_mask = mask_of(touched, gathered_params, tables[0])
            *new, rest = update(gathered_params, gathered_opt, batch, touched_mask)
            params, opt = (scatter(touched, *each) for each in zip((params, opt), new, tables, strict=True))
            return params, opt, rest

        return sparse_update

    return wrap


def decaying_touched_rows(model: Model, optimiser: optax.GradientTransformationExtraArgs) -> Callable:
    """What makes of a step's update one in which only rows of items that are in the step decay.

    Else an item that is seldom met decays as often as all others, and its gradient is too rare to bring it back.

    Args:
        model: models.Model.
        optimiser: of optim; it takes `decayed`.

    Returns:
        (update) -> update, as `on_touched_rows`, the one that is given takes `decayed_mask`.
    """

    def wrap(update):
        def decaying_update(params, opt, batch):
            items = len(model.output_embedding(params)[0])
            asked = [batch.targets] if batch.negatives is None else [batch.targets, batch.negatives.items]
            rows = Rows(None, {"inputs": _mark([batch.stream.items], items), "targets": _mark(asked, items)})
            return update(
                params, opt, batch, decayed_mask=mask_of(rows, params, tables_of(model, optimiser, params, opt)[0])
            )

        return decaying_update

    return wrap


def _mark(ids, items):
    """Which of so many items are among these of any device. [V] bool"""
    row = jnp.concatenate([each.reshape(-1) for each in ids]) - 1
    here = jnp.zeros(items, jnp.int32).at[jnp.where(row >= 0, row, items)].set(1, mode="drop")
    return psum(here, AXIS) > 0


def _relabel_batch(batch, items):
    ids = batch.stream.items, batch.targets, batch.negatives.items
    touched, *ids = relabel(*ids, items, AXIS, negatives_shared=batch.negatives.shared_by == "batch")
    negatives = dataclasses.replace(batch.negatives, items=ids[2])
    return touched, batch._replace(stream=batch.stream._replace(items=ids[0]), targets=ids[1], negatives=negatives)


class Rows(NamedTuple):
    """The rows that a step touches, the same on all devices."""

    at: Any  #: [U] int32 ascending, a repeated row once for each time, V where there is none; or None: all V rows
    used: dict  #: {"inputs", "targets"} -> [U] or [V] bool, by whom; of repeats at most the first is


def relabel(
    inputs: jax.Array, targets: jax.Array, negatives: jax.Array, items: int, axis: str, *, negatives_shared: bool
) -> tuple[Rows, *tuple[jax.Array, ...]]:
    """The Rows of all devices' batches, and this device's items as numbers of these rows, from 1.

    Args:
        inputs: int32 of any shape, items 1..V; what is not above 0 is none, and stays.
        targets: int32 of any shape, items 1..V; what is not above 0 is none, and stays.
        negatives: int32 of any shape, items 1..V; what is not above 0 is none, and stays.
        items: V.
        axis: name of the devices' axis.
        negatives_shared: whether all devices have the same negatives.

    Returns:
        (Rows, inputs, targets, negatives)
    """
    ids = [inputs, targets, negatives]
    every = [all_gather(each.reshape(-1), axis) for each in ids[: 3 - negatives_shared]]
    every = [mark_replicated(each, axis) for each in every + ids[3 - negatives_shared :]]
    ends = np.cumsum([len(each) for each in every])
    row = jnp.concatenate(every) - 1
    row = jnp.where(row >= 0, row, items)
    whole = items <= sizes.MASKED_ROWS_PER_TOUCHED * len(row)
    at = None if whole else jnp.sort(row)
    place = row if at is None else jnp.searchsorted(at, row).astype(jnp.int32)
    mark = lambda places: jnp.zeros(items if whole else len(row), bool).at[places].set(True, mode="drop")
    used = {"inputs": mark(place[: ends[0]]), "targets": mark(place[ends[0] :])}
    if whole:
        return Rows(at, used), inputs, targets, negatives

    def own(number, places):
        old = ids[number]
        begin = 0 if negatives_shared and number == 2 else jax.lax.axis_index(axis) * old.size
        new = jax.lax.dynamic_slice_in_dim(places, begin, old.size).reshape(old.shape) + 1
        return jnp.where(old > 0, new.astype(old.dtype), old)

    return Rows(at, used), *(own(number, places) for number, places in enumerate(jnp.split(place, ends[:-1])))


def gather(rows: Rows, tree: Any, tables: Any) -> Any:
    """A tree with these rows in place of each table. tables: which leaves are, `tables_of`."""
    if rows.at is None:
        return tree
    return jax.tree.map(lambda x, uses: x.at[rows.at].get(mode="clip") if uses else x, tree, tables)


def scatter(rows: Rows, tree: Any, new: Any, tables: Any) -> Any:
    """The tree of `gather` after its update, put back: of each table the rows that are used in it."""
    if rows.at is None:
        return new

    def leaf(old, new, uses):
        return old.at[jnp.where(_used(rows, uses), rows.at, len(old))].set(new, mode="drop") if uses else new

    return jax.tree.map(leaf, tree, new, tables)


def mask_of(rows: Rows, tree: Any, tables: Any) -> Any:
    """Of each leaf of the params what broadcasts to it: the rows that are used, True where it is no table.

    None where the rows were moved: there only what is used is put back.
    """
    if rows.at is not None:
        return None
    leaf = lambda x, uses: _used(rows, uses).reshape(-1, *(1,) * (x.ndim - 1)) if uses else np.True_
    return jax.tree.map(leaf, tree, tables)


def _used(rows, uses) -> Any:
    return sum(rows.used[use] for use in sorted(uses)) > 0


def tables_of(model: Model, optimiser: optax.GradientTransformationExtraArgs, params: Any, opt: Any) -> tuple[Any, Any]:
    """Which leaves of the params and of the optimiser's state are tables: trees of frozensets of their uses' names."""
    uses = {name: frozenset(model.item_tables.get(name, ())) for name in params}
    of_params = {name: jax.tree.map(lambda _, uses=uses[name]: uses, params[name]) for name in params}
    of_opt = optax.tree_utils.tree_map_params(
        optimiser, lambda _, uses: uses, opt, of_params, transform_non_params=lambda _: frozenset()
    )
    return of_params, of_opt

"""Item features: adds embeddings of an item's features to its own vector, in every item table of a model.

This works for any model: params with features are folded into params of the plain model, whose rows are the sums.
Training differentiates through the fold; inference folds once and uses the plain model.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.models.model import Model

BONUS = "bonus"  # in folded params: [V], beside those of the plain model
FEATURES = "features"  # in params: {table: {"values": [N, D], "projection": [K, D]}}
VALUES, PROJECTION = "values", "projection"


class Items(NamedTuple):
    """Features of V items, on the host or on devices; row v - 1 is item v."""

    values: Any  #: [V, F] int32, value numbers from 1, padded with 0
    vectors: Any  #: [V, K] float32
    named: Any  #: [V] bool, whether the item's own vector is used
    trained: Any  #: [V] bool, whether the item occurs in training


class Folding(NamedTuple):
    """How params with features become params of the plain model."""

    plain: Model  #: Model for the result of `fold`
    fold: Callable  #: (params, Items) -> params of `plain`, for any items
    items: Items  #: the items of the catalogue
    bonus: float = 0.0  #: added at inference to the scores of items that training didn't see


def with_features(
    model: Model, values: Any, vectors: Any, trained: Any, number: int, ids: bool = True, bonus: float = 0.0
) -> Model:
    """Returns the Model whose item vectors include embeddings of item features.

    Its params are those of `model` and "features", with the embeddings of the values and a projection of the given
    vectors for each item table. Items that don't occur in training have no vector of their own.

    Args:
        model: the Model.
        values: [V, F] int32, as in Items.
        vectors: [V, K] float32, as in Items.
        trained: [V] bool.
        number: number of distinct values.
        ids: whether items have vectors of their own.
        bonus: as in Folding.
    """
    items = Items(values, vectors, np.asarray(trained) & ids, np.asarray(trained))
    fold = partial(_fold, tuple(model.item_tables))

    rows = {kind: rows for kind, rows in ((VALUES, number), (PROJECTION, vectors.shape[1])) if rows}

    def init(key):
        params = model.init(key)
        keys = iter(jax.random.split(jax.random.fold_in(key, 1), 2 * len(jax.tree.leaves(params))))
        # on the scale of the rows that they are added to
        drawn = lambda table, rows: jnp.std(table) * jax.random.normal(next(keys), (rows, *table.shape[1:]))
        tables = {
            name: {kind: jax.tree.map(partial(drawn, rows=of), params[name]) for kind, of in rows.items()}
            for name in sorted(model.item_tables)
        }
        return params | {FEATURES: tables}

    def of_folded(function):
        return lambda params, *args, **kwargs: function(fold(params, items), *args, **kwargs)

    return dataclasses.replace(
        model,
        init=init,
        encode=of_folded(model.encode),
        encode_at=of_folded(model.encode_at),
        initial_carry=of_folded(model.initial_carry),
        head=of_folded(model.head),
        output_embedding=of_folded(model.output_embedding),
        folding=Folding(model, fold, items, bonus),
    )


def widened(model: Model, values: Any, vectors: Any) -> Model:
    """Returns the Model over additional items, known by their features only.

    Its params and its own functions are unchanged; `folded` returns the model over all items.

    Args:
        model: a model with features.
        values: of all items, as for `with_features`.
        vectors: of all items.
    """
    items = model.folding.items
    more = lambda mask: np.append(mask, np.zeros(len(values) - len(mask), bool))
    items = Items(values, vectors, more(items.named), more(items.trained))
    return dataclasses.replace(model, folding=model.folding._replace(items=items))


def folded(model: Model, params: Any) -> tuple[Model, Any]:
    """Returns an equivalent model without features and its params, for inference at no extra cost."""
    if model.folding is None:
        return model, params
    folding: Folding = model.folding
    params = jax.jit(folding.fold)(params, folding.items)
    if folding.bonus:
        params |= {BONUS: np.where(folding.items.trained, 0, np.float32(folding.bonus))}
    return _with_bonus(folding), params


def compile_fold(model: Model, params: Any) -> tuple[Model, Any]:
    """Compiles the fold ahead of `folded`. Returns what `folded` does, with shapes in place of params.

    Args:
        model: the model.
        params: their shapes and shardings.
    """
    if model.folding is None:
        return model, params
    folding: Folding = model.folding
    made = jax.jit(folding.fold).lower(params, folding.items).compile()
    placed = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
    params = jax.tree.map(placed, made.out_info, made.output_shardings)
    if folding.bonus:
        params |= {BONUS: jax.ShapeDtypeStruct(folding.items.trained.shape, np.float32)}
    return _with_bonus(folding), params


def _with_bonus(folding):
    """Returns the plain model, with the bonus added to the scores of items that training didn't see."""
    plain = folding.plain
    if not folding.bonus:
        return plain

    def favoured(params):
        table_VD, bias_V = plain.output_embedding(params)
        return table_VD, params[BONUS] if bias_V is None else bias_V + params[BONUS]

    return dataclasses.replace(plain, output_embedding=favoured)


def _fold(tables, params, items):
    plain = {name: leaf for name, leaf in params.items() if name != FEATURES}
    for name in tables:
        plain[name] = jax.tree.map(partial(_own, items), params[name])
        for kind, learned in params[FEATURES][name].items():
            plain[name] = jax.tree.map(partial(ADDED[kind], items), plain[name], learned)
    return plain


def _own(items, own_V):
    """Returns the items' own vectors, zero where unused, extended by zeros for additional items."""
    new = len(items.named) - len(own_V)
    own_V = jnp.pad(own_V, ((0, new), *((0, 0),) * (own_V.ndim - 1))) if new else own_V
    return jnp.where(_beside(items.named, own_V), own_V, 0)


def _add_values(items, table_V, value_N):
    """Adds the vectors of each item's values. [V, ...], [N, ...] -> [V, ...]"""
    value_N = jnp.concatenate([jnp.zeros_like(value_N[:1]), value_N])
    for number_V in items.values.T:  # one at a time: on CPU, a single gather and sum is ten times slower
        table_V += value_N[number_V]
    return table_V


def _add_vectors(items, table_V, projection_K):
    """Adds each item's projected vector. [V, ...], [K, ...] -> [V, ...]"""
    return table_V + jnp.tensordot(items.vectors, projection_K, 1)


def _beside(mask, values):
    """Reshapes a mask of the leading axes to broadcast with the values."""
    return mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim))


ADDED = {VALUES: _add_values, PROJECTION: _add_vectors}

"""Item features: an item's vector is one of its own plus those of what it is, in every table that a model has of items.

Any model can have them: its params with features are folded into params without, in which every row is an item's sum.
So training differentiates through the fold, and whatever only answers folds once and asks the model as it is.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.models.model import Model

BONUS = "bonus"  # of folded params: [V], beside what the model itself has
FEATURES = "features"  # of params: {table: {"values": [N, D], "projection": [K, D]}}
VALUES, PROJECTION = "values", "projection"


class Items(NamedTuple):
    """What is known of V items, on the host or on devices; row v - 1 is of item v."""

    values: Any  #: [V, F] int32, numbers from 1 of the values that an item has, then 0
    vectors: Any  #: [V, K] float32
    named: Any  #: [V] bool, whether an item's own vector counts
    trained: Any  #: [V] bool, whether it is among what training knows


class Folding(NamedTuple):
    """How params with features become params without."""

    plain: Model  #: takes what `fold` gives
    fold: Callable  #: (params, Items) -> params of `plain`, for the rows of any items
    items: Items  #: of the catalogue
    bonus: float = 0.0  #: what is added to the scores of items that never train, in answers


def with_features(
    model: Model, values: Any, vectors: Any, trained: Any, number: int, ids: bool = True, bonus: float = 0.0
) -> Model:
    """The Model whose items have vectors of their own and of their features.

    Its params are those of `model` and, under "features", of each of its tables of items the vectors of the values, and
    a projection of the given vectors. An item that never trains has no vector of its own.

    Args:
        values: [V, F] int32, as Items has them.
        vectors: [V, K] float32, as Items has them.
        trained: [V] bool.
        number: of different values.
        ids: whether any item has a vector of its own.
        bonus: as Folding has it.
    """
    items = Items(values, vectors, np.asarray(trained) & ids, np.asarray(trained))
    fold = partial(_fold, tuple(model.item_tables))

    rows = {kind: rows for kind, rows in ((VALUES, number), (PROJECTION, vectors.shape[1])) if rows}

    def init(key):
        params = model.init(key)
        keys = iter(jax.random.split(jax.random.fold_in(key, 1), 2 * len(jax.tree.leaves(params))))
        # as far from zero as the rows that they are added to
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
    """The Model over more items: those of its catalogue, and behind them others that their features alone tell of.

    Its params are those of `model`, and so is what it gives by itself; `folded` gives the answers over all of them.

    Args:
        model: with features.
        values: of all items, as `with_features` takes them.
        vectors: of all items.
    """
    items = model.folding.items
    more = lambda mask: np.append(mask, np.zeros(len(values) - len(mask), bool))
    items = Items(values, vectors, more(items.named), more(items.trained))
    return dataclasses.replace(model, folding=model.folding._replace(items=items))


def folded(model: Model, params: Any) -> tuple[Model, Any]:
    """(a model without features, its params): they answer as a model and its params do, and features cost nothing."""
    if model.folding is None:
        return model, params
    folding: Folding = model.folding
    plain, items, bonus = folding.plain, folding.items, folding.bonus
    params = jax.jit(folding.fold)(params, items)
    if not bonus:
        return plain, params

    def favoured(params):
        table_VD, bias_V = plain.output_embedding(params)
        return table_VD, params[BONUS] if bias_V is None else bias_V + params[BONUS]

    return dataclasses.replace(plain, output_embedding=favoured), params | {BONUS: jnp.where(items.trained, 0.0, bonus)}


def _fold(tables, params, items):
    plain = {name: leaf for name, leaf in params.items() if name != FEATURES}
    for name in tables:
        plain[name] = jax.tree.map(partial(_own, items), params[name])
        for kind, learned in params[FEATURES][name].items():
            plain[name] = jax.tree.map(partial(ADDED[kind], items), plain[name], learned)
    return plain


def _own(items, own_V):
    """Items' own vectors, zero where they don't count; of items beyond the table too."""
    new = len(items.named) - len(own_V)
    own_V = jnp.pad(own_V, ((0, new), *((0, 0),) * (own_V.ndim - 1))) if new else own_V
    return jnp.where(_beside(items.named, own_V), own_V, 0)


def _add_values(items, table_V, value_N):
    """Of [V, ...] and the values' vectors [N, ...]: each row with those of its values."""
    value_N = jnp.concatenate([jnp.zeros_like(value_N[:1]), value_N])
    for number_V in items.values.T:  # one after another: a CPU gathers all at once, and adds them up, ten times slower
        table_V += value_N[number_V]
    return table_V


def _add_vectors(items, table_V, projection_K):
    """Of [V, ...] and a projection [K, ...]: each row with its given vector, projected."""
    return table_V + jnp.tensordot(items.vectors, projection_K, 1)


def _beside(mask, values):
    """A mask of the leading axes, of as many axes as the values."""
    return mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim))


ADDED = {VALUES: _add_values, PROJECTION: _add_vectors}

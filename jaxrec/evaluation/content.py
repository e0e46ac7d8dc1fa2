"""A content-based baseline: nearest neighbours by item features."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data import baskets
from jaxrec.data.attributes import features
from jaxrec.data.attributes.features import Features
from jaxrec.data.splits import Questions, Split, training_counts
from jaxrec.kernels.ranking import Scorer
from jaxrec.system.errors import UserError

NEWEST = 3  # number of newest history items that items are compared with


class Bags(NamedTuple):
    """Items as unit vectors, made of their feature values, weighted by rarity, and of their given vectors."""

    values: Any  #: [V + 1, F] int32, as in Features; row 0 is empty
    weights: Any  #: [N + 1] float32 per value: -log of the share of items that have it
    scale: Any  #: [V + 1] float32, scales an item to length 1; 0 without features
    vectors: Any  #: [V + 1, K] float32


def fit(split: Split) -> Bags:
    """Returns the Bags of a split's catalogue, from all usable columns.

    Raises:
        UserError: if there are none.
    """
    catalogue = split.interactions.catalogue.counted(training_counts(split))
    names = features.usable(catalogue)
    if not names:
        raise UserError(
            f"{split.interactions.name}: no column of its items has a value that several of them share: give a table "
            "that describes the items, by prepare's --items"
        )
    return bags(features.build(catalogue, names))


def bags(found: Features) -> Bags:
    """Returns the Bags of Features."""
    padded = lambda rows: np.pad(rows, ((1, 0), (0, 0)))
    values, vectors = padded(found.values), padded(found.vectors)
    share = np.bincount(values.ravel(), minlength=len(found.names) + 1) / max(len(found.values), 1)
    weights = np.where(share > 0, -np.log(np.maximum(share, 1e-12)), 0).astype(np.float32)
    weights[0] = 0
    length = np.sqrt((weights[values] ** 2).sum(1) + (vectors**2).sum(1))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return Bags(values, weights, scale.astype(np.float32), vectors)


def newest(_learnt: Bags, split: Split, questions: Questions, number: int = NEWEST) -> np.ndarray:
    """Returns the newest items of each history, as `baskets.newest`."""
    return baskets.newest(split, questions, number)


def _chunk(params, history_L, start, size):
    """Returns the sum of each item's cosine similarities to the history's items."""
    scale_L, values_LF = params.scale[history_L], params.values[history_L]
    wanted_N = jnp.zeros_like(params.weights).at[values_LF].add(scale_L[:, None] * params.weights[values_LF])
    wanted_K = scale_L @ params.vectors[history_L]
    part = lambda rows: jax.lax.dynamic_slice_in_dim(rows, start + 1, size)
    shared = (params.weights * wanted_N)[part(params.values)].sum(1)
    return part(params.scale) * (shared + part(params.vectors) @ wanted_K)


def _at(params, history_L, items_C):
    return _chunk(params, history_L, 0, len(params.values) - 1)[items_C - 1]


scorer = Scorer(_chunk, _at)

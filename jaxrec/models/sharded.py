"""Splits the item tables of any model over devices; a step looks up only the rows that its stream needs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxrec.kernels import shards
from jaxrec.models.features import Items
from jaxrec.models.model import Model


def sharded(model: Model, axis: str, size: int) -> Model:
    """Returns the Model whose params, inside shard_map, hold one device's share of the rows of every item table.

    Its `encode` looks up the rows of the stream's items and renumbers the items by their places among these rows: the
    given model sees a catalogue of the stream's items only. `output_embedding` returns the device's share of the rows.
    For a model with features, both take folded params.

    Args:
        model: Model.
        axis: the name of the mesh axis that the rows are split over.
        size: the number of devices along it; `init` pads the tables with zero rows to a multiple of it.
    """
    read = [name for name, uses in model.item_tables.items() if "inputs" in uses]

    def looked_up(params, stream):
        row_N = stream.items.reshape(-1) - 1
        rows = {name: jax.tree.map(lambda table: shards.look_up(table, row_N, axis), params[name]) for name in read}
        place_BT = 1 + jnp.arange(row_N.size, dtype=stream.items.dtype).reshape(stream.items.shape)
        return params | rows, stream._replace(items=jnp.where(stream.items > 0, place_BT, stream.items))

    def of_rows(function: Callable) -> Callable:
        return lambda params, stream, *args, **kwargs: function(*looked_up(params, stream), *args, **kwargs)

    def init(key):
        params = model.init(key)
        return params | {name: jax.tree.map(lambda x: _padded(x, size), params[name]) for name in model.item_tables}

    if model.folding is not None:
        plain = sharded(model.folding.plain, axis, size)
        items = Items(*(_padded(each, size) for each in model.folding.items))
        return dataclasses.replace(plain, init=init, folding=model.folding._replace(plain=plain, items=items))
    encode, encode_at = of_rows(model.encode), of_rows(model.encode_at)
    return dataclasses.replace(model, init=init, encode=encode, encode_at=encode_at, item_axis=axis)


def specs(model: Model, params: Any) -> dict[str, P]:
    """Returns the PartitionSpec of each of a model's params."""
    return {name: P(model.item_axis) if name in model.item_tables else P() for name in params}


def _padded(x, size):
    """Appends zero rows to an array, up to a multiple of `size`."""
    pad = np.pad if isinstance(x, np.ndarray) else jnp.pad
    return pad(x, ((0, -len(x) % size), *((0, 0),) * (x.ndim - 1)))

"""Adds embeddings of the events' context to the input vectors of any model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.models.model import Model

NAME = "context"  # key of these params in a model's
START = "start"  # key, among these, of the vector for slots that show no event
SCALE = 0.02  # standard deviation of that vector's initial values


def with_context(model: Model, sizes: Mapping[str, int], dim: int, timed: bool = False, starts: bool = False) -> Model:
    """Returns the model with embeddings of the stream's context added to its inputs.

    Args:
        model: a model whose entry has `reads_context`.
        sizes: number of values per kind of context, in the order of the stream's columns.
        dim: D, the width of the input vectors.
        timed: whether the last column has the moments of the events, for the stream's `times`.
        starts: whether the model accepts users without events; see Stream.start.

    Returns:
        The Model. Its params also have "context", a table [values, D] per kind, initialised to zero.
    """

    def init(key):
        if not sizes:
            return model.init(key)
        tables = {kind: jnp.zeros((size, dim)) for kind, size in sizes.items()}
        if starts:  # not zeros, since a normalisation would divide by their norm
            tables[START] = SCALE * jax.random.normal(jax.random.fold_in(key, 2), (dim,))
        return model.init(key) | {NAME: tables}

    def shown(params, stream):
        if stream.context is None:
            return stream
        numbers = columns(stream.context)
        stream = stream._replace(times=numbers.pop() - 1) if timed else stream
        if not sizes:
            return stream
        tables = (params[NAME][kind] for kind in sizes)
        added = sum(looked_up(*each) for each in zip(tables, numbers, strict=True))
        if stream.start is not None:
            added += jnp.where(stream.start[..., None], params[NAME][START], 0)
        return stream._replace(added=added)

    return dataclasses.replace(
        model,
        init=init,
        starts=starts,
        encode=lambda params, stream, *args, **kept: model.encode(
            without(params), shown(params, stream), *args, **kept
        ),
        encode_at=lambda params, stream, slots: model.encode_at(without(params), shown(params, stream), slots),
        initial_carry=lambda params, rows: model.initial_carry(without(params), rows),
        head=lambda params, hidden: model.head(without(params), hidden),
        output_embedding=lambda params: model.output_embedding(without(params)),
    )


def without(params: dict) -> dict:
    """Returns the params without those of the context."""
    return {name: value for name, value in params.items() if name != NAME}


def columns(context_BTK: Any) -> list[jax.Array]:
    """Splits [B, T, K] into K arrays [B, T]."""
    return [context_BTK[..., kind] for kind in range(context_BTK.shape[-1])]


def looked_up(table_ND: jax.Array, number_BT: jax.Array) -> jax.Array:
    """Looks up the rows of numbers that count from 1; 0 has a zero vector. -> [B, T, D]"""
    return jnp.where((number_BT > 0)[..., None], table_ND[jnp.maximum(number_BT - 1, 0)], 0)

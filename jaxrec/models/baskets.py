"""Reads a model's output once per basket: as the mean over the basket's slots, in any order."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream
from jaxrec.models.model import Model, take_slots


def with_baskets(model: Model) -> Model:
    """Returns the model whose hidden vector at a slot is the mean over all slots of its basket.

    Args:
        model: a model whose entry has `reads_baskets`; slots of a sequence with equal positions form a basket.
    """

    def encode(params, stream, *args, **kept):
        hidden_BTD, carry = model.encode(params, stream, *args, **kept)
        return mean(_same(stream), hidden_BTD), carry

    def encode_at(params, stream, slots_BM):
        return mean(take_slots(_same(stream), slots_BM), model.encode(params, stream)[0])

    return dataclasses.replace(model, encode=encode, encode_at=encode_at)


def mean(same_BMT: jax.Array, hidden_BTD: jax.Array) -> jax.Array:
    """Returns the means of the hidden vectors that a mask selects. [B, M, T] bool, [B, T, D] -> [B, M, D]"""
    share_BMT = same_BMT / same_BMT.sum(-1, keepdims=True)
    found = jnp.einsum("bmt,btd->bmd", share_BMT, hidden_BTD, preferred_element_type=jnp.float32)
    return found.astype(hidden_BTD.dtype)


def _same(stream: Stream) -> jax.Array:
    """Whether two slots belong to the same basket; the empty slots of a row count as one. [B, T, T] bool"""
    of_segment = stream.segments[:, :, None] == stream.segments[:, None]
    return of_segment & (stream.positions[:, :, None] == stream.positions[:, None])

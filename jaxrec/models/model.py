"""What a model is: pure functions of a plain dict of params."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sequential recommender. Row v - 1 of its table is item v; padding is never a row that could be ranked."""

    init: Callable  #: (key) -> params
    encode: Callable  #: (params, stream, carry=None, *, keys=None) -> (hidden_BTD, carry); no keys, no dropout
    encode_at: Callable  #: (params, stream, slots_BM) -> hidden_BMD: what encode gives at these slots, or faster
    initial_carry: Callable  #: (params, rows) -> carry, or None for a model that carries nothing
    head: Callable  #: (params, hidden_...D) -> hidden_...D, applied only at slots with a target
    output_embedding: Callable  #: (params) -> (embedding [V, D], bias [V] or None) of all items
    item_tables: dict  #: params whose row v - 1 is of item v -> whose rows a step uses: of "inputs", of "targets"
    microbatch_slots: int | None = None  #: slots that a CPU is fastest with; None: all of a step
    folding: Any = None  #: features.Folding of a model whose items have features
    item_axis: str | None = None  #: the mesh axis that the rows of the item tables are split over (see `sharded`)


def pick(x_BT: jax.Array, slots_BM: jax.Array) -> jax.Array:
    """Some slots of each row: [B, T, ...], [B, M] -> [B, M, ...]."""
    return jnp.take_along_axis(x_BT, slots_BM.reshape(*slots_BM.shape, *(1,) * (x_BT.ndim - 2)), axis=1)


def encode_then_pick(encode: Callable) -> Callable:
    """`Model.encode_at` by encoding every slot."""
    return lambda params, stream, slots_BM: pick(encode(params, stream)[0], slots_BM)


def from_module(
    module: nn.Module,
    length: int,
    *,
    output_embedding: Callable,
    item_tables: dict,
    head: str | None = None,
    method: str = "__call__",
    reads: bool = False,
    init: Callable | None = None,
    initial_carry: Callable | None = None,
    microbatch_slots: int | None = None,
) -> Model:
    """The Model of a Linen module.

    Args:
        module: (stream, keys) -> hidden; one that carries a state is (stream, keys, carry) -> (hidden, carry).
        length: of the stream that makes the params.
        output_embedding: as Model has them.
        item_tables: as Model has them.
        microbatch_slots: as Model has them.
        head: name of the module's method of hidden vectors; none by default.
        method: that makes all params.
        reads: whether the module takes slots_BM as its third argument, and then gives [B, M, D] of these.
        init: (key) -> params, where these are not to be drawn by the module.
        initial_carry: as Model has it, where the module carries a state.
    """

    def own_init(key):
        return module.init(key, Stream(*(jnp.zeros((1, length), jnp.int32),) * 5), method=method)["params"]

    def encode(params, stream, carry=None, *, keys=None):
        if initial_carry is None:
            return module.apply({"params": params}, stream, keys), carry
        return module.apply({"params": params}, stream, keys, carry)

    def apply_head(params, hidden):
        return module.apply({"params": params}, hidden, method=head) if head else hidden

    def encode_at(params, stream, slots_BM):
        return module.apply({"params": params}, stream, None, slots_BM)

    return Model(
        init=init or own_init,
        encode=encode,
        encode_at=encode_at if reads else encode_then_pick(encode),
        initial_carry=initial_carry or (lambda params, rows: None),
        head=apply_head,
        output_embedding=output_embedding,
        item_tables=item_tables,
        microbatch_slots=microbatch_slots,
    )

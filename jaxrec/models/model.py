"""The interface of models: pure functions of a dict of params."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sequential recommender. Row v - 1 of its table is item v; padding has no row, so it can't be ranked."""

    init: Callable  #: (key) -> params
    encode: Callable  #: (params, stream, carry=None, *, keys=None) -> (hidden_BTD, carry); no dropout without keys
    encode_at: Callable  #: (params, stream, slots_BM) -> hidden_BMD, as `encode` at these slots, but possibly faster
    initial_carry: Callable  #: (params, rows) -> carry, or None for a model without state
    head: Callable  #: (params, hidden_...D) -> hidden_...D, applied at slots with a target
    output_embedding: Callable  #: (params) -> (embedding [V, D], bias [V] or None) of all items
    item_tables: dict  #: item param -> the slots whose rows a step uses, among "inputs" and "targets"
    user_tables: tuple[str, ...] = ()  #: params with a row per user
    microbatch_slots: int | None = None  #: the fastest number of slots per microbatch on a CPU; None: the whole step
    by_row: tuple[str, ...] = ()  #: names of params [D] that may be given as one copy per row of a batch; see `norms`
    folding: Any = None  #: features.Folding, for a model with item features
    starts: bool = False  #: whether it accepts users without events, by Stream.start
    item_axis: str | None = None  #: the mesh axis that the rows of the item tables are split over (see `sharded`)


def take_slots(x_BT: jax.Array, slots_BM: jax.Array) -> jax.Array:
    """Selects slots of each row: [B, T, ...], [B, M] -> [B, M, ...]."""
    return jnp.take_along_axis(x_BT, slots_BM.reshape(*slots_BM.shape, *(1,) * (x_BT.ndim - 2)), axis=1)


def encode_then_take(encode: Callable) -> Callable:
    """Returns a `Model.encode_at` that encodes every slot, then selects some."""
    return lambda params, stream, slots_BM: take_slots(encode(params, stream)[0], slots_BM)


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
    by_row: tuple[str, ...] = (),
) -> Model:
    """Returns the Model of a Linen module.

    Args:
        module: (stream, keys) -> hidden; with state, (stream, keys, carry) -> (hidden, carry).
        length: of the stream for initialisation.
        output_embedding: as in Model.
        item_tables: as in Model.
        head: name of the module's method to use as `Model.head`; none by default.
        method: name of the module's method to initialise with.
        reads: whether the module takes slots_BM as its third argument, and then returns [B, M, D].
        init: (key) -> params, to replace the module's initialisation.
        initial_carry: as in Model, for a module with state.
        microbatch_slots: as in Model.
        by_row: as in Model.
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
        encode_at=encode_at if reads else encode_then_take(encode),
        initial_carry=initial_carry or (lambda params, rows: None),
        head=apply_head,
        output_embedding=output_embedding,
        item_tables=item_tables,
        microbatch_slots=microbatch_slots,
        by_row=by_row,
    )

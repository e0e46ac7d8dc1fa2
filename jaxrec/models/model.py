"""What a model is: pure functions of a plain dict of params."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from jaxrec.batches.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sequential recommender. Row v - 1 of its table is item v; padding is never a row that could be ranked."""

    init: Callable  #: (key) -> params
    encode: Callable  #: (params, stream, carry=None, *, keys=None) -> (hidden_BTD, carry); no keys, no dropout
    read: Callable  #: (params, stream, slots_BM) -> hidden_BMD: what encode gives at these slots, for less where it can
    carry0: Callable  #: (params, rows) -> carry, or None for a model that carries nothing
    head: Callable  #: (params, hidden_...D) -> hidden_...D, applied only at slots that are asked
    table: Callable  #: (params) -> (output table [V, D], bias [V] or None)
    tables: dict  #: of params whose row v - 1 belongs to item v: which items' rows a step uses, "shown", "asked"
    at_once: int | None = None  #: slots that a CPU trains on in the least time; None: all of a step


def pick(x_BT, slots_BM):
    """Some slots of each row: [B, T, ...], [B, M] -> [B, M, ...]."""
    return jnp.take_along_axis(x_BT, slots_BM.reshape(*slots_BM.shape, *(1,) * (x_BT.ndim - 2)), axis=1)


def read_by(encode):
    """`Model.read` by encoding every slot."""
    return lambda params, stream, slots_BM: pick(encode(params, stream)[0], slots_BM)


def from_module(module, length, *, table, tables, head=None, method="__call__", reads=False, at_once=None):
    """The Model of a Linen module (stream, keys) -> hidden that carries nothing.

    Args:
        length: of the stream that makes the params. table, tables, at_once: as Model has them.
        head: name of the module's method of hidden vectors; none by default. method: that makes all params.
        reads: whether the module takes slots_BM as its third argument, and then gives [B, M, D] of these.
    """

    def init(key):
        return module.init(key, Stream(*(jnp.zeros((1, length), jnp.int32),) * 5), method=method)["params"]

    def encode(params, stream, carry=None, *, keys=None):
        return module.apply({"params": params}, stream, keys), carry

    def at_asked(params, hidden):
        return module.apply({"params": params}, hidden, method=head) if head else hidden

    def read(params, stream, slots_BM):
        return module.apply({"params": params}, stream, None, slots_BM)

    return Model(
        init=init,
        encode=encode,
        read=read if reads else read_by(encode),
        carry0=lambda params, rows: None,
        head=at_asked,
        table=table,
        tables=tables,
        at_once=at_once,
    )

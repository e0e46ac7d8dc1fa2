"""GRU4Rec: a recurrent network over sessions (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.config.fields import among, below_one, key
from jaxrec.config.keys import ModelOptions
from jaxrec.models.entry import ModelEntry
from jaxrec.models.layers import INITIAL, drop_rows
from jaxrec.models.model import Model, encode_then_pick


@dataclass(frozen=True)
class GRU4RecOptions(ModelOptions):
    """The keys of GRU4Rec; `dropout` is on the output of every layer."""

    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02), or uniform
    embedding: str = among("shared", "separate")  #: whether the input's table is also the output's
    input_dropout: float = key(below_one, 0.0)  #: on the embeddings


def gru4rec(config, sizes):
    """GRU4Rec as a Model. config: GRU4RecOptions. sizes: Sizes.

    Its params, with V items and width D, and 3D the gates r, z and the candidate in this order:

        items [V, D], bias [V]              the output table, and with embedding "shared" the input's
        inputs [V, D]                       the input's table with embedding "separate"
        gru_0, gru_1, ...                   a layer each: {"input", "hidden"}, both {"kernel" [D, 3D], "bias" [3D]}

    Both kernels have a bias, as in the authors' code: of r and z only the sum counts, but each makes the optimiser's
    step, so that the sum moves twice as far as one bias would.

    The carry is a tuple of a [rows, D] hidden state a layer; it is zero where a sequence begins, in every row.
    """
    initial, items, dtype = INITIAL[config.init], sizes.items, sizes.dtype

    def init(key):
        keys = iter(jax.random.split(key, 2 + 6 * config.layers))

        def kernel():  # the bound is that of a gate's own matrix
            return jnp.concatenate([initial(next(keys), (config.dim, config.dim)) for _ in range(3)], axis=1)

        table = lambda: initial(next(keys), (items, config.dim))
        params: dict[str, Any] = {"items": table(), "bias": jnp.zeros(items)}
        if config.embedding == "separate":
            params["inputs"] = table()
        for i in range(config.layers):
            zeros = jnp.zeros(3 * config.dim)
            params[f"gru_{i}"] = {name: {"kernel": kernel(), "bias": zeros} for name in ("input", "hidden")}
        return params

    def encode(params, stream, carry=None, *, keys=None):
        table = params["inputs" if config.embedding == "separate" else "items"]
        x_BTD = jnp.where((stream.items > 0)[..., None], table[jnp.maximum(stream.items - 1, 0)], 0)
        x_BTD = drop_rows(x_BTD, config.input_dropout, keys, (0, 0))
        carried = []
        for i in range(config.layers):
            before = None if carry is None else carry[i]
            layer, keep_BTD = params[f"gru_{i}"], None
            if keys is not None and config.dropout:
                ones_BTD = jnp.ones((*x_BTD.shape[:2], layer["hidden"]["kernel"].shape[0]))
                keep_BTD = drop_rows(ones_BTD, config.dropout, keys, (i + 1, 0))
            x_BTD, after = _layer(layer, x_BTD, stream.positions == 0, keep_BTD, before, dtype)
            carried.append(after)
        return x_BTD, tuple(carried)

    def initial_carry(params, rows):
        widths = [params[f"gru_{i}"]["hidden"]["kernel"].shape[0] for i in range(config.layers)]
        return tuple(jnp.zeros((rows, width)) for width in widths)

    if config.embedding == "separate":
        item_tables = {"items": ("targets",), "bias": ("targets",), "inputs": ("inputs",)}
    else:
        item_tables = {"items": ("inputs", "targets"), "bias": ("targets",)}
    return Model(
        init=init,
        encode=encode,
        encode_at=encode_then_pick(encode),
        initial_carry=initial_carry,
        head=lambda params, hidden: hidden,
        output_embedding=lambda params: (params["items"], params["bias"]),
        item_tables=item_tables,
    )


def gates(x_B3D, h_B3D, h_BD):
    """The state after a slot (Cho et al. 2014, with the reset after the product, as in cuDNN).

    r = sigmoid(x_r + h_r); z = sigmoid(x_z + h_z); c = tanh(x_c + r h_c); (1 - z) c + z h.

    Args:
        x_B3D, h_B3D: the input and the state, multiplied with their kernels, biases added. h_BD: the state.
    """
    (x_r, x_z, x_c), (h_r, h_z, h_c) = (jnp.split(gates, 3, axis=-1) for gates in (x_B3D, h_B3D))
    z_BD = jax.nn.sigmoid(x_z + h_z)
    return (1 - z_BD) * jnp.tanh(x_c + jax.nn.sigmoid(x_r + h_r) * h_c) + z_BD * h_BD


def _layer(params, x_BTD, reset_BT, keep_BTD, before_BD, dtype):
    """A layer over all slots: (output [B, T, D], state after the last slot [B, D]).

    The products of the inputs don't wait for each other: they are one flat product before the loop. What dropout
    leaves of the output is also the state that goes on, as in the authors' code.
    """
    (rows, slots, _), width = x_BTD.shape, params["hidden"]["kernel"].shape[0]

    def product(side, x_ND):
        kernel, bias = params[side]["kernel"].astype(dtype), params[side]["bias"]
        return jnp.dot(x_ND.astype(dtype), kernel, preferred_element_type=jnp.float32) + bias

    x_TBD = jnp.swapaxes(x_BTD, 0, 1)
    x_TB3D = product("input", x_TBD.reshape(slots * rows, -1)).reshape(slots, rows, 3 * width)
    keep_TBD = None if keep_BTD is None else jnp.swapaxes(keep_BTD, 0, 1)

    def slot(h_BD, inputs):
        x_B3D, reset_B, keep_BD = inputs
        h_BD = jnp.where(reset_B[:, None], 0.0, h_BD)
        h_BD = gates(x_B3D, product("hidden", h_BD), h_BD)
        h_BD = h_BD if keep_BD is None else keep_BD * h_BD
        return h_BD, h_BD

    before_BD = jnp.zeros_like(x_TB3D[0, :, :width]) if before_BD is None else before_BD
    after_BD, out_TBD = jax.lax.scan(slot, before_BD, (x_TB3D, reset_BT.T, keep_TBD))
    return jnp.swapaxes(out_TBD, 0, 1), after_BD


MODEL = ModelEntry(name="gru4rec", options=GRU4RecOptions, build=gru4rec, carries_state=True)

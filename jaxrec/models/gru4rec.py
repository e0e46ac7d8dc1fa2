"""GRU4Rec: a recurrent network for sessions (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.config.fields import among, below_one, key
from jaxrec.config.keys import AUTO, ModelOptions
from jaxrec.kernels import gru
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import INITIAL, drop_rows, item_param, with_added
from jaxrec.models.model import Model, from_module


@dataclass(frozen=True)
class GRU4RecOptions(ModelOptions):
    """The options of GRU4Rec; `dropout` applies to the output of every layer."""

    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02), or uniform
    embedding: str = among("shared", "separate")  #: whether input and output share a table
    input_dropout: float = key(below_one, 0.0)  #: dropout of the embeddings
    #: whether a GPU runs the slots of a layer in one hand-written kernel, for packed rows and a dim of at most 128;
    #: otherwise, and on other devices, it loops over them
    fused: bool = False


class GRU4Rec(nn.Module):
    """Item embeddings, GRU layers, and scores by the item table with a bias per item.

    The params, for V items and width D, where 3D is the gates r and z and the candidate, in this order:

        items [V, D], bias [V]              output table, also the input table if embedding is "shared"
        inputs [V, D]                       input table if embedding is "separate"
        gru_0, gru_1, ...                   per layer: {"input", "hidden"}, both {"kernel" [D, 3D], "bias" [3D]}

    The carry is a tuple of hidden states [rows, D], one per layer. A row's state is reset to zero where a sequence
    begins.
    """

    items: int
    width: int
    layers: int
    rate: float
    input_rate: float
    separate: bool
    dtype: Any
    kernel: Any
    fused: bool

    def setup(self) -> None:
        self.item_table = item_param(self, "items", self.kernel, self.items, self.width)
        self.bias = item_param(self, "bias", nn.initializers.zeros, self.items)
        if self.separate:
            self.input_table = item_param(self, "inputs", self.kernel, self.items, self.width)
        layer = partial(GRULayer, self.width, self.rate, self.dtype, self.kernel, self.fused)
        self.gru = [layer() for _ in range(self.layers)]

    def __call__(self, stream, keys=None, carry=None):
        """[B, T] -> [B, T, D], and the carry for the next slots."""
        table = self.input_table if self.separate else self.item_table
        x_BTD = with_added(table[jnp.maximum(stream.items - 1, 0)], stream)
        x_BTD = jnp.where((stream.items > 0)[..., None], x_BTD, 0)
        x_BTD = drop_rows(x_BTD, self.input_rate, keys, (0, 0))
        carry, carried = carry or (None,) * self.layers, []
        for i, (layer, before) in enumerate(zip(self.gru, carry, strict=True), 1):
            x_BTD, after = layer(x_BTD, stream.positions == 0, before, keys, i)
            carried.append(after)
        return x_BTD, tuple(carried)


class GRULayer(nn.Module):
    """A GRU layer. Dropout applies to the output and also to the state passed on, as in the authors' code."""

    width: int
    rate: float
    dtype: Any
    kernel: Any
    fused: bool

    def setup(self) -> None:
        self.input = Gates(self.width, self.dtype, self.kernel)
        self.hidden = Gates(self.width, self.dtype, self.kernel)

    def __call__(self, x_BTD, reset_BT, before_BD, keys, site):
        """-> (output [B, T, D], state after the last slot [B, D])

        The input products are independent of the state, so they are computed as one product before the loop.
        """
        (rows, slots, _), width = x_BTD.shape, self.hidden.kernel.shape[0]
        keep_TBD = None
        if keys is not None and self.rate:
            keep_TBD = jnp.swapaxes(drop_rows(jnp.ones((rows, slots, width)), self.rate, keys, (site, 0)), 0, 1)
        x_TBD = jnp.swapaxes(x_BTD, 0, 1)
        x_TB3D = self.input(x_TBD.reshape(slots * rows, -1)).reshape(slots, rows, 3 * width)
        before_BD = jnp.zeros_like(x_TB3D[0, :, :width]) if before_BD is None else before_BD
        own = self.hidden.kernel, self.hidden.bias, self.dtype, self.fused
        after_BD, out_TBD = gru.recurrence(x_TB3D, reset_BT.T, keep_TBD, before_BD, *own)
        return jnp.swapaxes(out_TBD, 0, 1), after_BD


class Gates(nn.Module):
    """Input or state contributions to gates and candidate: [N, D] -> [N, 3D] float32.

    Both have a bias, as in the authors' code. For r and z only the sum matters, but the optimiser updates each, so the
    sum moves twice as far as a single bias would.
    """

    width: int
    dtype: Any
    kernel_init: Any

    def setup(self) -> None:
        self.kernel = item_param(self, "kernel", self.kernel_init, self.width, 3 * self.width)
        self.bias = item_param(self, "bias", nn.initializers.zeros, 3 * self.width)

    def __call__(self, x_ND):
        return gru.product(x_ND, self.kernel, self.bias, self.dtype)


def initial_params(options: GRU4RecOptions, items: int, key: jax.Array) -> dict[str, Any]:
    """Returns the initial params. Each gate's matrix is drawn separately, with the bound of its own shape."""
    initial, width = INITIAL[options.init], options.dim
    keys = iter(jax.random.split(key, 2 + 6 * options.layers))

    def kernel():
        return jnp.concatenate([initial(next(keys), (width, width)) for _ in range(3)], axis=1)

    table = lambda: initial(next(keys), (items, width))
    params: dict[str, Any] = {"items": table(), "bias": jnp.zeros(items)}
    if options.embedding == "separate":
        params["inputs"] = table()
    for i in range(options.layers):
        zeros = jnp.zeros(3 * width)
        params[f"gru_{i}"] = {name: {"kernel": kernel(), "bias": zeros} for name in ("input", "hidden")}
    return params


def initial_carry(layers: int, params: Any, rows: int) -> tuple[jax.Array, ...]:
    """Returns the initial states, [rows, D] zeros per layer."""
    widths = [params[f"gru_{i}"]["hidden"]["kernel"].shape[0] for i in range(layers)]
    return tuple(jnp.zeros((rows, width)) for width in widths)


def gru4rec(config: GRU4RecOptions, sizes: Sizes) -> Model:
    """Returns GRU4Rec as a Model."""
    separate = config.embedding == "separate"
    module = GRU4Rec(
        sizes.items,
        config.dim,
        config.layers,
        config.dropout,
        config.input_dropout,
        separate,
        sizes.dtype,
        INITIAL[config.init],
        config.fused,
    )
    shared = {"items": ("inputs", "targets"), "bias": ("targets",)}
    return from_module(
        module,
        sizes.length,
        output_embedding=lambda params: (params["items"], params["bias"]),
        item_tables={"items": ("targets",), "bias": ("targets",), "inputs": ("inputs",)} if separate else shared,
        init=partial(initial_params, config, sizes.items),
        initial_carry=partial(initial_carry, config.layers),
    )


MODEL = ModelEntry(
    name="gru4rec",
    options=GRU4RecOptions,
    build=gru4rec,
    reads_context=True,
    carries_state=True,
    suits=NEXT_ITEM
    | {
        "model.layers": 1,
        "model.dropout": 0.0,
        "model.input_dropout": AUTO,
        "model.embedding": "shared",
        "model.init": "uniform",
        "optim.learning_rate": 5e-3,
    },
)

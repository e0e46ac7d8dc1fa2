"""RG-LRU: blocks of real-gated linear recurrent units (De et al. 2024), for sequences of items."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.config.fields import among, key, positive
from jaxrec.kernels.recurrence import linear_recurrence
from jaxrec.kernels.sizes import GATED_SLOTS
from jaxrec.models import remat
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import (
    INITIAL,
    Dense,
    FeedForward,
    by_slot,
    drop_rows,
    gelu,
    item_param,
    l2_normalize,
    log_temperature,
    pointing,
    rms_norm,
    with_added,
)
from jaxrec.models.model import Model, from_module

SHARPNESS = 8.0  # c in the paper: exponent of a fully open gate
DECAYS = (0.9, 0.999)  # range of initial decays per slot with an open gate
LEAST = 1e-6  # lower bound of 1 - decay^2, whose root has an infinite slope at 0


class RGLRU(nn.Module):
    """Item embeddings, residual blocks of a recurrence and a feed-forward, and scores by products with the item table.

    With `embedding="projected"` a linear map comes before the scores, as in SASRec.
    The carry is a tuple of states [rows, D], one per block, reset where a sequence begins. Unlike the paper's Hawk, it
    has no convolution over four slots before each unit.
    """

    items: int
    options: "RGLRUOptions"
    dtype: Any

    def setup(self) -> None:
        of, kernel = self.options, INITIAL[self.options.init]
        self.item_table = item_param(self, "items", kernel, self.items, of.dim)
        if of.score == "cosine":
            self.temperature = self.param("temperature", log_temperature)
        self.mixer = [Mixer(of.dropout, self.dtype, kernel) for _ in range(of.layers)]
        feed_forward = lambda: FeedForward(of.dropout, self.dtype, kernel, of.ffn, of.ffn_multiplier)
        self.feed_forward = [feed_forward() for _ in range(of.layers)]
        self.mixer_norm = [rms_norm() for _ in range(of.layers)]
        self.feed_forward_norm = [rms_norm() for _ in range(of.layers)]
        self.last_norm = rms_norm()
        if of.embedding == "projected":
            self.projection = Dense(of.dim, self.dtype, kernel, biased=False)

    def __call__(self, stream, keys=None, carry=None):
        """[B, T] -> [B, T, D], and the carry for the next slots."""
        x_BTD = self.item_table[jnp.maximum(stream.items - 1, 0)] * self.options.dim**0.5
        x_BTD = jnp.where((stream.items > 0)[..., None], with_added(x_BTD, stream), 0).astype(self.dtype)
        x_BTD = drop_rows(x_BTD, self.options.dropout, keys, (0, 0))
        carry, carried = carry or initial_carry(self.options, None, x_BTD.shape[0]), []
        for i, before in enumerate(carry):

            def block(self, x_BTD, before, i=i):
                normed = self.mixer_norm[i](x_BTD)
                added, after = self.mixer[i](normed, stream.positions == 0, before, keys, 2 * i + 1)
                x_BTD = x_BTD + added
                return x_BTD + self.feed_forward[i](self.feed_forward_norm[i](x_BTD), keys, 2 * i + 2), after

            x_BTD, after = remat.block(block, self.options.remat, keys, self, x_BTD, before)
            carried.append(after)
        hidden = self.last_norm(x_BTD)
        hidden = by_slot(self.projection, hidden) if self.options.embedding == "projected" else hidden
        return hidden, tuple(carried)

    def head(self, hidden: jax.Array) -> jax.Array:
        """Transforms hidden vectors for cosine scores."""
        return pointing(hidden, self.temperature)


class Mixer(nn.Module):
    """A recurrent unit between two dense layers, gated by a GELU branch; returns the addition to the residual."""

    rate: float
    dtype: Any
    kernel_init: Any

    @nn.compact
    def __call__(self, x_BTD, reset_BT, before_BD, keys, site):
        """-> (output [B, T, D], state after the last slot [B, D])"""
        rows, slots, width = x_BTD.shape
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        x_ND, gate_ND = jnp.split(dense(2 * width, name="inner")(x_BTD.reshape(-1, width)), 2, axis=-1)
        gates = dense(2 * width, name="gates")(x_ND).astype(jnp.float32).reshape(rows, slots, -1)
        slowness_D = self.param("slowness", initial_slowness, (width,))
        x_BTD = x_ND.astype(jnp.float32).reshape(rows, slots, width)
        decay_BTD, input_BTD = jnp.split(gates, 2, axis=-1)
        state_BTD = rg_lru(x_BTD, decay_BTD, input_BTD, slowness_D, reset_BT, before_BD)
        gated_ND = (state_BTD.reshape(-1, width) * gelu(gate_ND)).astype(self.dtype)
        out_BTD = dense(width, name="outer")(gated_ND).reshape(rows, slots, width)
        return drop_rows(out_BTD, self.rate, keys, (site, 0)), state_BTD[:, -1]


def rg_lru(
    x_BTD: jax.Array,
    decay_BTD: jax.Array,
    input_BTD: jax.Array,
    slowness_D: jax.Array,
    reset_BT: jax.Array,
    before_BD: jax.Array,
) -> jax.Array:
    """Returns the states of a real-gated linear recurrent unit (eqs. 1 to 4 of the paper), in float32: [B, T, D].

    a = sigmoid(slowness)^(c sigmoid(decay)); h_t = a h_(t-1) + sqrt(1 - a^2) sigmoid(input) x.

    Computed with the logarithm of a, so that a is in (0, 1) and 1 - a^2 is exact near 0. A reset clears the state; the
    input at that slot is still scaled by sqrt(1 - a^2), with a from its gate.

    Args:
        x_BTD: the input.
        decay_BTD: logits of the recurrence gate.
        input_BTD: logits of the input gate.
        slowness_D: logits of the decay per feature.
        reset_BT: bool, where a sequence begins.
        before_BD: the state before the first slot.
    """
    log_a_BTD = -SHARPNESS * nn.softplus(-slowness_D) * nn.sigmoid(decay_BTD)
    added_BTD = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a_BTD), LEAST)) * nn.sigmoid(input_BTD) * x_BTD
    # typed zero: ONNX export turns a literal 0 into float64
    a_BTD, none_BD = jnp.exp(log_a_BTD), jnp.zeros_like(before_BD)
    a_BTD = jnp.where(reset_BT[..., None], jnp.zeros_like(a_BTD), a_BTD)
    return linear_recurrence(a_BTD, added_BTD, jnp.where(reset_BT[:, :1], none_BD, before_BD))


def initial_slowness(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Draws slowness so that sigmoid(slowness)^c, the decay with open gates, is uniform in DECAYS."""
    log = jnp.log(jax.random.uniform(key, shape, minval=DECAYS[0], maxval=DECAYS[1])) / SHARPNESS
    return log - jnp.log(-jnp.expm1(log))


def initial_carry(options: "RGLRUOptions", params: Any, rows: int) -> tuple[jax.Array, ...]:
    """Returns the initial states, [rows, D] zeros per block."""
    return tuple(jnp.zeros((rows, options.dim), jnp.float32) for _ in range(options.layers))


@dataclass(frozen=True)
class RGLRUOptions(remat.RematOptions):
    """The options of RG-LRU; `dropout` applies to the embeddings and to the blocks' additions."""

    ffn: str = among("swiglu", "gelu", "relu")  #: activation of the feed-forward
    ffn_multiplier: int = key(positive, 2)  #: width of the feed-forward, as a multiple of dim
    init: str = among("normal", "xavier", "uniform")  #: N(0, 0.02), Glorot normal, or uniform
    embedding: str = among("shared", "projected")  #: projected: a linear map of the hidden vector before the scores
    score: str = among("dot", "cosine")  #: dot product; or cosine over a learned temperature


def rg_lru_model(config: RGLRUOptions, sizes: Sizes) -> Model:
    """Returns RG-LRU as a Model."""
    cosine = config.score == "cosine"
    return from_module(
        RGLRU(sizes.items, config, sizes.dtype),
        sizes.length,
        output_embedding=lambda params: (l2_normalize(params["items"]) if cosine else params["items"], None),
        item_tables={"items": ("inputs", "targets")},
        head="head" if cosine else None,
        initial_carry=partial(initial_carry, config),
        microbatch_slots=GATED_SLOTS,
    )


MODEL = ModelEntry(
    name="rg-lru",
    options=RGLRUOptions,
    build=rg_lru_model,
    reads_context=True,
    carries_state=True,
    suits=NEXT_ITEM,
)

"""BERT4Rec: bidirectional attention, trained on a cloze task (Sun et al., CIKM 2019)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream
from jaxrec.config.fields import among, key, positive
from jaxrec.config.keys import ModelOptions
from jaxrec.kernels.masks import bidirectional, position_of
from jaxrec.kernels.sizes import ATTENTION_SLOTS
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import BY_ROW, INITIAL, Attention, Dense, drop_rows, gelu, item_param, layer_norm, with_added
from jaxrec.models.model import Model, from_module, pick
from jaxrec.models.sasrec import check

EPSILON = 1e-12  # of every LayerNorm, as in BERT


class BERT4Rec(nn.Module):
    """Item and position embeddings, blocks with bidirectional attention, and an output head on the item table.

    `norm` is "post", after each residual as in the paper, or "pre", before attention and feed-forward, and at the end.
    If `separate`, the inputs have a table of their own.
    """

    items: int
    length: int
    width: int
    layers: int
    heads: int
    rate: float
    norm: str
    expand: int
    transform: bool
    separate: bool
    positions: str
    dtype: Any
    kernel: Any

    def setup(self) -> None:
        self.item_table = item_param(self, "items", self.kernel, self.items, self.width)
        self.input_table = self.item_table
        if self.separate:
            self.input_table = item_param(self, "inputs", self.kernel, self.items, self.width)
        self.mask_vector = self.param("mask", self.kernel, (1, self.width))
        relative = self.positions == "relative"
        if not relative:
            self.position_table = self.param("positions", self.kernel, (self.length, self.width))
        self.bias = item_param(self, "bias", nn.initializers.zeros, self.items)
        self.first_norm = norm()
        attention = lambda: Attention(self.heads, self.rate, self.dtype, self.kernel, False, relative)
        self.attention = [attention() for _ in range(self.layers)]
        self.feed_forward = [FeedForward(self.expand * self.width, self.dtype, self.kernel) for _ in range(self.layers)]
        self.attention_norm = [norm() for _ in range(self.layers)]
        self.feed_forward_norm = [norm() for _ in range(self.layers)]
        if self.norm == "pre":
            self.last_norm = norm()
        if self.transform:
            self.output = Dense(self.width, self.dtype, self.kernel)
            self.output_norm = norm()

    def embed(self, stream: Stream) -> jax.Array:
        """Returns the normalised sum of item (or mask) and position embeddings. -> [B, T, D]"""
        item_BTD = self.input_table[jnp.maximum(stream.items - 1, 0)]
        item_BTD = jnp.where((stream.items > 0)[..., None], item_BTD, self.mask_vector)
        if self.positions != "relative":
            item_BTD += self.position_table[position_of(stream, self.positions, self.length)]
        return self.first_norm(with_added(item_BTD, stream)).astype(self.dtype)

    def __call__(self, stream, keys=None, read_BM=None):
        """[B, T] -> [B, T, D], or [B, M, D] at the slots read_BM; the last block only computes these."""
        mask_BTT = jax.vmap(bidirectional)(stream.segments, stream.positions)
        x = drop_rows(self.embed(stream), self.rate, keys, (0, 0))
        for i in range(self.layers):
            at_BM = read_BM if i == self.layers - 1 else None
            picked = (lambda x: x) if at_BM is None else partial(pick, slots_BM=at_BM)
            attention = partial(self.attention[i], mask_BQT=picked(mask_BTT), keys=keys, site=3 * i + 1, at_BQ=at_BM)
            attend = lambda query, memory, i=i, attention=attention: drop_rows(
                attention(query, memory), self.rate, keys, (3 * i + 2, 0)
            )
            feed = lambda x, i=i: drop_rows(self.feed_forward[i](x), self.rate, keys, (3 * i + 3, 0))
            if self.norm == "post":
                x = self.attention_norm[i](picked(x) + attend(picked(x), x))
                x = self.feed_forward_norm[i](x + feed(x))
            else:
                normed = self.attention_norm[i](x)
                x = picked(x) + attend(picked(normed), normed)
                x = x + feed(self.feed_forward_norm[i](x))
        return self.last_norm(x) if self.norm == "pre" else x

    def head(self, hidden: jax.Array) -> jax.Array:
        """Transforms hidden vectors for scoring, at slots with a target. [..., D] -> [..., D]"""
        return self.output_norm(gelu(self.output(hidden))) if self.transform else hidden

    def everything(self, stream: Stream) -> Any:
        """Uses all parameters, to initialise them."""
        return self.head(self(stream)), self.bias


class FeedForward(nn.Module):
    """Two pointwise layers with a GELU in between (Hendrycks & Gimpel 2016)."""

    inner: int
    dtype: Any
    kernel: Any

    @nn.compact
    def __call__(self, x_BTD):
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        h_NF = Dense(self.inner, self.dtype, self.kernel, name="inner").gelu(x_ND)
        out_ND = Dense(x_BTD.shape[-1], self.dtype, self.kernel, name="outer")(h_NF)
        return out_ND.reshape(x_BTD.shape)


def norm() -> nn.LayerNorm:
    """Returns a LayerNorm with BERT's epsilon."""
    return layer_norm(EPSILON)


@dataclass(frozen=True)
class BERT4RecOptions(ModelOptions):
    """The options of BERT4Rec."""

    heads: int = key(positive, 1)
    norm: str = among("post", "pre")  #: position of the normalisation in a block
    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02) truncated at ±.04, or uniform
    ffn_multiplier: int = key(positive, 4)  #: width of the feed-forward, as a multiple of dim
    transform: bool = True  #: whether a dense layer, GELU and LayerNorm precede the output table
    embedding: str = among("shared", "separate")  #: whether input and output share a table


def bert4rec(config: BERT4RecOptions, sizes: Sizes) -> Model:
    """Returns BERT4Rec as a Model."""
    separate = config.embedding == "separate"
    kernel = nn.initializers.truncated_normal(0.02) if config.init == "normal" else INITIAL[config.init]
    module = BERT4Rec(
        sizes.items,
        sizes.length,
        config.dim,
        config.layers,
        config.heads,
        config.dropout,
        config.norm,
        config.ffn_multiplier,
        config.transform,
        separate,
        sizes.positions,
        sizes.dtype,
        kernel,
    )
    output = lambda params: (params["items"], params["bias"])
    shared = {"items": ("inputs", "targets"), "bias": ("targets",)}
    return from_module(
        module,
        sizes.length,
        output_embedding=output,
        item_tables={"items": ("targets",), "bias": ("targets",), "inputs": ("inputs",)} if separate else shared,
        head="head",
        method="everything",
        reads=True,
        microbatch_slots=ATTENTION_SLOTS,
        by_row=BY_ROW,
    )


MODEL = ModelEntry(
    name="bert4rec",
    options=BERT4RecOptions,
    build=bert4rec,
    objectives=("cloze",),
    positions=("from_start", "from_end", "relative"),
    check=check,
    reads_context=True,
    suits=NEXT_ITEM
    | {
        "objective": "cloze",
        "model.heads": 2,
        "model.norm": "post",
        "model.init": "normal",
        "model.transform": False,
        "model.embedding": "shared",
    },
)

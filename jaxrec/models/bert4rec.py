"""BERT4Rec: bidirectional attention, trained on a cloze task (Sun et al., CIKM 2019)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream
from jaxrec.config.fields import among, below_one, key, positive
from jaxrec.kernels.masks import bidirectional, position_of
from jaxrec.kernels.sizes import ATTENTION_SLOTS
from jaxrec.models import remat
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import (
    BY_ROW,
    INITIAL,
    Attention,
    Dense,
    FeedForward,
    drop_rows,
    gelu,
    item_param,
    layer_norm,
    residual,
    with_added,
)
from jaxrec.models.model import Model, from_module, take_slots
from jaxrec.models.sasrec import check

EPSILON = 1e-12  # of every LayerNorm, as in BERT


class BERT4Rec(nn.Module):
    """Item and position embeddings, blocks with bidirectional attention, and an output head on the item table.

    `norm` says where to normalise, as in `layers.residual`: "post" is the paper's; the others also normalise at the
    end. If `embedding` is "separate", the inputs have a table of their own.
    """

    items: int
    length: int
    options: "BERT4RecOptions"
    positions: str
    dtype: Any

    def setup(self) -> None:
        of = self.options
        kernel = nn.initializers.truncated_normal(0.02) if of.init == "normal" else INITIAL[of.init]
        self.item_table = self.input_table = item_param(self, "items", kernel, self.items, of.dim)
        if of.embedding == "separate":
            self.input_table = item_param(self, "inputs", kernel, self.items, of.dim)
        self.mask_vector = self.param("mask", kernel, (1, of.dim))
        relative = self.positions == "relative"
        if not relative:
            self.position_table = self.param("positions", kernel, (self.length, of.dim))
        self.bias = item_param(self, "bias", nn.initializers.zeros, self.items)
        self.first_norm = norm()
        attention = lambda: Attention(of.heads, of.dropout, self.dtype, kernel, False, relative)
        feed_forward = lambda: FeedForward(of.ffn_dropout, self.dtype, kernel, of.ffn, of.ffn_multiplier, False)
        self.attention = [attention() for _ in range(of.layers)]
        self.feed_forward = [feed_forward() for _ in range(of.layers)]
        self.attention_norm = [norm() for _ in range(of.layers)]
        self.feed_forward_norm = [norm() for _ in range(of.layers)]
        if of.norm == "gated":
            gate = lambda: Dense(of.dim, self.dtype, kernel)
            self.attention_gate = [gate() for _ in range(of.layers)]
            self.feed_forward_gate = [gate() for _ in range(of.layers)]
        if of.norm != "post":
            self.last_norm = norm()
        if of.transform:
            self.output = Dense(of.dim, self.dtype, kernel)
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
        of = self.options
        mask_BTT = jax.vmap(bidirectional)(stream.segments, stream.positions)
        dropped = lambda x, site: drop_rows(x, of.dropout, keys, (site, 0))
        x = dropped(self.embed(stream), 0)
        for i in range(of.layers):
            at_BM = read_BM if i == of.layers - 1 else None
            picked = (lambda x: x) if at_BM is None else partial(take_slots, slots_BM=at_BM)

            def block(self, x, i=i, at_BM=at_BM, picked=picked):
                attention = partial(self.attention[i], keys=keys, site=3 * i + 1, at_BQ=at_BM)
                attend = lambda query, memory: dropped(attention(query, memory, picked(mask_BTT)), 3 * i + 2)
                feed = lambda x: dropped(self.feed_forward[i](x, keys, 3 * of.layers + 1 + i), 3 * i + 3)
                norms = self.attention_norm[i], self.feed_forward_norm[i]
                gates = (self.attention_gate[i], self.feed_forward_gate[i]) if of.norm == "gated" else None
                return residual(of.norm, x, attend, feed, norms, gates, picked)

            x = remat.block(block, of.remat, keys, self, x)
        return x if of.norm == "post" else self.last_norm(x)

    def head(self, hidden: jax.Array) -> jax.Array:
        """Transforms hidden vectors for scoring, at slots with a target. [..., D] -> [..., D]"""
        return self.output_norm(gelu(self.output(hidden))) if self.options.transform else hidden

    def everything(self, stream: Stream) -> Any:
        """Uses all parameters, to initialise them."""
        return self.head(self(stream)), self.bias


def norm() -> nn.LayerNorm:
    """Returns a LayerNorm with BERT's epsilon."""
    return layer_norm(EPSILON)


@dataclass(frozen=True)
class BERT4RecOptions(remat.RematOptions):
    """The options of BERT4Rec."""

    heads: int = key(positive, 1)  #: of attention; divides dim
    norm: str = among("post", "pre", "gated")  #: where a block normalises; gated: LiGR
    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02) truncated at ±.04, or uniform
    ffn: str = among("gelu", "relu", "swiglu")  #: activation of the feed-forward
    ffn_multiplier: int = key(positive, 4)  #: width of the feed-forward, as a multiple of dim
    ffn_dropout: float = key(below_one, 0.0)  #: dropout within the feed-forward, which PyTorch's blocks have
    transform: bool = True  #: whether a dense layer, GELU and LayerNorm precede the output table
    embedding: str = among("shared", "separate")  #: whether input and output share a table


def bert4rec(config: BERT4RecOptions, sizes: Sizes) -> Model:
    """Returns BERT4Rec as a Model."""
    separate = config.embedding == "separate"
    module = BERT4Rec(sizes.items, sizes.length, config, sizes.positions, sizes.dtype)
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
        "model.init": "normal",
        "model.transform": False,
        "model.embedding": "shared",
    },
    as_published={"model.norm": "post"},
)

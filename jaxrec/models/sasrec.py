"""SASRec: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.config.fields import among, key, positive
from jaxrec.config.keys import ModelOptions
from jaxrec.kernels.masks import causal, position_of
from jaxrec.kernels.sizes import ATTENTION_SLOTS
from jaxrec.models.entry import ModelEntry
from jaxrec.models.layers import INITIAL, Attention, FeedForward, drop_rows, item_param, layer_norm
from jaxrec.models.model import from_module, pick
from jaxrec.system.errors import UserError


class SASRec(nn.Module):
    """Item and position embeddings, causal blocks, a final LayerNorm; the item table is also the output's.

    `norm` is where a block normalises: "query" as in the paper's code, only the queries, with residuals from the
    normalised; "post", after each residual; "pre", before attention and feed-forward alike (for deep stacks).
    `positions` are counted "from_start", "from_end" or, without a table of them, "relative".
    """

    items: int
    length: int
    width: int
    layers: int
    heads: int
    rate: float
    norm: str
    initial: str
    positions: str
    dtype: Any

    def setup(self):
        kernel = INITIAL[self.initial]
        self.item_table = item_param(self, "items", kernel, self.items, self.width)
        relative = self.positions == "relative"
        if not relative:
            self.position_table = self.param("positions", kernel, (self.length, self.width))
        attention = lambda: Attention(self.heads, self.rate, self.dtype, kernel, relative=relative)
        self.attention = [attention() for _ in range(self.layers)]
        self.feed_forward = [FeedForward(self.rate, self.dtype, kernel) for _ in range(self.layers)]
        self.attention_norm = [layer_norm() for _ in range(self.layers)]
        self.feed_forward_norm = [layer_norm() for _ in range(self.layers)]
        self.last_norm = layer_norm()

    def embed(self, stream):
        """Item embeddings times sqrt(width), plus positions; zero where the slot is empty. -> [B, T, D]"""
        x_BTD = self.item_table[jnp.maximum(stream.items - 1, 0)] * self.width**0.5
        if self.positions != "relative":
            x_BTD += self.position_table[position_of(stream, self.positions, self.length)]
        return jnp.where((stream.items > 0)[..., None], x_BTD, 0).astype(self.dtype)

    def __call__(self, stream, keys=None, read_BM=None):
        """[B, T] -> [B, T, D]; with slots read_BM [B, M, D] of these alone, all that the last block then computes."""
        mask_BTT = jax.vmap(causal)(stream.segments, stream.positions)
        x = drop_rows(self.embed(stream), self.rate, keys, (0, 0))
        for i in range(self.layers):
            at_BM = read_BM if i == self.layers - 1 else None
            picked = (lambda x: x) if at_BM is None else partial(pick, slots_BM=at_BM)
            attend = partial(self.attention[i], mask_BQT=picked(mask_BTT), keys=keys, site=2 * i + 1, at_BQ=at_BM)
            feed = lambda x, i=i: self.feed_forward[i](x, keys, 2 * i + 2)
            attention_norm, feed_norm = self.attention_norm[i], self.feed_forward_norm[i]
            if self.norm == "query":
                query = attention_norm(picked(x))
                x = feed_norm(query + attend(query, x))
                x = x + feed(x)
            elif self.norm == "post":
                x = attention_norm(picked(x) + attend(picked(x), x))
                x = feed_norm(x + feed(x))
            else:
                normed = attention_norm(x)
                x = picked(x) + attend(picked(normed), normed)
                x = x + feed(feed_norm(x))
        return self.last_norm(x)


@dataclass(frozen=True)
class SASRecOptions(ModelOptions):
    """The keys of SASRec."""

    heads: int = key(positive, 1)
    norm: str = among("query", "post", "pre")  #: where a block normalises
    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02), or uniform


def check(config):
    """That the heads divide the width."""
    if config.model.dim % config.model.heads:
        raise UserError(f"config.model.heads {config.model.heads} does not divide config.model.dim {config.model.dim}")


def sasrec(config, sizes):
    """SASRec as a Model. config: SASRecOptions. sizes: Sizes."""
    module = SASRec(
        sizes.items,
        sizes.length,
        config.dim,
        config.layers,
        config.heads,
        config.dropout,
        config.norm,
        config.init,
        sizes.positions,
        sizes.dtype,
    )
    output, item_tables = lambda params: (params["items"], None), {"items": ("inputs", "targets")}
    return from_module(
        module,
        sizes.length,
        output_embedding=output,
        item_tables=item_tables,
        reads=True,
        microbatch_slots=ATTENTION_SLOTS,
    )


MODEL = ModelEntry(
    name="sasrec", options=SASRecOptions, build=sasrec, positions=("from_start", "from_end", "relative"), check=check
)

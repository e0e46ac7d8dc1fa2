"""SASRec: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream
from jaxrec.config.fields import among, key, not_negative, positive
from jaxrec.config.keys import Config
from jaxrec.kernels.masks import causal, position_of
from jaxrec.kernels.sizes import ATTENTION_SLOTS
from jaxrec.models import remat
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import (
    BY_ROW,
    INITIAL,
    NORMS,
    Attention,
    Dense,
    FeedForward,
    by_slot,
    divides,
    drop_rows,
    item_param,
    l2_normalize,
    log_temperature,
    pointing,
    residual,
    with_added,
)
from jaxrec.models.model import Model, from_module, take_slots
from jaxrec.models.times import Intervals, buckets, intervals, seconds_between
from jaxrec.system.errors import UserError

COUNTED = ("from_start", "from_end")  # positions with a table


class SASRec(nn.Module):
    """Item and position embeddings, causal attention blocks, a final norm, and scores by products with an item table.

    `norm` says where to normalise; see `residual`.
    `embedding` says what a hidden vector is multiplied by: the table of the inputs ("shared"), another one
    ("separate"), or the table of the inputs after a linear map of the hidden vector ("projected"), so that an item is
    not most similar to itself (Gulordava et al., EMNLP 2018).
    `positions` are counted "from_start" or "from_end"; "relative", "rotary" and "buckets" have no position table.
    With `time_intervals`, keys and values have vectors added for the time between query and key, and for counted
    positions (TiSASRec: Li et al., WSDM 2020).
    """

    items: int
    length: int
    options: "SASRecOptions"
    positions: str
    dtype: Any
    baskets: bool = False  #: whether slots with equal positions see each other

    def setup(self) -> None:
        of = self.options
        kernel, norm = INITIAL[of.init], NORMS[of.norm_type]
        self.item_table = item_param(self, "items", kernel, self.items, of.dim)
        if of.embedding == "separate":
            self.input_table = item_param(self, "inputs", kernel, self.items, of.dim)
        if of.score == "cosine":
            self.temperature = self.param("temperature", log_temperature)
        if self.positions in COUNTED and not of.time_intervals:
            self.position_table = self.param("positions", kernel, (self.length, of.dim))
        if of.time_intervals:
            table = lambda name, rows: self.param(name, kernel, (rows, of.dim))
            self.interval_tables = [table(name, of.time_intervals + 1) for name in ("interval_keys", "interval_values")]
            if self.positions in COUNTED:
                self.position_tables = [table(name, self.length) for name in ("position_keys", "position_values")]
        relative, buckets = self.positions == "relative", self.positions == "buckets"
        made = partial(Attention, relative=relative, buckets=buckets, timed=of.time_bias, causal=not self.baskets)
        attention = lambda: made(of.heads, of.dropout, self.dtype, kernel)
        feed_forward = lambda: FeedForward(of.dropout, self.dtype, kernel, of.ffn, of.ffn_multiplier)
        self.attention = [attention() for _ in range(of.layers)]
        self.feed_forward = [feed_forward() for _ in range(of.layers)]
        self.attention_norm = [norm() for _ in range(of.layers)]
        self.feed_forward_norm = [norm() for _ in range(of.layers)]
        if of.norm == "gated":
            gate = lambda: Dense(of.dim, self.dtype, kernel)
            self.attention_gate = [gate() for _ in range(of.layers)]
            self.feed_forward_gate = [gate() for _ in range(of.layers)]
        self.last_norm = norm()
        if of.embedding == "projected":
            self.projection = Dense(of.dim, self.dtype, kernel, biased=False)

    def embed(self, stream: Stream) -> jax.Array:
        """Returns item embeddings times sqrt(width), plus positions; zero at empty slots. -> [B, T, D]"""
        table_VD = self.input_table if self.options.embedding == "separate" else self.item_table
        x_BTD = table_VD[jnp.maximum(stream.items - 1, 0)] * self.options.dim**0.5
        if self.positions in COUNTED and not self.options.time_intervals:
            x_BTD += self.position_table[position_of(stream, self.positions, self.length)]
        return jnp.where((stream.items > 0)[..., None], with_added(x_BTD, stream), 0).astype(self.dtype)

    def blocks(
        self, x: jax.Array, stream: Stream, keys: jax.Array | None = None, read_BM: jax.Array | None = None
    ) -> jax.Array:
        """Applies the blocks: [B, T, D] -> [B, T, D], or [B, M, D] at some slots."""
        mask_BTT = jax.vmap(causal)(stream.segments, stream.positions)
        turned_BT = stream.positions if self.positions == "rotary" else None
        bucket_BTT, between = self.times(stream, mask_BTT)
        for i in range(self.options.layers):
            at_BM = read_BM if i == self.options.layers - 1 else None
            picked = (lambda x: x) if at_BM is None else partial(take_slots, slots_BM=at_BM)
            where = {"mask_BQT": picked(mask_BTT), "at_BQ": at_BM, "positions_BT": turned_BT}
            if bucket_BTT is not None:
                where["bucket_BQT"] = picked(bucket_BTT)
            if between is not None:
                where["intervals"] = between.at(picked)

            def block(self, x, i=i, where=where, picked=picked):
                attend = partial(self.attention[i], keys=keys, site=2 * i + 1, **where)
                feed = lambda x: self.feed_forward[i](x, keys, 2 * i + 2)
                norms = self.attention_norm[i], self.feed_forward_norm[i]
                gates = (self.attention_gate[i], self.feed_forward_gate[i]) if self.options.norm == "gated" else None
                return residual(self.options.norm, x, attend, feed, norms, gates, picked)

            x = remat.block(block, self.options.remat, keys, self, x)
        return x

    def times(self, stream: Stream, mask_BTT: jax.Array) -> tuple[jax.Array | None, Intervals | None]:
        """Returns times for attention: buckets between queries and keys [B, T, T], and Intervals; None if unused."""
        of, bucket_BTT, number_BTT = self.options, None, None
        if stream.times is not None:
            seconds_BTT = seconds_between(stream.times)
            bucket_BTT = buckets(seconds_BTT) if of.time_bias else None
            number_BTT = intervals(seconds_BTT, mask_BTT, of.time_intervals) if of.time_intervals else None
        if not of.time_intervals:
            return bucket_BTT, None
        between = Intervals(number_BTT, *self.interval_tables)
        if self.positions in COUNTED:
            at_BT = position_of(stream, self.positions, self.length)
            keys, values = (table[at_BT] for table in self.position_tables)
            between = between._replace(position_keys=keys, position_values=values)
        return bucket_BTT, between

    def __call__(self, stream, keys=None, read_BM=None):
        """[B, T] -> [B, T, D], or [B, M, D] at the slots read_BM; the last block only computes these."""
        x = drop_rows(self.embed(stream), self.options.dropout, keys, (0, 0))
        hidden = self.last_norm(self.blocks(x, stream, keys, read_BM))
        return by_slot(self.projection, hidden) if self.options.embedding == "projected" else hidden

    def head(self, hidden: jax.Array) -> jax.Array:
        """Transforms hidden vectors for cosine scores."""
        return pointing(hidden, self.temperature)


@dataclass(frozen=True)
class SASRecOptions(remat.RematOptions):
    """The options of SASRec."""

    heads: int = key(positive, 1)  #: of attention; divides dim
    #: where a block normalises; query: as in the paper's code; gated: LiGR
    norm: str = among("query", "post", "pre", "gated")
    norm_type: str = among("layer", "rms")  #: LayerNorm, or RMSNorm
    ffn: str = among("relu", "gelu", "swiglu")  #: activation of the feed-forward
    ffn_multiplier: int = key(positive, 1)  #: width of the feed-forward, as a multiple of dim
    #: whether input and output share a table, with a linear map of the hidden vector before it if projected
    embedding: str = among("shared", "separate", "projected")
    score: str = among("dot", "cosine")  #: dot product; or cosine over a learned temperature
    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02), or uniform
    time_bias: bool = False  #: whether each head has a learned bias per bucket of time between two events
    #: longest time between two events with key and value vectors of its own, in units of the history's shortest one
    #: (TiSASRec); 0: times are not used
    time_intervals: int = key(not_negative, 0)


def check(config: Config) -> None:
    """Checks that heads divide the width, and that rotary positions have an even number of features per head."""
    divides(config)
    if config.positions == "rotary" and config.model.dim // config.model.heads % 2:
        raise UserError(
            f"config.positions is rotary, and a head has {config.model.dim // config.model.heads} features, an odd "
            "number: make config.model.dim an even multiple of config.model.heads"
        )


def sasrec(config: SASRecOptions, sizes: Sizes) -> Model:
    """Returns SASRec as a Model."""
    module = SASRec(sizes.items, sizes.length, config, sizes.positions, sizes.dtype, sizes.baskets)
    shared = config.embedding != "separate"
    cosine = config.score == "cosine"
    return from_module(
        module,
        sizes.length,
        output_embedding=lambda params: (l2_normalize(params["items"]) if cosine else params["items"], None),
        item_tables={"items": ("inputs", "targets")} if shared else {"items": ("targets",), "inputs": ("inputs",)},
        head="head" if cosine else None,
        reads=True,
        microbatch_slots=ATTENTION_SLOTS,
        by_row=BY_ROW,
    )


MODEL = ModelEntry(
    name="sasrec",
    options=SASRecOptions,
    build=sasrec,
    positions=("from_start", "from_end", "relative", "rotary", "buckets"),
    check=check,
    reads_context=True,
    reads_baskets=True,
    reads_times=lambda options: options.time_bias or options.time_intervals > 0,
    suits=NEXT_ITEM | {"model.init": "normal"},
)

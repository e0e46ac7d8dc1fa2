"""HSTU: hierarchical sequential transduction units (Zhai et al., ICML 2024)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches.stream import Stream
from jaxrec.config.fields import among, key, positive
from jaxrec.kernels.masks import causal, position_of
from jaxrec.kernels.products import summed
from jaxrec.kernels.sizes import GATED_SLOTS, query_block
from jaxrec.models import remat
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import (
    INITIAL,
    Dense,
    by_slot,
    divides,
    drop_rows,
    item_param,
    l2_normalize,
    layer_norm,
    log_temperature,
    pointing,
    relative_position_bias,
    with_added,
)
from jaxrec.models.model import Model, from_module, take_slots
from jaxrec.models.times import BUCKETS, buckets, by_bucket, seconds_between

EPSILON = 1e-6  # of LayerNorm


class HSTU(nn.Module):
    """Item embeddings, units of attention without softmax, and scores by products with the item table.

    With `embedding="projected"` a linear map comes before the scores, as in SASRec.
    `positions` are counted "from_start" or "from_end"; "relative" uses only the units' distance biases.
    """

    items: int
    length: int
    options: "HSTUOptions"
    positions: str
    dtype: Any

    def setup(self) -> None:
        of = self.options
        kernel = INITIAL[of.init]
        self.item_table = item_param(self, "items", kernel, self.items, of.dim)
        if of.score == "cosine":
            self.temperature = self.param("temperature", log_temperature)
        if self.positions != "relative":
            self.position_table = self.param("positions", kernel, (self.length, of.dim))
        features = of.dim // of.heads
        made = lambda: Unit(
            of.heads, features, features, self.length, of.dropout, self.dtype, kernel, timed=of.time_bias
        )
        self.unit = [made() for _ in range(of.layers)]
        if of.embedding == "projected":
            self.projection = Dense(of.dim, self.dtype, kernel, biased=False)

    def __call__(self, stream, keys=None, read_BM=None):
        """[B, T] -> [B, T, D], or [B, M, D] at the slots read_BM; the last unit only computes these."""
        x_BTD = self.item_table[jnp.maximum(stream.items - 1, 0)] * self.options.dim**0.5
        if self.positions != "relative":
            x_BTD += self.position_table[position_of(stream, self.positions, self.length)]
        x_BTD = with_added(x_BTD, stream)
        x_BTD = drop_rows(x_BTD.astype(self.dtype), self.options.dropout, keys, (0, 0))
        hidden = self.units(x_BTD, stream, keys, read_BM)
        return by_slot(self.projection, hidden) if self.options.embedding == "projected" else hidden

    def units(
        self, x: jax.Array, stream: Stream, keys: jax.Array | None = None, read_BM: jax.Array | None = None
    ) -> jax.Array:
        """Applies the units: [B, T, D] -> [B, T, D], or [B, M, D] at some slots; zero at empty slots."""
        real_BT1 = (stream.items > 0)[..., None]
        mask_BTT = jax.vmap(causal)(stream.segments, stream.positions) & real_BT1
        x = jnp.where(real_BT1, x, 0)
        bucket_BTT = None
        if self.options.time_bias and stream.times is not None:
            bucket_BTT = buckets(seconds_between(stream.times))
        for i in range(len(self.unit)):
            at_BM = read_BM if i == len(self.unit) - 1 else None
            picked = (lambda x: x) if at_BM is None else partial(take_slots, slots_BM=at_BM)
            between = None if bucket_BTT is None else picked(bucket_BTT)

            def block(self, x, i=i, at_BM=at_BM, picked=picked, between=between):
                added = self.unit[i](x, picked(mask_BTT), keys, i + 1, at_BM, between)
                return jnp.where(picked(real_BT1), picked(x) + added, 0)

            x = remat.block(block, self.options.remat, keys, self, x)
        return x

    def head(self, hidden: jax.Array) -> jax.Array:
        """Transforms hidden vectors for cosine scores."""
        return pointing(hidden, self.temperature)


class Unit(nn.Module):
    """Gated pointwise attention; returns what is added to the residual, [B, T, D] (eqs. 1 to 3).

    u, v, q, k = silu(norm(x) W); A = silu(q k + b) / length, with a bias b per distance in slots; out(u * norm(A v)).
    Computed in blocks of queries, each against the keys up to its last slot. If `timed`, b also has a term per head and
    bucket of the time between query and key. It uses the query's own time. (The authors use the time of the event after
    the query, which for the newest event is the time of the item to be predicted.)
    """

    heads: int
    linear: int  #: features per head of u and v
    attention: int  #: features per head of q and k
    length: int
    rate: float
    dtype: Any
    kernel_init: Any
    biased: bool = True  #: whether there are distance biases
    timed: bool = False  #: whether there are time biases

    @nn.compact
    def __call__(self, x_BTD, mask_BQT, keys, site, at_BQ=None, bucket_BQT=None):
        (rows, slots, width), wide, narrow = x_BTD.shape, self.heads * self.linear, self.heads * self.attention
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        x_ND = layer_norm(EPSILON, name="norm")(x_BTD).reshape(-1, width)
        parts_BTF = nn.silu(dense(2 * (wide + narrow), biased=False, name="inner")(x_ND)).reshape(rows, slots, -1)
        u, v, q, k = jnp.split(parts_BTF, (wide, 2 * wide, 2 * wide + narrow), axis=-1)
        if at_BQ is not None:
            u, q = take_slots(u, at_BQ), take_slots(q, at_BQ)
        by_head = lambda x: x.reshape(rows, -1, self.heads, x.shape[-1] // self.heads)
        q_BQHd, k_BTHd, v_BTHd = by_head(q), by_head(k), by_head(v)
        if self.biased:
            bias_L = self.param("distance", nn.initializers.normal(0.02), (self.length,))
            bias_T1 = bias_L[np.minimum(np.arange(slots), self.length - 1)][:, None]
        if self.timed:
            time_NH = self.param("time", nn.initializers.zeros, (BUCKETS, self.heads))
        queries = q_BQHd.shape[1]
        size = query_block(queries, rows * self.heads * slots)

        def of_block(q_BQHd, k_BTHd, v_BTHd, begin):
            part = slice(begin, min(begin + size, queries))
            end = part.stop if at_BQ is None else slots  # queries don't see later slots
            k_BKHd, v_BKHd = k_BTHd[:, :end], v_BTHd[:, :end]
            scores_BHQK = summed("bqhd,bkhd->bhqk", q_BQHd[:, part], k_BKHd)
            if self.biased:
                at = jnp.arange(begin, part.stop) if at_BQ is None else at_BQ[:, part]
                scores_BHQK += relative_position_bias(bias_T1, at, end)
            if self.timed and bucket_BQT is not None:
                scores_BHQK += by_bucket(time_NH, bucket_BQT[:, part, :end])
            weights_BHQK = jnp.where(mask_BQT[:, None, part, :end], nn.silu(scores_BHQK) / self.length, 0)
            return jnp.einsum("bhqk,bkhd->bqhd", weights_BHQK.astype(self.dtype), v_BKHd)

        mixed_BQHd = remat.joined(of_block, size, queries, q_BQHd, k_BTHd, v_BTHd)
        mixed_BQF = remat.kept(mixed_BQHd, keys).reshape(rows, -1, wide)
        gated_BQF = drop_rows(
            (u * layer_norm(EPSILON, name="mixed_norm")(mixed_BQF)).astype(self.dtype), self.rate, keys, (site, 0)
        )
        return dense(width, name="outer")(gated_BQF.reshape(-1, wide)).reshape(rows, -1, width)


@dataclass(frozen=True)
class HSTUOptions(remat.RematOptions):
    """The options of HSTU."""

    heads: int = key(positive, 1)  #: of attention; divides dim
    init: str = among("normal", "xavier", "uniform")  #: N(0, 0.02), Glorot normal, or uniform
    embedding: str = among("shared", "projected")  #: projected: a linear map of the hidden vector before the scores
    score: str = among("dot", "cosine")  #: dot product; or cosine over a learned temperature
    time_bias: bool = False  #: whether each head has a learned bias per bucket of time between two events


def hstu(config: HSTUOptions, sizes: Sizes) -> Model:
    """Returns HSTU as a Model."""
    cosine = config.score == "cosine"
    return from_module(
        HSTU(sizes.items, sizes.length, config, sizes.positions, sizes.dtype),
        sizes.length,
        output_embedding=lambda params: (l2_normalize(params["items"]) if cosine else params["items"], None),
        item_tables={"items": ("inputs", "targets")},
        head="head" if cosine else None,
        reads=True,
        microbatch_slots=GATED_SLOTS,
    )


MODEL = ModelEntry(
    name="hstu",
    options=HSTUOptions,
    build=hstu,
    positions=("relative", "from_start", "from_end"),
    check=divides,
    reads_context=True,
    reads_times=lambda options: options.time_bias,
    suits=NEXT_ITEM | {"positions": "relative"},
)

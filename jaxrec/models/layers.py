"""Layers shared by models. Projections use flat [slots, features] matrices, which XLA needs to be fast on CPU."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.batches.stream import Stream
from jaxrec.config.keys import Config
from jaxrec.kernels import hardware, norms, products, sizes
from jaxrec.kernels.masks import DISTANCE_BUCKETS, alibi_bias, distance_buckets
from jaxrec.kernels.random import Part, dropout, site_keys
from jaxrec.models import remat, times
from jaxrec.system.errors import UserError

INITIAL = {
    "xavier": nn.initializers.xavier_normal(),
    "normal": nn.initializers.normal(0.02),
    "uniform": nn.initializers.xavier_uniform(),
}
BY_ROW = ("bias", "scale")  #: params of Dense and of norms that may be given as one copy per row
TEMPERATURE = 0.05  # initial temperature of cosine scores
SITE_PARTS = 1 << 16  # maximum parts of a site


def item_param(module: nn.Module, name: str, initial: Callable, *shape: int) -> jax.Array:
    """Returns a param that may have a row per item.

    It is created with `shape`; later, the params given may have any number of rows (see sparse.py).
    """
    given = module.has_variable("params", name)
    return module.get_variable("params", name) if given else module.param(name, initial, shape)


def with_added(x_BTD: jax.Array, stream: Stream) -> jax.Array:
    """Returns the input vectors plus `stream.added`, if any; `added` alone at slots that show no event."""
    if stream.added is None:
        return x_BTD
    x_BTD = x_BTD if stream.start is None else jnp.where(stream.start[..., None], 0, x_BTD)
    return x_BTD + stream.added


def drop_rows(
    x: jax.Array, rate: float, keys: jax.Array | None, site: tuple[int, int], part: Part | None = None
) -> jax.Array:
    """Applies dropout to [B, ...], each row with its own key at (site, number); returns x if keys is None.

    If x's rows are a `part` of larger ones, they lose what the larger ones would lose there.
    """
    if keys is None or rate == 0.0:
        return x
    return jax.vmap(lambda key, row: dropout(key, row, rate, part))(site_keys(keys, SITE_PARTS * site[0] + site[1]), x)


class LayerNorm(nn.LayerNorm):
    """Flax's LayerNorm, which also takes one copy of scale and bias per row, as accelerators use them."""

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.has_variable("params", "scale") and (scale := self.get_variable("params", "scale")).ndim == 2:
            return norms.layer(x, scale, self.get_variable("params", "bias"), self.epsilon)
        return super().__call__(x)


class RMSNorm(nn.RMSNorm):
    """Flax's RMSNorm, which also takes one copy of the scale per row, as accelerators use it."""

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.has_variable("params", "scale") and (scale := self.get_variable("params", "scale")).ndim == 2:
            return norms.rms(x, scale, self.epsilon)
        return super().__call__(x)


def layer_norm(epsilon: float = 1e-8, name: str | None = None) -> nn.LayerNorm:
    """Returns a LayerNorm with a small epsilon, as in reference implementations, and float32 statistics."""
    return LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=jnp.float32, name=name)


def rms_norm(epsilon: float = 1e-8) -> nn.RMSNorm:
    """Returns an RMSNorm (Zhang and Sennrich 2019) with float32 statistics: no centring, no bias."""
    return RMSNorm(epsilon=epsilon, use_fast_variance=False, dtype=jnp.float32)


NORMS = {"layer": layer_norm, "rms": rms_norm}


class Dense(nn.Module):
    """A dense layer with a product in `dtype` and a bias added in float32, whose gradient is also summed in float32."""

    width: int
    dtype: Any
    kernel_init: Any
    biased: bool = True

    @nn.compact
    def parts(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Returns the product and the bias, if any, which `norms.plus` adds to it in float32.

        With a bias, the product may have a few columns more, of zeros; see `sizes.product_columns`.
        """
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.width))
        kernel = kernel.astype(self.dtype)
        if self.biased and (more := sizes.product_columns(self.width, self.dtype) - self.width):
            kernel = jnp.pad(kernel, ((0, 0), (0, more)))
        product = jnp.dot(x.astype(self.dtype), kernel)
        return product, item_param(self, "bias", nn.initializers.zeros, self.width) if self.biased else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., width]"""
        return self._sum(*self.parts(x))

    def gelu(self, x: jax.Array) -> jax.Array:
        """Returns `gelu(self(x))`.

        On a GPU the backward pass recomputes gelu from the product; otherwise XLA would also store a part of gelu.
        """
        activated = lambda product, bias: gelu(self._sum(product, bias))
        return (jax.checkpoint(activated) if hardware.is_gpu() else activated)(*self.parts(x))

    def _sum(self, product, bias):
        return product if bias is None else norms.plus([product], [bias])[0].astype(self.dtype)


def residual(
    norm: str,
    x_BTD: jax.Array,
    attend: Callable[[jax.Array, jax.Array], jax.Array],
    feed: Callable[[jax.Array], jax.Array],
    normalise: tuple[Callable, Callable],
    gates: tuple[Callable, Callable] | None = None,
    picked: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    """Applies attention to all slots and a feed-forward, each with a residual connection, normalised as `norm` says.

    "query", as in SASRec's code, normalises the queries but not the keys and values, and adds the attention to the
    normalised queries; "post" normalises after each residual; "pre" before attention and feed-forward (for deep
    stacks); "gated" is "pre" with each addition multiplied by a sigmoid gate of the unnormalised input (LiGR: Borisyuk
    et al. 2025). `picked` selects the slots to compute: [B, T, D] -> [B, T, D], or [B, M, D].
    """
    attention_norm, feed_norm = normalise
    if norm == "query":
        query = attention_norm(picked(x_BTD))
        x = feed_norm(query + attend(query, x_BTD))
        return x + feed(x)
    if norm == "post":
        x = attention_norm(picked(x_BTD) + attend(picked(x_BTD), x_BTD))
        return feed_norm(x + feed(x))
    normed = attention_norm(x_BTD)
    gated = lambda which, x, added: added if gates is None else nn.sigmoid(by_slot(gates[which], x)) * added
    added, x = attend(picked(normed), normed), picked(x_BTD)
    x = x + gated(0, x, added)
    return x + gated(1, x, feed(feed_norm(x)))


def by_slot(dense: Callable, x_BTD: jax.Array) -> jax.Array:
    """Applies a dense layer of the same width at each slot."""
    return dense(x_BTD.reshape(-1, x_BTD.shape[-1])).reshape(x_BTD.shape)


def l2_normalize(x: jax.Array) -> jax.Array:
    """Normalises vectors to length 1, in float32; zero stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


def log_temperature(key: jax.Array) -> jax.Array:
    """Initialises the temperature param of cosine scores."""
    return jnp.log(jnp.float32(TEMPERATURE))


def pointing(hidden: jax.Array, log_temperature: jax.Array) -> jax.Array:
    """Scales hidden vectors to length 1 / temperature for cosine scores, in float32."""
    return l2_normalize(hidden) * jnp.exp(-log_temperature)


def divides(config: Config) -> None:
    """Checks that the number of heads divides the width.

    Raises:
        UserError: if it doesn't.
    """
    if config.model.dim % config.model.heads:
        raise UserError(f"config.model.heads {config.model.heads} does not divide config.model.dim {config.model.dim}")


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
    """Returns x times the standard normal CDF at x (Hendrycks and Gimpel 2016), exactly.

    It defines its own derivative, since jax 0.12 lacks that of erfc under shard_map.
    """
    return x * jax.lax.erfc(-x * 0.5**0.5) / 2


@gelu.defjvp
def _gelu_moved(at, by):
    (x,), (move,) = at, by
    share = jax.lax.erfc(-x * 0.5**0.5) / 2
    return x * share, move * (share + x * jnp.exp(-x * x / 2) / (2 * jnp.pi) ** 0.5)


def apply_rotary(x_BTHd: jax.Array, positions_BT: jax.Array) -> jax.Array:
    """Applies rotary position embeddings (Su et al. 2021). [B, T, H, d] -> [B, T, H, d]

    Features i and i + d/2 are rotated by position * 10000^(-2i / d), so the product of a query and a key depends on
    their distance only.
    """
    half = x_BTHd.shape[-1] // 2
    angle_BTd = positions_BT[..., None] * 10_000.0 ** (-jnp.arange(half) / half)
    cos, sin = (f(angle_BTd)[:, :, None].astype(x_BTHd.dtype) for f in (jnp.cos, jnp.sin))
    left, right = x_BTHd[..., :half], x_BTHd[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def relative_position_bias(bias_TH: jax.Array, at: jax.Array, keys: int) -> jax.Array:
    """Returns learned distance biases of scores between slots [..., Q] and the first `keys` keys: [..., H, Q, K].

    Distances within a sequence don't depend on where it lies in the row.
    """
    distance_QK = jnp.maximum(at[..., None] - jnp.arange(keys), 0)
    return jnp.moveaxis(bias_TH[distance_QK], -1, -3)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) with dropout on the weights.

    Computed in blocks of queries. If `causal`, each block only computes the keys up to its last slot; the mask must
    then hide later slots from every query (except at empty slots, whose outputs are unused). On accelerators the
    gradient computes the weights of each of several blocks again, and blocks drop what one block would.

    `relative` lowers scores by distance. `buckets` adds a learned bias per head and distance bucket, and `timed` one
    per head and bucket of the time between query and key. `at_BQ` holds the queries' places in the row, if they are at
    some slots only. With `positions_BT`, queries and keys are rotated by position. With `intervals`, the vectors of
    these are added to keys and values.
    """

    heads: int
    rate: float
    dtype: Any
    kernel_init: Any
    causal: bool = True
    relative: bool = False
    buckets: bool = False
    timed: bool = False

    @nn.compact
    def __call__(
        self,
        query_BQD,
        memory_BTD,
        mask_BQT,
        keys,
        site,
        at_BQ=None,
        positions_BT=None,
        bucket_BQT=None,
        intervals=None,
    ):
        (rows, queries, width), slots = query_BQD.shape, memory_BTD.shape[1]

        def project(name, x_BTD, part=Dense.__call__):
            return part(Dense(width, self.dtype, self.kernel_init, name=name), x_BTD.reshape(-1, width))

        split = lambda x_ND: x_ND.reshape(rows, -1, self.heads, width // self.heads)
        scale, scales_scores = (width // self.heads) ** -0.5, intervals is None and not hardware.is_cpu()
        if hardware.is_cpu():
            q_BQHd = split(project("query", query_BQD)) * scale
            k_BTHd, v_BTHd = split(project("key", memory_BTD)), split(project("value", memory_BTD))
        else:  # one kernel computes the gradients of all biases, and scaling the scores fuses with masking them
            of_values = products.kept_separate(memory_BTD.astype(self.dtype)) if self.heads == 1 else memory_BTD
            inputs = {"query": query_BQD, "key": memory_BTD, "value": of_values}
            parts = [project(name, x_BTD, Dense.parts) for name, x_BTD in inputs.items()]  # products and biases
            biases = [bias for _, bias in parts if bias is not None]
            projected = norms.plus([x for x, _ in parts], biases)
            q_BQHd, k_BTHd, v_BTHd = (split(x.astype(self.dtype)) for x in projected)
            q_BQHd = q_BQHd if scales_scores else q_BQHd * scale
        if positions_BT is not None:
            at_query = positions_BT if at_BQ is None else jnp.take_along_axis(positions_BT, at_BQ, axis=1)
            q_BQHd, k_BTHd = apply_rotary(q_BQHd, at_query), apply_rotary(k_BTHd, positions_BT)
        if intervals is not None:
            k_BTHd, v_BTHd = intervals.placed(k_BTHd, v_BTHd)
        if self.buckets:
            learned = self.param("distance", nn.initializers.normal(0.02), (DISTANCE_BUCKETS, self.heads))
            bias_TH = learned[distance_buckets(slots)]
        if self.timed:
            time_NH = self.param("time", nn.initializers.zeros, (times.BUCKETS, self.heads))
        size = sizes.query_block(queries, rows * self.heads * slots)

        def of_block(q_BQHd, k_BTHd, v_BTHd, begin):
            part = slice(begin, min(begin + size, queries))
            end = part.stop if self.causal and at_BQ is None else slots
            k_BKHd, v_BKHd = k_BTHd[:, :end], v_BTHd[:, :end]
            scores_BHQK = products.by_head(q_BQHd[:, part], k_BKHd)
            scores_BHQK = scale * scores_BHQK if scales_scores else scores_BHQK
            if self.relative or self.buckets:
                at = jnp.arange(begin, part.stop) if at_BQ is None else at_BQ[:, part]
                if self.relative:
                    scores_BHQK += alibi_bias(self.heads, at, jnp.arange(end))
                else:
                    scores_BHQK += relative_position_bias(bias_TH, at, end)
            if self.timed and bucket_BQT is not None:
                scores_BHQK += times.by_bucket(time_NH, bucket_BQT[:, part, :end])
            if intervals is not None:
                scores_BHQK = intervals.scores(scores_BHQK, q_BQHd[:, part], part)
            scores_BHQK = jnp.where(mask_BQT[:, None, part, :end], scores_BHQK, jnp.finfo(jnp.float32).min)
            whole = None if hardware.is_cpu() else Part((self.heads, queries, slots), (0, begin, 0))
            block = begin // size if whole is None else 0
            weights_BHQK = drop_rows(jax.nn.softmax(scores_BHQK), self.rate, keys, (site, block), whole)
            weights_BHQK = weights_BHQK.astype(v_BTHd.dtype)
            mixed_BQHd = products.mixed_by_head(weights_BHQK, v_BKHd)
            return mixed_BQHd if intervals is None else intervals.mixed(mixed_BQHd, weights_BHQK, part)

        mixed_BQHd = remat.joined(of_block, size, queries, q_BQHd, k_BTHd, v_BTHd)
        mixed_ND = remat.kept(mixed_BQHd, keys).reshape(-1, width)
        out = Dense(width, self.dtype, self.kernel_init, name="out")
        return out(mixed_ND).reshape(rows, queries, width)


ACTIVATIONS = {"relu": nn.relu, "gelu": gelu}


class FeedForward(nn.Module):
    """Two pointwise layers with an activation in between, each followed by dropout (Kang & McAuley 2018, eq. 4).

    "swiglu" has three matrices without biases: silu(x W1) * (x W3), times W2 (Shazeer 2020).
    """

    rate: float
    dtype: Any
    kernel_init: Any
    kind: str = "relu"
    multiplier: int = 1  #: inner width, as a multiple of the width
    outer: bool = True  #: whether dropout also follows the second layer

    @nn.compact
    def __call__(self, x_BTD, keys, site):
        (*shape, width), within, gated = x_BTD.shape, self.multiplier * x_BTD.shape[-1], self.kind == "swiglu"
        dense = lambda name, features: Dense(features, self.dtype, self.kernel_init, not gated, name=name)
        by_row = lambda x_ND, part: drop_rows(x_ND.reshape(*shape, -1), self.rate, keys, (site, part))
        x_ND, inner = x_BTD.reshape(-1, width), dense("inner", within)
        if self.kind == "gelu" and not self.rate:
            return dense("outer", width)(inner.gelu(x_ND)).reshape(x_BTD.shape)
        inner_NF = nn.silu(inner(x_ND)) * dense("gate", within)(x_ND) if gated else inner(x_ND)
        inner_BTF = by_row(inner_NF, 0)
        inner_BTF = inner_BTF if gated else ACTIVATIONS[self.kind](inner_BTF)
        x_ND = dense("outer", width)(inner_BTF.reshape(-1, within))
        return by_row(x_ND, 1) if self.outer else x_ND.reshape(x_BTD.shape)

"""Cross-entropy of the target against the whole catalogue."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.config.fields import among, below_one, key
from jaxrec.config.keys import LossOptions
from jaxrec.kernels import hardware, shards, sizes
from jaxrec.kernels.chunks import chunked
from jaxrec.system.errors import UserError
from jaxrec.training.losses.entry import LossEntry
from jaxrec.training.losses.totals import scores_of_items
from jaxrec.training.steps.own_items import OwnItems


def softmax(hidden_D: jax.Array, target: jax.Array, table_VD: jax.Array, bias_V: jax.Array | None) -> jax.Array:
    """Cross-entropy of the target against the whole catalogue: logsumexp(s) - s+."""
    scores_V = jnp.dot(table_VD.astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    scores_V = scores_V if bias_V is None else scores_V + bias_V
    return jax.nn.logsumexp(scores_V) - scores_V[target - 1]


def softmax_plain(
    hidden_ND: jax.Array,
    target_N: jax.Array,
    weight_N: jax.Array,
    own: Any,
    table_VD: jax.Array,
    bias_V: jax.Array | None,
    smoothing: float = 0.0,
) -> jax.Array:
    """Computes the total of the full softmax by its definition.

    Args:
        own: OwnItems, which each slot leaves out of its comparison, except for its target; otherwise nothing is left
            out.
        smoothing: the share of a target's weight that is spread evenly over the items it is compared to.
    """
    left_out, row_of = isinstance(own, OwnItems), lambda item: item - 1
    bias_V = jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V

    def slot(hidden_D, target, user):
        counts_V = jnp.ones_like(bias_V, bool)
        if left_out:
            counts_V = ~own.left_out(user[None], row_of, len(bias_V))[0].at[target - 1].set(False)
        among_V = jnp.where(counts_V, bias_V, -jnp.inf)
        loss = softmax(hidden_D, target, table_VD, among_V)
        if not smoothing:
            return loss
        every_V = jax.vmap(lambda item: softmax(hidden_D, item, table_VD, bias_V))(1 + jnp.arange(len(bias_V)))
        mean = jnp.where(counts_V, every_V, 0).sum() / counts_V.sum()
        return loss + smoothing * (mean - softmax(hidden_D, target, table_VD, bias_V))

    user_N = own.users if left_out else target_N
    each_N = jax.vmap(slot)(hidden_ND, jnp.maximum(target_N, 1), user_N)
    return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()


def softmax_total(
    hidden_ND: jax.Array,
    target_N: jax.Array,
    weight_N: jax.Array,
    own: Any,
    table_VD: jax.Array,
    bias_V: jax.Array | None,
    axis: str | None = None,
    smoothing: float = 0.0,
) -> jax.Array:
    """Computes `softmax_plain` over chunks of slots, so that the scores of a batch are never in memory at once.

    One pass computes the loss and both gradients, since the gradient of a chunk needs only its own scores (p - onehot);
    the backward pass scales them. So each chunk's scores are computed once instead of twice.

    With `axis`, the rows of the table and the bias are split over that axis of a mesh: each device scores its own rows,
    and the devices exchange the maxima, the sums and the targets' scores of a chunk's slots. A row with the bias -inf
    is not an item. Without OwnItems, `smoothing` has no effect: `smoothed` does it with fewer operations.
    """
    own = own if isinstance(own, OwnItems) else None
    bias_V = jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V
    return _softmax_sum(axis, smoothing, hidden_ND, table_VD, bias_V, jnp.maximum(target_N, 1), weight_N, own)


def _compared(axis, bias_V, own, target_C, users_C):
    """Returns which items each slot's target is compared to: all but the other items of its user. [C, V] bool"""
    rows = len(bias_V)
    row_of = lambda item: shards.place(item - 1, rows, axis)
    compared_CV = ~own.left_out(users_C, row_of, rows)
    compared_CV |= jnp.arange(rows) == row_of(target_C)[:, None]
    return compared_CV if axis is None else compared_CV & (bias_V != -jnp.inf)


class _ChunkSoftmax(NamedTuple):
    """The softmax of a chunk of slots."""

    loss: jax.Array  #: [] sum over the slots
    weights_CV: jax.Array  #: exponentials of the scores minus their peak; 0 for items that a slot leaves out
    norm_C: jax.Array  #: [C, 1] their sums
    spread_CV: jax.Array | None  #: the uniform distribution over the items a slot is compared to; None: no smoothing


def _chunk_softmax(axis, smoothing, table_VD, bias_V, own, chunk):
    hidden_CD, target_C, weight_C, users_C = chunk
    summed = lambda each_C: jnp.where(weight_C > 0, weight_C * each_C, 0).sum()  # without a target it may be infinite
    scores_CV = jnp.dot(hidden_CD, table_VD.T.astype(hidden_CD.dtype), preferred_element_type=jnp.float32) + bias_V
    among_CV = scores_CV
    if own is not None:
        # slots without a target get no user: for a user with all items, nothing would be left to compare to
        compared_CV = _compared(axis, bias_V, own, target_C, jnp.where(weight_C > 0, users_C, -1))
        among_CV = jnp.where(compared_CV, scores_CV, -jnp.inf)
    peak_C = shards.largest(among_CV.max(-1, keepdims=True), axis)
    weights_CV = jnp.exp(among_CV - peak_C)
    norm_C = shards.total(weights_CV.sum(-1, keepdims=True), axis)
    if hardware.is_cpu():  # picking it out of the scores would keep them in memory beside their exponentials
        at_target_C = scores_of_items(hidden_CD, target_C, table_VD, bias_V, axis)
    else:
        at_target_C = shards.take_columns(scores_CV, target_C[:, None] - 1, axis)[:, 0]
    loss_C = (jnp.log(norm_C) + peak_C)[:, 0] - at_target_C
    if own is None or not smoothing:
        return _ChunkSoftmax(summed(loss_C), weights_CV, norm_C, None)
    spread_CV = compared_CV / shards.total(compared_CV.sum(-1, keepdims=True), axis)
    mean_C = shards.total(jnp.where(compared_CV, scores_CV * spread_CV, 0).sum(-1), axis)
    loss = summed(loss_C + smoothing * (at_target_C - mean_C))
    return _ChunkSoftmax(loss, weights_CV, norm_C, spread_CV)


def _chunks(hidden_ND, table_VD, target_N, weight_N, own):
    users_N = None if own is None else own.users
    return chunked((hidden_ND, target_N, weight_N, users_N), sizes.product_rows(len(table_VD)))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _softmax_sum(axis, smoothing, hidden_ND, table_VD, bias_V, target_N, weight_N, own):
    def step(loss, chunk):
        return loss + _chunk_softmax(axis, smoothing, table_VD, bias_V, own, chunk).loss, None

    return jax.lax.scan(step, jnp.zeros_like(weight_N[0]), _chunks(hidden_ND, table_VD, target_N, weight_N, own))[0]


def _softmax_sum_forward(axis, smoothing, hidden_ND, table_VD, bias_V, target_N, weight_N, own):
    def step(carry, chunk):
        loss, grad_VD, grad_V = carry
        hidden_CD, target_C, weight_C, _ = chunk
        of_chunk = _chunk_softmax(axis, smoothing, table_VD, bias_V, own, chunk)
        share_CV = of_chunk.weights_CV * (weight_C[:, None] / of_chunk.norm_C)
        if of_chunk.spread_CV is not None:
            share_CV -= smoothing * weight_C[:, None] * of_chunk.spread_CV
        # subtracted before rounding: for a likely target, p - 1 is as small as what rounding p to bfloat16 loses
        is_target_CV = shards.place(target_C - 1, len(table_VD), axis)[:, None] == jnp.arange(len(table_VD))
        share_CV -= jnp.where(is_target_CV, (1.0 if own is None else 1 - smoothing) * weight_C[:, None], 0)
        cast_CV = share_CV.astype(hidden_CD.dtype)
        grad_CD = jnp.dot(cast_CV, table_VD.astype(hidden_CD.dtype), preferred_element_type=jnp.float32)
        grad_VD += jnp.dot(cast_CV.T, hidden_CD, preferred_element_type=jnp.float32)
        return (loss + of_chunk.loss, grad_VD, grad_V + share_CV.sum(0)), grad_CD

    zeros = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), (weight_N[0], table_VD, bias_V))
    chunks = _chunks(hidden_ND, table_VD, target_N, weight_N, own)
    (loss, grad_VD, grad_V), grad_ND = jax.lax.scan(step, zeros, chunks)
    grad_ND = shards.total(grad_ND.reshape(-1, hidden_ND.shape[1])[: len(target_N)], axis)
    return loss, (grad_ND.astype(hidden_ND.dtype), grad_VD.astype(table_VD.dtype), grad_V.astype(bias_V.dtype))


def _softmax_sum_backward(axis, smoothing, grads, cotangent):
    return *(jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), grads)), None, None, None


_softmax_sum.defvjp(_softmax_sum_forward, _softmax_sum_backward)


def softmax_fused(
    hidden_ND: jax.Array,
    target_N: jax.Array,
    weight_N: jax.Array,
    negatives: None,
    table_VD: jax.Array,
    bias_V: jax.Array | None,
    axis: str | None = None,
) -> jax.Array:
    """Computes `softmax_total` by kernels that keep no scores in memory where these can run, and by chunks elsewhere.

    The gradient of a slot's log norm is the mean of the rows, weighted by its softmax. It is computed along with the
    norm, as attention computes its weighted mean of values. The gradient of a row needs the norms of all slots, so it
    takes a second pass with two more matrix products; the chunks need only one more, but write its factors to memory.
    Weights are at least 0.

    With `axis`, the devices exchange the peaks, norms and mean rows of their shares of the table once for all slots.
    """
    if not sizes.fuses_softmax(*table_VD.shape):
        return softmax_total(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V, axis)
    bias_V = jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V
    return _fused_sum(axis, hidden_ND, table_VD, bias_V, jnp.maximum(target_N, 1), weight_N)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused_sum(axis, *args):
    return _fused_forward(axis, *args)[0]


def _fused_forward(axis, hidden_ND, table_VD, bias_V, target_N, weight_N):
    from jaxrec.kernels import fused_softmax  # Pallas is slow to import, and few trainings use it

    parts = fused_softmax.sums(hidden_ND, table_VD.astype(hidden_ND.dtype), bias_V.astype(jnp.float32))
    if axis is not None:
        parts = fused_softmax.merge(parts, shards.largest(parts.peak, axis), lambda x: shards.total(x, axis))
    row_ND = shards.look_up(table_VD, target_N - 1, axis)
    product_ND = row_ND.astype(hidden_ND.dtype).astype(jnp.float32) * hidden_ND.astype(jnp.float32)
    at_target_N = product_ND.sum(1) + shards.look_up(bias_V, target_N - 1, axis)
    log_norm_N = jnp.log2(parts.norm) + parts.peak
    loss = jnp.where(weight_N > 0, weight_N * (log_norm_N / fused_softmax.LOG2E - at_target_N), 0).sum()
    towards_ND = parts.rows / parts.norm[:, None] - row_ND.astype(hidden_ND.dtype)
    return loss, (hidden_ND, table_VD, bias_V, target_N, weight_N, log_norm_N, towards_ND)


def _fused_backward(axis, kept, cotangent):
    from jaxrec.kernels import fused_softmax

    hidden_ND, table_VD, bias_V, target_N, weight_N, log_norm_N, towards_ND = kept
    given = hidden_ND, table_VD.astype(hidden_ND.dtype), bias_V.astype(jnp.float32)
    place_N = shards.place(target_N - 1, len(table_VD), axis)
    grad_VD, grad_V = fused_softmax.row_gradients(*given, jnp.log2(weight_N) - log_norm_N, place_N, weight_N)
    grads = weight_N[:, None] * towards_ND, grad_VD, grad_V
    return *((cotangent * g).astype(x.dtype) for g, x in zip(grads, kept[:3], strict=True)), None, None


_fused_sum.defvjp(_fused_forward, _fused_backward)


def smoothed(total: Callable, smoothing: float, axis: str | None = None) -> Callable:
    """Returns a total of the full softmax with label smoothing (Szegedy et al. 2016, section 7).

    The target has the weight 1 - smoothing plus its share of the smoothing, which is uniform over the catalogue. The
    loss is the target's own plus smoothing * (s+ - the mean score). The mean score is a product with the mean vector,
    so it is cheap.
    """
    if not smoothing:
        return total

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        mean_D, mean = _means(table_VD, bias_V, axis)
        positive_N = scores_of_items(hidden_ND, jnp.maximum(target_N, 1), table_VD, bias_V, axis)
        mean_N = jnp.dot(hidden_ND, mean_D.astype(hidden_ND.dtype), preferred_element_type=jnp.float32) + mean
        above = jnp.where(weight_N > 0, weight_N * (positive_N - mean_N), 0).sum()
        return total(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V) + smoothing * above

    return summed


def _means(table_VD, bias_V, axis):
    """Returns the mean row and bias of all items; in a split table, the items are the rows whose bias is not -inf."""
    if axis is None:
        return table_VD.mean(0), 0.0 if bias_V is None else bias_V.mean()
    is_item_V = bias_V != -jnp.inf
    items = shards.total(is_item_V.sum(), axis)
    sums = jnp.where(is_item_V[:, None], table_VD, 0).sum(0), jnp.where(is_item_V, bias_V, 0).sum()
    return tuple(shards.total(each, axis) / items for each in sums)


@dataclass(frozen=True)
class SoftmaxOptions(LossOptions):
    """The keys of the full softmax."""

    #: whether a target is compared to all items (keep), or to all except the other items that its user has in training,
    #: as ranking leaves them out too (exclude)
    seen: str = among("keep", "exclude")
    label_smoothing: float = key(below_one, 0.0)  #: share of a target's weight that is spread evenly over all items
    #: whether a GPU uses hand-written kernels that keep no scores in memory, for a model.dim of at most 256; otherwise,
    #: and on other devices, it is computed in chunks
    fused: bool = False


def build(options: SoftmaxOptions, items: int, axis: str | None = None) -> Callable:
    """Returns the total of the full softmax."""
    if options.seen == "exclude":
        return partial(softmax_total, axis=axis, smoothing=options.label_smoothing)
    total = softmax_fused if options.fused else softmax_total
    total = partial(total, axis=axis) if axis else total
    return smoothed(total, options.label_smoothing, axis)


def check(options: SoftmaxOptions) -> None:
    """Checks that its options go together."""
    if options.fused and options.seen == "exclude":
        raise UserError(
            "config.loss.fused compares every target to the same items, but config.loss.seen=exclude leaves out those "
            "that its user has: set config.loss.fused=False, or config.loss.seen=keep"
        )


LOSS = LossEntry(name="softmax", options=SoftmaxOptions, build=build, build_sharded=build, check=check)

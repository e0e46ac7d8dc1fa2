"""Losses, each written for one slot; and the chunked form of the full softmax, equal to it by law.

A slot's loss takes (hidden_D, target, negatives_K, table_VD, bias_V) and gives a scalar. Its total over slots,
sum_n weight_n loss_n, is a plain vmap, or a fast form with the same signature.
"""

import jax
import jax.numpy as jnp


def score(hidden_D, item, table_VD, bias_V):
    """The score of one item (1..V) at one slot, in float32; the factors are rounded to the hidden's type.

    The gathered row is cast, not the table: gradients of many slots are added into the table's own float32.
    """
    product = jnp.dot(table_VD[item - 1].astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    return product if bias_V is None else product + bias_V[item - 1]


def bce(hidden_D, target, negatives_K, table_VD, bias_V):
    """Binary cross-entropy of the target against K negatives: softplus(-s+) + sum_k softplus(s-_k).

    Kang & McAuley 2018, eq. 7, for K = 1.
    """
    positive = score(hidden_D, target, table_VD, bias_V)
    negative_K = jax.vmap(lambda item: score(hidden_D, item, table_VD, bias_V))(negatives_K)
    return jax.nn.softplus(-positive) + jax.nn.softplus(negative_K).sum()


def softmax(hidden_D, target, negatives_K, table_VD, bias_V):
    """Cross-entropy of the target against the whole catalogue: logsumexp(s) - s+. Takes no negatives."""
    scores_V = jnp.dot(table_VD.astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    scores_V = scores_V if bias_V is None else scores_V + bias_V
    return jax.nn.logsumexp(scores_V) - scores_V[target - 1]


def total(slot_loss):
    """The sum over slots of weight x loss: (hidden_ND, target_N, weight_N, negatives_NK, table_VD, bias_V) -> []."""

    def summed(hidden_ND, target_N, weight_N, negatives_NK, table_VD, bias_V):
        each_N = jax.vmap(slot_loss, (0, 0, 0, None, None))(
            hidden_ND, jnp.maximum(target_N, 1), negatives_NK, table_VD, bias_V
        )
        return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()

    return summed


CHUNK = 512  # slots whose scores over the catalogue are held at once


def softmax_total(hidden_ND, target_N, weight_N, negatives_NK, table_VD, bias_V):
    """total(softmax) over chunks of slots: the scores of a batch are never held at once.

    The loss and both gradients come from one pass, since the gradient of a chunk needs nothing but its own scores
    (p - onehot); the backward pass only scales them. So each chunk's scores are computed once instead of twice.
    """
    short = -len(target_N) % CHUNK
    hidden_ND = jnp.pad(hidden_ND, ((0, short), (0, 0)))
    target_N, weight_N = jnp.pad(jnp.maximum(target_N, 1), (0, short), constant_values=1), jnp.pad(weight_N, (0, short))
    bias_V = jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V
    return _softmax_sum(hidden_ND, table_VD, bias_V, target_N, weight_N)


def _chunk_loss(table_VD, bias_V, chunk):
    hidden_CD, target_C, weight_C = chunk
    scores_CV = jnp.dot(hidden_CD, table_VD.T.astype(hidden_CD.dtype), preferred_element_type=jnp.float32) + bias_V
    peak_C = scores_CV.max(-1, keepdims=True)
    weights_CV = jnp.exp(scores_CV - peak_C)
    norm_C = weights_CV.sum(-1, keepdims=True)
    at_target_C = jnp.take_along_axis(scores_CV, target_C[:, None] - 1, axis=1)
    loss = (weight_C * (jnp.log(norm_C) + peak_C - at_target_C)[:, 0]).sum()
    return loss, weights_CV, norm_C


def _chunks(*arrays):
    return tuple(x.reshape(-1, CHUNK, *x.shape[1:]) for x in arrays)


@jax.custom_vjp
def _softmax_sum(hidden_ND, table_VD, bias_V, target_N, weight_N):
    def step(loss, chunk):
        return loss + _chunk_loss(table_VD, bias_V, chunk)[0], None

    loss0 = jnp.zeros_like(weight_N[0])
    return jax.lax.scan(step, loss0, _chunks(hidden_ND, target_N, weight_N))[0]


def _softmax_sum_forward(hidden_ND, table_VD, bias_V, target_N, weight_N):
    def step(carry, chunk):
        loss, grad_VD, grad_V = carry
        hidden_CD, _, weight_C = chunk
        each, weights_CV, norm_C = _chunk_loss(table_VD, bias_V, chunk)
        share_CV = weights_CV * (weight_C[:, None] / norm_C)
        cast_CV = share_CV.astype(hidden_CD.dtype)
        grad_CD = jnp.dot(cast_CV, table_VD.astype(hidden_CD.dtype), preferred_element_type=jnp.float32)
        grad_VD += jnp.dot(cast_CV.T, hidden_CD, preferred_element_type=jnp.float32)
        return (loss + each, grad_VD, grad_V + share_CV.sum(0)), grad_CD

    zeros = (weight_N[0] * 0, (table_VD * 0).astype(jnp.float32), (bias_V * 0).astype(jnp.float32))
    (loss, grad_VD, grad_V), grad_ND = jax.lax.scan(step, zeros, _chunks(hidden_ND, target_N, weight_N))
    row_N = target_N - 1
    grad_ND = grad_ND.reshape(hidden_ND.shape) - weight_N[:, None] * table_VD[row_N]
    grad_VD = grad_VD.at[row_N].add(-weight_N[:, None] * hidden_ND)
    grad_V = grad_V.at[row_N].add(-weight_N)
    return loss, (grad_ND.astype(hidden_ND.dtype), grad_VD.astype(table_VD.dtype), grad_V.astype(bias_V.dtype))


def _softmax_sum_backward(grads, cotangent):
    return *(jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), grads)), None, None


_softmax_sum.defvjp(_softmax_sum_forward, _softmax_sum_backward)

TOTALS = {"bce": total(bce), "softmax": softmax_total}
SAMPLED = {"bce"}

"""Losses, each written for one slot; and the fast forms of their totals, equal to the plain ones by law.

A sampled loss is a function of scores: (positive [], negative_K, valid_K) -> []; a negative that is not valid counts
for nothing. The full softmax takes the whole catalogue: (hidden_D, target, table_VD, bias_V) -> []. A total is the sum
over slots of weight x loss: (hidden_ND, target_N, weight_N, negatives.Negatives, table_VD, bias_V) -> [].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.kernels import reductions
from jaxrec.system.errors import UserError


def bce(positive, negative_K, valid_K):
    """Binary cross-entropy: softplus(-s+) + sum_k softplus(s-_k). Kang & McAuley 2018 for K = 1."""
    return jax.nn.softplus(-positive) + jnp.where(valid_K, jax.nn.softplus(negative_K), 0).sum()


def gbce(items, t):
    """gBCE: (beta softplus(-s+) + sum_k softplus(s-_k)) / (1 + K), beta = 1 - t (1 - alpha), alpha = K / (items - 1).

    Petrov & Macdonald 2023: the probability of the positive is sigmoid(s+)^beta, the power that undoes
    the overconfidence of having seen only K of the others. Its logarithm is linear in beta, so nothing has to be
    clamped, and float32 is enough. t = 0 is `bce`, the mean of its terms; t = 1 is calibrated.
    """

    def slot(positive, negative_K, valid_K):
        beta = 1 - t * (1 - len(negative_K) / (items - 1))
        negatives = jnp.where(valid_K, jax.nn.softplus(negative_K), 0).sum()
        return (beta * jax.nn.softplus(-positive) + negatives) / (1 + len(negative_K))

    return slot


def sampled_softmax(positive, negative_K, valid_K):
    """Cross-entropy of the target against itself and the negatives: log(exp s+ + sum_k exp s-_k) - s+.

    Jean et al. 2015; the correction by expected counts (logQ) is made to the scores before.
    """
    negative_K = jnp.where(valid_K, negative_K, -jnp.inf)
    peak = jnp.maximum(reductions.largest(jax.lax.stop_gradient(negative_K)), jax.lax.stop_gradient(positive))
    return jnp.log(jnp.exp(negative_K - peak).sum() + jnp.exp(positive - peak)) + peak - positive


def bpr(positive, negative_K, valid_K):
    """Bayesian personalised ranking: the mean of -log sigmoid(s+ - s-_k). Rendle et al. 2009; Hidasi et al. 2016."""
    each_K = jnp.where(valid_K, jax.nn.softplus(negative_K - positive), 0)
    return each_K.sum() / jnp.maximum(valid_K.sum(), 1)


def bpr_max(bpreg, elu):
    """BPR-max: -log sum_k p_k sigmoid(s+ - s-_k) + bpreg sum_k p_k s-_k^2, p the softmax of the negatives.

    Hidasi & Karatzoglou 2018, here in log space. With elu > 0 the scores pass elu(s) = s above 0,
    elu (exp s - 1) below, as in the authors' code.
    """

    def slot(positive, negative_K, valid_K):
        if elu:
            positive, negative_K = jax.nn.elu(positive, elu), jax.nn.elu(negative_K, elu)
        log_share_K = _log_shares(negative_K, valid_K)
        ranked = -jax.nn.logsumexp(log_share_K + jax.nn.log_sigmoid(positive - negative_K))
        loss = ranked + bpreg * (jnp.exp(log_share_K) * negative_K**2).sum()
        return jnp.where(valid_K.any(), loss, 0)

    return slot


def top1_max(positive, negative_K, valid_K):
    """TOP1-max: sum_k p_k (sigmoid(s-_k - s+) + sigmoid(s-_k^2)), p the softmax of the negatives.

    Hidasi & Karatzoglou 2018.
    """
    share_K = jnp.exp(_log_shares(negative_K, valid_K))
    each_K = jax.nn.sigmoid(negative_K - positive) + jax.nn.sigmoid(negative_K**2)
    return jnp.where(valid_K.any(), (share_K * each_K).sum(), 0)


def _log_shares(negative_K, valid_K):
    """Log of the softmax over the valid negatives; over all where none is, for the gradient's sake."""
    return jax.nn.log_softmax(jnp.where(valid_K | ~valid_K.any(), negative_K, -jnp.inf))


def softmax(hidden_D, target, table_VD, bias_V):
    """Cross-entropy of the target against the whole catalogue: logsumexp(s) - s+."""
    scores_V = jnp.dot(table_VD.astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    scores_V = scores_V if bias_V is None else scores_V + bias_V
    return jax.nn.logsumexp(scores_V) - scores_V[target - 1]


def score(hidden_D, item, table_VD, bias_V):
    """The score of one item (1..V) at one slot, in float32; the factors are rounded to the hidden's type.

    The gathered row is cast, not the table: gradients of many slots are added into the table's own float32.
    """
    product = jnp.dot(table_VD[item - 1].astype(hidden_D.dtype), hidden_D, preferred_element_type=jnp.float32)
    return product if bias_V is None else product + bias_V[item - 1]


def counts(items, target, own_column, keep):
    """Which of a slot's negatives [K] count: those that are items, not the slot's own column, nor, unless kept, its
    target by another draw."""
    valid = items > 0
    if own_column is not None:
        valid &= jnp.arange(len(items)) != own_column
    return valid if keep else valid & (items != target)


# --- totals: the definitions


def plain(slot_loss, keep=False):
    """The total of a sampled loss by its definition: a vmap over slots, each of which looks up its own negatives.

    Args:
        slot_loss: (positive, negative_K, valid_K) -> []. keep: whether a negative that is the target counts.
    """

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        def slot(hidden_D, target, own):
            valid_K = counts(own.items, target, own.own_column, keep)
            item_K = jnp.maximum(own.items, 1)
            negative_K = jax.vmap(lambda item: score(hidden_D, item, table_VD, bias_V))(item_K)
            positive = score(hidden_D, target, table_VD, bias_V)
            negative_K = negative_K if own.shift is None else negative_K - own.shift
            positive = positive if own.own_shift is None else positive - own.own_shift
            return slot_loss(positive, negative_K, valid_K)

        number = len(target_N)
        own = negatives._replace(items=_of_each(negatives.items, number), shift=_of_each(negatives.shift, number))
        each_N = jax.vmap(slot)(hidden_ND, jnp.maximum(target_N, 1), own)
        return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()

    return summed


def _of_each(values, slots):
    """[K], [R, K] or [N, K] -> [N, K]; None as it is."""
    if values is None:
        return None
    values = values.reshape(-1, values.shape[-1])
    return jnp.repeat(values, slots // len(values), axis=0)


def softmax_plain(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
    """The total of the full softmax by its definition."""
    each_N = jax.vmap(softmax, (0, 0, None, None))(hidden_ND, jnp.maximum(target_N, 1), table_VD, bias_V)
    return jnp.where(weight_N > 0, weight_N * each_N, 0).sum()


# --- totals: the fast forms

HELD = 2**21  # scores, or numbers of looked-up rows, that are held at once
TAKE = 16  # where the catalogue is at most so many times the negatives, scoring all of it beats looking rows up


class Chunk(NamedTuple):
    """G groups of M slots that share their negatives. A slot is a group of one, a row one of its slots, a batch one."""

    hidden: Any  #: [G, M, D]
    positive: Any  #: [G, M] float32, the targets' scores
    weight: Any  #: [G, M]
    target: Any  #: [G, M]
    own_column: Any  #: [G, M], or None
    items: Any  #: [G, K]; or [G, M, K], to be taken from the scores of the whole table
    shift: Any  #: as items, or None


def total(slot_loss, keep=False):
    """The total of a sampled loss: `plain(slot_loss, keep)` with bounded memory, and products for sums.

    Negatives that slots share are scored by one matrix product a group. Slots with negatives of their own look them up,
    or, where these are much of the catalogue, score all of it and take them.
    """
    direct, by_chunks = plain(slot_loss, keep), _by_chunks(slot_loss, keep)

    def summed(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
        (slots, dim), number = hidden_ND.shape, negatives.items.shape[-1]
        each = negatives.items.ndim > 1 and len(negatives.items) == slots
        if each and slots * number * dim <= 4 * HELD:
            return direct(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V)
        target_N = jnp.maximum(target_N, 1)
        bias_V = jnp.zeros_like(table_VD[:, 0], jnp.float32) if bias_V is None else bias_V
        positive_N = jax.vmap(score, (0, 0, None, None))(hidden_ND, target_N, table_VD, bias_V)
        positive_N = positive_N if negatives.own_shift is None else positive_N - negatives.own_shift
        of_slots = (hidden_ND, positive_N, weight_N, target_N, negatives.own_column)
        of_groups = (negatives.items, negatives.shift)
        if negatives.items.ndim == 1:
            row_K = jnp.maximum(negatives.items, 1) - 1
            table_VD, bias_V = table_VD[row_K], bias_V[row_K]
            of_slots = _cut(of_slots, max(HELD // number, 1))
            chunks = len(of_slots[0])
            of_groups = jax.tree.map(lambda x: jnp.broadcast_to(x, (chunks, 1, number)), of_groups)
        elif each and len(table_VD) <= TAKE * number:
            of_slots, of_groups = _cut((of_slots, of_groups), max(HELD // len(table_VD), 1))
            of_groups = jax.tree.map(lambda x: x[:, None], of_groups)
        else:
            members = slots // len(negatives.items)
            of_slots = jax.tree.map(lambda x: x.reshape(-1, members, *x.shape[1:]), of_slots)
            held = number * (dim if each else max(members, dim))
            of_slots, of_groups = _cut((of_slots, of_groups), max(HELD // held, 1))
            return by_chunks(True, table_VD, bias_V, Chunk(*of_slots, *of_groups))
        of_slots = jax.tree.map(lambda x: x[:, None], of_slots)
        return by_chunks(False, table_VD, bias_V, Chunk(*of_slots, *of_groups))

    return summed


def _cut(tree, size):
    """Arrays [N, …] -> [chunks, N / chunks, …], each of at most `size`; the last one is filled up with zeros."""
    number = len(jax.tree.leaves(tree)[0])
    chunks = -(-number // size)
    pad = lambda x: jnp.pad(x, ((0, -number % chunks), *((0, 0),) * (x.ndim - 1)))
    return jax.tree.map(lambda x: pad(x).reshape(chunks, -1, *x.shape[1:]), tree)


def _by_chunks(slot_loss, keep):
    """(look up?, table, bias, Chunk with a leading axis of chunks) -> []. Gradients come from the one pass forward.

    As the sum is linear in the slots' losses, the backward pass has only to scale them: nothing is computed twice, and
    nothing of the size of the scores is kept. Where rows are looked up, their gradients are added into the table's
    in place; else the table is scored whole, by every group.
    """

    def slot(positive, negative_K, weight, target, own_column, items, shift):
        valid_K = counts(items, target, own_column, keep)
        loss = slot_loss(positive, negative_K if shift is None else negative_K - shift, valid_K)
        return jnp.where(weight > 0, weight * loss, 0)

    def chunk_loss(positive_GM, score_GMK, chunk):
        if chunk.items.ndim == 3:
            score_GMK = jnp.take_along_axis(score_GMK, jnp.maximum(chunk.items, 1) - 1, axis=2)
        shared = 0 if chunk.items.ndim == 3 else None
        members = jax.vmap(slot, (0, 0, 0, 0, 0, shared, shared))
        return jax.vmap(members)(positive_GM, score_GMK, *chunk[2:]).sum()

    def scores(look_up, table_VD, bias_V, chunk):
        row_GK = jnp.maximum(chunk.items, 1) - 1 if look_up else jnp.arange(len(table_VD))[None]
        rows_GKD = table_VD[row_GK] if look_up else table_VD[None]
        rows_GKD, bias_GK = rows_GKD.astype(chunk.hidden.dtype), bias_V[row_GK]
        if look_up:
            score_GMK = jnp.einsum("gmd,gkd->gmk", chunk.hidden, rows_GKD, preferred_element_type=jnp.float32)
            return score_GMK + bias_GK[:, None], row_GK, rows_GKD
        # Many rows by few slots: in this order a CPU takes a fraction of the time, and a bias within keeps XLA to it.
        score_GKM = jnp.einsum("gkd,gmd->gkm", rows_GKD, chunk.hidden, preferred_element_type=jnp.float32)
        return jnp.swapaxes(score_GKM + bias_GK[..., None], 1, 2), row_GK, rows_GKD

    def primal(look_up, table_VD, bias_V, chunks):
        def step(loss, chunk):
            return loss + chunk_loss(chunk.positive, scores(look_up, table_VD, bias_V, chunk)[0], chunk), None

        return jax.lax.scan(step, jnp.zeros_like(chunks.positive.ravel()[0]), chunks)[0]

    def forward(look_up, table_VD, bias_V, chunks):
        def step(carry, chunk):
            loss, grad_VD, grad_V = carry
            score_GMK, row_GK, rows_GKD = scores(look_up, table_VD, bias_V, chunk)
            each, (grad_GM, share_GMK) = jax.value_and_grad(chunk_loss, (0, 1))(chunk.positive, score_GMK, chunk)
            cast_GMK = share_GMK.astype(rows_GKD.dtype)
            grad_GMD = jnp.einsum("gmk,gkd->gmd", cast_GMK, rows_GKD, preferred_element_type=jnp.float32)
            grad_GKD = jnp.einsum("gmk,gmd->gkd", cast_GMK, chunk.hidden, preferred_element_type=jnp.float32)
            # as a product: XLA's CPU takes longer to add up columns
            grad_GK = jnp.einsum("gmk,gm->gk", share_GMK, jnp.ones_like(share_GMK[..., 0]))
            if look_up:
                grad_VD, grad_V = grad_VD.at[row_GK].add(grad_GKD), grad_V.at[row_GK].add(grad_GK)
            else:
                grad_VD, grad_V = grad_VD + grad_GKD[0], grad_V + grad_GK[0]
            return (loss + each, grad_VD, grad_V), (grad_GMD.astype(rows_GKD.dtype), grad_GM)

        zeros = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), (chunks.positive.ravel()[0], table_VD, bias_V))
        (loss, grad_VD, grad_V), of_slots = jax.lax.scan(step, zeros, chunks)
        return loss, (grad_VD.astype(table_VD.dtype), grad_V.astype(bias_V.dtype), *of_slots)

    def backward(look_up, grads, cotangent):
        grads = jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), grads)
        return grads[0], grads[1], Chunk(*grads[2:], *(None,) * (len(Chunk._fields) - 2))

    summed = jax.custom_vjp(primal, nondiff_argnums=(0,))
    summed.defvjp(forward, backward)
    return summed


CHUNK = 512  # slots whose scores over the catalogue are held at once, at most
SCORES, FEW = 2**27, 128  # of a large catalogue so many scores, but not of fewer slots: these take longer


def _chunk_size(items):
    return min(max(SCORES // items, FEW), CHUNK)


def softmax_total(hidden_ND, target_N, weight_N, negatives, table_VD, bias_V):
    """`softmax_plain` over chunks of slots: the scores of a batch are never held at once.

    The loss and both gradients come from one pass, since the gradient of a chunk needs nothing but its own scores
    (p - onehot); the backward pass only scales them. So each chunk's scores are computed once instead of twice.
    """
    bias_V = jnp.zeros_like(table_VD[:, 0]) if bias_V is None else bias_V
    return _softmax_sum(hidden_ND, table_VD, bias_V, jnp.maximum(target_N, 1), weight_N)


def _chunk_loss(table_VD, bias_V, chunk):
    hidden_CD, target_C, weight_C = chunk
    scores_CV = jnp.dot(hidden_CD, table_VD.T.astype(hidden_CD.dtype), preferred_element_type=jnp.float32) + bias_V
    peak_C = scores_CV.max(-1, keepdims=True)
    weights_CV = jnp.exp(scores_CV - peak_C)
    norm_C = weights_CV.sum(-1, keepdims=True)
    at_target_C = jnp.take_along_axis(scores_CV, target_C[:, None] - 1, axis=1)
    loss = (weight_C * (jnp.log(norm_C) + peak_C - at_target_C)[:, 0]).sum()
    return loss, weights_CV, norm_C


@jax.custom_vjp
def _softmax_sum(hidden_ND, table_VD, bias_V, target_N, weight_N):
    def step(loss, chunk):
        return loss + _chunk_loss(table_VD, bias_V, chunk)[0], None

    loss0 = jnp.zeros_like(weight_N[0])
    return jax.lax.scan(step, loss0, _cut((hidden_ND, target_N, weight_N), _chunk_size(len(table_VD))))[0]


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

    zeros = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), (weight_N[0], table_VD, bias_V))
    chunks = _cut((hidden_ND, target_N, weight_N), _chunk_size(len(table_VD)))
    (loss, grad_VD, grad_V), grad_ND = jax.lax.scan(step, zeros, chunks)
    row_N = target_N - 1
    grad_ND = grad_ND.reshape(-1, hidden_ND.shape[1])[: len(target_N)] - weight_N[:, None] * table_VD[row_N]
    grad_VD = grad_VD.at[row_N].add(-weight_N[:, None] * hidden_ND)
    grad_V = grad_V.at[row_N].add(-weight_N)
    return loss, (grad_ND.astype(hidden_ND.dtype), grad_VD.astype(table_VD.dtype), grad_V.astype(bias_V.dtype))


def _softmax_sum_backward(grads, cotangent):
    return *(jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), grads)), None, None


_softmax_sum.defvjp(_softmax_sum_forward, _softmax_sum_backward)


# --- by name

SLOTS = {
    "bce": lambda loss, items: bce,
    "gbce": lambda loss, items: gbce(items, loss.t),
    "sampled-softmax": lambda loss, items: sampled_softmax,
    "bpr": lambda loss, items: bpr,
    "bpr-max": lambda loss, items: bpr_max(loss.bpreg, loss.elu),
    "top1-max": lambda loss, items: top1_max,
}


def build(loss, items):
    """The total of a config.LossConfig over a catalogue of so many items.

    Raises:
        UserError: gBCE's negatives are more than there are.
    """
    if loss.name == "softmax":
        return softmax_total
    if loss.name == "gbce" and loss.negatives >= items:
        raise UserError(
            f"config.loss.negatives is {loss.negatives} of a catalogue of {items} items: gbce takes a share of them. "
            f"Set it to {items - 1} or less, or config.loss.name=softmax"
        )
    return total(SLOTS[loss.name](loss, items), loss.collisions == "keep")

"""Inputs for losses (slots, weights, negatives, a table), and the implementations that must agree on them."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from examples.own_loss import hinge
from jaxrec.training.losses.bce import bce
from jaxrec.training.losses.bpr import bpr
from jaxrec.training.losses.bpr_max import bpr_max
from jaxrec.training.losses.gbce import gbce
from jaxrec.training.losses.sampled_softmax import sampled_softmax, scaled
from jaxrec.training.losses.softmax import softmax_plain, softmax_total
from jaxrec.training.losses.top1_max import top1_max
from jaxrec.training.losses.totals import plain
from jaxrec.training.steps.negatives import Negatives

V, D, K = 37, 5, 3

SLOTS = {
    "bce": bce,
    "gbce": gbce(V, 0.75),
    "sampled-softmax": sampled_softmax,
    "sampled-softmax, scaled": scaled(100.0),
    "bpr": bpr,
    "bpr-max": bpr_max(1.3, 0.0),
    "bpr-max of elu": bpr_max(0.7, 0.5),
    "top1-max": top1_max,
    "hinge, from outside": hinge(1.0),
}
FLAT = {"hinge, from outside"}  #: losses that are constant where the target is far enough above its negatives


def problem(seed, slots, items=V, with_bias=True, scale=1.0, shape=None, shared_by="slot"):
    """(hidden, targets, weights, Negatives, table, bias); about a third of the slots have weight 0 and target 0.

    The negatives have the given shape, [slots, K] if None; `shared_by` says what shares them.
    """
    random = np.random.default_rng(seed)
    weight = np.where(random.random(slots) < 0.3, 0.0, random.uniform(0.2, 2, slots)).astype(np.float32)
    target = np.where(weight > 0, random.integers(1, items + 1, slots), 0).astype(np.int32)
    negatives = random.integers(1, items + 1, shape or (slots, K)).astype(np.int32)
    hidden, table = (scale * random.normal(size=(n, D)).astype(np.float32) for n in (slots, items))
    bias = random.normal(size=items).astype(np.float32) if with_bias else None
    return jax.tree.map(jnp.asarray, (hidden, target, weight, Negatives(negatives, shared_by=shared_by), table, bias))


def confident(seed, slots, nll=0.01, items=V):
    """Like `problem`, but with a mean loss of about `nll`; the vectors are bfloat16, and the table is float32."""
    random = np.random.default_rng(seed)
    table = random.normal(size=(items, 16))
    table = (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)
    target = random.integers(1, items + 1, slots).astype(np.int32)
    table *= np.sqrt(2 * np.log(items / nll)).astype(np.float32)
    hidden = table[target - 1] + 0.1 * random.normal(size=(slots, 16)).astype(np.float32)
    weight = random.uniform(0.2, 2, slots).astype(np.float32)
    return jnp.asarray(hidden).astype(jnp.bfloat16), *map(jnp.asarray, (target, weight)), None, jnp.asarray(table), None


def error(got, wanted):
    """The largest relative error of the gradients, each measured by norms."""
    norm = lambda x: float(jnp.linalg.norm(x.astype(jnp.float32)))
    return max(norm(one.astype(jnp.float32) - other) / norm(other) for one, other in zip(got, wanted, strict=True))


def with_gradients(summed):
    """Jits (hidden, target, weight, negatives, table, bias) -> (value, gradients by hidden, table and bias)."""

    def of(hidden, target, weight, negatives, table, bias):
        given = (hidden, table) if bias is None else (hidden, table, bias)
        at = lambda hidden, table, bias=None: summed(hidden, target, weight, negatives, table, bias)
        return jax.value_and_grad(at, argnums=tuple(range(len(given))))(*given)

    return jax.jit(of)


plain_softmax, fast_softmax = with_gradients(softmax_plain), with_gradients(softmax_total)
sampled = cache(lambda name, keep=False: with_gradients(plain(SLOTS[name], keep)))
FORMS = {**{name: sampled(name) for name in SLOTS}, "softmax": plain_softmax, "softmax_total": fast_softmax}


def agree(got, wanted, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1, np.abs(other).max()))

"""Cross-entropy of the target against itself and sampled negatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxrec.config.fields import among, default, key, positive, share
from jaxrec.config.keys import IN_BATCH, SampledOptions
from jaxrec.kernels import reductions
from jaxrec.system.errors import UserError
from jaxrec.training.losses.entry import MANY, sampled


def sampled_softmax(positive: jax.Array, negative_K: jax.Array, valid_K: jax.Array) -> jax.Array:
    """Cross-entropy of the target against itself and the negatives: log(exp s+ + sum_k exp s-_k) - s+.

    Jean et al. 2015. Scores are corrected by expected counts (logQ) before.
    """
    negative_K = jnp.where(valid_K, negative_K, -jnp.inf)
    peak = jnp.maximum(reductions.largest(jax.lax.stop_gradient(negative_K)), jax.lax.stop_gradient(positive))
    return jnp.log(jnp.exp(negative_K - peak).sum() + jnp.exp(positive - peak)) + peak - positive


def scaled(scale: float) -> Callable:
    """`sampled_softmax` with each negative counted `scale` times: log(exp s+ + scale x sum_k exp s-_k) - s+.

    scale = V / K equals logQ of uniform negatives; other values are the scaled cross-entropy (Xu et al. 2024).
    """
    if scale == 1:
        return sampled_softmax
    return lambda positive, negative_K, valid_K: sampled_softmax(positive, negative_K + math.log(scale), valid_K)


@dataclass(frozen=True)
class SampledSoftmaxOptions(SampledOptions):
    """The keys of the sampled softmax."""

    scale: float = key(positive, 1.0)  #: how many times each negative counts: its log is added to their scores
    logq: float = key(share, 0.0)  #: share of the log of its expected count that a score is corrected by
    logq_counts: str = among(
        "targets", "events"
    )  #: what in-batch negatives are expected by: trained targets, or events


def check(options: SampledSoftmaxOptions) -> None:
    """Checks that logQ is used with negatives that have expected counts."""
    corrected = options.logq and options.sampling in IN_BATCH
    if options.logq_counts != default(SampledSoftmaxOptions, "logq_counts") and not corrected:
        raise UserError(
            "config.loss.logq_counts is for loss.logq with loss.sampling=in-batch or mixed: leave it out otherwise"
        )
    if options.logq and options.sampling == "uniform-unseen":
        raise UserError(
            "config.loss.logq corrects for how often an item of the whole catalogue is drawn, and uniform-unseen "
            "leaves some out: set config.loss.sampling=uniform"
        )
    if options.logq and options.sampling == "uniform" and not options.remove_accidental_hits:
        raise UserError(
            "config.loss.logq would shift all scores alike, as uniform negatives that may be the target are drawn as "
            "often as the target: leave it at 0, or set config.loss.remove_accidental_hits=True"
        )


LOSS = sampled(
    "sampled-softmax",
    lambda options, items: scaled(options.scale),
    SampledSoftmaxOptions,
    check,
    suits={**MANY, "logq": 1.0},
)

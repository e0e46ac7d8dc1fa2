"""A loss of your own: a hinge loss, for which the target must beat every negative by a margin.

python train.py --config configs/sasrec_ml1m.py --config.loss.name=examples.own_loss:LOSS --workdir runs/own
"""

from dataclasses import dataclass

import jax.numpy as jnp

from jaxrec.config.fields import key, positive
from jaxrec.config.keys import SampledOptions
from jaxrec.training.losses.entry import sampled


@dataclass(frozen=True)
class Options(SampledOptions):
    margin: float = key(positive, 1.0)  #: difference of scores


def hinge(margin):
    """The mean over negatives of max(0, margin - s+ + s-_k)."""

    def slot(positive, negative_K, valid_K):
        each_K = jnp.where(valid_K, jnp.maximum(margin - positive + negative_K, 0), 0)
        return each_K.sum() / jnp.maximum(valid_K.sum(), 1)

    return slot


LOSS = sampled("hinge", lambda options, items: hinge(options.margin), Options)

"""Models as pure functions of (params, stream): Linen inside, a plain dict of params outside."""

import jax.numpy as jnp

from jaxrec.models.bert4rec import bert4rec
from jaxrec.models.gru4rec import gru4rec
from jaxrec.models.model import Model
from jaxrec.models.sasrec import sasrec

MODELS = {"sasrec": sasrec, "bert4rec": bert4rec, "gru4rec": gru4rec}


def build(config, items):
    """The Model of a configuration, for a catalogue of so many items."""
    return MODELS[config.model.name](config.model, items, config.length, config.positions, jnp.dtype(config.precision))


__all__ = ["MODELS", "Model", "build"]

"""Models as pure functions of (params, stream): Linen inside, a plain dict of params outside."""

import jax.numpy as jnp

from jaxrec.models.bert4rec import bert4rec
from jaxrec.models.caser import caser
from jaxrec.models.gru4rec import gru4rec
from jaxrec.models.model import Model
from jaxrec.models.sasrec import sasrec
from jaxrec.models.two_tower import two_tower

MODELS = {"sasrec": sasrec, "gru4rec": gru4rec, "bert4rec": bert4rec, "caser": caser, "two-tower": two_tower}


def build(config, items, users):
    """The Model of a configuration, for so many items and users (which few models have vectors of)."""
    make, model = MODELS[config.model.name], config.model
    more = {"users": users} if model.users else {}
    return make(model, items, config.length, config.positions, jnp.dtype(config.precision), **more)


__all__ = ["MODELS", "Model", "build"]

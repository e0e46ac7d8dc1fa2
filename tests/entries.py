"""Models and losses as their registry entries build them, from a few of their keys."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxrec.config import registry
from jaxrec.models.entry import Sizes


def model(
    name, items, length, positions="from_start", dtype="float32", num_users=0, *, dim, layers=1, dropout=0.0, **keys
):
    """The Model of this name with these options; its `encode` is jitted, which is faster than running op by op."""
    entry = registry.find("model", name)
    options = entry.options(name=name, dim=dim, layers=layers, dropout=dropout, **keys)
    made = entry.build(options, Sizes(items, length, positions, jnp.dtype(dtype), num_users))
    return dataclasses.replace(made, encode=jax.jit(made.encode))


def loss(name, **keys):
    """The options of the loss of this name."""
    return registry.find("loss", name).options(name=name, **keys)

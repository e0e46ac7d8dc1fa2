"""A model of your own: a weighted mean of the history, in which older items count less.

python train.py --config configs/quickstart.py --config.model.name=examples.own_model:MODEL --workdir runs/own
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.config.fields import key, positive
from jaxrec.config.keys import ModelOptions
from jaxrec.kernels.masks import causal
from jaxrec.models.entry import ModelEntry
from jaxrec.models.layers import INITIAL, drop_rows, item_param
from jaxrec.models.model import from_module


@dataclass(frozen=True)
class Options(ModelOptions):
    init: str = "normal"  #: initialiser of the embeddings
    half_life: float = key(positive, 4.0)  #: number of items after which one counts half, at the start of training


class DecayedMean(nn.Module):
    items: int
    width: int
    dropout: float
    half_life: float
    init_table: Any
    dtype: Any

    @nn.compact
    def __call__(self, stream, keys=None):
        """[B, T] -> [B, T, D]"""
        item_table = item_param(self, "items", self.init_table, self.items, self.width)
        decay = self.param("decay", nn.initializers.constant(jnp.log(2) / self.half_life), ())
        x_BTD = jnp.where((stream.items > 0)[..., None], item_table[jnp.maximum(stream.items - 1, 0)], 0)
        x_BTD = drop_rows(x_BTD, self.dropout, keys, (0, 0))
        seen_BTT = jax.vmap(causal)(stream.segments, stream.positions)
        ago_BTT = stream.positions[:, :, None] - stream.positions[:, None, :]
        weight_BTT = jnp.where(seen_BTT, jnp.exp(-decay * jnp.maximum(ago_BTT, 0)), 0)
        return (weight_BTT / weight_BTT.sum(-1, keepdims=True)).astype(self.dtype) @ x_BTD.astype(self.dtype)


def build(options, sizes):
    init = INITIAL[options.init]
    module = DecayedMean(sizes.items, options.dim, options.dropout, options.half_life, init, sizes.dtype)
    output, item_tables = lambda params: (params["items"], None), {"items": ("inputs", "targets")}
    return from_module(module, sizes.length, output_embedding=output, item_tables=item_tables)


MODEL = ModelEntry(name="decayed-mean", options=Options, build=build)

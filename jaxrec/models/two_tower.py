"""Two towers: the mean of a history scored against items. Ignores order, as a baseline for sequential models."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.config.fields import among
from jaxrec.config.keys import ModelOptions
from jaxrec.kernels.masks import causal
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import INITIAL, Dense, drop_rows, item_param, with_added
from jaxrec.models.model import Model, from_module, take_slots


class TwoTower(nn.Module):
    """Dense layers on the mean of the items up to a slot (Covington et al. 2016); items are plain vectors."""

    items: int
    width: int
    layers: int
    rate: float
    dtype: Any
    kernel: Any

    def setup(self) -> None:
        self.item_table = item_param(self, "items", self.kernel, self.items, self.width)
        self.bias = item_param(self, "bias", nn.initializers.zeros, self.items)
        # named so that its params are Dense_0, Dense_1, ...
        self.Dense = [Dense(self.width, self.dtype, self.kernel) for _ in range(self.layers)]

    def __call__(self, stream, keys=None, read_BM=None):
        """[B, T] -> [B, T, D], or [B, M, D] at the slots read_BM only."""
        item_BTD = with_added(self.item_table[jnp.maximum(stream.items - 1, 0)], stream)
        item_BTD = jnp.where((stream.items > 0)[..., None], item_BTD, 0)
        count_BT = stream.positions + 1
        if read_BM is None:
            sums_BTD = jax.vmap(_sums)(item_BTD, stream.positions)
        else:
            upto_BMT = jax.vmap(causal)(stream.segments, stream.positions)
            sums_BTD = jnp.einsum("bmt,btd->bmd", take_slots(upto_BMT, read_BM).astype(item_BTD.dtype), item_BTD)
            count_BT = take_slots(count_BT, read_BM)
        x_BTD = (sums_BTD / count_BT[..., None]).astype(self.dtype)
        x_BTD = drop_rows(x_BTD, self.rate, keys, (0, 0))
        x_ND = x_BTD.reshape(-1, self.width)
        for number, layer in enumerate(self.Dense, 1):
            x_ND = nn.relu(layer(x_ND)) if number < self.layers else layer(x_ND)
        return x_ND.reshape(x_BTD.shape)


def _sums(x_TD, positions_T):
    """Returns each slot's sum over its sequence so far, by a scan that restarts at position 0."""

    def add(left, right):
        (a, _), (b, begins) = left, right
        return jnp.where(begins, b, a + b), left[1] | begins

    begins_T1 = (positions_T == 0)[:, None]
    return jax.lax.associative_scan(add, (x_TD, begins_T1))[0]


@dataclass(frozen=True)
class TwoTowerOptions(ModelOptions):
    """The options of TwoTower."""

    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02), or uniform


def two_tower(config: TwoTowerOptions, sizes: Sizes) -> Model:
    """Returns TwoTower as a Model."""
    kernel = INITIAL[config.init]
    module = TwoTower(sizes.items, config.dim, config.layers, config.dropout, sizes.dtype, kernel)
    item_tables = {"items": ("inputs", "targets"), "bias": ("targets",)}
    output = lambda params: (params["items"], params["bias"])
    return from_module(module, sizes.length, output_embedding=output, item_tables=item_tables, reads=True)


MODEL = ModelEntry(
    name="two-tower",
    options=TwoTowerOptions,
    build=two_tower,
    reads_context=True,
    suits=NEXT_ITEM | {"model.init": "xavier", "model.dropout": 0.2, "optim.learning_rate": 1e-2},
)

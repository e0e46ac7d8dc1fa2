"""Caser: convolutions over the most recent items (Tang & Wang, WSDM 2018)."""

from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxrec.config.fields import among, key, positive
from jaxrec.config.keys import Config, ModelOptions
from jaxrec.models.entry import NEXT_ITEM, ModelEntry, Sizes
from jaxrec.models.layers import INITIAL, Dense, drop_rows, item_param, with_added
from jaxrec.models.model import Model, from_module
from jaxrec.system.errors import UserError


class Caser(nn.Module):
    """The last `window` items as an image [window, width], with vertical filters and horizontal filters of each height.

    Slots before the first item have a learned vector. The value of a horizontal filter at a slot doesn't depend on the
    window, so it is computed once per slot, and the maximum is taken over the slots of each window.
    """

    items: int
    users: int  #: 0 for a model without user vectors
    width: int
    window: int
    vertical: int
    horizontal: int
    rate: float
    dtype: Any
    kernel: Any

    def setup(self) -> None:
        self.item_table = item_param(self, "items", self.kernel, self.items, self.width)
        self.before = self.param("before", self.kernel, (1, self.width))
        dense = lambda width: Dense(width, self.dtype, self.kernel)
        self.columns = dense(self.vertical)
        self.rows = [dense(self.horizontal) for _ in range(self.window)]
        self.mix = dense(self.width)
        if self.users:
            self.user_table = self.param("users", self.kernel, (self.users, self.width))
            self.with_user = dense(self.width)

    def __call__(self, stream, keys=None):
        rows, slots = stream.items.shape
        item_BTD = with_added(self.item_table[jnp.maximum(stream.items - 1, 0)], stream)
        item_BTD = jnp.where((stream.items > 0)[..., None], item_BTD, self.before).astype(self.dtype)
        back = lambda x, n, outside: self._back(x, stream.positions, n, outside)
        image_BTDW = jnp.stack([back(item_BTD, n, self.before) for n in reversed(range(self.window))], axis=-1)
        found = [jnp.swapaxes(self.columns(image_BTDW), 2, 3).reshape(rows, slots, -1)]
        image_BTWD = jnp.swapaxes(image_BTDW, 2, 3)
        for height, filters in enumerate(self.rows, 1):
            part_NF = image_BTWD[:, :, self.window - height :].reshape(rows * slots, height * self.width)
            value_BTF = nn.relu(filters(part_NF)).reshape(rows, slots, -1)
            nothing_1F = nn.relu(filters(jnp.tile(self.before, (1, height)).astype(self.dtype)))
            shifted = [back(value_BTF, n, nothing_1F) for n in range(self.window - height + 1)]
            found.append(jnp.stack(shifted).max(0))
        found_BTF = drop_rows(jnp.concatenate(found, axis=-1), self.rate, keys, (0, 0))
        z_ND = nn.relu(self.mix(found_BTF.reshape(rows * slots, -1)))
        if self.users:
            user_index_N1 = stream.user_index.reshape(-1)[:, None]
            # a new user's vector is zero
            user_ND = jnp.where(user_index_N1 < 0, 0, self.user_table[user_index_N1[:, 0]])
            z_ND = nn.relu(self.with_user(jnp.concatenate([z_ND, user_ND.astype(self.dtype)], axis=-1)))
        return z_ND.reshape(rows, slots, self.width)

    @staticmethod
    def _back(x_BTF, positions_BT, n, outside_1F):
        """Shifts by n slots within the sequence; `outside` comes before its first slot."""
        moved = jnp.pad(x_BTF, ((0, 0), (n, 0), (0, 0)))[:, : x_BTF.shape[1]]
        return jnp.where((positions_BT >= n)[..., None], moved, outside_1F.astype(x_BTF.dtype))


@dataclass(frozen=True)
class CaserOptions(ModelOptions):
    """The options of Caser, which has one layer."""

    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02), or uniform
    window: int = key(positive, 5)  #: number of most recent items
    vertical: int = key(positive, 4)  #: number of filters over the whole window
    horizontal: int = key(positive, 16)  #: number of filters per height
    users: bool = False  #: whether users have vectors; new users' are zero


def check(config: Config) -> None:
    """Checks that there is one layer, and that the window fits in a history."""
    if config.model.layers != 1:
        raise UserError(f"config.model.layers is {config.model.layers}: caser has one layer; set it to 1")
    if config.model.window > config.length:
        raise UserError(
            f"config.model.window is {config.model.window}, and a history has {config.length} items: set it to "
            f"config.length, {config.length}, or less"
        )


def caser(config: CaserOptions, sizes: Sizes) -> Model:
    """Returns Caser as a Model."""
    kernel = INITIAL[config.init]
    module = Caser(
        sizes.items,
        sizes.users if config.users else 0,
        config.dim,
        config.window,
        config.vertical,
        config.horizontal,
        config.dropout,
        sizes.dtype,
        kernel,
    )
    output, item_tables = lambda params: (params["items"], None), {"items": ("inputs", "targets")}
    model = from_module(module, sizes.length, output_embedding=output, item_tables=item_tables)
    return replace(model, user_tables=("users",)) if config.users else model


MODEL = ModelEntry(
    name="caser",
    options=CaserOptions,
    build=caser,
    has_users=lambda options: options.users,
    check=check,
    reads_context=True,
    suits=NEXT_ITEM | {"num_future_targets": 3, "model.layers": 1, "model.dropout": 0.2, "optim.learning_rate": 1e-2},
)

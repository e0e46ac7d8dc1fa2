"""The registry entry of a model: its options, capabilities and constructor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from jaxrec.config import registry
from jaxrec.config.keys import Config, ModelOptions
from jaxrec.config.registry import Entry
from jaxrec.models.model import Model


class Sizes(NamedTuple):
    """Sizes that a model is built with, in addition to its options."""

    items: int  #: number of items in the catalogue
    length: int  #: maximum length of a history
    positions: str = "from_start"  #: how positions are counted: one of the entry's `positions`
    dtype: Any = "float32"  #: compute dtype
    users: int = 0  #: number of training users, for models with user vectors
    baskets: bool = False  #: whether slots with equal positions see each other, in a model that has `reads_baskets`


#: recommended keys of most next-item models
NEXT_ITEM: dict[str, Any] = {
    "objective": "next-item",
    "stream": "packed",
    "positions": "from_start",
    "optim.name": "adam",
    "optim.learning_rate": 1e-3,
}


def _agreed(config: Config) -> None:
    """Checks nothing."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Entry):
    """A model, named by `config.model.name`."""

    kind: ClassVar[str] = "model"
    name: str
    build: Callable[[Any, Sizes], Model]  #: (options, Sizes) -> Model
    options: type[ModelOptions] = ModelOptions  #: frozen dataclass of the model's options
    objectives: tuple[str, ...] = ("next-item",)  #: supported training objectives
    #: supported ways to count positions; a single one means that it has no positions
    positions: tuple[str, ...] = ("from_start",)
    reads_context: bool = False  #: whether it adds `stream.added` to its input vectors
    reads_baskets: bool = False  #: whether it reads slots with equal positions as a set; see `Sizes.baskets`
    carries_state: bool = False  #: whether it supports session-parallel training, one event at a time
    #: (options) -> whether it uses `stream.times`; then it must have `reads_context` too
    reads_times: Callable[[Any], bool] = lambda options: False
    has_users: Callable[[Any], bool] = lambda options: False  #: (options) -> whether users have vectors
    check: Callable[[Config], None] = _agreed  #: raises UserError for options that don't fit together
    #: recommended keys, {"optim.learning_rate": 5e-3}: used for `auto`, and when a recipe is run with another model
    suits: Mapping[str, Any] = field(default_factory=dict)
    #: further recommended keys, from the model's paper, used only when a recipe of another model is run with it
    as_published: Mapping[str, Any] = field(default_factory=dict)


def build(config: Config, items: int, users: int) -> Model:
    """Returns the Model of a configuration for these numbers of items and users (which few models use)."""
    entry = registry.find("model", config.model.name)
    sizes = Sizes(items, config.length, config.positions, jnp.dtype(config.precision), users, config.baskets)
    return entry.build(config.model, sizes)


def has_users(config: Config) -> bool:
    """Returns whether the configuration's model has user vectors."""
    return registry.find("model", config.model.name).has_users(config.model)

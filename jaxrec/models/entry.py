"""What a model is to the rest of jaxrec: its keys, what it needs, and how it is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from jaxrec.config import registry
from jaxrec.config.keys import Config, ModelOptions
from jaxrec.config.registry import Entry
from jaxrec.models.model import Model


class Sizes(NamedTuple):
    """What a model is built for, beside its own options."""

    items: int  #: of the catalogue
    length: int  #: slots of the longest history
    positions: str = "from_start"  #: how positions are counted, one of the entry's
    dtype: Any = "float32"  #: of the compute
    users: int = 0  #: of the training, where the model has vectors of them


#: what suits most models that predict the next item
NEXT_ITEM: dict[str, Any] = {
    "objective": "next-item",
    "stream": "packed",
    "positions": "from_start",
    "optim.name": "adam",
    "optim.learning_rate": 1e-3,
}


def _agreed(config: Config) -> None:
    """No more rules."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Entry):
    """A model by its name."""

    kind: ClassVar[str] = "model"
    name: str
    build: Callable[[Any, Sizes], Model]  #: from its options
    options: type[ModelOptions] = ModelOptions  #: a frozen dataclass of its keys
    objectives: tuple[str, ...] = ("next-item",)  #: what it can be trained by
    positions: tuple[str, ...] = ("from_start",)  #: how it can count positions; one alone: it has none
    reads_context: bool = False  #: whether it adds what a stream has as `added` to its input vectors
    carries_state: bool = False  #: whether it can be trained an event of each session at a time
    #: whether with its options it takes what a stream has as `times`; then it has to be one that `reads_context` too
    reads_times: Callable[[Any], bool] = lambda options: False
    has_users: Callable[[Any], bool] = lambda options: False  #: whether its options give users vectors of their own
    check: Callable[[Config], None] = _agreed  #: raises UserError where its keys don't go together
    #: keys of a configuration that suit it, {"optim.learning_rate": 5e-3}: taken where another's recipe is given to it,
    #: and where they are `auto`
    suits: Mapping[str, Any] = field(default_factory=dict)


def build(config: Config, items: int, users: int) -> Model:
    """The model of a configuration, for so many items and users (of which few models have vectors)."""
    entry = registry.find("model", config.model.name)
    sizes = Sizes(items, config.length, config.positions, jnp.dtype(config.precision), users)
    return entry.build(config.model, sizes)


def has_users(config: Config) -> bool:
    """Whether the model of a configuration has vectors of users."""
    return registry.find("model", config.model.name).has_users(config.model)

"""Protocols by name: which candidates a target is ranked among."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxrec.config import registry
from jaxrec.config.registry import Entry
from jaxrec.data import splits
from jaxrec.data.splits import training_items
from jaxrec.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Protocol(Entry):
    """The target among `number` items drawn from `pool` outside `known`; without a number, among the catalogue."""

    kind: ClassVar[str] = "protocol"
    name: str
    number: int | None = None
    pool: Callable | None = None  # (split) -> items; an item's chance is its number of places
    known: Callable | None = None  # (split, users) -> start, stop of the interactions that are not drawn
    filtered: bool = True  # of the catalogue, whether the given history is left out


def _every_item(split):
    return np.arange(1, len(split.interactions.catalogue.ids) + 1, dtype=np.int32)


def _training(split, users):
    return split.start[users], split.stop[users]


def _whole(split, users):
    return split.interactions.offsets[users], split.interactions.offsets[users + 1]


FULL, KEPT = "full", "full, seen kept"
TOLD = ", with query time"  # ends the name of a protocol where the model was told when its targets were

WITHOUT_HISTORY = Protocol(name=FULL)
WITH_HISTORY = Protocol(name=KEPT, filtered=False)
EVERY_EVENT = Protocol(name="sessions", filtered=False)  # Hidasi et al. 2016: an item may come again
UNIFORM_100 = Protocol(name="uniform-100", number=100, pool=_every_item, known=_training)  # Kang and McAuley 2018
POPULARITY_100 = Protocol(name="popularity-100", number=100, pool=training_items, known=_whole)  # Sun et al. 2019


def find(name: str) -> Protocol:
    """The protocol of a name, or at an import path."""
    return registry.find("protocol", name)


def plain_names() -> dict[str, str]:
    """The protocols as a person types them: without commas and spaces."""
    return {name.replace(", ", "-").replace(" ", "-"): name for name in registry.names("protocol")}


def named(protocol: str) -> str:
    """The protocol of this name, or of its plain form; of one's own by its import path, that path.

    Raises:
        UserError: there is none.

    >>> named("full-seen-kept")
    'full, seen kept'
    """
    name = plain_names().get(protocol, protocol)
    if ":" not in name and name not in registry.names("protocol"):
        raise UserError(f"no protocol {protocol!r}: choose one of {', '.join(plain_names())}")
    own = find(name).name
    return name if ":" in name else own  # of an import path the whole: by it alone it is found again


def measures(protocol: str, repeats: int, questions: int, both: bool = False) -> tuple[str, ...]:
    """The protocols that questions are ranked under when one is asked for: that one first.

    Where the history is left out of `full`, but never the target, a target that repeats an item of the history meets
    none of the others: so where many do, the two measures of `full` go together.

    Args:
        protocol: a name.
        repeats: how many targets repeat an item of the history.
        questions: how many there are.
        both: whether the two go together whatever repeats.
    """
    if protocol not in (FULL, KEPT) or not (both or splits.many_repeat(repeats, questions)):
        return (protocol,)
    return protocol, KEPT if protocol == FULL else FULL


def whole(protocol: str) -> bool:
    """Whether a protocol ranks the whole catalogue, rather than a sample."""
    return find(protocol).number is None


def untold(name: str) -> str:
    """The protocol's own name, where it is named with query time.

    >>> untold("full, with query time")
    'full'
    """
    return name.removesuffix(TOLD)


def default_protocol(split_by: str) -> str:
    """The protocol that goes with a split.

    >>> default_protocol("sessions"), default_protocol("last-item")
    ('sessions', 'full')
    """
    return registry.find("split", split_by).protocol

"""Evaluation protocols, which determine the candidates that a target is ranked among."""

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
    """Ranks the target among `number` items drawn from `pool` without `known`, or among the whole catalogue."""

    kind: ClassVar[str] = "protocol"
    name: str
    number: int | None = None
    pool: Callable | None = None  #: (split) -> items; an item's probability is its frequency
    known: Callable | None = None  #: (split, users) -> start, stop of the interactions whose items aren't drawn
    filtered: bool = True  #: whether the given history is excluded from the catalogue


def _every_item(split):
    return np.arange(1, len(split.interactions.catalogue.ids) + 1, dtype=np.int32)


def _training(split, users):
    return split.start[users], split.stop[users]


def _whole(split, users):
    return split.interactions.offsets[users], split.interactions.offsets[users + 1]


FULL, KEPT = "full", "full, seen kept"
TOLD = ", with query time"  # suffix of a protocol's name if the model was told when its targets occurred

WITHOUT_HISTORY = Protocol(name=FULL)
WITH_HISTORY = Protocol(name=KEPT, filtered=False)
EVERY_EVENT = Protocol(name="sessions", filtered=False)  # Hidasi et al. 2016: items may repeat
UNIFORM_100 = Protocol(name="uniform-100", number=100, pool=_every_item, known=_training)  # Kang and McAuley 2018
POPULARITY_100 = Protocol(name="popularity-100", number=100, pool=training_items, known=_whole)  # Sun et al. 2019


def find(name: str) -> Protocol:
    """Returns the protocol with a name or import path."""
    return registry.find("protocol", name)


def plain_names() -> dict[str, str]:
    """Returns {name without commas and spaces: name} of the protocols, for the command line."""
    return {name.replace(", ", "-").replace(" ", "-"): name for name in registry.names("protocol")}


def named(protocol: str) -> str:
    """Returns the name of a protocol from its name or plain form; import paths are returned as they are.

    Raises:
        UserError: if there is no such protocol.

    >>> named("full-seen-kept")
    'full, seen kept'
    """
    name = plain_names().get(protocol, protocol)
    if ":" not in name and name not in registry.names("protocol"):
        raise UserError(f"no protocol {protocol!r}: choose one of {', '.join(plain_names())}")
    own = find(name).name
    return name if ":" in name else own  # only the import path finds the protocol again


def measures(protocol: str, repeats: int, questions: int, both: bool = False) -> tuple[str, ...]:
    """Returns the protocols to rank questions under, the given one first.

    `full` excludes the items of the history but never the target, so a target that repeats a history item has fewer
    competitors than it should. If many do, both variants of `full` are reported.

    Args:
        protocol: name of the protocol.
        repeats: number of targets that repeat an item of the history.
        questions: number of questions.
        both: whether to report both variants regardless.
    """
    if protocol not in (FULL, KEPT) or not (both or splits.many_repeat(repeats, questions)):
        return (protocol,)
    return protocol, KEPT if protocol == FULL else FULL


def whole(protocol: str) -> bool:
    """Returns whether a protocol ranks the whole catalogue rather than a sample."""
    return find(protocol).number is None


def untold(name: str) -> str:
    """Returns the name of a protocol without its suffix for query time.

    >>> untold("full, with query time")
    'full'
    """
    return name.removesuffix(TOLD)


def default_protocol(split_by: str) -> str:
    """Returns the default protocol of a split.

    >>> default_protocol("sessions"), default_protocol("last-item")
    ('sessions', 'full')
    """
    return registry.find("split", split_by).protocol

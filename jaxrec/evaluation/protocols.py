"""Protocols by name: which candidates a target is ranked among."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxrec.data import splits
from jaxrec.data.splits import training_items
from jaxrec.system.errors import UserError


class Protocol(NamedTuple):
    """The target among `number` items drawn from `pool` outside `known`; without a number, among the catalogue."""

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


PROTOCOLS = {
    FULL: Protocol(),
    KEPT: Protocol(filtered=False),
    "sessions": Protocol(filtered=False),  # Hidasi et al. 2016: an item may come again
    "uniform-100": Protocol(100, _every_item, _training),  # Kang and McAuley 2018
    "popularity-100": Protocol(100, training_items, _whole),  # Sun et al. 2019
}


def plain_names():
    """The protocols as a person types them: without commas and spaces."""
    return {name.replace(", ", "-").replace(" ", "-"): name for name in PROTOCOLS}


def named(protocol):
    """The protocol of this name, or of its plain form.

    Raises:
        UserError: there is none.

    >>> named("full-seen-kept")
    'full, seen kept'
    """
    name = plain_names().get(protocol, protocol)
    if name not in PROTOCOLS:
        raise UserError(f"no protocol {protocol!r}: choose one of {', '.join(plain_names())}")
    return name


def measures(protocol, repeats, questions, both=False):
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


def whole(protocol):
    """Whether a protocol ranks the whole catalogue, rather than a sample."""
    return PROTOCOLS[protocol].number is None


def default_protocol(split_by):
    """The protocol that goes with a split.

    >>> default_protocol("sessions"), default_protocol("last-item")
    ('sessions', 'full')
    """
    return "sessions" if split_by == "sessions" else "full"

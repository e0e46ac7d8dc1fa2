"""Counts the items, sequences and events of a log, how long the sequences are, and how often items come again."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxrec.config.keys import AUTO
from jaxrec.data import splits
from jaxrec.data.attributes import features
from jaxrec.data.interactions import Interactions
from jaxrec.models.entry import ModelEntry


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The counts of a log that the rules of `auto` use."""

    items: int
    sequences: int  #: number of sequences (users, or sessions) that are trained on
    events: int  #: number of events in these sequences
    lengths: np.ndarray  #: [sequences], the number of events of each
    sessions: bool  #: whether the log says which of its sequences are for training, and which for the test
    anonymous: bool  #: whether its histories may be sessions of unknown users, which could be split by their times
    repeats: float  #: share of last items that the user has had before
    at_once: float  #: share of last items that equal the item just before them
    telling: list[str]  #: columns that group items
    model: ModelEntry

    @property
    def each(self) -> float:
        """The mean number of events per item."""
        return self.events / max(self.items, 1)

    def suits(self, key: str, otherwise: Any) -> Any:
        """Returns what the model's entry suggests for a key, or else `otherwise`."""
        found = self.model.suits.get(key, AUTO)
        return otherwise if found == AUTO else found


def count(interactions: Interactions, model: ModelEntry) -> Counted:
    """Returns the Counted of a log, for a model."""
    offsets, sessions = interactions.offsets, interactions.train_sessions
    lengths = np.diff(offsets if sessions is None else offsets[: sessions + 1])
    if sessions is None:  # if a user has three items or more, the last two are for validation and test
        lengths = np.where(lengths > 2, lengths - 2, lengths)
    test = splits.last_item(interactions).test
    questions = max(len(test.target), 1)
    trains = lengths[lengths > 0]
    return Counted(
        items=len(interactions.catalogue.ids),
        sequences=len(trains),
        events=int(trains.sum()),
        lengths=trains,
        sessions=sessions is not None,
        anonymous=interactions.sessions is None and interactions.times is not None and not interactions.relative,
        repeats=splits.repeated_targets(interactions, test) / questions,
        at_once=int((interactions.items[test.stop - 1] == test.target).sum()) / questions,
        telling=features.telling(interactions.catalogue),
        model=model,
    )

"""What a log counts: its items, sequences and events, how long these are, and how often items come again."""

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
    """What the rules of `auto` look at."""

    items: int
    sequences: int  #: that train: users, or sessions
    events: int  #: of these
    lengths: np.ndarray  #: [sequences], events of each
    sessions: bool  #: whether the log says which of its sequences train, and which are the test
    anonymous: bool  #: whether its histories may be sessions of unknown users, which could be split by their times
    repeats: float  #: share of the last items that the user had before
    at_once: float  #: share of the last items that the user had just before
    telling: list[str]  #: columns that group items
    model: ModelEntry

    @property
    def each(self) -> float:
        """Mean events of an item."""
        return self.events / max(self.items, 1)

    def suits(self, key: str, otherwise: Any) -> Any:
        """What the model's entry says of a key; otherwise this."""
        found = self.model.suits.get(key, AUTO)
        return otherwise if found == AUTO else found


def count(interactions: Interactions, model: ModelEntry) -> Counted:
    """The Counted of a log, for a model."""
    offsets, sessions = interactions.offsets, interactions.train_sessions
    lengths = np.diff(offsets if sessions is None else offsets[: sessions + 1])
    if sessions is None:  # the last two items of those who have three are the test's and the validation's
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

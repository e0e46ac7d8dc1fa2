"""What a split consists of: ranges of the histories to train on, and questions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from jaxrec.config.registry import Entry
from jaxrec.data.interactions import Interactions


class Questions(NamedTuple):
    """Next-item questions: given the history `items[start[q]:stop[q]]`, predict `target[q]`."""

    source: np.ndarray  #: [Q] int32, user index
    start: np.ndarray  #: [Q] int64
    stop: np.ndarray  #: [Q] int64
    target: np.ndarray  #: [Q] int32, item number


class Split(NamedTuple):
    """A split: user u trains on `items[start[u]:stop[u]]`; validation and test are questions."""

    interactions: Interactions
    start: np.ndarray  #: [U] int64
    stop: np.ndarray  #: [U] int64
    valid: Questions
    test: Questions
    left_out: int = 0  #: test events left out, because their items were not in training
    together: bool = False  #: whether a user's questions are the items of one basket, measured together

    def baskets(self, questions: Questions) -> np.ndarray | None:
        """Returns the user of each question [Q] if a user's questions are one basket; None if each stands alone."""
        return questions.source if self.together else None


@dataclass(frozen=True, kw_only=True)
class SplitEntry(Entry):
    """A way to split, named by `config.split`."""

    kind: ClassVar[str] = "split"
    name: str
    split: Callable[[Interactions, float, float], Split]  #: (interactions, test_quantile, valid_fraction)
    held_out: str  #: description of the test questions, for people
    keys: tuple[str, ...] = ()  #: the options used, among "test_quantile" and "valid_fraction"
    protocol: str = "full"  #: default protocol for ranking the questions
    metrics: tuple[str, ...] = ("hr@10", "ndcg@10", "mrr")  #: metrics printed for a validation
    select_by: str = "ndcg@10"  #: default metric for choosing the checkpoint
    same_users: bool = True  #: whether users of the test may also be in training
    by_type: bool = False  #: whether it asks only for the events of `event_types.targets`

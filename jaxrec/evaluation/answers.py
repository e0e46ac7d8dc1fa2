"""What was answered to the questions of a split, by whomever: ranks and the best items, made into a result."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import event_types, splits
from jaxrec.data.splits import Questions, Split
from jaxrec.evaluation import beyond, protocols, results, segments
from jaxrec.evaluation.metrics import at_most

COVERED = 10  # best items that coverage is always told of


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Where targets stand, and which items are best: of a model, a baseline, or a file of scores."""

    split: Split
    part: str  #: "test" or "valid"
    questions: Questions
    ranks: dict[str, np.ndarray]  #: {protocol: [Q]}, the asked one first
    best: Callable[[str, int], np.ndarray]  #: (protocol of the whole catalogue, k) -> [Q, k] int32, 0 is none
    begun: float  #: by time.monotonic
    step: int | None = None  #: of a checkpoint
    reach: int | None = None  #: of lists their length: what needs more is not known
    topic: str = ""  #: the column of items that says what they are about, as of `topics.column`
    query_time: bool = False  #: whether the model was told when its targets were
    apart: bool = False  #: whether targets that never train have metrics of their own, where there are any

    def result(self, k: int | None = None) -> dict[str, Any]:
        """The dictionary of `results.result`; with k, by `beyond.depth`, and `beyond_accuracy` of the asked one."""
        first, *others = self.ranks
        lists = {name: self.best(name, max(k or 0, COVERED)) for name in self.ranks if protocols.whole(name)}
        every = len(self.split.interactions.catalogue.ids)
        covered = {name: beyond.coverage(found[:, :COVERED], every) for name, found in lists.items()}
        more = {"beyond_accuracy": self._beyond(lists[first][:, :k], self.ranks[first])} if k else {}
        result = results.result(
            first,
            self.part,
            self.ranks[first],
            cold=splits.cold_targets(self.split, self.questions),
            repeats=splits.repeated_targets(self.split.interactions, self.questions),
            coverage=covered.get(first),
            also={name: (self.ranks[name], covered.get(name)) for name in others},
            step=self.step,
            seconds=time.monotonic() - self.begun,
        )
        if self.apart and result["cold_targets"]:
            cold = splits.training_counts(self.split)[self.questions.target - 1] == 0
            more |= {"apart": results.apart(self.ranks[first], cold)}
        if types := event_types.asked(self.split.interactions):
            more |= {"target_types": list(types)}
        result = self._known(result) | more
        return results.with_query_time(result) if self.query_time else result

    @property
    def frame(self) -> Callable[[], pl.DataFrame]:
        """Makes `segments.frame` of the ranks by the asked protocol; keeps nothing of a model."""
        return partial(segments.frame, self.split, self.questions, next(iter(self.ranks.values())), self.topic)

    def _beyond(self, lists, ranks):
        parts = segments.segments(self.frame())
        return beyond.measures(lists, ranks, self.split) | {"segments": [self._known(part) for part in parts]}

    def _known(self, measured):
        """The same with what lists of this length show."""
        if self.reach is None:
            return measured
        return measured | {name: at_most(self.reach, measured[name]) for name in ("metrics", "ci95")}

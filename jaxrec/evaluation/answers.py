"""Answers to the questions of a split, as ranks and best items, from any source."""

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

COVERED = 10  # length of the lists for the standard coverage


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Ranks of the targets and best items, by a model, a baseline or a file of scores."""

    split: Split
    part: str  #: "test" or "valid"
    questions: Questions
    ranks: dict[str, np.ndarray]  #: {protocol: [Q]}, the main one first
    best: Callable[[str, int], np.ndarray]  #: (protocol over the whole catalogue, k) -> [Q, k] int32; 0 is padding
    begun: float  #: start time, by time.monotonic
    step: int | None = None  #: step of the checkpoint
    reach: int | None = None  #: length of lists; metrics beyond it are unknown
    topic: str = ""  #: item column of topics, see `topics.column`
    query_time: bool = False  #: whether the model was told when its targets happened
    apart: bool = False  #: whether to measure cold targets separately, if there are any

    def result(self, k: int | None = None) -> dict[str, Any]:
        """Returns the dictionary of `results.result`, and if k is given (see `beyond.depth`) also `beyond_accuracy`.

        Raises:
            UserError: if the catalogue has fewer than k items.
        """
        every = len(self.split.interactions.catalogue.ids)
        beyond.check(k, every)
        (first, *others), source = self.ranks, self.split.baskets(self.questions)
        lists = {name: self.best(name, max(k or 0, COVERED)) for name in self.ranks if protocols.whole(name)}
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
            source=source,
            step=self.step,
            seconds=time.monotonic() - self.begun,
        )
        if self.apart and result["cold_targets"]:
            cold = splits.training_counts(self.split)[self.questions.target - 1] == 0
            more |= {"apart": results.apart(self.ranks[first], cold, source)}
        if types := event_types.asked(self.split.interactions):
            more |= {"target_types": list(types)}
        result = self._known(result) | more
        return results.with_query_time(result) if self.query_time else result

    @property
    def frame(self) -> Callable[[], pl.DataFrame]:
        """A function that returns `segments.frame` for the main protocol's ranks. It keeps no reference to a model."""
        return partial(segments.frame, self.split, self.questions, next(iter(self.ranks.values())), self.topic)

    def _beyond(self, lists, ranks):
        source = self.split.baskets(self.questions)
        parts = segments.segments(self.frame(), source)
        found = beyond.measures(lists, ranks, self.split, source)
        return found | {"segments": [self._known(part) for part in parts]}

    def _known(self, measured):
        """Returns the measures without metrics beyond the length of the lists."""
        if self.reach is None:
            return measured
        return measured | {name: at_most(self.reach, measured[name]) for name in ("metrics", "ci95")}

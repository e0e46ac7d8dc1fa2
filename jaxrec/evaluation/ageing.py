"""How fast do models go stale? The ranks of models by when each was trained, on the questions of later tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxrec.data.folds import Asked
from jaxrec.evaluation.comparison import SHOWN, by_user, gains
from jaxrec.evaluation.metrics import MISS, metrics

BY = "ndcg@10"  #: the metric that models are compared by


@dataclass(frozen=True, kw_only=True)
class Ages:
    """The ranks of one recipe's trainings.

    Means over several tests count each test alike, however many questions it has.
    """

    asked: Asked
    days: float  #: of a test
    folds: int  #: how many tests there are
    ranks: dict[
        int, np.ndarray
    ]  #: {fold before which it was trained: [S, Q], a row a seed}, MISS where it can't answer
    answered: dict[int, np.ndarray]  #: {the same fold: [Q] bool}, which of the questions it could be asked

    def result(self) -> dict[str, Any]:
        """Plain values: `cells` a training and a test, `ages`, and `policies` of retraining."""
        return {"cells": self.cells(), "ages": self.ages(), "policies": self.policies()}

    def cells(self) -> list[dict[str, Any]]:
        """Of each training on each later test: its age at the test's begin, the metrics, and of what it could answer.

        `unanswered` questions, whose target did not train or whose history has no item that did, are misses in
        `metrics`; `answered` has the metrics without them.
        """
        found = []
        for trained, ranks in self.ranks.items():
            for fold in range(trained, self.folds):
                mine = self.asked.fold == fold
                can = self.answered[trained][mine]
                cell = {"trained": trained, "asked": fold, "age_days": self._age(fold - trained)}
                cell |= {"questions": len(can), "unanswered": int((~can).sum()), "metrics": _means(ranks[:, mine])}
                cell |= {"ci95": self._intervals(self._gains[trained][:, mine], mine)}
                found.append(cell | {"answered": _means(ranks[:, mine][:, can]) if can.any() else {}})
        return found

    def ages(self) -> list[dict[str, Any]]:
        """By age: the means over the tests that a model of that age was asked; against fresh models where there are.

        `fresh` is of the models that were trained just before these tests, of the same questions, and `difference` the
        mean difference to them with its interval, over those tests alone before which one was trained.
        """
        found = []
        for age in range(self.folds):
            pairs = [(trained, trained + age) for trained in self.ranks if trained + age < self.folds]
            if not pairs:
                continue
            both = [(trained, fold) for trained, fold in pairs if fold in self.ranks]
            unanswered = [1 - self.answered[trained][self.asked.fold == fold].mean() for trained, fold in pairs]
            row = {"age_days": self._age(age), "tests": len(pairs), "unanswered": float(np.mean(unanswered))}
            row |= self._measured({fold: trained for trained, fold in pairs})
            if both:
                row |= self._against({fold: trained for trained, fold in both}, {fold: fold for _, fold in both})
            found.append(row)
        return found

    def policies(self) -> list[dict[str, Any]]:
        """By how often one retrains: the means over all tests, each asked of the newest model of that policy.

        Of policies with as many trainings the one that retrains most often is there. `difference` is to retraining as
        often as was trained.
        """
        trained = sorted(self.ranks)
        every = trained[1] - trained[0] if len(trained) > 1 else self.folds
        newest = lambda step: {fold: fold // step * step for fold in range(self.folds)}
        found: dict[int, dict[str, Any]] = {}
        for step in range(every, self.folds + every, every):
            trainings = len(set(newest(step).values()))
            if trainings not in found:
                row = {"every_days": self._age(step), "trainings": trainings} | self._measured(newest(step))
                found[trainings] = row | self._against(newest(step), newest(every))
        return list(found.values())

    def _age(self, tests):
        return round(tests * self.days, 6)

    @cached_property
    def _gains(self):
        return {trained: gains(ranks) for trained, ranks in self.ranks.items()}

    def _of(self, trained_of: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The gains [3, Q] of each test by the training that is named for it, and which questions these are [Q]."""
        values = np.zeros((len(SHOWN), len(self.asked.fold)))
        asked = np.zeros(len(self.asked.fold), bool)
        for fold, trained in trained_of.items():
            mine = self.asked.fold == fold
            values[:, mine] = self._gains[trained][:, mine]
            asked |= mine
        return values[:, asked], asked

    def _measured(self, trained_of):
        values, asked = self._of(trained_of)
        weights = self._weights(asked)
        means = dict(zip(SHOWN, (values @ weights / weights.sum()).tolist(), strict=True))
        return {"metrics": means, "ci95": self._intervals(values, asked)}

    def _against(self, first, second):
        """The fresh models' metrics, and the difference of BY to them."""
        (ours, asked), (theirs, _) = self._of(first), self._of(second)
        weights = self._weights(asked)
        mean = lambda values: (values @ weights / weights.sum()).tolist()
        difference = ours - theirs
        place = SHOWN.index(BY)
        low, high = self._intervals(difference, asked)[BY]
        told = {"ci95": [low, high], BY: mean(difference)[place]}
        return {"fresh": dict(zip(SHOWN, mean(theirs), strict=True)), "difference": told}

    def _weights(self, asked):
        fold = self.asked.fold[asked]
        return 1 / np.bincount(fold, minlength=self.folds)[fold]

    def _intervals(self, values, asked):
        found = by_user(values, self.asked.user[asked], self._weights(asked))
        return dict(zip(SHOWN, found, strict=True))


def _means(ranks: np.ndarray) -> dict[str, float]:
    """The metrics, means over seeds. [S, Q]"""
    each = [metrics(one) for one in ranks]
    return {name: float(np.mean([found[name] for found in each])) for name in each[0]}


def spread(ranks: Sequence[int] | np.ndarray, can: np.ndarray) -> np.ndarray:
    """The ranks of all questions from those of the ones that could be asked; a MISS for each of the others.

    >>> spread([3, 1], np.array([True, False, True])).tolist() == [3, MISS, 1]
    True
    """
    found = np.full(len(can), MISS, np.int32)
    found[can] = ranks
    return found

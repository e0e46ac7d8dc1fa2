"""Measures how models age, from the ranks that models trained at different times give the questions of later tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxrec.data.folds import Asked
from jaxrec.evaluation.comparison import SHOWN, by_user, gains
from jaxrec.evaluation.metrics import MISS, metrics

BY = "ndcg@10"  #: metric that models are compared by


@dataclass(frozen=True, kw_only=True)
class Ages:
    """The ranks of a recipe trained before several tests.

    Means over several tests weight each test equally, regardless of its number of questions.
    """

    asked: Asked
    days: float  #: length of a test
    folds: int  #: number of tests
    ranks: dict[int, np.ndarray]  #: {fold before which it was trained: [S, Q], a row per seed}; MISS if it can't answer
    answered: dict[int, np.ndarray]  #: {fold: [Q] bool}, which questions the training before that fold can answer

    def result(self) -> dict[str, Any]:
        """Returns plain values: `cells` per training and test, `ages`, and `policies` of retraining."""
        return {"cells": self.cells(), "ages": self.ages(), "policies": self.policies()}

    def cells(self) -> list[dict[str, Any]]:
        """Returns a cell per training and later test: the model's age when the test begins, and its metrics.

        `metrics` covers all questions, `answered` only the answered ones. A question is unanswered if its target, or
        its whole history, was not in training; it counts as a miss in `metrics`.
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
        """Returns a row per model age: the means over its tests, compared with fresh models.

        `fresh` has the metrics of models trained just before the tests, and `difference` the mean difference from them
        with its interval. Both cover only the tests that have a fresh model.
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
        """Returns a row per retraining interval: the means over all tests, each answered by the newest model.

        Among intervals with the same number of trainings, only the shortest is included. `difference` is the
        difference from the shortest interval of all.
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

    def beside(self, other: "Ages") -> dict[str, Any]:
        """Compares these trainings with others that were made before the same tests and share the first training.

        Returns:
            The means over the tests after the second training, each answered by the newest model: `tests` is their
            number, `metrics` and `ci95` are of these trainings, `fresh` has the metrics of the others, and `difference`
            the mean difference from them with its interval. Empty if there is only one training.
        """
        trained = sorted(self.ranks)
        if len(trained) < 2:
            return {}
        newest = {fold: max(each for each in trained if each <= fold) for fold in range(trained[1], self.folds)}
        return {"tests": len(newest)} | self._measured(newest) | self._against(newest, newest, other)

    def _age(self, tests):
        return round(tests * self.days, 6)

    @cached_property
    def _gains(self):
        return {trained: gains(ranks) for trained, ranks in self.ranks.items()}

    def _of(self, trained_of: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the gains of the questions of some tests, [3, n], and which questions these are, [Q] bool.

        trained_of: {test: the training that answers it}.
        """
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

    def _against(self, first, second, other=None):
        """Returns the metrics of the `second` models (of `other` if given), and the difference of the `first` in BY."""
        (ours, asked), (theirs, _) = self._of(first), (other or self)._of(second)
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
    """Returns the metrics of ranks [S, Q], averaged over seeds."""
    each = [metrics(one) for one in ranks]
    return {name: float(np.mean([found[name] for found in each])) for name in each[0]}


def spread(ranks: Sequence[int] | np.ndarray, can: np.ndarray) -> np.ndarray:
    """Expands the ranks of the answered questions to all questions, with MISS for the others.

    >>> spread([3, 1], np.array([True, False, True])).tolist() == [3, MISS, 1]
    True
    """
    found = np.full(len(can), MISS, np.int32)
    found[can] = ranks
    return found

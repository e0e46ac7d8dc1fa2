"""Objectives whose targets are only events of some types; all others are shown to the model, but never targets."""

from collections.abc import Callable
from functools import partial

import numpy as np

from jaxrec.batches import baskets, objectives
from jaxrec.batches.objectives import Objective, masked
from jaxrec.batches.stream import Subsequences
from jaxrec.config.keys import Config
from jaxrec.data import event_types
from jaxrec.data.splits import Split


def build(config: Config, split: Split) -> Objective:
    """Returns the Objective of a configuration for a split: as from `objectives.build`, or `baskets.over` for baskets.

    If only some events may be targets, training histories end with their last target, subsequences without targets are
    left out, and `count` returns the most targets that any subsequence of a length has.
    """
    objective, may = objectives.build(config), event_types.targets(split.interactions)
    if config.baskets:
        return baskets.over(objective, split, config.length, config.history)
    assert bool(config.target_types) == (may is not None), "the split is that of the configuration"
    if may is None:
        return objective
    whole = objective.expected
    expected = partial(_expect_next, whole=whole, may=may)
    number = lambda targets: config.num_future_targets * targets
    if config.objective == "cloze":
        expected = partial(objectives.expect_masked, may=may, rate=config.mask_prob, last=config.mask_last_prob)
        whole = partial(objectives.expect_masked, rate=config.mask_prob, last=0)  # which may mask any event
        number = lambda targets: masked(config.mask_prob, int(targets.max(initial=0)))[targets] * (targets > 0)

    def counted(start, stop, length, history):
        stop = np.minimum(stop, _after_last(may, np.asarray(start), np.asarray(stop)))
        found = objective.subsequences(start, stop, length, history)
        targets = _per_subsequence(found, may, whole)
        return Subsequences(*(values[targets > 0] for values in found)), targets[targets > 0]

    found, targets = counted(split.start, split.stop, config.length, config.history)
    most = np.zeros(config.length + 1, np.int64)
    np.maximum.at(most, found.length, number(targets))
    return objective._replace(
        subsequences=lambda *asked: counted(*asked)[0], expected=expected, count=lambda lengths: most[lengths]
    )


def _after_last(may: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Returns where each range ends if it is cut after its last target; its start if it has no target. [U]"""
    places = np.append(-1, np.flatnonzero(may))
    return np.maximum(places[np.maximum(np.searchsorted(places, stop) - 1, 0)] + 1, start)


def _per_subsequence(subsequences: Subsequences, may: np.ndarray, expected: Callable) -> np.ndarray:
    """Returns the number of events of each subsequence that may be its targets. [P]"""
    if not len(subsequences.length):
        return np.zeros(0, np.int64)
    indices, times = expected(subsequences)
    hits, owner = may[indices] & (times > 0), np.repeat(np.arange(len(subsequences.length)), subsequences.length)
    return np.bincount(owner[hits], minlength=len(subsequences.length))


def _expect_next(subsequences, whole, may):
    """`Objective.expected` of next items, of which only some may be targets."""
    indices, times = whole(subsequences)
    return indices, np.where(may[indices], times, 0)

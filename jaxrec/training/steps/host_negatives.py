"""Draws negatives on the host for the batches that it sends: those that a step would draw, from a log of any size."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxrec.batches.objectives import Targets
from jaxrec.data.splits import Split
from jaxrec.data.storage.ragged import distinct
from jaxrec.kernels import placement
from jaxrec.kernels.random import randint, row_keys, site_keys
from jaxrec.training.steps.negatives import SITE, Negatives, nth_unseen, seen


class HostDraw:
    """Draws as `negatives.uniform` does: the same items for the same seed, step and row.

    Random numbers and targets are computed by programs on the CPU. The sets of seen items are made from the log for the
    users of each call.

    Args:
        split: Split, whose training histories are used.
        number: negatives per slot.
        make_targets: (stream, keys_R) -> (Stream, objectives.Targets), as in the step.

    Raises:
        UserError: a user's history has all items of the catalogue.
    """

    def __init__(self, split: Split, number: int, make_targets: Callable):
        self._split, self.catalogue = split, len(split.interactions.catalogue.ids)
        lengths = split.stop - split.start
        self._seen(np.flatnonzero(lengths >= self.catalogue))  # nobody else can have all items
        self._steps = int(lengths.max()).bit_length()
        self._users = jax.jit(partial(_users, make_targets))
        self._nth = jax.jit(partial(_nth, number))

    def __call__(self, seed: int, first: int, rows: np.ndarray, streams: Any) -> np.ndarray:
        """Draws the negatives of the steps from `first` on.

        Args:
            seed: the seed of the training.
            first: the first step.
            rows: [R] int, the numbers of the rows within the steps.
            streams: Stream [steps, R, T] of these rows, NumPy.

        Returns:
            [steps, R, M x number] int32, for the M targets of each row.
        """
        with jax.default_device(placement.host()):
            steps = first + np.arange(len(streams.items), dtype=np.int32)
            of_training = np.uint32(seed), rows.astype(np.int32)
            user = np.asarray(self._users(*of_training, steps, streams))
            users = distinct(user.ravel())
            sets, at = self._seen(users), np.searchsorted(users, user)
            low, high = sets.offsets[at], sets.offsets[at + 1]
            nth = np.asarray(self._nth(*of_training, steps, (self.catalogue - (high - low)).astype(np.int32)))
        found = nth_unseen(nth, low[..., None], high[..., None], sets.items, self._steps)
        return found.astype(np.int32).reshape(*user.shape[:2], -1)

    def _seen(self, users):
        """The Seen of some users."""
        log, start, stop = self._split.interactions, self._split.start[users], self._split.stop[users]
        return seen(log.items, start, stop, self.catalogue, log.users[users])


def given(_key: Any, _keys: Any, targets: Targets, _sampler_tables: Any) -> Negatives:
    """The draw of a step whose batch already has its negatives."""
    return Negatives(targets.negatives.reshape(targets.items.size, -1), shared_by="slot")


def _users(make_targets, seed, rows_R, steps_K, streams):
    """The users of the targets: [K, R, M]."""

    def of_step(step, stream):
        keys = row_keys(seed, step, rows_R)
        return make_targets(stream, keys)[1].user_index

    return jax.vmap(of_step)(steps_K, streams)


def _nth(number, seed, rows_R, steps_K, bounds_KRM):
    """Random numbers below the bounds, [K, R, M, number], as `negatives.uniform` draws them."""

    def of_step(step, bounds_RM):
        keys = site_keys(row_keys(seed, step, rows_R), SITE)
        draw = lambda key, bounds_M: randint(key, (len(bounds_M), number), bounds_M[:, None])
        return jax.vmap(draw)(keys, bounds_RM)

    return jax.vmap(of_step)(steps_K, bounds_KRM)

"""Feeds data to the program of a call: the data on the devices with the epoch's order, or batches from the host."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxrec.batches import stream
from jaxrec.kernels import placement
from jaxrec.training.setup import Setup


def order(setup: Setup, epoch: int) -> stream.Order | None:
    """Returns the Order of an epoch, on the host; None if all epochs have the same order."""
    if setup.batches.order_of is None:
        return None
    rows = setup.data.layout.rows
    return stream.plan(setup.batches.subsequences.length, setup.batches.order_of, rows, setup.config.seed, epoch)


class Feed:
    """The data argument of the program: all data with the order of the epoch, or batches sent from the host.

    A thread prepares the next epoch's order, or the next call's batches, while the devices work on the current ones.
    With several processes, each gathers the rows of its own devices.
    """

    def __init__(self, setup: Setup):
        self.setup, self.epoch, self.order = setup, None, None
        self._next: tuple[int, Future] | None = None  # (epoch or first step, what a thread makes for it)
        self._batches: tuple[int, Any] | None = None  # (first step, batches) of the last call

    def __call__(self, start, end):
        """Returns the data for steps `start` to `end` of one epoch, and the step at which the data begin."""
        s, epoch = self.setup, start // self.setup.epoch_steps
        if s.config.feed == "device":
            if epoch != self.epoch:
                more = s.batches.order_of is not None and (epoch + 1) * s.epoch_steps < s.total_steps
                made = self._ahead(epoch, partial(order, s), epoch + 1 if more else None)
                self.epoch, self.order = epoch, placement.put(made, s.mesh)
            return (s.data, self.order), epoch * s.epoch_steps
        if self._batches is None or self._batches[0] != start:
            self._batches = start, self._ahead(start, self._sent, end if end < s.total_steps else None)
        return self._batches[1], start

    def _ahead(self, which, make, following):
        """Returns make(which), maybe from a thread that began it earlier; starts make(following) unless it is None."""
        begun, self._next = self._next, None
        ready = begun[1].result() if begun else None  # waits even if it is not needed: one thread at a time
        found = ready if begun and begun[0] == which else make(which)
        if following is not None:
            pool = ThreadPoolExecutor(1, "data of the next call")
            self._next = following, pool.submit(make, following)
            pool.shutdown(wait=False)
        return found

    def _sent(self, start):
        """Returns the batches of the call that begins with step `start`, on the devices."""
        s = self.setup
        epoch = start // s.epoch_steps
        if epoch != self.epoch:
            self.epoch, self.order = epoch, order(s, epoch)
        steps = start - epoch * s.epoch_steps + np.arange(s.config.steps_per_call)
        shares = placement.data_size(s.mesh)
        place = np.arange(s.padded_rows).reshape(shares, 1, -1)[placement.own_shares(s.mesh)]
        rows = steps[:, None] * s.batches.rows + np.minimum(place, s.batches.rows - 1)  # [own shares, steps, rows]
        rows_of_layout = rows.ravel() % s.data.layout.rows
        batches = s.batches.gather(s.data, self.order, rows_of_layout, s.objective.stream_targets)
        if s.padded_rows > s.batches.rows:
            batches = stream.emptied(batches, np.broadcast_to(place < s.batches.rows, rows.shape).ravel())
        if s.host_draw is not None:
            by_step = lambda x: x.reshape(*rows.shape, -1).swapaxes(0, 1).reshape(-1, place.size, *x.shape[1:])
            drawn = s.host_draw(s.config.seed, start, place.ravel(), jax.tree.map(by_step, batches))
            drawn = drawn.reshape(len(drawn), len(place), -1, drawn.shape[-1]).swapaxes(0, 1)
            batches = batches._replace(negatives=drawn)
        return placement.spread_own(jax.tree.map(lambda x: x.reshape(*rows.shape, -1), batches), s.mesh)


def users_of(setup: Setup, at: int) -> list:
    """Returns the external ids of the users in the batch of a step."""
    epoch, index = divmod(at, setup.epoch_steps)
    data = setup.data if setup.config.feed == "host" else jax.device_get(setup.data)
    batch = setup.batches.gather(data, order(setup, epoch), index * setup.batches.rows + np.arange(setup.batches.rows))
    return setup.split.interactions.users[np.unique(batch.user_index[batch.items > 0])].tolist()

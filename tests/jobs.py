"""The processes of a job, simulated by threads that communicate through a barrier instead of a network."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from jaxrec.kernels import processes


class Job:
    """A job of `number` processes; `run(work)` calls `work` in each of them and returns the list of results."""

    def __init__(self, number, monkeypatch):
        self.number, self._here = number, threading.local()
        self._barrier, self._said = threading.Barrier(number, timeout=60), [None] * number
        monkeypatch.setattr(jax, "process_count", lambda: number)
        monkeypatch.setattr(jax, "process_index", lambda: getattr(self._here, "index", 0))
        monkeypatch.setattr(processes.multihost_utils, "process_allgather", self._gather)
        monkeypatch.setattr(processes.multihost_utils, "broadcast_one_to_all", self._broadcast)
        largest = lambda value: jax.numpy.asarray(self._gather(np.int32(value)).max())
        monkeypatch.setattr(processes, "_largest_of_all", lambda: largest)

    def run(self, work):
        def one(index):
            self._here.index = index
            try:
                return work()
            except BaseException:
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(self.number) as pool:
            return [each.result() for each in [pool.submit(one, index) for index in range(self.number)]]

    def _gather(self, x):
        self._said[self._here.index] = np.array(x)
        self._barrier.wait()
        found = np.stack(self._said)
        self._barrier.wait()
        return found

    def _broadcast(self, tree):
        leaves, form = jax.tree.flatten(tree)
        return jax.tree.unflatten(form, [self._gather(leaf)[0] for leaf in leaves])

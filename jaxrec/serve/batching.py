"""Batches concurrent requests to the model in a single thread."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.states import States


class Full(Exception):
    """The queue has no room."""


class _Job(NamedTuple):
    ask: Any  #: a Query, or a function of the recommender
    future: asyncio.Future


class Batcher:
    """Runs a recommender in its own thread.

    `recommender` and `size`, the maximum batch, may be changed at any time; they apply from the next batch on.

    There is no batching window. A request is answered at once if the thread is idle; requests that arrive meanwhile
    form the next batch. So batches grow with the load, and no request waits longer than the batch before it takes.
    """

    def __init__(
        self,
        recommender: Recommender,
        room: int,
        observe: Callable[[int], Any] = lambda batch: None,
        wait: Callable[[int], Any] = lambda waiting: None,
        states: States | None = None,
    ):
        """Starts the thread.

        Args:
            recommender: the Recommender.
            room: maximum number of waiting questions.
            observe: called with the size of each batch of queries.
            wait: called with the number of waiting questions whenever it changes.
            states: the cache of states of histories, used only by the thread; None: no states are kept.
        """
        self.recommender, self.size = recommender, 1
        self._room, self._observe, self._wait, self._states = room, observe, wait, states
        self._jobs, self._change, self._closed = deque(), threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="recommender", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of waiting questions."""
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether the queue is full."""
        return len(self._jobs) >= self._room

    @property
    def alive(self) -> bool:
        """Whether the thread runs and accepts questions."""
        return self._thread.is_alive() and not self._closed

    def submit(self, asked: Sequence[Query | Callable]) -> list[asyncio.Future]:
        """Queues all of these questions, or none. Must be called in an event loop.

        Args:
            asked: Queries, answered by a Ranked, or functions of the recommender.

        Returns:
            A future per question. Cancelled questions are skipped; an invalid question only fails its own future.

        Raises:
            Full: if there is no room for all of them.
        """
        loop = asyncio.get_running_loop()
        jobs = [_Job(ask, loop.create_future()) for ask in asked]
        with self._change:
            if self._closed or len(self._jobs) + len(jobs) > self._room:
                raise Full
            self._jobs.extend(jobs)
            self._wait(len(self._jobs))
            self._change.notify()
        return [job.future for job in jobs]

    def close(self) -> None:
        """Answers the waiting questions, and ends the thread."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _run(self):
        while batch := self._take():
            outcomes = answer(self.recommender, [job.ask for job in batch], self._observe, self._states)
            batch[0].future.get_loop().call_soon_threadsafe(_deliver, batch, outcomes)

    def _take(self):
        """Waits for the next batch and returns it, without cancelled questions; [] when closed."""
        batch = []
        with self._change:
            while not batch and not (self._closed and not self._jobs):
                self._change.wait_for(lambda: self._jobs or self._closed)
                while self._jobs and len(batch) < self.size:
                    job = self._jobs.popleft()
                    if not job.future.cancelled():
                        batch.append(job)
                self._wait(len(self._jobs))
        return batch


def answer(
    recommender: Recommender,
    asked: Sequence[Query | Callable],
    observe: Callable[[int], Any] = lambda batch: None,
    states: States | None = None,
) -> list:
    """Returns the answers to questions, in order; an exception if a question raised one."""
    outcomes: list[Any] = [None] * len(asked)
    checked = {}
    for index, ask in enumerate(asked):
        try:
            if callable(ask):
                outcomes[index] = ask(recommender)
            else:
                checked[index] = recommender.check(ask)
        except Exception as error:  # delivered to its caller
            outcomes[index] = error
    if checked:
        observe(len(checked))
        outcomes_of = _answer_checked(recommender, list(checked.values()), states)
        for index, outcome in zip(checked, outcomes_of, strict=True):
            outcomes[index] = outcome
    return outcomes


def _answer_checked(recommender, checked, states):
    try:
        return recommender.answer(states.stated(recommender, checked) if states else checked)
    except Exception as error:
        return [error] * len(checked)


def _deliver(batch, outcomes):
    for job, outcome in zip(batch, outcomes, strict=True):
        if job.future.done():  # its deadline has passed
            continue
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

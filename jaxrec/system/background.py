"""Runs work in a background thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
_threads: list[threading.Thread] = []


def started(work: Callable[[], T], *, finishes: bool = False) -> Callable[..., T]:
    """Starts work in a thread. Returns a function that waits for the work's result, or raises its error.

    Given a number, the function waits for this many seconds at most, and then raises TimeoutError.

    >>> started(lambda: 2 + 1)()
    3

    Args:
        work: a function without arguments.
        finishes: whether the process waits for the work before it ends, as it must for a compiler; otherwise the work
            is abandoned.
    """
    done: Future[T] = Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:  # any error is raised where the result is waited for
            done.set_exception(error)

    _threads[:] = [each for each in _threads if each.is_alive()]
    _threads.append(thread := threading.Thread(target=run, name="background", daemon=not finishes))
    thread.start()
    return done.result


def is_unfinished() -> bool:
    """Whether work that would be abandoned is still running; the process then ends cleanly only by `os._exit`."""
    return any(thread.daemon and thread.is_alive() for thread in _threads)

"""Work in a thread beside the main one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
_threads: list[threading.Thread] = []


def started(work: Callable[[], T], *, finishes: bool = False) -> Callable[..., T]:
    """Starts work in a thread. Returns a function that waits for its result, and raises its error.

    It waits for so many seconds if it is given a number, and raises TimeoutError then.

    >>> started(lambda: 2 + 1)()
    3

    Args:
        work: a function without arguments.
        finishes: whether the process waits for it before it ends, as it must for a compiler; else it is broken off.
    """
    done: Future[T] = Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, it belongs to who waits
            done.set_exception(error)

    _threads[:] = [each for each in _threads if each.is_alive()]
    _threads.append(thread := threading.Thread(target=run, name="background", daemon=not finishes))
    thread.start()
    return done.result


def is_unfinished() -> bool:
    """Whether work is still to be broken off, which ends the process in order only by `os._exit`."""
    return any(thread.daemon and thread.is_alive() for thread in _threads)

"""Work in a thread beside the main one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def started(work: Callable[[], T], *, finishes: bool = False) -> Callable[[], T]:
    """Starts work in a thread. Returns a function that waits for its result, and raises its error.

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

    threading.Thread(target=run, name="background", daemon=not finishes).start()
    return done.result

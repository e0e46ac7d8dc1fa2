"""Work in a thread that nobody has to wait for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def started(work: Callable[[], T]) -> Callable[[], T]:
    """Starts work in a thread, which ends with the process. Returns a function that waits for its result.

    >>> started(lambda: 2 + 1)()
    3

    An error of the work is raised there.
    """
    done: Future[T] = Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, it belongs to who waits
            done.set_exception(error)

    threading.Thread(target=run, name="background", daemon=True).start()
    return done.result

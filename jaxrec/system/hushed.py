"""Silences library warnings that are of no use to the user."""

import contextlib
import threading
import warnings


class _Hushed:
    """Context in which nothing warns, in any number of threads; when the last one leaves, the filters are restored.

    `warnings.catch_warnings` alone would not do, as it saves and restores the filters of the whole process. Of two
    threads that use one each, the second saves the filters that the first has set; if it leaves last, warnings stay off
    for good.
    """

    def __init__(self):
        self._lock, self._entered, self._caught = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self):
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                self._caught.enter_context(warnings.catch_warnings(action="ignore"))

    def __exit__(self, *exception):
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._caught.close()


HUSHED = _Hushed()

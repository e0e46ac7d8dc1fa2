"""Work of libraries whose warnings tell a person nothing."""

import contextlib
import threading
import warnings


class _Hushed:
    """Within it, in however many threads, nothing warns; after the last of them, warnings are filtered as before.

    `warnings.catch_warnings` puts the whole process's filters back as it found them. Of two threads in one each, the
    second finds those of the first, and leaves nothing to warn for good where it is the last to end.
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

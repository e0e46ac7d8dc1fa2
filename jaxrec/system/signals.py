"""Handles signals that ask a training to stop."""

import os
import signal
import sys
import threading

ASKING = signal.SIGTERM, signal.SIGINT


class Interrupt:
    """Ctrl-C handler of commands: the first raises KeyboardInterrupt, the next ends the process at once.

    A second KeyboardInterrupt would print tracebacks of whatever is ending; files on disk are complete at any time.
    """

    def __init__(self):
        self.was_asked = False

    def __call__(self, signum, frame):
        if self.was_asked:
            show_cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""  # hidden by a progress bar
            os.write(2, show_cursor + b"interrupted again: ended at once\n")
            os._exit(128 + signum)
        self.was_asked = True
        raise KeyboardInterrupt


class Signals:
    """Context that records the first SIGTERM or SIGINT in `caught`; a second one acts as usual.

    Outside the main thread, which alone may handle signals, nothing is recorded.
    """

    def __init__(self):
        self.caught = None

    def _note(self, signum, frame):
        self.caught = signum
        before = self._before[signum]
        if isinstance(before, Interrupt):
            before.was_asked = True
        signal.signal(signum, before)

    def __enter__(self):
        is_main = threading.current_thread() is threading.main_thread()
        before = {s: signal.signal(s, self._note) for s in ASKING} if is_main else {}
        # None: a handler that C code has set, which can't be set from Python
        self._before = {s: signal.SIG_DFL if handler is None else handler for s, handler in before.items()}
        return self

    def __exit__(self, *exception):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

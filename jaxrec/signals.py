"""Signals that ask a training to stop."""

import signal
import threading

ASKING = signal.SIGTERM, signal.SIGINT


class Signals:
    """Within it, the first SIGTERM or SIGINT is noted in `caught`; a second one acts as it always does.

    In another thread than the main one, which alone may ask for signals, none is ever noted.
    """

    def __init__(self):
        self.caught = None

    def _note(self, signum, frame):
        self.caught = signum
        signal.signal(signum, self._before[signum])

    def __enter__(self):
        is_main = threading.current_thread() is threading.main_thread()
        self._before = {s: signal.signal(s, self._note) for s in ASKING} if is_main else {}
        return self

    def __exit__(self, *exception):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

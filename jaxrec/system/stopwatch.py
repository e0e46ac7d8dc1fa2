"""Reports in one line how long the parts of a start took."""

import time


class Stopwatch:
    """Measures the parts of a start, one after the other.

    >>> watch = Stopwatch(began=0.0)
    >>> watch.lap("imports", now=0.9), watch.lap("data", now=1.25)
    (None, None)
    >>> watch.said("the first step")
    '1.2 s to the first step: imports 0.9, data 0.3'

    Args:
        began: time.monotonic() of the beginning; now if None.
    """

    def __init__(self, began: float | None = None):
        self._began = self._last = time.monotonic() if began is None else began
        self.laps: dict[str, float] = {}  #: {part: seconds}

    def lap(self, part: str, now: float | None = None) -> None:
        """Ends a part, which began where the last one ended."""
        now = time.monotonic() if now is None else now
        self.laps[part], self._last = now - self._last, now

    def said(self, until: str) -> str:
        """Returns a line with the total seconds, up to what `until` names, and those of each part."""
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.laps.items())
        return f"{self._last - self._began:.1f} s to {until}: {parts}"

"""Writes scalars as TensorBoard events, and flushes each time, so that disk errors are raised where they occur."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Events:
    """An event file that continues from a step: TensorBoard hides later steps of earlier files.

    The file is created with the first scalars, since importing tensorboardX takes half a second.
    """

    def __init__(self, folder: Path, step: int):
        """
        Args:
            folder: Path, created if it doesn't exist.
            step: the last step that was reached.
        """
        self.folder, self._step = folder, step
        folder.mkdir(exist_ok=True)
        self._writer: Any = None

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Writes {name: value} for a step."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog  # pyright: ignore[reportAttributeAccessIssue] generated
        from tensorboardX.summary import scalar

        if self._writer is None:
            before = sum(1 for _ in self.folder.glob("events.*"))  # names have the time in seconds only
            self._writer = EventsWriter(str(self.folder.absolute() / "events"), f".{before:06}")
            self._write(self._step + 1, session_log=SessionLog(status=SessionLog.START))
        for name, value in scalars.items():
            self._write(step, summary=scalar(name, value))
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, step, **what):
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] generated

        self._writer.write_event(Event(step=step, wall_time=time.time(), **what))

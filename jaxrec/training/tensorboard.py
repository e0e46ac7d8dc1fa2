"""Scalars as TensorBoard events, written at once: an error of the disk is raised where it happens."""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue] generated
from tensorboardX.summary import scalar


class Events:
    """A file of events, continued from a step: TensorBoard hides what earlier files say of later steps."""

    def __init__(self, folder: Path, step: int):
        """
        Args:
            folder: Path; made if need be.
            step: the last that has been reached.
        """
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder.absolute() / "events"))
        self._write(step + 1, session_log=SessionLog(status=SessionLog.START))
        self._writer.flush()

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Write {name: value} of a step."""
        for name, value in scalars.items():
            self._write(step, summary=scalar(name, value))
        self._writer.flush()

    def close(self) -> None:
        """Close the file, whose events are on it already."""
        self._writer.close()

    def _write(self, step, **what):
        self._writer.write_event(Event(step=step, wall_time=time.time(), **what))

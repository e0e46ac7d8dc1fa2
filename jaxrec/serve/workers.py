"""A service of several processes: the workers, which answer at one port, and the process that keeps them running."""

import argparse
import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.multiprocess import mark_process_dead

from jaxrec.serve import locks, logs
from jaxrec.serve.listening import Port
from jaxrec.system.errors import UserError

MOST = 64  # maximum number of workers
PART = "JAXREC_SERVE_PART"  # environment variable that makes a process a worker
METRICS = "PROMETHEUS_MULTIPROC_DIR"  # that of prometheus_client, for metrics that processes share
PAUSE, LONGEST = 1.0, 60.0  # seconds before a worker is started again; doubled each time, up to the second
STEADY = 60.0  # seconds of answering after which the next pause is a short one again
LAST = 30.0  # seconds to stop before a worker is killed
log = logging.getLogger("jaxrec.serve")


class Part(NamedTuple):
    """What a worker is given by its service."""

    listening: int  #: descriptor of its socket
    link: int  #: descriptor of a socket to the process that started it
    count: int  #: the number of workers
    folder: str  #: a folder that all workers use, and nobody else

    @property
    def turns(self) -> Path:
        """The file by which the workers take turns to change the catalogue."""
        return Path(self.folder) / "turns"

    def tell(self, ready: str) -> None:
        """Tells the process that started this one that requests are accepted, with a line for it to print."""
        os.write(self.link, ready.encode() + b"\n")

    def follow(self) -> None:
        """Stops this process, as SIGTERM does, once the process that started it has ended."""
        threading.Thread(target=self._wait, name="parent", daemon=True).start()

    def _wait(self):
        with contextlib.suppress(OSError):
            os.read(self.link, 1)  # nothing is ever sent: it returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)


def part() -> Part | None:
    """Returns the Part of this process in a service of several; None if it is not a worker."""
    given = os.environ.pop(PART, None)
    return None if given is None else Part(*json.loads(given))


def serve(arguments: argparse.Namespace) -> int:
    """Starts the workers, and keeps them running until SIGTERM or Ctrl-C. Returns the exit status.

    Raises:
        UserError: if the address or the file of changes is in use, or the number is out of range.
    """
    count = arguments.workers
    if not 1 <= count <= MOST:
        raise UserError(f"--workers {count}: give a number of processes from 1 to {MOST}, one per one or two cores")
    logs.begin(arguments.log)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(contextlib.closing(Port(arguments.host, arguments.port)))
        if arguments.stock:
            stack.callback(os.close, locks.held(arguments.stock))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxrec-serve-"))
        command = [sys.executable, "-m", "jaxrec", "serve", *flags_of(arguments)]
        start = partial(start_worker, command, port, count, folder)
        return Crew(count, start, partial(mark_process_dead, path=folder)).run()


def flags_of(arguments: argparse.Namespace) -> list[str]:
    """Returns the command-line flags of these arguments, except the number of workers.

    >>> flags_of(argparse.Namespace(command="serve", workdir=Path("runs/a"), watch=True, limit=["k=5"], workers=2))
    ['--workdir=runs/a', '--watch', '--limit=k=5']
    """
    flags = []
    for name, value in vars(arguments).items():
        if name in ("command", "began", "workers") or value is None or value is False:
            continue
        flag = f"--{name.replace('_', '-')}"
        flags += [flag] if value is True else [f"{flag}={each}" for each in _several(value)]
    return flags


def _several(value):
    return value if isinstance(value, list) else [value]


def start_worker(command: Sequence[str], port: Port, count: int, folder: str, link: socket.socket) -> subprocess.Popen:
    """Starts a worker, in a process group of its own: Ctrl-C in a terminal goes to its parent alone.

    Args:
        command: the command of a service.
        port: where it listens.
        count: the number of workers.
        folder: the folder that they share.
        link: its end of a socket pair.
    """
    with port.socket() as listening:
        own = Part(listening.fileno(), link.fileno(), count, folder)
        found = os.pathsep.join(path or os.getcwd() for path in sys.path)  # includes a launcher's folder
        environment = os.environ | {PART: json.dumps(own), METRICS: folder, "PYTHONPATH": found}
        return subprocess.Popen(command, env=environment, pass_fds=[own.listening, own.link], process_group=0)


class _Place:
    """The place of one worker, whichever process fills it at present."""

    def __init__(self):
        self.process: subprocess.Popen | None = None
        self.since: float | None = None  # when it began to answer
        self.due, self.pause = 0.0, PAUSE  # when it is started again


class Crew:
    """Keeps a number of processes running until SIGTERM or SIGINT."""

    def __init__(
        self,
        count: int,
        start: Callable[[socket.socket], subprocess.Popen],
        ended: Callable[[int], Any] = lambda pid: None,
    ):
        """
        Args:
            count: how many.
            start: starts a process, given its end of a socket pair. Once the process is ready it writes a line there,
                and it keeps the socket open until it ends.
            ended: called with the id of a process that has ended.
        """
        self._start, self._gone = start, ended
        self._places = [_Place() for _ in range(count)]
        self._events = selectors.DefaultSelector()
        self._begun, self._stopping, self._status = False, False, 0
        self._late = float("inf")  # when the remaining processes are killed

    def run(self) -> int:
        """Runs the processes, and prints the line of the last one to be ready. Returns the exit status.

        The others start once the first is ready, so that they find what it has compiled, and an error is reported only
        once. If a process ends before all are ready, all are stopped. If it ends later, it is started again.
        """
        with self._signals():
            self._fill(self._places[0])
            while any(place.process for place in self._places) or not self._stopping:
                for key, _ in self._events.select(timeout=self._patience()):
                    self._hear(*key.data)
                self._mind()
        self._events.close()
        return self._status

    def _patience(self):
        """Returns the seconds until something is due, at most one."""
        due = [place.due for place in self._places if not place.process and self._begun]
        return max(0.0, min([1.0, *(each - time.monotonic() for each in due)]))

    def _fill(self, place):
        here, there = socket.socketpair()
        with there:
            place.process, place.since = self._start(there), None
        self._events.register(here, selectors.EVENT_READ, (place, here))
        if self._stopping:  # the signal came meanwhile
            place.process.terminate()

    def _hear(self, place, link):
        try:
            said = link.recv(1 << 16)
        except ConnectionResetError:
            said = b""
        if not said:
            self._events.unregister(link)
            link.close()
            self._ended(place)
            return
        place.since = time.monotonic()
        if self._begun:
            log.warning("process %d answers in its place", place.process.pid)
            return
        waiting = [each for each in self._places if not each.process]
        if waiting and not self._stopping:
            for each in waiting:
                self._fill(each)
        elif all(each.since for each in self._places):
            self._begun = True
            print(said.decode().rstrip(), flush=True)

    def _ended(self, place):
        """Decides what follows when a process has ended, or has closed its socket, which only a bug would do."""
        process, place.process = place.process, None
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LAST)
            process.kill()
        status = process.wait()
        self._gone(process.pid)
        if self._stopping:
            if status and place.since is not None:
                log.error("process %d %s while it stopped", process.pid, how(status))
                self._status = self._status or 1
            return
        if not self._begun:
            if status <= 0:  # it can't have said why
                log.error("process %d %s before it was ready", process.pid, how(status))
            self._stop(status if status > 0 else 1)
            return
        steady = place.since is not None and time.monotonic() - place.since >= STEADY
        pause = PAUSE if steady else place.pause
        place.due, place.pause = time.monotonic() + pause, min(2 * pause, LONGEST)
        log.error("process %d %s; another is started in %g s", process.pid, how(status), pause)

    def _mind(self):
        """Starts processes that are due, and kills those that don't stop."""
        now = time.monotonic()
        for place in self._places:
            if self._begun and not self._stopping and not place.process and place.due <= now:
                self._fill(place)
            elif place.process and now > self._late:
                log.error("process %d has not stopped in %g s, and is killed", place.process.pid, LAST)
                place.process.kill()
                self._status, self._late = 1, now + LAST

    def _stop(self, status, signum=signal.SIGTERM):
        self._stopping, self._status = True, self._status or status
        self._late = min(self._late, time.monotonic() + LAST)
        for place in self._places:
            if place.process:
                place.process.send_signal(signum)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """A context in which signals stop the processes; a second Ctrl-C doesn't let them complete their requests."""

        def caught(signum, _frame):
            again = self._stopping and signum == signal.SIGINT
            self._stop(0, signal.SIGINT if again else signal.SIGTERM)

        before = {each: signal.signal(each, caught) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def how(status: int) -> str:
    """Returns how a process ended, by its return code.

    >>> how(3), how(-9)
    ('ended with status 3', 'was ended by SIGKILL')
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"

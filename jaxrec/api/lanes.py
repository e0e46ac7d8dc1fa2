"""Runs pieces of work side by side, one at a time on each device of this process."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from jaxrec.kernels import processes
from jaxrec.system.signals import Signals
from jaxrec.training.fit import Stopped

HEARD_WITHIN = 0.2  # maximum seconds until a signal is noted


class Lanes:
    """A lane per device, or a single lane of all devices if they work `together`, or there are several processes."""

    def __init__(self, devices: Sequence, together: bool = False):
        one = together or processes.several()
        self._lanes = [list(devices)] if one else [[device] for device in devices]
        self._own: dict[str, int] = {}  # {piece: its lane}, for whose devices the programs of the piece are compiled

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def first(self) -> list:
        """The devices of the first lane."""
        return self._lanes[0]

    def waves(self, pieces: Sequence) -> list[list]:
        """Returns the pieces, in their order, in groups that can run at the same time.

        >>> Lanes("ab").waves([1, 2, 3])
        [[1, 2], [3]]
        """
        return [list(pieces[at : at + len(self)]) for at in range(0, len(pieces), len(self))]

    def run(self, work: Callable[[Any, list, Signals | None], Any], pieces: Sequence) -> None:
        """Runs all pieces, each on the devices of a lane, and returns when the last is done.

        If there is a single lane, its work runs in the calling thread, and handles signals itself. If there are
        several, each has a thread: signals are noted, the work must end itself when there is one, and no further piece
        is started.

        Args:
            work: (piece, devices, signals) -> ignored; signals is None in the calling thread.
            pieces: they have a `name`. A piece stays in the lane of its name unless others would have to wait for that.

        Raises:
            Whatever `work` raises, the first lane's error first; the lane's remaining pieces are skipped. Stopped, if a
            signal was noted and no work raised.
        """
        queues = self._dealt(pieces)
        if len(self) == 1:
            for piece in queues[0]:
                work(piece, self.first, None)
            return
        with Signals() as signals, ThreadPoolExecutor(len(self), "lane") as pool:

            def follow(devices, queue):
                for piece in queue:
                    if signals.caught:
                        return
                    work(piece, devices, signals)

            ended = [pool.submit(follow, *each) for each in zip(self._lanes, queues, strict=True)]
            while wait(ended, HEARD_WITHIN).not_done:  # a signal sent to a lane waits for this thread to wake
                pass
        for each in ended:
            each.result()
        if signals.caught:
            raise Stopped(signals.caught)

    def _dealt(self, pieces):
        """Returns the pieces of each lane: each in its own lane if that has room, otherwise in the shortest one."""
        most = -(-len(pieces) // len(self))
        queues = [[] for _ in self._lanes]
        for piece in sorted(pieces, key=lambda piece: piece.name not in self._own):
            own = self._own.get(piece.name)
            if own is None or len(queues[own]) == most:
                own = min(range(len(self)), key=lambda lane: len(queues[lane]))
            self._own[piece.name] = own
            queues[own].append(piece)
        return queues

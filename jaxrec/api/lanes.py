"""Work side by side: one piece at a time on each device of this process."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from jaxrec.kernels import processes
from jaxrec.system.signals import Signals
from jaxrec.training.fit import Stopped

HEARD_WITHIN = 0.2  # seconds until a signal is noted at the latest


class Lanes:
    """As many lanes as devices; a single one of all if they work on everything `together`, as several processes do."""

    def __init__(self, devices: Sequence, together: bool = False):
        one = together or processes.several()
        self._lanes = [list(devices)] if one else [[device] for device in devices]
        self._own: dict[str, int] = {}  # what has a lane: the programs compiled for it are for that lane's devices

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def first(self) -> list:
        """The devices of the first lane."""
        return self._lanes[0]

    def waves(self, pieces: Sequence) -> list[list]:
        """The pieces, in their order, in groups that can be done at one time.

        >>> Lanes("ab").waves([1, 2, 3])
        [[1, 2], [3]]
        """
        return [list(pieces[at : at + len(self)]) for at in range(0, len(pieces), len(self))]

    def run(self, work: Callable[[Any, list, Signals | None], Any], pieces: Sequence) -> None:
        """Does all pieces, each on the devices of a lane, and returns when the last is done.

        A single lane's work is done in the calling thread, and handles signals itself. Of several, each lane has a
        thread; signals are noted meanwhile, it is up to the work to end by them, and nothing further is begun.

        Args:
            work: (piece, devices, signals) -> ignored; signals is None in the calling thread.
            pieces: with a `name`, by which a piece stays in its lane where that does not make others wait.

        Raises:
            What `work` raises, the first lane's first; the other pieces of that lane are left out. Stopped, where a
            signal was noted by which no work ended.
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
        """The pieces of each lane: their own lane's as far as that has room, the others where there is most."""
        most = -(-len(pieces) // len(self))
        queues = [[] for _ in self._lanes]
        for piece in sorted(pieces, key=lambda piece: piece.name not in self._own):
            own = self._own.get(piece.name)
            if own is None or len(queues[own]) == most:
                own = min(range(len(self)), key=lambda lane: len(queues[lane]))
            self._own[piece.name] = own
            queues[own].append(piece)
        return queues

"""Checkpoints for the service: loaded, warmed and checked beside the one that answers, then put in its place."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.inference import loading
from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.serve.batching import Batcher
from jaxrec.system.errors import UserError
from jaxrec.training import workdir
from jaxrec.training.checkpoint import Checkpoints

CHECKED, ASKED = 8, 10  # histories of the self-check, and items that each is asked for
AGAIN = 30.0  # seconds after which a refused checkpoint is tried again, then twice as many, and so on
SILENT, LOADING = 30.0, 600.0  # seconds without a look, and with one checkpoint, after which it is late
log = logging.getLogger("jaxrec.serve")


def load(
    path: Path, checkpoint: str | int, approximate: bool, k: int, batch: int, items: str | None = None
) -> Recommender:
    """The Recommender of a workdir's checkpoint, ready to answer one history at once, and checked.

    Args:
        path: Path.
        checkpoint: as of `loading.load`.
        approximate: as of `loading.load`.
        k: how many items it will be asked for.
        batch: the most histories that it will be asked at once.
        items: as of `loading.load`.

    Raises:
        UserError: there is none, or it does not pass `check`.
    """
    recommender = loading.load(path, checkpoint, approximate, items)
    recommender.engine.rows = min(recommender.engine.rows, batch)  # of what is split, no part needs another program
    begin(recommender, k)
    return recommender


def renew(recommender: Recommender, step: int, k: int) -> Recommender:
    """A Recommender of another step, with the programs of this one, warmed and checked.

    Raises:
        UserError: there is none, or it does not pass `check`.
    """
    other = recommender.renewed(str(step))
    begin(other, k)
    return other


def reload(path: Path, step: int, approximate: bool, k: int, batch: int, items: str | None = None) -> Recommender:
    """As `load`, of a step whose catalogue or model is another; ready to answer as many histories at once as before."""
    other = load(path, step, approximate, k, batch, items)
    for rows in _sizes(other, batch):
        other.engine.compile(rows, min(k, other.engine.items))
    return other


def begin(recommender: Recommender, k: int) -> None:
    """Compile, or try, all that one history at once needs; then check."""
    id, engine = recommender.catalogue.ids[0], recommender.engine
    for slots in engine.buckets():
        recommender.answer([Query([id] * (slots - engine.num_mask_slots), k)])
    recommender.similar(id, k)
    check(recommender)


def warm(batcher: Batcher, k: int, batch: int) -> None:
    """Compile what larger batches need, and let the batches grow with it."""
    recommender = batcher.recommender
    for rows in _sizes(recommender, batch):
        recommender.engine.compile(rows, min(k, recommender.engine.items))
        batcher.size = rows


def _sizes(recommender, batch):
    """The powers of two up to the most histories that are answered at once."""
    return [1 << power for power in range(min(batch, recommender.engine.rows).bit_length())]


def check(recommender: Recommender) -> None:
    """That it answers as a sound model does.

    Raises:
        UserError: a parameter is not finite; an answer is too short, repeats an item, or is out of order.
    """
    step, ids = f"step {recommender.step}", recommender.catalogue.ids.tolist()
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(recommender.engine.params)):
        raise UserError(f"{step}: a parameter is not finite")
    wanted = min(ASKED, len(ids))
    for place in range(CHECKED):
        history = ids[place * len(ids) // CHECKED :][: 1 << place]
        (ranked,) = recommender.answer([Query(history, wanted, exclude_seen=False)])
        scores = [score for _, score in ranked]
        if not len(ranked) == len(set(ranked)) == wanted:
            raise UserError(f"{step}: of {wanted} items it gives {len(ranked)}")
        if not all(map(math.isfinite, scores)) or scores != sorted(scores, reverse=True):
            raise UserError(f"{step}: scores {scores} are not finite and falling")


class Watcher(threading.Thread):
    """Looks for a new checkpoint every second. It opens the workdir for reading only, and no error ends it.

    What is being written lies under another name until it is whole. A checkpoint that vanishes while it is read, or
    does not pass the check, is refused with a line in the log. It is tried again when its folder has changed, and at
    growing intervals, since what was amiss may have been this machine's.
    """

    def __init__(
        self,
        path: Path,
        checkpoint: str,
        current: int | None,
        renew: Callable[[int], Recommender],
        reload: Callable[[int], Recommender],
        take: Callable[[Recommender], None],
        refuse: Callable[[], None],
        every: float = 1.0,
    ):
        """
        Args:
            path: Path of the workdir.
            checkpoint: "best" or "latest".
            current: the step that answers now.
            renew: (step) -> Recommender, of the same model and data.
            reload: (step) -> Recommender, where the path leads to a training of other data, or of another model.
            take: (Recommender), puts it to work.
            refuse: (), counts.
            every: seconds.
        """
        super().__init__(name="watch", daemon=True)
        self._path, self._checkpoint, self._current = path, checkpoint, (_folder(path), current)
        self._renew, self._reload, self._take, self._refuse, self._every = renew, reload, take, refuse, every
        self._there, self._looked, self._blind = {}, time.monotonic(), None
        self._refused, self._again, self._pause, self._loading = None, math.inf, AGAIN, False
        self._trained = workdir.read(path)

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            time.sleep(self._every)
            self.look()

    @property
    def late(self) -> bool:
        """Whether it has been long since it could look, or since it began to load a checkpoint."""
        return time.monotonic() - self._looked > (LOADING if self._loading else SILENT)

    def told(self) -> dict[str, Any]:
        """{"looked": seconds since it last could look, "refused": the step that was refused last, or None}"""
        return {"looked": round(time.monotonic() - self._looked, 1), "refused": self._refused}

    def look(self) -> None:
        """Take the checkpoint that is meant now, if it is another than the current."""
        try:
            there = finished(self._path / "checkpoints")
        except OSError as error:  # a moment without descriptors, a loop of links: the next look may succeed
            if str(error) != self._blind:
                log.error("new checkpoints can't be looked for, step %s answers on: %s", self._current, error)
            self._blind = str(error)
            return
        self._looked, self._blind = time.monotonic(), None
        if there != self._there:
            self._again, self._pause = -math.inf, AGAIN
        if self._again < self._looked:
            self._there, self._again, self._loading = there, math.inf, True
            self._consider()
            self._loading = False

    def _consider(self):
        step = None
        try:
            folder, step = _folder(self._path), chosen(self._path, self._checkpoint)
            if (folder, step) != self._current:
                now, then = workdir.read(self._path), self._trained
                same = (now.data, now.config) == (then.data, then.config)
                self._take(self._renew(step) if same else self._reload(step))
                self._current, self._trained = (folder, step), now
                log.warning("step %s answers now%s", step, "" if same else f", with {now.data['items']:,} items")
            self._refused = None
        except Exception as error:  # whatever it is, the old one answers on
            self._refuse()
            self._refused = step
            self._again, self._pause = time.monotonic() + self._pause, 2 * self._pause
            log.warning("a new checkpoint is refused, step %s answers on: %s", self._current[1], error)


def _folder(path):
    """Which folder a path leads to: a link may be set to another training."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def chosen(path: Path, checkpoint: str) -> int:
    """The step that is best or latest now."""
    checkpoints = Checkpoints(path, read_only=True)
    try:
        return checkpoints.choose(checkpoint)
    finally:
        checkpoints.close()


def finished(folder: Path) -> dict[str, int]:
    """{step: when its folder changed} of the checkpoints that are whole; of none while they change."""
    try:
        return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder) if entry.name.isdigit()}
    except FileNotFoundError:
        return {}

"""Loads, compiles and checks new checkpoints beside the active one, then replaces it."""

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.inference import loading
from jaxrec.inference.engine import BEST
from jaxrec.inference.placed import OFFERED
from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.states import States
from jaxrec.inference.stock import sharing
from jaxrec.serve.batching import Batcher
from jaxrec.system.errors import UserError
from jaxrec.system.files import is_address
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.checkpoint import Checkpoints
from jaxrec.training.workdirs.fetching import here

CHECKED, ASKED = 8, 10  # histories of the self-check, and items requested for each
AGAIN = 30.0  # seconds before retrying a refused checkpoint; doubles each time
NICE = 10  # of the thread that loads checkpoints
SILENT, LOADING = 30.0, 600.0  # seconds without a look, or of loading a checkpoint, after which the watcher is late
EVERY, FAR = 1.0, 10.0  # seconds between looks at a folder, and at an object store
log = logging.getLogger("jaxrec.serve")


#: (recommender, rows) -> the same with all changes of the catalogue so far, and at least `rows` rows in its tables
Stocked = Callable[[Recommender, int], Recommender]


def _unchanged(recommender: Recommender, _rows: int) -> Recommender:
    return recommender


def load(
    path: Path | str,
    checkpoint: str | int,
    approximate: bool,
    k: int,
    batch: int,
    items: str | None = None,
    item_devices: int = 1,
    stocked: Stocked = _unchanged,
) -> Recommender:
    """Returns the Recommender of a workdir's checkpoint, compiled for single histories, and checked.

    Args:
        path: the workdir, or its address.
        checkpoint: as for `loading.load`.
        approximate: as for `loading.load`.
        k: number of items that will be requested.
        batch: maximum number of histories per call.
        items: as for `loading.load`.
        item_devices: as for `loading.load`.
        stocked: applies the changes of the catalogue.

    Raises:
        UserError: if there is none, or it doesn't pass `check`.
    """
    recommender = stocked(loading.load(path, checkpoint, approximate, items, item_devices), 0)
    # larger requests are split into parts that need no other program
    recommender.engine.rows = min(recommender.engine.rows, batch)
    begin(recommender, k)
    return recommender


def renew(recommender: Recommender, step: int, k: int, batch: int, stocked: Stocked = _unchanged) -> Recommender:
    """Returns a Recommender of another step, with programs for up to `batch` histories, and checked.

    Raises:
        UserError: if there is none, or it doesn't pass `check`.
    """
    other = stocked(recommender.renewed(str(step)), recommender.engine.items)
    other = with_programs(other, recommender, k, batch)
    begin(other, k)
    return other


def with_programs(recommender: Recommender, running: Recommender, k: int, batch: int) -> Recommender:
    """Returns the Recommender, able to answer at once: with the programs of a running one of the same model.

    If its tables have another number of rows, its own programs are compiled.
    """
    recommender.engine = sharing(recommender.engine, running.engine)
    if recommender.engine.items != running.engine.items:
        compile_all(recommender, k, batch)
    return recommender


def reload(
    path: Path | str,
    step: int,
    approximate: bool,
    k: int,
    batch: int,
    items: str | None = None,
    item_devices: int = 1,
    stocked: Stocked = _unchanged,
) -> Recommender:
    """As `load`, for a step with another catalogue or model; also compiles batches of up to `batch` histories."""
    other = load(path, step, approximate, k, batch, items, item_devices, stocked)
    compile_all(other, k, batch)
    return other


def compile_all(recommender: Recommender, k: int, batch: int) -> None:
    """Compiles the programs for up to `batch` histories at once."""
    for _ in _compiled(recommender, k, batch):
        pass


def _compiled(recommender, k, batch):
    """Compiles for 1, 2, 4, … histories at once, and yields each number when its programs are compiled."""
    for rows in (1 << power for power in range(min(batch, recommender.engine.rows).bit_length())):
        for most in (k, BEST) if k > BEST else (k,):  # the program for k can return fewer items too, but is slower
            recommender.engine.compile(rows, min(most, recommender.engine.items))
        yield rows


def begin(recommender: Recommender, k: int) -> None:
    """Compiles and runs what single histories need, then checks the answers."""
    id, engine, states = recommender.catalogue.ids[0], recommender.engine, States(1)
    for slots in engine.buckets():
        query = recommender.check(Query([id] * (slots - engine.num_mask_slots), k))
        for _ in range(2):  # the second time from a state, if the model has any
            recommender.answer(states.stated(recommender, [query]))
    for length in (1, 1, 2) if engine.keeps_states else ():  # the last one from the state of the one before
        recommender.answer(states.stated(recommender, [recommender.check(Query([id] * length, k))]))
    recommender.similar(id, k)
    check(recommender)


def warm(batcher: Batcher, k: int, batch: int) -> None:
    """Compiles for larger batches, and raises the batch size whenever all programs for it are compiled."""
    for rows in _compiled(batcher.recommender, k, batch):
        batcher.size = rows


def check(recommender: Recommender) -> None:
    """Checks that a recommender's answers are sound.

    Raises:
        UserError: if a parameter is not finite, or an answer is too short, repeats an item or is out of order.
    """
    step, ids = f"step {recommender.step}", recommender.catalogue.ids.tolist()
    learned = {name: leaf for name, leaf in recommender.engine.params.items() if name != OFFERED}
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(learned)):
        raise UserError(f"{step}: a parameter is not finite")
    wanted = min(ASKED, int(recommender.offered.sum()))
    if not wanted:
        log.warning("%s: all items are retired, and every answer is empty", step)
        return
    for place in range(CHECKED):
        history = ids[place * len(ids) // CHECKED :][: 1 << place]
        (ranked,) = recommender.answer([Query(history, wanted, exclude_seen=False)])
        scores = [score for _, score in ranked]
        if not len(ranked) == len(set(ranked)) == wanted:
            raise UserError(f"{step}: of {wanted} items it gives {len(ranked)}")
        if not all(map(math.isfinite, scores)) or scores != sorted(scores, reverse=True):
            raise UserError(f"{step}: scores {scores} are not finite and falling")


class Watcher(threading.Thread):
    """Looks for a new checkpoint every second. It only reads the workdir, and survives all errors.

    Incomplete checkpoints have another name. A checkpoint that disappears while it is read, or doesn't pass the check,
    is refused and logged. It is retried when its folder has changed, and at growing intervals, since the cause may have
    been on this machine.
    """

    def __init__(
        self,
        path: Path | str,
        checkpoint: str,
        current: tuple[int | None, str | None],
        renew: Callable[[int], Recommender],
        reload: Callable[[int], Recommender],
        take: Callable[[Recommender], None],
        refuse: Callable[[], None],
        every: float | None = None,
    ):
        """Creates the thread.

        Args:
            path: the workdir, or its address.
            checkpoint: "best" or "latest".
            current: the active step, and its content as returned by `contents` before loading it; None: unknown.
            renew: (step) -> Recommender of the same model and data.
            reload: (step) -> Recommender, for a training with another model or data at the path.
            take: (Recommender) -> None, activates it.
            refuse: () -> None, counts refused checkpoints.
            every: seconds between looks; by default EVERY, or FAR for an address.
        """
        super().__init__(name="watch", daemon=True)
        self._copied, self._is_far = partial(here, path, checkpoint), is_address(path)
        self._path, self._every = self._copied(), every or (FAR if self._is_far else EVERY)
        self._checkpoint, self._current = checkpoint, (_folder(self._path), *current)
        self._renew, self._reload, self._take, self._refuse = renew, reload, take, refuse
        self._there, self._looked, self._blind = {}, time.monotonic(), None
        self._refused, self._again, self._pause = None, math.inf, AGAIN
        self._loading: float | None = None  # time since which a checkpoint has been copied or loaded
        self._trained = workdir.read(self._path)

    def run(self) -> None:
        """Looks until the process ends, at low priority: loading and checking can wait, requests can't."""
        if sys.platform == "linux":  # where a thread, and those it starts, can have their own priority
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            time.sleep(self._every)
            self.look()

    @property
    def late(self) -> bool:
        """Whether the last look, or the loading of a checkpoint, is too long ago."""
        return time.monotonic() - self._looked > (SILENT if self._loading is None else LOADING)

    def told(self) -> dict[str, Any]:
        """Returns {"looked": seconds since the last look, "loading": of loading, or None, "refused": step, or None}."""
        ago = lambda since: None if since is None else round(time.monotonic() - since, 1)
        return {"looked": ago(self._looked), "loading": ago(self._loading), "refused": self._refused}

    def look(self) -> None:
        """Activates the current best or latest checkpoint, if it isn't active already."""
        self._loading = time.monotonic() if self._is_far else None
        try:
            there = finished(self._copied() / "checkpoints")
        except (OSError, UserError) as error:  # temporary, such as no free descriptors: the next look may succeed
            if str(error) != self._blind:
                log.error("new checkpoints can't be looked for, step %s keeps answering: %s", self._current[1], error)
            self._blind = str(error)
            return
        finally:
            self._loading = None
        self._looked, self._blind = time.monotonic(), None
        if there != self._there:
            self._again, self._pause = -math.inf, AGAIN
        if self._again < self._looked:
            self._there, self._again, self._loading = there, math.inf, self._looked
            self._consider()
            self._loading, self._looked = None, time.monotonic()

    def _consider(self):
        step = None
        try:
            folder, (step, content) = _folder(self._path), chosen(self._path, self._checkpoint)
            if (folder, step, content) != self._current:
                now, then = workdir.read(self._path), self._trained
                same = (now.data, now.config) == (then.data, then.config)
                if not same:
                    log.warning(
                        "step %s of another training is loaded, step %s answers until then", step, self._current[1]
                    )
                self._take(self._renew(step) if same else self._reload(step))
                self._current, self._trained = (folder, step, content), now
                log.warning("step %s answers now%s", step, "" if same else f", with {now.data['items']:,} items")
            self._refused = None
        except Exception as error:  # in any case, the active one stays
            self._refuse()
            self._refused = step
            self._again, self._pause = time.monotonic() + self._pause, 2 * self._pause
            log.warning("a new checkpoint is refused, step %s keeps answering: %s", self._current[1], error)


def _folder(path):
    """Returns the identity of the folder at a path, to notice a link to another training."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def chosen(path: Path, checkpoint: str) -> tuple[int, str]:
    """Returns the step that is now best or latest, and its content, which tells apart trainings at the same path."""
    with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:
        step = checkpoints.choose(checkpoint)
        return step, checkpoints.contents()[step]


def contents(path: Path | str, checkpoint: str) -> dict[int, str]:
    """Returns {step: content} of the checkpoints of a workdir, given by path or address.

    Raises:
        UserError: as for `load`.
    """
    copy = here(path, checkpoint)
    workdir.read(copy)
    with contextlib.closing(Checkpoints(copy, read_only=True)) as checkpoints:
        return checkpoints.contents()


def finished(folder: Path) -> dict[str, int]:
    """Returns {step: modification time of its folder} of complete checkpoints; {} without a folder."""
    try:
        return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder) if entry.name.isdigit()}
    except FileNotFoundError:
        return {}

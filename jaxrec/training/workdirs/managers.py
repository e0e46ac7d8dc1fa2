"""Imports Orbax, and opens its checkpoint managers, without its log messages, and with its errors as UserErrors."""

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from absl.logging import get_absl_logger

from jaxrec.system.errors import UserError

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager


class _Quiet:
    """A context in which Orbax logs nothing and doesn't change the caller's logging. It may be entered repeatedly.

    Orbax logs through absl, which gives the root logger a handler for good if it has none. To prevent that, the root
    logger gets, within the context, the handler that Python itself uses if there is none.
    """

    def __init__(self):
        self._lock, self._entered = threading.Lock(), 0
        self._lent: logging.Handler | None = None

    def __enter__(self):
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                for log in _logs():
                    log.addFilter(_is_of_others)
                self._lent = None if logging.root.handlers else logging.lastResort
                if self._lent:
                    logging.root.addHandler(self._lent)

    def __exit__(self, *exception):
        with self._lock:
            self._entered -= 1
            if not self._entered:
                for log in _logs():
                    log.removeFilter(_is_of_others)
                if self._lent:
                    logging.root.removeHandler(self._lent)


def _logs():
    return get_absl_logger(), logging.getLogger("asyncio")  # the latter reports failures after the first one


def _is_of_others(record):
    return not any(f"{os.sep}orbax{os.sep}" in text for text in (record.pathname, record.getMessage()))


QUIET = _Quiet()
_STARTING = threading.Lock()
ITEMS = ("params", "rest", "loop")


@functools.cache
def orbax() -> Any:
    """Returns the module `orbax.checkpoint`, imported when it is first needed, which takes half a second."""
    with QUIET:
        import orbax.checkpoint
    return orbax.checkpoint


def is_step(name: str) -> bool:
    """Whether a folder has the name of a checkpoint."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def is_foreign(path: Path) -> bool:
    """Whether a folder with the name of a checkpoint contains none of a checkpoint's files."""
    return not any((path / name).exists() for name in (*ITEMS, "metrics", "_CHECKPOINT_METADATA"))


def reader(place: Path) -> "CheckpointManager":
    """Returns a manager that reads the checkpoints of a folder; it opens a checkpoint only when asked to."""
    ocp = orbax()
    options = ocp.CheckpointManagerOptions(
        create=False, read_only=True, lightweight_initialize=True, multiprocessing_options=_alone("read")
    )
    return ocp.CheckpointManager(place, options=options, item_names=ITEMS)


def writer(place: Path, seal: Callable[[], None]) -> "CheckpointManager":
    """Returns a manager that keeps the latest checkpoint and the best one.

    Args:
        place: the folder.
        seal: called when all files of a checkpoint are written, before it is renamed to its final name.
    """
    from orbax.checkpoint import checkpoint_managers

    ocp = orbax()
    best = checkpoint_managers.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
    kept = checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(1), best])
    options = ocp.CheckpointManagerOptions(
        best_fn=_rank,
        preservation_policy=kept,
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=_alone("write"),
        async_options=ocp.AsyncOptions(post_finalization_callback=seal),
    )
    return ocp.CheckpointManager(place, options=options, item_names=ITEMS)


def begin_save(manager: "CheckpointManager", step: int, args: Any, metrics: Any) -> bool:
    """Starts a save in the background, like `manager.save`, while no other thread starts one.

    Orbax numbers saves by one counter per process, and reads it again while a save starts. Two saves that start at
    once, each by its own manager, would wait for each other's folders, or remove them.
    """
    with _STARTING:
        return manager.save(step, args=args, metrics=metrics)


def _alone(key):
    """Options by which the process that opens a manager uses it alone, whatever the job's other processes do."""
    ocp = orbax()
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"{key}{own}"
    )


def _rank(metrics) -> Any:
    return metrics["score"], -metrics["step"]


def first_line(error: BaseException) -> str:
    """Returns an error in one line: its type, and the beginning of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A context that turns Orbax's write errors into a UserError."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # tensorstore's have no common class
        raise UserError(
            f"{folder}: a checkpoint can't be written ({first_line(error)}): make room, or repair the disk, and run "
            "the same command again: it goes on from the last checkpoint that was saved"
        ) from error

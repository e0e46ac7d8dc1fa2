"""Which files of a workdir, or of a folder of several, are sent to an object store, and in which order."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxrec.system.files import MARK
from jaxrec.training.workdirs import lease, seals, workdir

CHECKPOINTS, SEAL = "checkpoints", seals.NAME
#: files that are sent before the checkpoints that need them, in this order: the config holds the checksums of those
#: before it, and rows of metrics that a checkpoint doesn't know yet are cut off
BEFORE = (workdir.CATALOGUE, workdir.USERS, workdir.CONFIG, "metrics.jsonl")
NEEDED, CHECKPOINT, RESULT = range(3)  # kinds of files, in the order of sending


class Sent(NamedTuple):
    """A file of a snapshot."""

    path: Path
    signature: list[int]  #: the size of the original file, and when it was written, in nanoseconds


def rank(name: str) -> tuple:
    """Returns the sort key for the order of sending: by kind first, and a seal after the files that it vouches for."""
    path = PurePosixPath(name)
    if step := step_of(name):
        folder, _, number = step.rpartition("/")
        return CHECKPOINT, folder, int(number), is_seal(name), name
    if path.name in BEFORE:
        return NEEDED, str(path.parent), BEFORE.index(path.name)
    return RESULT, name


def step_of(name: str) -> str | None:
    """Returns the folder of the checkpoint that a file belongs to; None for other files.

    >>> step_of("checkpoints/120/params/_METADATA"), step_of("base/checkpoints/7/checksums.json"), step_of("done.json")
    ('checkpoints/120', 'base/checkpoints/7', None)
    """
    parts = PurePosixPath(name).parts
    for at, step in enumerate(parts[:-1]):
        if at and parts[at - 1] == CHECKPOINTS and step.isascii() and step.isdecimal():
            return "/".join(parts[: at + 1])
    return None


def is_seal(name: str) -> bool:
    """Whether a file is a seal, which says that its checkpoint is complete."""
    return name == f"{step_of(name)}/{SEAL}"


def is_sealed_by(name: str, seal: str) -> bool:
    """Whether a file's checksum is in this seal: whether it is in a subfolder of the same checkpoint."""
    return step_of(name) == step_of(seal) and _is_inner(name)


def _is_inner(name):
    step = step_of(name)
    return step is not None and str(PurePosixPath(name).parent) != step


def unsealed(names: Iterable[str]) -> set[str]:
    """Returns the folders of incomplete checkpoints, as `step_of`."""
    names = list(names)
    return {step for name in names if (step := step_of(name))} - {step_of(name) for name in names if is_seal(name)}


def sendable(names: Iterable[str]) -> list[str]:
    """Returns the names of the files that are sent, without those of locks and of unfinished writes."""
    return [name for name in names if _is_sent(PurePosixPath(name).parts)]


def _is_sent(parts):
    return lease.LOCK not in parts and not any(
        part.startswith(MARK) or ".orbax-checkpoint-tmp" in part for part in parts
    )


def signature(path: Path) -> list[int]:
    """Returns the size of a file, and when it was written."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def signatures(folder: Path) -> dict[str, list[int]]:
    """Returns {name: signature} of the files to send; those that vanish meanwhile are left out."""
    found = {}
    for name in _walk(folder):
        with contextlib.suppress(FileNotFoundError):
            found[name] = signature(folder / name)
    return found


@contextlib.contextmanager
def taken(folder: Path, place: Path) -> Iterator[dict[str, Sent]]:
    """Yields {name: Sent} of a snapshot: a state that the folder was in, or that a killed training might have left.

    Results are taken first, since the snapshot must not have older checkpoints than those that results describe; then
    the checkpoints; then the files that these need.

    Args:
        folder: a workdir, or a folder of several.
        place: where the snapshot is made, on the same disk; it is removed afterwards.
    """
    try:
        while True:
            shutil.rmtree(place, ignore_errors=True)
            found: dict[str, Sent] = {}
            with contextlib.suppress(FileNotFoundError):  # the training removed a file meanwhile: start again
                for kind in (RESULT, CHECKPOINT, NEEDED):
                    names = [name for name in _walk(folder) if rank(name)[0] == kind]
                    found |= {name: _take(folder, place, name) for name in names}
                break
        cut = unsealed(found)
        yield {name: each for name, each in found.items() if step_of(name) not in cut}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _take(folder, place, name):
    source, target = folder / name, place / name
    told = signature(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not _is_inner(name):
            raise OSError("written in place")
        os.link(source, target)  # such files are never written again
    except FileNotFoundError:
        raise
    except OSError:  # or a disk without links
        shutil.copyfile(source, target)
    return Sent(target, told)


def _walk(folder):
    """The names of the files to send."""
    for root, folders, names in os.walk(folder):
        below = Path(root).relative_to(folder)
        folders[:] = sorted(each for each in folders if _is_sent((each,)))
        yield from (str(below / name) for name in sorted(names) if _is_sent((name,)))

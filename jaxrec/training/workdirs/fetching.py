"""Reads workdirs in an object store: copies the parts that are asked for into the cache."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxrec.system import arguments, objects
from jaxrec.system.errors import UserError
from jaxrec.system.files import is_address, local
from jaxrec.training.workdirs import mirror, snapshots, workdir
from jaxrec.training.workdirs.checkpoint import Checkpoints

LISTING = "files.json"  # what was copied
AGAIN = 3  # attempts, if a training removes a checkpoint meanwhile
PARAMS, REST = "params", "rest"  # within a checkpoint: what evaluation needs, and what only resuming needs


def here(path: str | os.PathLike, checkpoint: str | int | None = "best", whole: bool = False) -> Path:
    """Returns the path of a workdir on this machine; for an address, that of a copy that holds what is asked for.

    Args:
        path: the workdir, or its address, such as s3://bucket/runs/a.
        checkpoint: the one to copy: "best", "latest" or a step; None for none.
        whole: whether to copy the optimiser's state too.

    Raises:
        UserError: there is no workdir or no such checkpoint, or it can't be reached.
    """
    if not is_address(path):
        return local(path, "a workdir")
    address = str(path).rstrip("/")
    home = mirror.home_of(address) / "read"
    copy = home / objects.name_of(address)
    with mirror.naming(address, home.parent), _locked(home):
        for left in reversed(range(AGAIN)):
            with objects.reaching(address):
                try:
                    _copy(address, copy, checkpoint, whole)
                    break
                except FileNotFoundError:  # removed since it was listed
                    if not left:
                        raise
    return copy


def _copy(address, copy, checkpoint, whole):
    store, root = objects.opened(address)
    there = objects.listed(store, root)
    if workdir.CONFIG not in there:
        inside = sorted(name.split("/")[0] for name in there if name.endswith(f"/{workdir.CONFIG}"))
        hint = f"; in it are {', '.join(inside)}" if inside else ""
        raise UserError(f"{address} is not a workdir of a training (it has no {workdir.CONFIG}){hint}")
    names, unsealed = snapshots.sendable(there), snapshots.unsealed(there)
    steps = {step for name in names if (step := snapshots.step_of(name)) and step not in unsealed}
    for folder in (copy / snapshots.CHECKPOINTS).glob("*"):
        if f"{snapshots.CHECKPOINTS}/{folder.name}" not in steps:
            shutil.rmtree(folder)
    (copy / snapshots.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    wanted = [name for name in names if "/" not in name or snapshots.step_of(name) in steps]
    arrays = {name: parts[2] for name in wanted if (parts := name.split("/"))[2:] and parts[2] in (PARAMS, REST)}
    bring = objects.Copy(store, root, there, copy, copy.parent / LISTING)
    bring.fetch([name for name in wanted if name not in arrays])
    if checkpoint is not None:
        with contextlib.closing(Checkpoints(copy, read_only=True)) as checkpoints:
            step = checkpoints.choose(arguments.checkpoint_name(checkpoint))
        chosen, kinds = f"{snapshots.CHECKPOINTS}/{step}", (PARAMS, REST) if whole else (PARAMS,)
        bring.fetch([name for name in wanted if arrays.get(name) in kinds and snapshots.step_of(name) == chosen])


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Waits until no other process copies into the folder."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".copying", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

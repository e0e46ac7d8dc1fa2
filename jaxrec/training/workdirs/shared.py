"""Lets all processes of a job read a workdir that belongs to the first one."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxrec.kernels import processes
from jaxrec.system.version import VERSION
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.fetching import here


@contextlib.contextmanager
def workdir_of_first(path: Path | str, checkpoint: str | int = "best") -> Iterator[Path | str]:
    """Yields, on each process, a folder that describes the training of the first process's workdir.

    All processes must enter this context. On the first process, or the only one, the folder is the workdir itself; on
    the others it is a copy, for as long as the context lasts. The copy has no checkpoints: `restore_params` sends them.
    If the path is an address in an object store, the first process fetches what the checkpoint needs.

    Raises:
        UserError: on all processes, if there is no workdir, or if they run different versions.
    """
    if not processes.several():
        yield path
        return
    processes.check_same({"version": VERSION})
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / (Path(path).name or "workdir")
        copy.mkdir()
        read = []

        def known():
            read.append(here(path, checkpoint))
            workdir.read(read[0])
            return [name for name in (workdir.CONFIG, workdir.CATALOGUE, workdir.USERS) if (read[0] / name).exists()]

        for name in processes.of_first(known):
            data = processes.bytes_from_first((read[0] / name).read_bytes() if read else b"")
            if not processes.leads():
                (copy / name).write_bytes(data)
        yield read[0] if read else copy

"""A workdir that belongs to the first process of a job, as all of its processes read it."""

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
    """A folder in which each process finds what the first one's workdir says of its training; all must ask for it.

    On the first process, or the only one, that is the workdir itself; on the others a copy, for as long as the context
    lasts. It has no checkpoints: `restore_params` sends them. Of an address in an object store the first one fetches
    what the checkpoint needs.

    Raises:
        UserError: on all processes, where there is no workdir; or they are of different versions.
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

"""A workdir that belongs to the first process of a job, as all of its processes read it."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxrec.kernels import processes
from jaxrec.system.version import VERSION
from jaxrec.training import workdir


@contextlib.contextmanager
def workdir_of_first(path: Path) -> Iterator[Path]:
    """A folder in which each process finds what the first one's workdir says of its training; all must ask for it.

    On the first process, or the only one, that is the workdir itself; on the others a copy, for as long as the context
    lasts. It has no checkpoints: `restore_params` sends them.

    Raises:
        UserError: on all processes, where there is no workdir; or they are of different versions.
    """
    if not processes.several():
        yield path
        return
    processes.check_same({"version": VERSION})

    def known():
        workdir.read(path)
        return [name for name in (workdir.CONFIG, workdir.CATALOGUE, workdir.USERS) if (path / name).exists()]

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / (path.name or "workdir")
        copy.mkdir()
        for name in processes.of_first(known):
            data = processes.bytes_from_first((path / name).read_bytes() if processes.leads() else b"")
            if not processes.leads():
                (copy / name).write_bytes(data)
        yield path if processes.leads() else copy

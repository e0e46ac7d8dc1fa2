"""Several processes as one job: joining it, and what they tell each other. Alone, each function is the plain operation.

The first process alone reads and writes the workdir; what the others need of it is sent to them.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxrec.system.errors import UserError

HEARTBEAT = 30  #: seconds after which a process that isn't heard of counts as dead
PATIENCE = 24 * 3600  #: seconds that the others wait at the end, while the first process tests


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Joins a job of several processes; without arguments, the one that the cluster's environment tells of.

    Args:
        coordinator: HOST:PORT at which the first process can be reached.
        processes: how many processes there are.
        process: the number of this one, from 0.

    Raises:
        UserError: the arguments make no job, or its processes were not found.
    """
    given = coordinator, processes, process
    if any(each is not None for each in given):
        if coordinator is None or processes is None or process is None:
            raise UserError("--coordinator HOST:PORT, --processes N and --process I go together")
        if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
            raise UserError(f"--coordinator {coordinator}: give HOST:PORT, as in 10.0.0.1:8476")
        if not 0 <= process < processes:
            raise UserError(f"--process {process}: of --processes {processes} they are numbered from 0")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # a training notes SIGTERM itself
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=PATIENCE)
    except (ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0][:200]
        raise UserError(
            f"the processes of this job were not found ({first}): start all of them within 5 minutes, or name them by "
            "--coordinator HOST:PORT --processes N --process I"
        ) from error


def several() -> bool:
    """Whether the job has more than one process."""
    return jax.process_count() > 1


def leads() -> bool:
    """Whether this is the first process, or the only one."""
    return jax.process_index() == 0


def from_first(value: Any) -> Any:
    """What the first process has: a value of JSON. The values of the others are ignored."""
    if not several():
        return value
    text = json.dumps(value).encode() if leads() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = np.frombuffer(text.ljust(size)[:size], np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes())


def arrays_from_first(tree: Any, like: Any) -> Any:
    """The arrays of the first process, on the host. `like`: a tree of their shapes and dtypes, for the others."""
    mine = tree if leads() else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, mine)))


def largest(value: int) -> int:
    """The largest value of all processes, for all of them."""
    return int(multihost_utils.process_allgather(np.int32(value)).max()) if several() else value


def whole(x: jax.Array | np.ndarray) -> np.ndarray:
    """An array on the host, whole, of whichever processes its parts are; all processes must ask for it."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable:
        return np.asarray(x)
    if x.is_fully_replicated:
        return np.asarray(x.addressable_data(0))
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def on_devices(x: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array with a sharding; of devices of several processes, each puts its own parts of what all of them have."""
    if sharding.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return jax.device_put(x, sharding)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def check_same(fields: Mapping[str, Any]) -> None:
    """Checks that all processes have the same fields, {name: a value of JSON}.

    Raises:
        UserError: on all processes, where one has another value; its own message names the fields.
    """
    if not several():
        return
    mine, first = json.loads(json.dumps(dict(fields))), from_first(dict(fields))
    names = [name for name in {**first, **mine} if first.get(name) != mine.get(name)]
    differ = np.asarray(multihost_utils.process_allgather(np.int32(bool(names)))).ravel().nonzero()[0].tolist()
    if names:
        raise UserError(
            f"process {jax.process_index()} differs from process 0 in "
            + "; ".join(f"{name}: {mine.get(name)!r}, not {first.get(name)!r}" for name in names)
            + ": start all processes with the same configuration, data and version of jaxrec"
        )
    if differ:
        raise UserError(
            f"process {', '.join(map(str, differ))} has another configuration, data or version of jaxrec than "
            "process 0: its own message names what differs"
        )

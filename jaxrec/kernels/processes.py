"""Several processes as one job: joining it, and what they tell each other. Alone, each function is the plain operation.

The first process alone reads and writes the workdir; what the others need of it is sent to them.
"""

import functools
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrec.system import background
from jaxrec.system.errors import UserError

MEETING, QUIET = 300, 10  #: seconds that a process waits at the start for all of them, and before it says so
HEARTBEAT = 30  #: seconds after which a process that isn't heard of counts as dead
PATIENCE = 24 * 3600  #: seconds that the others wait at the end, while the first process writes
PART = 1 << 26  #: bytes that are sent at once
TASKS = r"(\d+)(?:\(x(\d+)\))?"  #: tasks of one node or several, as SLURM writes them: 2(x3),1
BOUND = "per_task", "single", "map_gpu", "mask_gpu"  #: SLURM's bindings, by which a task sees its own GPUs alone


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Joins a job of several processes; without arguments, the one that the cluster's environment tells of.

    A process takes the GPUs that are its own, see `own_gpus`.

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
        host, _, port = coordinator.rpartition(":")
        if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UserError(f"--coordinator {coordinator}: give HOST:PORT, as in 10.0.0.1:8476")
        if not 0 <= process < processes:
            raise UserError(f"--process is {process}: of {processes} processes it can be 0 to {processes - 1}")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # a training notes SIGTERM itself
    gpus: Any = own_gpus(os.environ)

    def meet():
        while coordinator is not None and not _is_known(coordinator):  # a cluster names its machines as they come up
            time.sleep(1)
        jax.distributed.initialize(
            *given,
            gpus,
            initialization_timeout=2 * MEETING,  # later than `_wait`: that would abort the process
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=PATIENCE,
        )

    try:
        _wait(background.started(meet), *given)  # beside this thread, which Ctrl-C can end
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0][:200]
        raise UserError(
            f"the processes of this job were not found ({first}): start all of them within 5 minutes, or name them by "
            "--coordinator HOST:PORT --processes N --process I"
        ) from error


def _wait(met, coordinator, processes, process):
    """Waits until all processes have met, and says so where that takes long."""
    here, where = (f" {process} of {processes}", f" at {coordinator}") if coordinator else ("", "")
    for seconds in (QUIET, MEETING - QUIET):
        try:
            return met(seconds)
        except TimeoutError:
            if seconds == QUIET:
                said = f"process{here} waits for the others{where}, up to {MEETING / 60:g} minutes"
                print(said, file=sys.stderr, flush=True)
    if coordinator and not _is_known(coordinator):
        raise UserError(f"--coordinator {coordinator}: no machine of this name is known: give that of process 0")
    raise UserError(
        f"process{here} waited {MEETING / 60:g} minutes{where}, and not all were there: start every process once, with "
        "a number of its own and the same --processes and --coordinator, which is where process 0 can be reached"
    )


def _is_known(coordinator):
    """Whether the name of the machine has an address."""
    try:
        return bool(socket.getaddrinfo(coordinator.rpartition(":")[0].strip("[]"), None))
    except OSError:
        return False


def own_gpus(environment: Mapping[str, str]) -> list[int] | list[str] | None:
    """The GPUs of this process, by what SLURM or Open MPI tells of its machine; other devices have no choice.

    JAX by itself takes one: that with the process's number on its machine. So of several GPUs, a process that has a
    machine for itself would leave all but one alone, and one whose GPUs were bound to it would look for another's.

    >>> own_gpus({"SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "2,1(x3)"})
    ['all']
    >>> tasks = {"SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x4)"}
    >>> own_gpus(tasks | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"})
    [4, 5, 6, 7]
    >>> own_gpus(tasks | {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_PER_TASK": "4"})
    ['all']

    Args:
        environment: variables.

    Returns:
        Numbers among the visible GPUs, of equal shares; or ["all"]. None where JAX decides: as `JAX_LOCAL_DEVICE_IDS`
        says, or by the process's number where it isn't known which GPUs there are for all.
    """
    if environment.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    place, number, binding, bound = _here(environment)
    visible = [each for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    if number == 1:
        return ["all"]
    if not visible or not number:
        return None
    if len(visible) < number or len(visible) <= bound or binding.startswith(BOUND):
        return ["all"]
    if binding not in ("", "none"):  # as closest, by which some tasks may see the same
        return None
    share = len(visible) // number
    return list(range(place * share, (place + 1) * share))


def _here(environment):
    """What is told of this process's machine.

    Returns:
        (its number there, how many processes there are, or 0, SLURM's kind of binding, GPUs that SLURM gives each of
        them); (0, 1, "", 0) where there is no cluster.
    """
    of = lambda name: environment.get(name, "")
    if rank := of("OMPI_COMM_WORLD_LOCAL_RANK"):  # in a job of SLURM too, whose variables are then those of all ranks
        return int(rank), int(of("OMPI_COMM_WORLD_LOCAL_SIZE") or 0), "", 0
    told = of("SLURM_STEP_TASKS_PER_NODE") or of("SLURM_TASKS_PER_NODE")
    counts = [int(count) for count, times in re.findall(TASKS, told) for _ in range(int(times or 1))]
    if not of("SLURM_LOCALID"):
        return 0, 1, "", 0
    number = counts[min(int(of("SLURM_NODEID") or 0), len(counts) - 1)] if counts else 0
    binding = of("SLURM_GPU_BIND").removeprefix("verbose").removeprefix(",")
    each = [int(count) for count in re.findall(r"(?:^|[,:])(\d+)(?=,|$)", of("SLURM_GPUS_PER_TASK"))]  # 4, h100:4
    each += [int(count) for count in re.findall(r"gres[/:]gpu(?::[\w.-]+)?[=:](\d+)", of("SLURM_TRES_PER_TASK"))]
    return int(of("SLURM_LOCALID")), number, binding, sum(each)


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
    return json.loads(bytes_from_first(json.dumps(value).encode() if leads() else b""))


def from_all(value: Any) -> list:
    """What each process has, in their order: values of JSON.

    >>> from_all("a")
    ['a']
    """
    if not several():
        return [value]
    mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(mine)))).ravel()
    padded = np.pad(mine, (0, int(sizes.max()) - len(mine)))
    every = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(each[:size].tobytes()) for each, size in zip(every, sizes, strict=True)]


def bytes_from_first(data: bytes) -> bytes:
    """The bytes that the first process has. Those of the others are ignored."""
    if not several():
        return data
    parts, last = divmod(len(data), PART)
    parts, last = np.asarray(multihost_utils.broadcast_one_to_all(np.array([parts, last], np.int32))).tolist()
    found = []
    for number, size in enumerate([PART] * parts + [last] * (last > 0)):
        mine = np.frombuffer(data, np.uint8, size, number * PART) if leads() else np.zeros(size, np.uint8)
        found.append(np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes())
    return b"".join(found)


def of_first(work: Callable[[], Any]) -> Any:
    """What the first process alone does, and all learn of: a value of JSON.

    >>> of_first(lambda: 3)
    3

    Raises:
        UserError: on all processes, where it raises one.
    """
    if not several():
        return work()
    found = {}
    if leads():
        try:
            found = {"value": work()}
        except UserError as error:
            found = {"error": str(error)}
    found = from_first(found)
    if "error" in found:
        raise UserError(found["error"])
    return found["value"]


def shared_out(these: Sequence) -> Sequence:
    """This process's part of these: of n processes, every n-th, from its own number on.

    >>> shared_out([1, 2, 3])
    [1, 2, 3]
    """
    return these[jax.process_index() :: jax.process_count()]


def merged(tree: Any, own: np.ndarray) -> tuple[Any, np.ndarray]:
    """Puts arrays together of which each process has some rows, on all processes.

    >>> merged(np.array([5, 6]), np.array([True, False]))
    (array([5, 6]), array([ True, False]))

    Args:
        tree: arrays [N, ...] of 32 bits on the host, of the same shapes on all processes; other rows are zero.
        own: [N] bool, the rows that this process has; none of them is another's too.

    Returns:
        (tree, [N] bool: the rows that any process has)
    """
    if not several():
        return tree, own
    owns = np.asarray(multihost_utils.process_allgather(own))
    mine = np.zeros(owns.sum(1).max(), np.int64)  # as many rows from each process
    mine[: own.sum()] = np.flatnonzero(own)

    def leaf(x):
        found, sent = np.zeros_like(x), np.asarray(multihost_utils.process_allgather(x[mine]))
        for theirs, rows in zip(owns, sent, strict=True):
            found[theirs] = rows[: theirs.sum()]
        return found

    return jax.tree.map(leaf, tree), np.asarray(owns.any(0))


def arrays_from_first(tree: Any, like: Any) -> Any:
    """The arrays of the first process, on the host. `like`: a tree of their shapes and dtypes, for the others."""
    mine = tree if leads() else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, mine)))


def largest(value: int) -> int:
    """The largest value of all processes, for all of them."""
    return int(multihost_utils.process_allgather(np.int32(value)).max()) if several() else value


class Latest:
    """The largest of the values that all processes say, one after another; of several, each is known one later.

    So no process waits for its devices: what they have to do first is done by then.

    >>> latest = Latest()
    >>> latest.after(3), latest.after(0)
    (3, 0)
    """

    def __init__(self):
        self._said: jax.Array | None = None

    def after(self, value: int) -> int:
        """Says a value. Returns the largest of those that were said before, 0 at first; alone, this one."""
        if not several():
            return value
        before, self._said = self._said, _largest_of_all()(value)
        return 0 if before is None else int(before.addressable_data(0))


@functools.cache
def _largest_of_all() -> Callable[[int], jax.Array]:
    mesh = Mesh(np.array(jax.devices()), ("all",))
    each, whole = NamedSharding(mesh, PartitionSpec("all")), NamedSharding(mesh, PartitionSpec())
    program = jax.jit(jnp.max, out_shardings=whole)
    return lambda value: program(on_devices(np.full(jax.device_count(), value, np.int32), each))


def summed(value: int) -> int:
    """The sum of the values of all processes, for all of them."""
    return int(multihost_utils.process_allgather(np.int32(value)).sum(dtype=np.int64)) if several() else value


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
        UserError: on all processes, where one has another value; it names the fields.
    """
    if not several():
        return
    mine, first = json.loads(json.dumps(dict(fields))), from_first(dict(fields))
    names = [name for name in {**first, **mine} if first.get(name) != mine.get(name)]
    said = "; ".join(f"{name}: {mine.get(name)!r}, not {first.get(name)!r}" for name in names)
    if differ := {number: each for number, each in enumerate(from_all(said)) if each}:
        raise UserError(
            ". ".join(f"process {number} differs from process 0 in {each}" for number, each in differ.items())
            + ": start all processes with the same configuration, data and version of jaxrec"
        )

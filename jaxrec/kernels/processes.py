"""Jobs of several processes: joining one, and exchanging values. In one process, each function is the plain operation.

Only the first process reads and writes the workdir, and sends the others what they need of it.
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

MEETING, QUIET = 300, 10  #: seconds that a process waits for the others at the start, and before it prints that it does
HEARTBEAT = 30  #: seconds after which a process that isn't heard from counts as dead
PATIENCE = 24 * 3600  #: seconds that the others wait at the end, while the first process writes
PART = 1 << 26  #: bytes that are sent at once
TASKS = r"(\d+)(?:\(x(\d+)\))?"  #: tasks per node, for one node or several, as SLURM writes them: 2(x3),1
BOUND = "per_task", "single", "map_gpu", "mask_gpu"  #: SLURM's bindings with which a task sees only its own GPUs


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Joins a job of several processes; without arguments, the one that the cluster's environment describes.

    A process uses its own GPUs; see `own_gpus`.

    Args:
        coordinator: HOST:PORT at which the first process can be reached.
        processes: how many processes there are.
        process: the number of this one, from 0.

    Raises:
        UserError: if the arguments are incomplete or invalid, or the other processes were not found.
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
    jax.config.update("jax_enable_preemption_service", False)  # a training handles SIGTERM itself
    gpus: Any = own_gpus(os.environ)

    def meet():
        while coordinator is not None and not _is_known(coordinator):  # a machine may get its name only once it is up
            time.sleep(1)
        jax.distributed.initialize(
            *given,
            gpus,
            initialization_timeout=2 * MEETING,  # longer than `_wait`: reaching it would abort the process
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=PATIENCE,
        )

    try:
        _wait(background.started(meet), *given)  # in another thread, so that Ctrl-C can end this one
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0][:200]
        raise UserError(
            f"the processes of this job were not found ({first}): start all of them within 5 minutes, or give each of "
            "them --coordinator HOST:PORT --processes N --process I"
        ) from error


def _wait(met, coordinator, processes, process):
    """Waits until all processes have met, and prints that it waits if that takes long."""
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
    """Returns the GPUs of this process, from what SLURM or Open MPI says about its machine.

    By default JAX uses one GPU: the one with the process's number on its machine. A process that is alone on a machine
    with several GPUs would then leave all but one unused, and a process that sees only its own GPUs would look for
    another's. Devices other than GPUs are not chosen.

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
        The numbers of this process's equal share of the visible GPUs; or ["all"]. None leaves the choice to JAX: by
        `JAX_LOCAL_DEVICE_IDS`, or by the process's number if it isn't known which GPUs the processes share.
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
    if binding not in ("", "none"):  # such as closest, with which several tasks may see the same GPUs
        return None
    share = len(visible) // number
    return list(range(place * share, (place + 1) * share))


def _here(environment):
    """Returns what the environment says about this process's machine.

    Returns:
        (the process's number on it, the number of its processes or 0 if unknown, SLURM's kind of GPU binding, the GPUs
        that SLURM gives each process); (0, 1, "", 0) without a cluster.
    """
    of = lambda name: environment.get(name, "")
    if rank := of("OMPI_COMM_WORLD_LOCAL_RANK"):  # also within SLURM, whose variables are then the same for all ranks
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
    """Returns the first process's JSON value on all processes. The values of the others are ignored."""
    if not several():
        return value
    return json.loads(bytes_from_first(json.dumps(value).encode() if leads() else b""))


def from_all(value: Any) -> list:
    """Returns the JSON values of all processes, in the order of the processes.

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
    """Returns the first process's bytes on all processes. Those of the others are ignored."""
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
    """Runs `work` in the first process only, and returns its result, a JSON value, on all processes.

    >>> of_first(lambda: 3)
    3

    Raises:
        UserError: on all processes, if `work` raises one.
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
    """Returns this process's part of a sequence: with n processes, every n-th element, starting at its own number.

    >>> shared_out([1, 2, 3])
    [1, 2, 3]
    """
    return these[jax.process_index() :: jax.process_count()]


def merged(tree: Any, own: np.ndarray) -> tuple[Any, np.ndarray]:
    """Merges arrays of which each process has some rows, on all processes.

    >>> merged(np.array([5, 6]), np.array([True, False]))
    (array([5, 6]), array([ True, False]))

    Args:
        tree: arrays [N, ...] of 32 bits on the host, of the same shapes on all processes; other rows are zero.
        own: [N] bool, the rows that this process has; no two processes have the same row.

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
    """Returns the first process's arrays, on the host. `like`: a tree of their shapes and dtypes, for the others."""
    mine = tree if leads() else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, mine)))


def largest(value: int) -> int:
    """Returns the largest of all processes' values, on all processes."""
    return int(multihost_utils.process_allgather(np.int32(value)).max()) if several() else value


class Latest:
    """The largest of the values that the processes give in each round; with several processes, known a round later.

    So no process waits for its devices, which have finished their earlier work by then.

    >>> latest = Latest()
    >>> latest.after(3), latest.after(0)
    (3, 0)
    """

    def __init__(self):
        self._said: jax.Array | None = None

    def after(self, value: int) -> int:
        """Gives this round's value. Returns the largest of the last round, 0 at first; in a single process, `value`."""
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
    """Returns the sum of all processes' values, on all processes."""
    return int(multihost_utils.process_allgather(np.int32(value)).sum(dtype=np.int64)) if several() else value


def whole(x: jax.Array | np.ndarray) -> np.ndarray:
    """Returns a whole array on the host, whichever processes have its parts; all processes must call this."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable:
        return np.asarray(x)
    if x.is_fully_replicated:
        return np.asarray(x.addressable_data(0))
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def on_devices(x: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Places an array with a sharding. If it spans several processes, all have the array, and each places its parts."""
    if sharding.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return jax.device_put(x, sharding)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def check_same(fields: Mapping[str, Any]) -> None:
    """Checks that all processes have the same fields, {name: a value of JSON}.

    Raises:
        UserError: on all processes, if one has a different value; it names the fields.
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

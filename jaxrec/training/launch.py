"""Runs the program of one device on all devices, with pmap or shard_map."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxrec.kernels.placement import AXIS, Devices, data_size, mesh_of, spread
from jaxrec.kernels.processes import several
from jaxrec.training.steps.step import State

AXES = State(None, None, None, 0, None)  # the carry has a device axis, the rest is replicated
WHOLE = P()
SPECS: Any = State(WHOLE, WHOLE, WHOLE, P(AXIS), WHOLE)  # the same, for a mesh


class Launched(NamedTuple):
    """A jitted program and its last arguments, the seed and the device numbers.

    The seed is an argument so that trainings that differ only in their seeds share a program.
    """

    program: Any
    seed: np.uint32
    numbers: Any

    def __call__(self, *args):
        return self.program(*args, self.seed, self.numbers)

    def lower(self, *args: Any) -> Any:
        """Like `lower` of a jitted function."""
        return self.program.lower(*args, self.seed, self.numbers)

    def trace(self, *args: Any) -> Any:
        """Like `trace` of a jitted function."""
        return self.program.trace(*args, self.seed, self.numbers)


def launch_pmap(
    call: Callable,
    devices: Sequence,
    options: dict[str, Any] | None = None,
    per_device_data: bool = False,
    seed: int = 0,
) -> Launched:
    """Runs `call` on all devices with pmap. The state is donated; all of it but the carry is replicated.

    Args:
        call: as returned by `step.call`.
        devices: the devices.
        options: compiler options.
        per_device_data: whether the data are split over the devices too.
        seed: the seed of the training.
    """
    axes = {"in_axes": (AXES, 0 if per_device_data else None, *(None,) * 4, 0), "out_axes": (AXES, None)}
    # in the order of the mesh that the state is placed on: on a TPU, neighbours in a ring follow one another
    mapped = jax.pmap(call, AXIS, devices=mesh_of(devices).devices.tolist(), **axes)

    def split(state, *args):
        carry_by_device = jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), state.carry)
        state, report = mapped(state._replace(carry=carry_by_device), *args)
        return state._replace(carry=jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state.carry)), report

    program = jax.jit(split, donate_argnums=0, compiler_options=options)
    return Launched(program, np.uint32(seed), np.arange(len(devices)))


def launch_shard_map(
    call: Callable,
    devices: Devices,
    options: dict[str, Any] | None = None,
    per_device_data: bool = False,
    specs: State = SPECS,
    sampler_specs: Any = WHOLE,
    seed: int = 0,
) -> Launched:
    """Like `launch_pmap`, but with shard_map, which checks replication if there is more than one device.

    Args:
        call: as returned by `step.call`.
        devices: the devices, or a mesh.
        options: compiler options.
        per_device_data: whether the data are split over the devices too.
        specs: how a State is placed on the mesh.
        sampler_specs: how the sampler tables are placed on the mesh.
        seed: the seed of the training.
    """
    mesh, split = mesh_of(devices), P(AXIS)
    in_specs = specs, split if per_device_data else P(), sampler_specs, P(), P(), P(), split
    mapped = jax.shard_map(call, mesh=mesh, in_specs=in_specs, out_specs=(specs, P()), check_vma=mesh.size > 1)
    program = jax.jit(mapped, donate_argnums=0, compiler_options=options)
    numbers = np.arange(data_size(mesh))
    return Launched(program, np.uint32(seed), spread(numbers, mesh) if several() else numbers)


LAUNCHERS = {"pmap": launch_pmap, "shard_map": launch_shard_map}


def placed(devices: Devices, specs: State = SPECS) -> State:
    """Returns the shardings of a State; by default the carry is split along its rows, and the rest is replicated."""
    return jax.tree.map(lambda spec: NamedSharding(mesh_of(devices), spec), specs)

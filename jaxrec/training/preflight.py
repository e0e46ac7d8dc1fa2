"""Checks before a training starts that it fits the devices' memory, by the compiler's own memory analysis."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrec.config import registry
from jaxrec.kernels import memory, processes
from jaxrec.system.amounts import in_words
from jaxrec.system.background import started
from jaxrec.system.errors import UserError
from jaxrec.training.feed import Feed
from jaxrec.training.setup import Setup, shapes
from jaxrec.training.steps.step import State

LARGE = 50_000  # the number of items from which a sampled loss is suggested


class TooLarge(UserError):
    """A training that doesn't fit the memory of its devices."""


class Needs(NamedTuple):
    """The bytes that a training needs on one device."""

    state: int  #: params and optimiser state
    data: int  #: histories, or the batches of a call; and the tables that negatives are drawn from
    work: int  #: gradients, activations and scores: what the program takes while it runs


def check_state(setup: Setup) -> None:
    """Checks before any allocation that the state and a gradient fit the memory.

    Raises:
        TooLarge: they don't; the message suggests what to change.
    """
    wanted = shapes(setup)
    params = bytes_on_a_device(wanted.params)
    needs = Needs(bytes_on_a_device(wanted), 0, 0 if setup.config.optim.sparse else params)
    _compare(setup, needs, needs.state + needs.work)


def compiling(setup: Setup, feed: Feed) -> Callable[[], Any] | None:
    """Starts to compile the program of a call in a thread, while the first State is made.

    Returns:
        A function that waits for it, for `check`; None if the program takes batches from the host, which depend on the
        State's step, or if there are several processes, which would get to it at different times.
    """
    if setup.config.feed != "device" or processes.several():
        return None
    data, begins = feed(0, 1)
    return started(partial(_compiled, setup, shapes(setup), data, begins, 1), finishes=True)


def check(
    setup: Setup, state: State, feed: Feed, start: int, end: int, compiled: Callable[[], Any] | None = None
) -> Needs:
    """Compiles the program of a call, and checks that it fits the memory. The training uses the same compiled program.

    Args:
        setup: Setup.
        state: State, on the devices.
        feed: Feed.
        start: the first step of the first call.
        end: the step after its last one.
        compiled: as from `compiling`.

    Raises:
        TooLarge: it doesn't fit; the message suggests what to change.
    """
    data, begins = feed(start, end)
    program = compiled() if compiled else _compiled(setup, state, data, begins, end)
    counted = program.memory_analysis()
    work = counted.temp_size_in_bytes + max(counted.output_size_in_bytes - counted.alias_size_in_bytes, 0)
    needs = Needs(bytes_on_a_device(state), bytes_on_a_device((data, setup.sampler_tables)), work)
    _compare(setup, needs, needs.work)
    return needs


def _compiled(setup, state, data, begins, end):
    return setup.run.lower(state, data, setup.sampler_tables, np.int32(begins), np.int32(end)).compile()


def describe(setup: Setup, needs: Needs) -> str:
    """Describes the memory and the number of steps in one line."""
    left = memory.free(_own(setup)[0])
    of = f", {in_words(left)} free" if left else ""
    return (
        f"memory per device: {in_words(needs.state)} for parameters and optimiser, {in_words(needs.data)} for data, "
        f"{in_words(needs.work)} to work{of}; {setup.total_steps:,} steps in at most {setup.config.epochs:,} epochs"
    )


def _compare(setup, needs, more):
    """Raises TooLarge unless `more` bytes are free on every device."""
    own = _own(setup)
    device = own[0]
    left = memory.free(device)
    shared = len(own) if device.platform == "cpu" else 1  # the devices of a CPU have one memory
    fits = left is None or more * shared <= left
    if not processes.largest(not fits):
        return
    if left is None or fits:
        raise TooLarge("this does not fit the memory of another process of this job: see that process's own message")
    kept = in_words(needs.state)
    raise TooLarge(
        f"this does not fit the memory: it takes {in_words(more)} more on each of {len(setup.devices)} "
        f"{device.platform} device(s), and {in_words(left // shared)} are left ({kept} are the parameters and what the "
        f"optimiser keeps of them): {'; or '.join(_cures(setup, needs, left // shared))}"
    )


def _own(setup):
    """The devices of this process."""
    return [device for device in setup.devices if device.process_index == jax.process_index()]


def _cures(setup, needs, left):
    """What to change, with the smallest change first."""
    config, found = setup.config, []
    params = bytes_on_a_device(shapes(setup).params)
    fixed = 0 if config.optim.sparse else 2 * params  # the part of the work as large as the params: gradients, updates
    rows, loss = setup.microbatch_rows, registry.find("loss", config.loss.name)
    if needs.data and rows > 1 and fixed < left:
        fewer = int(rows * (left - fixed) / max(needs.work - fixed, 1) / 2)
        found.append(f"--config.microbatch_rows={min(max(fewer, 1), rows // 2)}")
    if needs.data and fixed < left and getattr(config.model, "remat", "blocks") != "blocks":
        found.append("--config.model.remat=blocks, which computes activations twice instead of keeping them")
    if needs.data > needs.work - left and needs.data and config.feed == "device" and config.stream == "packed":
        keeps = " with --config.loss.seen=keep" if config.loss.seen == "exclude" else ""
        found.append(f"--config.feed=host{keeps}, which keeps the data off the device")
    every_row = config.optim.name == "adamw" or config.optim.weight_decay or config.optim.ema
    sparse = "" if every_row or config.optim.sparse else "--config.optim.sparse=True"
    if needs.data or needs.state <= left:  # otherwise even the state has no room
        if not loss.sampled and len(setup.split.interactions.catalogue.ids) >= LARGE:
            flags = f"--config.loss.name=sampled-softmax {sparse}".rstrip()
            found.append(f"{flags}, which scores only some items for each target")
        elif loss.sampled and sparse:
            found.append(f"{sparse}, which computes gradients for the batch's items only")
    item, devices = config.mesh.item, len(setup.devices)
    if item < devices and setup.devices[0].platform != "cpu":
        more = min(size for size in range(item + 1, devices + 1) if devices % size == 0)
        found.append(f"--config.mesh.item={more}, which splits the tables of items over that many devices")
    heads = getattr(config.model, "heads", 1)
    narrower = max(int(config.model.dim * left / max(needs.state + needs.work, 1) / 2), 1)
    if narrower >= heads < config.model.dim:
        found.append(f"--config.model.dim={min(narrower // heads * heads, config.model.dim - heads)}")
    elif config.model.dim > 1:
        found.append(f"--config.model.dim={narrower} with --config.model.heads=1")
    return found or ["take a device with more memory"]


def bytes_on_a_device(tree: Any) -> int:
    """Returns the number of bytes that all arrays of a tree take on one device."""
    return sum(math.prod(_shape(x)) * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "dtype"))


def _shape(x):
    """The shape of the part of an array that one device holds."""
    return x.shape if getattr(x, "sharding", None) is None else x.sharding.shard_shape(x.shape)

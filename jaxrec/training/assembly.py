"""Builds a training from its configuration (the split, the Setup, the first State), and calls the compiled program."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrec.config.keys import Config
from jaxrec.data import cold, event_types, sources, splits
from jaxrec.data.attributes import user_columns
from jaxrec.data.interactions import Interactions
from jaxrec.kernels import placement, processes, shards
from jaxrec.training import growing, launch
from jaxrec.training.feed import Feed
from jaxrec.training.setup import Setup, initial, setup, shapes
from jaxrec.training.workdirs import leaves


def split_of(config: Config, interactions: Interactions | None = None) -> splits.Split:
    """Returns the split that a configuration asks for.

    Args:
        config: Config.
        interactions: the data to split; by default the data that `config.dataset` names.
    """
    found = sources.load(config.dataset) if interactions is None else interactions
    found = event_types.asking(found, config.target_types)
    found = user_columns.chosen(found, config.user_features)
    split = splits.split(found, config.split, config.test_quantile, config.valid_fraction)
    return cold.hold_out(split, config.cold_items, config.seed) if config.cold_items else split


def assemble(config: Config, split: splits.Split | None = None, devices: Sequence | None = None) -> Setup:
    """Returns the Setup of a configuration.

    Args:
        config: Config.
        split: the split of the data; by default the one that the configuration asks for.
        devices: the devices to train on; by default all local ones.
    """
    return setup(config, split or split_of(config), list(devices or jax.local_devices()))


def first_state(setup: Setup) -> Any:
    """Returns the State before the first step, on the devices of the setup; no device holds a split table whole."""
    if setup.config.init_from:
        with jax.default_device(placement.host()):
            fresh = jax.device_get(jax.jit(setup.whole)(jax.random.key(setup.config.seed)))
        return saved(setup, growing.carried(fresh, setup))
    shardings = launch.placed(setup.mesh, setup.specs)
    if placement.item_axis(setup.mesh) or setup.fsdp:
        return jax.jit(setup.first, out_shardings=shardings)(jax.random.key(setup.config.seed))
    if processes.several():
        return saved(setup, initial(setup))
    return jax.device_put(initial(setup), shardings)


def to_save(setup: Setup, state: Any) -> Any:
    """Returns a State as checkpoints store it: whole, without padding, on any devices; split arrays are on the host."""
    return shards.whole(state, saved_form(setup))


def saved_shapes(setup: Setup) -> Any:
    """Returns the State of shapes that a checkpoint is restored into, in the form that `to_save` returns."""

    def leaf(placed, form):
        kept = placed.sharding.is_fully_replicated and not processes.several()
        return placed if kept else leaves.on_host(form)

    return jax.tree.map(leaf, shapes(setup), saved_form(setup))


def saved_form(setup: Setup) -> Any:
    """Returns the shapes of the State that `to_save` returns."""
    return jax.eval_shape(setup.whole, jax.random.key(setup.config.seed))


def saved(setup: Setup, state: Any) -> Any:
    """Puts a State from a checkpoint on the devices: the inverse of `to_save`."""
    return jax.tree.map(lambda x, like: shards.padded(x, like.shape, like.sharding), state, shapes(setup))


def call(setup: Setup, feed: Feed, state: Any, start: int, end: int) -> tuple[Any, Any]:
    """Runs the steps from `start` to `end` of one epoch, in one call of the program.

    Args:
        setup: Setup.
        feed: the Feed of the setup.
        state: the State before step `start`; its buffers are donated.
        start: the first step.
        end: the step after the last one.

    Returns:
        The State after the steps, and their StepMetrics, arrays [config.steps_per_call] with the steps taken first.
    """
    data, begins = feed(start, end)
    return setup.run(state, data, setup.sampler_tables, np.int32(begins), np.int32(end))

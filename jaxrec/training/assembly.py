"""From a configuration to a training that runs: data, split, setup, first state, calls of its program."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrec.config.keys import Config
from jaxrec.data import cold, sources, splits
from jaxrec.data.interactions import Interactions
from jaxrec.training import launch
from jaxrec.training.setup import Feed, Setup, initial, setup


def split_of(config: Config, interactions: Interactions | None = None) -> splits.Split:
    """The split that a configuration asks for.

    Args:
        interactions: what is split; those that `config.dataset` names if None.
    """
    found = sources.load(config.dataset) if interactions is None else interactions
    split = splits.split(found, config.split, config.test_quantile, config.valid_fraction)
    return cold.hold_out(split, config.cold_items, config.seed) if config.cold_items else split


def assemble(config: Config, split: splits.Split | None = None, devices: Sequence | None = None) -> Setup:
    """The Setup of a configuration.

    Args:
        split: of the data; the one that the configuration asks for if None.
        devices: all local ones if None.
    """
    return setup(config, split or split_of(config), list(devices or jax.local_devices()))


def first_state(setup: Setup) -> Any:
    """The State before the first step, placed on the devices of the setup."""
    return jax.device_put(initial(setup), launch.placed(setup.devices))


def call(setup: Setup, feed: Feed, state: Any, start: int, end: int) -> tuple[Any, Any]:
    """Run the steps from `start` to `end` of one epoch, in one call of the program.

    Args:
        feed: of the setup.
        state: before step `start`; its buffers are donated.

    Returns:
        The State after them, and their metrics, arrays of `config.steps_per_call` of which the first are filled.
    """
    data, begins = feed(start, end)
    return setup.run(state, data, setup.sampler_tables, np.int32(begins), np.int32(end))

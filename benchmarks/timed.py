"""A training that goes on by a timed call at a time, so that several can be measured in turn."""

import time

import jax
import numpy as np

from jaxrec.training import fit
from jaxrec.training import launch as dev


class Timed:
    """The training of a Config on a Split; made, it has compiled and run its first call."""

    def __init__(self, config, split, steps=4):
        """steps: of a call."""
        self.setup, self.steps = fit.setup(config, split, jax.local_devices()[:1]), min(steps, config.steps_per_call)
        self.feed, self.at = fit.Feed(self.setup), 0
        self.state = jax.device_put(fit.initial(self.setup), dev.placed(self.setup.devices))
        self.call()

    def call(self):
        """Real targets a second of the next call."""
        left = self.setup.epoch_steps - self.at % self.setup.epoch_steps
        end = self.at + min(self.steps, left)
        data, begins = self.feed(self.at, end)
        begun = time.perf_counter()
        tables = self.setup.sampler_tables
        self.state, report = self.setup.run(self.state, data, tables, np.int32(begins), np.int32(end))
        count = float(np.asarray(report.count)[: end - self.at].sum())
        self.at = end
        return count / (time.perf_counter() - begun)

"""A training that advances by one timed call at a time, so that several can be measured in turns."""

import time

import jax
import numpy as np

from jaxrec.training import assembly, fit


class Timed:
    """The training of a Config on a Split. When it is created, it compiles and runs its first call."""

    def __init__(self, config, split, steps=4):
        """steps: the most steps in a call."""
        self.setup = assembly.assemble(config, split, jax.local_devices()[:1])
        self.steps = min(steps, config.steps_per_call)
        self.feed, self.at = fit.Feed(self.setup), 0
        self.state = assembly.first_state(self.setup)
        self.call()

    def call(self):
        """Runs the next call, and returns its real targets per second."""
        left = self.setup.epoch_steps - self.at % self.setup.epoch_steps
        end = self.at + min(self.steps, left)
        if self.setup.config.feed == "device":
            self.feed(self.at, end)  # the plan of an epoch is not timed; what is sent for a step is
        begun = time.perf_counter()
        self.state, report = assembly.call(self.setup, self.feed, self.state, self.at, end)
        count = float(np.asarray(report.count)[: end - self.at].sum())
        self.at = end
        return count / (time.perf_counter() - begun)

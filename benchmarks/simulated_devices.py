"""The same training on 1, 2, 4 and 8 simulated devices, by pmap and by shard_map: how far the runs diverge.

python -m benchmarks.simulated_devices --steps 60
"""

import argparse
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["NPROC"] = "16"  # with fewer threads than devices, simulated devices wait for each other forever

import jax
import numpy as np

from benchmarks import record
from jaxrec.config import recipes
from jaxrec.data import sources, splits
from jaxrec.training import assembly, fit

OVERRIDES = {
    "dataset": "synthetic:users=2000",
    "loss.name": "bce",
    "loss.negatives": "1",
    "optim.eps": "1e-4",  # with Adam's default, rounding becomes steps of the size of the learning rate
    "steps_per_call": "10",
}


def train(split, count, launcher, steps):
    """Returns the params after `steps` steps on `count` devices, and the losses of the steps."""
    config, _ = recipes.load("quickstart", OVERRIDES | {"launcher": launcher})
    setup = assembly.assemble(config, split, jax.devices()[:count])
    state = assembly.first_state(setup)
    feed, losses, now = fit.Feed(setup), [], 0
    while now < steps:
        end = min(fit.boundary(setup, now), steps)
        state, report = assembly.call(setup, feed, state, now, end)
        losses += np.asarray(report.loss)[: end - now].tolist()
        now = end
    return jax.device_get(state.params), losses


def main(steps):
    split = splits.last_item(sources.load(OVERRIDES["dataset"]))
    base, losses = train(split, 1, "pmap", steps)
    moved = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(base))
    rows = {}
    for launcher in ("pmap", "shard_map"):
        for count in (1, 2, 4, 8):
            params, other = train(split, count, launcher, steps)
            apart = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), params, base)
            rows[f"{launcher} {count}"] = {
                "largest_difference_of_a_parameter": max(jax.tree.leaves(apart)),
                "largest_difference_of_a_loss": max(abs(x - y) for x, y in zip(other, losses, strict=True)),
            }
            print(launcher, count, rows[f"{launcher} {count}"], flush=True)
    return {"kind": "devices", "steps": steps, "largest_parameter": moved, "last_loss": losses[-1], "rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    record.write("simulated_devices", main(parser.parse_args().steps))

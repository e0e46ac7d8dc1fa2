"""Does logQ give every item a weight of 1 among in-batch negatives? Measured on the batches of a real epoch.

    python -m benchmarks.logq --dataset ml-1m-sasrec --lengths 20 50 200

The targets of a batch are each other's negatives, and each has the weight 1 / (its expected count), so that their sum
is, on average, the sum over the catalogue. The weight of an item, summed over a slot's negatives, should therefore be 1
on average over the slots that have a different target. The weights are those that the training subtracts, for the
batches of one epoch as the training makes them.
"""

import argparse

import jax
import numpy as np

from benchmarks import record
from jaxrec.config import parsing as configs, recipes
from jaxrec.config.parsing import row_width
from jaxrec.data import sources, splits
from jaxrec.kernels.random import step_key
from jaxrec.training import assembly, feed
from jaxrec.training.steps import negatives

LOSS = {"name": "sampled-softmax", "negatives": 0, "sampling": "in-batch", "share": "batch", "logq": 1.0}


def weights(setup):
    """Returns each item's mean weight among a slot's negatives in an epoch, and how often it is a target: [V], [V]"""
    catalogue, config = len(setup.split.interactions.catalogue.ids), setup.config
    total, slots_of = np.zeros(catalogue + 1), np.zeros(catalogue + 1)
    slots, data, order = 0, jax.device_get(setup.data), feed.order(setup, 0)
    draw, _ = negatives.sampler(config.loss, setup.split, "data", lambda: np.ones(catalogue))  # tables are the setup's

    @jax.jit
    def drawn(batch, key, tables):
        _, targets = setup.objective.make_targets(batch, jax.random.split(key, setup.batches.rows), row_width(config))
        own = jax.vmap(lambda targets: draw(key, None, targets, tables), axis_name="data")
        return jax.tree.map(lambda x: x[0], own(jax.tree.map(lambda x: x[None], targets)))

    for index in range(setup.epoch_steps):
        rows = index * setup.batches.rows + np.arange(setup.batches.rows)
        batch = setup.batches.gather(data, order, rows, setup.objective.stream_targets)
        found = jax.device_get(drawn(batch, step_key(config.seed, index), setup.sampler_tables))
        items = found.items
        real = int((items > 0).sum())
        counts = np.bincount(items, minlength=catalogue + 1)
        each = np.bincount(items, np.exp(-np.float64(found.shift)), catalogue + 1)
        total += each * (real - counts)  # of every slot with another target
        slots_of += counts
        slots += real
    return total[1:] / (slots - slots_of[1:]), slots_of[1:]


def measured(values, asked):
    """Quantiles of the weights of the items that are targets, and the share of them that is within 3% of 1."""
    values = values[asked > 0]
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
    near = ((values >= 0.97) & (values <= 1.03)).mean()
    named = {
        "least": values.min(),
        "2.5%": low,
        "median": middle,
        "97.5%": high,
        "most": values.max(),
        "within 3%": near,
    }
    return {name: round(float(value), 4) for name, value in named.items()}


def main(dataset, lengths, config):
    interactions = sources.load(dataset)
    rows = {}
    for length in lengths:
        rows[str(length)] = {}
        for counts in ("targets", "events"):
            values = {"dataset": dataset, "length": length, "row": length, "loss": LOSS | {"logq_counts": counts}}
            made = recipes.load(config, {})[0]
            split = splits.last_item(interactions)
            setup = assembly.assemble(changed(made, values), split, jax.local_devices()[:1])
            rows[str(length)][counts] = measured(*weights(setup))
            print(length, counts, rows[str(length)][counts], flush=True)
    return {"kind": "logq", "data": dataset, "config": config, "rows": rows}


def changed(config, values):
    """Returns the configuration with some values replaced."""
    return configs.from_dict(configs.to_dict(config) | values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m-sasrec")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--config", default="sasrec_softmax_ml1m")
    flags = parser.parse_args()
    record.write("logq", main(flags.dataset, flags.lengths, flags.config))

"""Compares the first step of every model and loss on meshes of 8 simulated devices with that on one device.

python -m benchmarks.mesh_agreement

The loss, gradients and ranks are compared, for every model with the full softmax, and for every loss with the two-tower
model. Gradients are read from Adam's first moment, which with b1 = 0 is the last gradient. Differences are relative:
those of gradients to the largest gradient.
"""

import argparse
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["NPROC"] = "16"  # with fewer threads than devices, simulated devices wait for each other forever

import jax
import numpy as np
import optax

from benchmarks import plots, record
from jaxrec.config import parsing, registry
from jaxrec.data import interactions, splits
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.training import assembly
from jaxrec.training.feed import Feed

ITEMS = 203  # not divisible by 2, 4 or 8
MESHES = (2, 4), (4, 2), (8, 1), (1, 8)
KEYS = {"caser": {"window": 3}, "sasrec": {"heads": 2}}
SHARES = ("slot", "row", "batch")  # of sampled losses, in rotation


def split():
    random = np.random.default_rng(0)
    histories = [random.integers(1, ITEMS + 1, random.integers(4, 15)).tolist() for _ in range(200)]
    return splits.last_item(interactions.from_sequences([list(range(1, ITEMS + 1)), *histories]))


def cases():
    """{name: keys of a configuration}: every model with the softmax, and every loss with the two-tower model."""
    made = {}
    for name in registry.names("model"):
        model = {"name": name, "dim": 16, "layers": 1, "dropout": 0.2} | KEYS.get(name, {})
        objective = registry.find("model", name).objectives[0]
        made[f"{name}, softmax"] = {"model": model, "loss": {"name": "softmax"}, "objective": objective}
    for number, name in enumerate(registry.names("loss")):
        sampled = {"negatives": 9, "sampling": "uniform", "share": SHARES[number % 3]}
        loss = {"name": name} | (sampled if registry.find("loss", name).sampled else {"label_smoothing": 0.1})
        model = {"name": "two-tower", "dim": 16, "layers": 1, "dropout": 0.2}
        words = f", {loss['share']}" if "share" in loss else ", smoothed"
        made[f"two-tower, {name}{words}"] = {"model": model, "loss": loss}
    return made


def first_step(data, keys, mesh):
    """Returns (loss, gradients, ranks before the step) on a mesh, or on one device if it is None."""
    values = {
        "dataset": "histories",
        "seed": 0,
        "epochs": 1,
        "batch": 64,
        "length": 12,
        "eval_every": 1,
        "patience": 0,
        "optim": {"name": "adam", "learning_rate": 1e-3, "b1": 0.0},
    }
    mesh = {"mesh": dict(zip(("data", "item"), mesh, strict=True))} if mesh else {}
    config = parsing.from_dict(values | keys | mesh)
    setup = assembly.assemble(config, data, jax.devices()[: 8 if mesh else 1])
    state = assembly.first_state(setup)
    ranks = Evaluator(setup.model, config, data, data.test, setup.devices).ranks(state.params)
    state, report = assembly.call(setup, Feed(setup), state, 0, 1)
    moments = optax.tree_utils.tree_get(assembly.to_save(setup, state).opt, "mu")
    return float(report.loss[0]), jax.device_get(moments), ranks


def apart(found, wanted):
    """How far two steps are from each other."""
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (found[1], wanted[1])), strict=True)]
    largest = max(float(np.abs(y).max()) for _, y in pairs)
    return {
        "loss": abs(found[0] - wanted[0]) / abs(wanted[0]),
        "gradients": max(float(np.abs(x - y).max()) for x, y in pairs) / largest,
        "ranks_that_differ": int((found[2] != wanted[2]).sum()),
    }


def plot(result, path):
    """Draws how far each model and loss is from one device, by mesh, and the bar that it must stay below."""
    figure, panels = plots.panels(2)
    for axes, key in zip(panels, ("loss", "gradients"), strict=True):
        for of_case in result["rows"].values():
            axes.plot(list(of_case), [each[key] for each in of_case.values()], "o", markersize=3, color="tab:blue")
        plots.bar(axes, 1e-5)
        axes.set(ylim=(0, 1.1e-5), xlabel="data x item", ylabel=f"{key}, apart from one device")
    plots.save(figure, path)


def main():
    data, rows = split(), {}
    for name, keys in cases().items():
        alone = first_step(data, keys, None)
        rows[name] = {f"{mesh[0]}x{mesh[1]}": apart(first_step(data, keys, mesh), alone) for mesh in MESHES}
        print(name, rows[name], flush=True)
    every = [of_mesh for row in rows.values() for of_mesh in row.values()]
    worst = {key: max(each[key] for each in every) for key in ("loss", "gradients", "ranks_that_differ")}
    return {"kind": "mesh agreement", "items": ITEMS, "questions": len(data.test.target), "worst": worst, "rows": rows}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = main()
    record.write("mesh_agreement", found)
    plot(found, record.place("mesh_agreement", "png"))

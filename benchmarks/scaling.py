"""What does a target cost as the catalogue, the histories and the width grow? One plot each.

    python -m benchmarks.scaling [--only catalogue]

Histories are random. The training is that of `fit`, call by call; all models of a sweep take turns, and medians are
reported.
"""

import argparse
import statistics

import numpy as np

from benchmarks import plots, record
from benchmarks.timed import Timed
from jaxrec.config import parsing as configs
from jaxrec.data import splits
from jaxrec.data.interactions import Catalogue, Interactions

SLOTS = 6400  # per step, whatever the length of the histories
EPOCH = 8  # steps
BASE = {"items": 10_000, "length": 50, "dim": 64}
SOFTMAX = {"name": "softmax", "negatives": 0}
BCE = {"name": "bce", "negatives": 1}
SHARED = {"name": "sampled-softmax", "negatives": 256, "sampling": "uniform", "share": "batch"}

#: the key that grows: (its values, {label: (model, loss, row-sparse updates, the largest value)})
SWEEPS = {
    "items": (
        (1_000, 10_000, 100_000, 1_000_000),
        {
            "SASRec, softmax": ("sasrec", SOFTMAX, False, 100_000),
            "SASRec, bce": ("sasrec", BCE, False, 1_000_000),
            "SASRec, bce, row-sparse": ("sasrec", BCE, True, 1_000_000),
            "SASRec, 256 shared negatives, row-sparse": ("sasrec", SHARED, True, 1_000_000),
            "GRU4Rec, 256 shared negatives, row-sparse": ("gru4rec", SHARED, True, 1_000_000),
        },
    ),
    "length": (
        (25, 50, 100, 200, 400, 800, 1600),
        {"SASRec, bce": ("sasrec", BCE, False, 1600), "GRU4Rec, bce": ("gru4rec", BCE, False, 1600)},
    ),
    "dim": (
        (32, 64, 128, 256, 512),
        {
            "SASRec, bce": ("sasrec", BCE, False, 512),
            "GRU4Rec, bce": ("gru4rec", BCE, False, 512),
            "SASRec, softmax": ("sasrec", SOFTMAX, False, 256),
        },
    ),
}
AXES = {"items": "items of the catalogue", "length": "items of a history", "dim": "width"}


def histories(items, length):
    """Interactions of users with `length` + 3 random items each, enough for an epoch."""
    users = EPOCH * SLOTS // length
    flat = np.random.default_rng(0).integers(1, items + 1, users * (length + 3), dtype=np.int32)
    offsets = np.arange(users + 1, dtype=np.int64) * (length + 3)
    return Interactions(
        items=flat,
        offsets=offsets,
        users=np.arange(1, users + 1),
        catalogue=Catalogue(np.arange(1, items + 1)),
        name="random histories",
    )


def config_of(model, loss, sparse, length, dim):
    """A Config of these sizes."""
    return configs.from_dict(
        {
            "dataset": "random",
            "seed": 0,
            "epochs": 1000,
            "batch": max(SLOTS // length, 1),
            "length": length,
            "eval_every": 1,
            "patience": 0,
            "model": {"name": model, "dim": dim, "layers": 2 if model == "sasrec" else 1, "dropout": 0.1},
            "loss": loss,
            "optim": {"name": "adam", "learning_rate": 1e-3, "sparse": sparse},
        }
    )


def sweep(key, rounds):
    """Runs a sweep over the values of a key. Returns {label: {value: microseconds per target}}."""
    values, models = SWEEPS[key]
    found = {label: {} for label in models}
    for value in values:
        sizes = BASE | {key: value}
        split = splits.last_item(histories(sizes["items"], sizes["length"]))
        timed = {
            label: Timed(config_of(model, loss, sparse, sizes["length"], sizes["dim"]), split)
            for label, (model, loss, sparse, most) in models.items()
            if value <= most
        }
        rates = {label: [] for label in timed}
        for _ in range(rounds):
            for label, each in timed.items():
                rates[label].append(each.call())
        for label, each in rates.items():
            found[label][str(value)] = 1e6 / statistics.median(each)
            print(f"{key} {value:>9,}  {label:45} {found[label][str(value)]:9.2f} us a target", flush=True)
    return found


def plot(result, path):
    """Draws a panel for each sweep."""
    from matplotlib.ticker import LogLocator

    figure, panels = plots.panels(len(result["sweeps"]))
    for axes, (key, found) in zip(panels, result["sweeps"].items(), strict=True):
        for label, costs in found.items():
            plots.line(axes, map(int, costs), costs.values(), label)
        plots.over(axes, sorted({int(value) for costs in found.values() for value in costs}), AXES[key])
        axes.set(yscale="log", ylabel="microseconds a target")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(SWEEPS))
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args()
    found = {key: sweep(key, flags.rounds) for key in flags.only or SWEEPS}
    result = {"kind": "scaling", "rounds": flags.rounds, "slots": SLOTS, "base": BASE, "sweeps": found}
    record.write("scaling", result)
    plot(result, record.place("scaling", "png"))

"""What does each loss cost, and how well does it train? Trains SASRec on one data set with every loss.

    python -m benchmarks.losses --dataset ml-1m-sasrec
    python -m benchmarks.losses --dataset beauty-bert4rec --train 20 --only "sampled-softmax, 256 a slot"

The cost is that of real training calls, in turns, round by round, as a median. With --train, the model is also trained
with each loss for that many epochs: the result is the number of epochs until validation NDCG@10 comes within 3% of the
full softmax's best, times the cost of an epoch.
"""

import argparse
import json
import statistics
from pathlib import Path

from benchmarks import record
from benchmarks.compare import length_of
from benchmarks.timed import Timed
from jaxrec.api.fitting import fit
from jaxrec.config import recipes
from jaxrec.data import sources, splits

SAMPLED = {"name": "sampled-softmax", "sampling": "uniform"}
POPULAR = {"sampling": "popularity", "share": "batch", "alpha": 0.5, "negatives": 2048, "sparse": True}
LOSSES = {
    "softmax": {"name": "softmax", "negatives": 0},
    "bce, 1 a slot": {"name": "bce", "negatives": 1},
    "bce, 1 a slot, sparse": {"name": "bce", "negatives": 1, "sparse": True},
    "bpr, 1 a slot, sparse": {"name": "bpr", "negatives": 1, "sparse": True},
    "gbce, 256 a slot, sparse": {"name": "gbce", "negatives": 256, "sparse": True},
    "sampled-softmax, 256 a slot": SAMPLED | {"negatives": 256},
    "sampled-softmax, 256 a slot, sparse": SAMPLED | {"negatives": 256, "sparse": True},
    "sampled-softmax, 3000 a row, sparse": SAMPLED | {"negatives": 3000, "share": "row", "sparse": True},
    "sampled-softmax, 3000 a batch, sparse": SAMPLED | {"negatives": 3000, "share": "batch", "sparse": True},
    "sampled-softmax, 2048 popular a batch, logQ, sparse": SAMPLED | POPULAR | {"logq": 1.0},
    "bpr-max, 2048 popular a batch, sparse": {"name": "bpr-max"} | POPULAR,
    "top1-max, 2048 popular a batch, sparse": {"name": "top1-max"} | POPULAR,
}
CLOSE = 0.97  # of the best of the full softmax


def values_of(loss, common):
    """The changes of a configuration for one of LOSSES."""
    sparse = loss.get("sparse", False)
    return common | {"optim.sparse": sparse} | {f"loss.{k}": v for k, v in loss.items() if k != "sparse"}


def costs(recipe, losses, common, split, rounds):
    """Times all losses in turns. Returns {label: median of the real targets per second}."""
    timed = {}
    for label, loss in losses.items():
        values = {key: str(value) for key, value in values_of(loss, common).items()}
        timed[label] = Timed(recipes.load(recipe, values)[0], split)
    rates = {label: [] for label in timed}
    for _ in range(rounds):
        for label, each in timed.items():
            rates[label].append(each.call())
    return {label: statistics.median(each) for label, each in rates.items()}


def learnt(path):
    """The validations of a workdir: [(epoch, NDCG@10), ...]."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [(row["epoch"], row["valid"]["ndcg@10"]) for row in rows if "valid" in row]


def measure(dataset, recipe, losses, rounds, epochs, runs):
    """Measures one data set, and returns the result."""
    interactions = sources.load(dataset)
    split, length = splits.last_item(interactions), length_of(interactions)
    common = {"dataset": dataset, "length": length, "row": length}
    rates = costs(recipe, losses, common, split, rounds)
    rows = {label: {"targets_per_second": rate, "to_softmax": rate / rates["softmax"]} for label, rate in rates.items()}
    if epochs:
        for label, loss in losses.items():
            path = runs / label.replace(", ", "-").replace(" ", "-")
            values = values_of(loss, {"length": length, "row": length})
            fit(dataset, recipe, path, **values, epochs=epochs, patience=0)
            rows[label] |= {"valid": learnt(path), "best": max(ndcg for _, ndcg in learnt(path))}
        bar = CLOSE * rows["softmax"]["best"]
        for row in rows.values():
            there = next((epoch for epoch, ndcg in row["valid"] if ndcg >= bar), None)
            row["epochs_to_bar"] = there
            row["cost_to_bar"] = there and there / row["targets_per_second"]
        for row in rows.values():
            row["times_softmax"] = row["cost_to_bar"] and row["cost_to_bar"] / rows["softmax"]["cost_to_bar"]
    return {
        "kind": "losses",
        "data": Path(dataset).name,
        "items": len(interactions.catalogue.ids),
        "recipe": recipe,
        "rounds": rounds,
        "rows": rows,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--recipe", default="sasrec_softmax_ml1m", help="the configuration whose loss is changed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--train", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--only", action="append", choices=list(LOSSES), help="only this loss, and softmax; repeatable")
    parser.add_argument("--runs", type=Path, help="folder of the trainings (default: runs/losses/DATASET)")
    flags = parser.parse_args()
    name = Path(flags.dataset).name
    kept = {label: loss for label, loss in LOSSES.items() if label == "softmax" or label in (flags.only or LOSSES)}
    runs = flags.runs or Path("runs/losses") / name
    result = measure(flags.dataset, flags.recipe, kept, flags.rounds, flags.train, runs)
    for label, row in result["rows"].items():
        print(f"{label:52} {row['targets_per_second']:10,.0f} targets/s, softmax x {row['to_softmax']:.2f}", end="")
        print(f"; best {row['best']:.4f}, cost to the bar, softmax x {row['times_softmax']}" if flags.train else "")
    record.write(f"losses_{name}" + ("_trained" if flags.train else ""), result)

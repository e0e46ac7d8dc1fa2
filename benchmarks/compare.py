"""Which model is better on these data? All of them, and the baselines, under one protocol, in one table and one plot.

    python -m benchmarks.compare --dataset ml-1m-sasrec --models gru4rec,sasrec,bert4rec,caser --seeds 3
    python -m benchmarks.compare --dataset ml-1m-sasrec --models sasrec --vary positions=from_start,from_end,relative

Each model is trained by its recipe for ML-1M, with the length of histories that the data call for, chosen on validation
and tested once a seed. Trainings lie under --runs and are gone on with, or taken as they are, when they exist.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import record
from jaxrec import cli
from jaxrec.data import sources, splits
from jaxrec.evaluation import evaluator, ranker
from jaxrec.evaluation.baselines import BASELINES
from jaxrec.models.entry import build
from jaxrec.training import workdir
from jaxrec.training.restore import restore_params

RECIPES = {
    "gru4rec": "gru4rec_ml1m",
    "sasrec": "sasrec_softmax_ml1m",
    "bert4rec": "bert4rec_ml1m",
    "caser": "caser_ml1m",
    "two-tower": "two_tower_ml1m",
}
SHOWN = ("hr@10", "ndcg@10", "mrr")


def trained(recipe, path, values):
    """Train a recipe with these values to its end, or take it as it is."""
    flags = [f"--config.{key}={value}" for key, value in values.items()]
    if status := cli.main(["train", "--config", recipe, "--workdir", str(path), *flags]):
        sys.exit(status)


def tested(path, split):
    """Ranks of the test questions [Q] by a workdir's best checkpoint, and what is known of the training."""
    config = workdir.read(path).config
    interactions, devices = split.interactions, jax.local_devices()
    model = build(config, len(interactions.catalogue.ids), len(interactions.users))
    params, step = restore_params(path, model, "best", jax.sharding.SingleDeviceSharding(devices[0]))
    judge = evaluator.Judge(model, config, split, split.test, devices[:1])
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    done = json.loads((path / workdir.DONE).read_text())
    return judge.ranks(params), {
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "minutes": done["seconds"] / 60,
        "epochs": rows[-1]["epoch"],
        "best_epoch": next(row["epoch"] for row in rows if row["step"] == step),
        "targets_per_second": sum(row["targets"] for row in rows) / done["seconds"],
    }


def counted(name, split):
    """Ranks of the test questions by a baseline."""
    baseline = BASELINES[name]
    learnt = baseline.fit(split)
    prepared = ranker.prepare(split, split.test, devices=jax.local_devices())
    queries = baseline.queries(learnt, split, split.test)
    return ranker.run(prepared, baseline.scorer, baseline.params(learnt), queries)


def gains(ranks):
    """HR@10, NDCG@10 and 1 / rank of every user, the means over seeds. [S, Q] -> [3, Q]"""
    hits, ranks = ranks <= 10, ranks.astype(float)
    return np.stack([hits, hits / np.log2(ranks + 1), 1 / ranks]).mean(1)


def paired(first, second, resamples=10_000, seed=0):
    """The mean difference of two models' NDCG@10 a user, its 95% interval, the p of a sign-flip permutation test."""
    difference, rng = gains(first)[1] - gains(second)[1], np.random.default_rng(seed)
    low, high = bootstrap(difference[None])[0]
    moving = difference[difference != 0]
    flips = np.array([(rng.choice([-1, 1], len(moving)) * moving).sum() for _ in range(resamples)])
    p = (1 + (np.abs(flips) >= abs(difference.sum())).sum()) / (1 + resamples)
    return {"ndcg@10": float(difference.mean()), "ci95": [low, high], "p": float(p)}


def bootstrap(values, resamples=1000, seed=0):
    """95% intervals of the means over users, by the percentile bootstrap. [n, Q] -> n pairs"""
    rng, number = np.random.default_rng(seed), values.shape[1]
    means = np.stack([values[:, rng.integers(0, number, number)].mean(1) for _ in range(resamples)])
    return np.quantile(means, [0.025, 0.975], axis=0).T.tolist()


def row_of(ranks):
    """The metrics, means over seeds, with the intervals over users, and each seed's. [S, Q]"""
    mean = gains(ranks)
    each = [dict(zip(SHOWN, gains(one[None]).mean(1).tolist(), strict=True)) for one in ranks]
    return {
        "metrics": dict(zip(SHOWN, mean.mean(1).tolist(), strict=True)),
        "ci95": dict(zip(SHOWN, bootstrap(mean), strict=True)),
        "seeds": each,
    }


def length_of(interactions):
    """200 where a quarter of the histories is longer than 50 items, else 50."""
    return 200 if np.quantile(np.diff(interactions.offsets), 0.75) > 50 else 50


def variants(models, vary):
    """{label: (model, values)}: every model with every value of the key that varies.

    Args:
        vary: "KEY=VALUE,VALUE", or None.
    """
    if vary is None:
        return {model: (model, {}) for model in models}
    key, _, values = vary.partition("=")
    return {f"{model} {value}": (model, {key: value}) for model in models for value in values.split(",")}


def compare(dataset, models, baselines, seeds, runs, overrides):
    """The result of one data set. models: as of `variants`; overrides: {key: value} of every configuration."""
    interactions = sources.load(dataset)
    split, length = splits.last_item(interactions), length_of(interactions)
    common = {"dataset": dataset, "length": length, "row": length} | overrides
    rows, ranks = {}, {}
    for name in baselines:
        ranks[name] = counted(name, split)[None]
        rows[name] = row_of(ranks[name])
    for name, (model, values) in models.items():
        paths = [runs / f"{name.replace(' ', '-')}-{seed}" for seed in range(seeds)]
        for seed, path in enumerate(paths):
            trained(RECIPES[model], path, common | values | {"seed": seed})
        found, facts = zip(*(tested(path, split) for path in paths), strict=True)
        ranks[name] = np.stack(found)
        mean = {key: float(np.mean([each[key] for each in facts])) for key in facts[0]}
        rows[name] = row_of(ranks[name]) | mean
    order = sorted(models, key=lambda name: -rows[name]["metrics"]["ndcg@10"])
    versus = {"first": order[0], "second": order[1]} | paired(ranks[order[0]], ranks[order[1]]) if order[1:] else None
    return {"kind": "compare", "data": Path(dataset).name, "seeds": seeds, "rows": rows, "paired": versus}


def show(result):
    """The table."""
    table = Table(title=f"{result['data']}, held-out last item, whole catalogue, {result['seeds']} seed(s)")
    for column in ("", "HR@10", "NDCG@10", "95%", "MRR", "parameters", "minutes", "targets/s"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in sorted(result["rows"].items(), key=lambda item: -item[1]["metrics"]["ndcg@10"]):
        hr, ndcg, mrr = (f"{row['metrics'][each]:.4f}" for each in SHOWN)
        cost = [""] * 3
        if "parameters" in row:
            cost = [f"{row['parameters']:,.0f}", f"{row['minutes']:.1f}", f"{row['targets_per_second']:,.0f}"]
        interval = "{:.4f} - {:.4f}".format(*row["ci95"]["ndcg@10"])
        table.add_row(name, hr, ndcg, interval, mrr, *cost)
    Console(width=max(Console().width, 120)).print(table)
    if versus := result["paired"]:
        low, high = versus["ci95"]
        print(
            f"{versus['first']} less {versus['second']}, NDCG@10 of the same users: {versus['ndcg@10']:.4f} "
            f"({low:.4f} to {high:.4f}), p = {versus['p']:.4f}"
        )


def plot(result, path):
    """NDCG@10 with its interval, a bar a model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = sorted(result["rows"].items(), key=lambda item: item[1]["metrics"]["ndcg@10"])
    values = np.array([row["metrics"]["ndcg@10"] for _, row in rows])
    low, high = np.array([row["ci95"]["ndcg@10"] for _, row in rows]).T
    figure, axes = plt.subplots(figsize=(6, 0.4 * len(rows) + 1), layout="constrained")
    colours = ["tab:blue" if "parameters" in row else "lightgrey" for _, row in rows]
    axes.barh([name for name, _ in rows], values, xerr=[values - low, high - values], color=colours, capsize=3)
    axes.set(xlabel="NDCG@10, test, whole catalogue", title=result["data"])
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = functools.partial(str.split, sep=",")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", type=listed, default=list(RECIPES))
    parser.add_argument("--baselines", type=listed, default=["popularity", "transitions"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="where trainings lie (default: runs/compare/NAME)")
    parser.add_argument("--vary", metavar="KEY=VALUE,VALUE", help="train each model with each value")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every configuration")
    parser.add_argument("--name", help="of the result (default: of the data, and the key that varies)")
    flags = parser.parse_args()
    name = flags.name or "_".join([Path(flags.dataset).name, *(flags.vary or "").split("=")[:1]]).strip("_")
    changes = dict(each.split("=", 1) for each in flags.set)
    runs, models = flags.runs or Path("runs/compare") / name, variants(flags.models, flags.vary)
    result = compare(flags.dataset, models, flags.baselines, flags.seeds, runs, changes)
    show(result)
    plot(result, record.place(f"compare_{name}", "png"))
    record.write(f"compare_{name}", result)

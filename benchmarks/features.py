"""What do item features gain, for items that are in the training and for items that nobody has interacted with?

    python -m benchmarks.features --dataset beauty-5core --seeds 3
    python -m benchmarks.features --dataset ml-1m --seeds 3

For each seed, a tenth of the items is held out of training, and the same recipe is trained with and without features.
Two baselines answer the same test questions: neighbours by features alone, and 10 items drawn at random from those that
share a value with the history's last item, or that have exactly its values; for these, the result is the probability
that the target is among them. Trainings are stored under --runs, and are resumed, or reused when complete.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import plots, record
from jaxrec.api import fitting
from jaxrec.api.logs import as_log
from jaxrec.data import splits
from jaxrec.data.attributes import features
from jaxrec.evaluation import content, ranker
from jaxrec.evaluation.comparison import gains, paired
from jaxrec.evaluation.evaluator import ranks_of
from jaxrec.kernels import placement
from jaxrec.system import console as consoles

BASE = {
    "cold_items": 0.1,
    "batch": 256,
    "length": 50,
    "row": 50,
    "eval_every": 4,
    "patience": 2,
    "model.layers": 1,
    "loss": {"name": "sampled-softmax", "negatives": 512, "sampling": "uniform", "share": "batch"},
}
#: {data: (recipe, its changes, columns, those that define a category)}; a training takes minutes on two cores
BASES = {
    "beauty-5core": (
        "sasrec_softmax_beauty",
        {"epochs": 40, "model.dropout": 0.5},
        "attribute_ids",
        "attribute_ids",
    ),
    "ml-1m": ("sasrec_softmax_ml1m", {"epochs": 40, "batch": 64}, "genres,year", "genres"),
}
DRAWN, NEWEST, BONUSES = 10, (1, 3, 10), (0.0, 0.5, 1.0)


def train(log, recipe, changes, path, seed, bonuses=(0.0,)):
    """Trains, or reuses a training. Returns ({bonus: ranks of the test questions}, targets per second, split)."""
    config, _ = fitting.configuration(recipe, changes | {"seed": seed}, log)
    fitting.train(config, path.name, log, path, consoles.make())
    split = fitting.split_for(config, log)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    rate = sum(row["targets"] for row in rows) / rows[-1]["seconds"]
    by = lambda bonus: replace(config, cold_bonus=bonus)
    asked = split, "best", "full", "test", placement.local()
    return {bonus: ranks_of(path, by(bonus), *asked) for bonus in bonuses}, rate, split


def by_features(split, columns, category):
    """Answers the test questions by features alone. Returns ({neighbours: ranks}, {draw: [Q] probabilities})."""
    catalogue = split.interactions.catalogue.counted(splits.training_counts(split))
    learnt = content.bags(features.build(catalogue, features.parse(columns)))
    layout = ranker.lay_out(split, split.test, "full", devices=placement.local())
    asked = {number: content.newest(learnt, split, split.test, number) for number in NEWEST}
    ranks = {
        f"neighbours of the newest {number}": ranker.run(layout, content.scorer, learnt, each)
        for number, each in asked.items()
    }
    values = features.build(catalogue, features.parse(category))
    ways = {"shares a value": False, "has the same values": True}
    draws = {name: drawn(split, split.test, values, DRAWN, every=every) for name, every in ways.items()}
    return ranks, draws


def drawn(split, questions, found, k=10, *, every=False):
    """The probability [Q] that k random items that share a value with the last history item include the target.

    Items of the history are not drawn.

    Args:
        split: the split.
        questions: the questions.
        found: the Features of the catalogue, from the columns that define the category.
        k: number of items drawn.
        every: whether to draw only from items with exactly the last item's values.
    """
    items, last = split.interactions.items, split.interactions.items[questions.stop - 1]
    alike = _same if every else _sharing
    chances = np.zeros(len(last))
    order = np.argsort(last, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(last[order])) + 1) if len(order) else ():
        pool = alike(found.values, last[group[0]] - 1)
        for question in group[pool[questions.target[group] - 1]]:
            history = np.unique(items[questions.start[question] : questions.stop[question]])
            left = pool.sum() - pool[history - 1].sum()
            chances[question] = min(k / left, 1.0) if questions.target[question] not in history else 0.0
    return chances


def _sharing(values, row):
    """Whether each item shares a value with this row. [V] bool"""
    return np.isin(values, values[row][values[row] > 0]).any(1)


def _same(values, row):
    return (values == values[row]).all(1)


def measured(ranks):
    """HR@10 and NDCG@10."""
    hits, ndcg, _ = gains(ranks[None]).mean(1)
    return {"hr@10": float(hits), "ndcg@10": float(ndcg)}


def of_seed(log, dataset, seed, runs, changes):
    """Returns the metrics of a seed: {part of the targets: {model or draw: metrics}}."""
    recipe, base, columns, category = BASES[dataset]
    base = BASE | base
    plain, rate, split = train(log, recipe, base, runs / f"{dataset}-plain-{seed}", seed)
    featured, own_rate, _ = train(
        log, recipe, base | {"features": columns} | changes, runs / f"{dataset}-features-{seed}", seed, BONUSES
    )
    plain = plain[0.0]
    near, draws = by_features(split, columns, category)
    cold = splits.training_counts(split)[split.test.target - 1] == 0
    found = {"targets_per_second": {"without": rate, "with": own_rate}}
    for part, some in {"warm": ~cold, "cold": cold}.items():
        favoured = {f"with features, a bonus of {bonus:g}": ranks for bonus, ranks in featured.items() if bonus}
        rows = {"without features": plain, "with features": featured[0.0]} | favoured | near
        found[part] = {"targets": int(some.sum())} | {name: measured(ranks[some]) for name, ranks in rows.items()}
        found[part] |= {f"drawn from what {name}": {"hr@10": float(each[some].mean())} for name, each in draws.items()}
        found[part]["gain"] = {
            f"{bonus:g}": paired(ranks[None, some], plain[None, some]) for bonus, ranks in featured.items()
        }
    return found


def main(flags):
    """Runs the trainings that are missing, and writes the metrics, per seed and on average."""
    log, name = as_log(flags.dataset), Path(flags.dataset).name
    changes = {"id_dropout": flags.id_dropout}
    seeds = [of_seed(log, name, seed, flags.runs, changes) for seed in range(flags.seeds)]
    mean = {
        part: {
            who: {key: float(np.mean([seed[part][who][key] for seed in seeds])) for key in seeds[0][part][who]}
            for who in seeds[0][part]
            if who not in ("targets", "gain")
        }
        for part in ("warm", "cold")
    }
    recipe, base, columns, category = BASES[name]
    described = {"recipe": recipe, "changes": BASE | base, "features": columns, "category": category, **changes}
    record.write(f"features_{name}", {"kind": "features", "data": name, **described, "mean": mean, "seeds": seeds})


def plot(result, path):
    """Draws HR@10 of warm and cold targets, a bar for each model or baseline, a dot for each seed."""
    figure, panels = plots.panels(2, width=5.2, height=3.4)
    names = list(result["mean"]["cold"])
    for axes, part in zip(panels, ("warm", "cold"), strict=True):
        axes.barh(names, [result["mean"][part][who]["hr@10"] for who in names], color="lightgrey")
        for seed in result["seeds"]:
            axes.plot([seed[part][who]["hr@10"] for who in names], names, "o", color="C0", markersize=3)
        axes.set(xlabel=f"HR@10 of {part} targets, {result['data']}", ylim=(len(names) - 0.5, -0.5))
    panels[1].set_yticks([])
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, choices=list(BASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--id-dropout", type=float, default=0.2, help="config.id_dropout of the training with features")
    parser.add_argument("--runs", type=Path, default=Path("runs/features"), help="folder of the trainings")
    main(parser.parse_args())

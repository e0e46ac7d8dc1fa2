"""What does each lever of training gain? Compares a base recipe with the same plus one change, on the same users.

    python -m benchmarks.levers --dataset beauty-5core
    python -m benchmarks.levers --dataset beauty-5core --levers label_smoothing,gated --seeds 5
    python -m benchmarks.levers --dataset rsc15-100k --default --levers projected,hard,plain --seeds 5
    python -m benchmarks.levers --dataset ml-100k --default --set loss.seen=keep --levers seen --seeds 5
    python -m benchmarks.levers --dataset ml-1m --newest 22 --default --set loss.seen=keep --levers seen --seeds 2

With one seed, levers are screened by validation only: nothing is chosen by the test. With more seeds, the gain on the
test is reported as well. Trainings are stored under --runs, and are resumed, or reused when complete; each run adds to
the result.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import record
from benchmarks.gains import DEFAULT
from jaxrec.api import fitting
from jaxrec.api.logs import as_log
from jaxrec.data.storage.ragged import slices
from jaxrec.evaluation.comparison import gains, paired
from jaxrec.evaluation.evaluator import ranks_of
from jaxrec.evaluation.protocols import FULL, KEPT, default_protocol
from jaxrec.kernels import placement
from jaxrec.system import console as consoles

COSINE = {"optim.schedule": "cosine", "patience": 0, "optim.learning_rate": 2e-3}
#: {data: (recipe, changes of it that the base and all levers share)}
BASES = {
    "beauty-5core": (
        "sasrec_softmax_beauty",
        COSINE | {"model.layers": 2, "model.dropout": 0.5, "batch": 256, "epochs": 30, "eval_every": 3},
    ),
    "ml-1m-sasrec": (
        "sasrec_softmax_ml1m",
        COSINE | {"history": "windows", "length": 50, "row": 50, "epochs": 15, "eval_every": 3, "batch": 256},
    ),
}
BASES |= {
    "30music-sample10": ("default", {"model.embedding": "shared", "epochs": 8, "patience": 0, "eval_every": 2}),
    "ml-1m": BASES["ml-1m-sasrec"],
}
#: uniform negatives of a row, of which RecBoard's recipe has 500
SAMPLED = {"loss.name": "sampled-softmax", "loss.negatives": 500, "loss.sampling": "uniform", "loss.share": "row"}
CHANGES = {"levers": "levers", "context": "arms"}  # {kind of result: its key of what is changed}
#: {lever: what it changes}
LEVERS = {
    "gated": {"model.norm": "gated", "model.ffn": "swiglu", "model.ffn_multiplier": 2},
    "pre": {"model.norm": "pre", "model.ffn": "gelu", "model.ffn_multiplier": 2},
    "label_smoothing": {"loss.label_smoothing": 0.1},
    "ema": {"optim.schedule": "constant", "optim.ema": 0.998},
    "plateau": {"optim.schedule": "plateau", "optim.plateau": 2},
    "matrices": {"optim.name": "adamw", "optim.weight_decay": 0.01, "optim.decayed": "matrices"},
    "sampled": SAMPLED,
    "scaled": SAMPLED | {"loss.scale": 100},
    "cosine_scores": {"model.score": "cosine"},
    "rotary": {"positions": "rotary"},
    "separate": {"model.embedding": "separate"},
    "overlap": {"history": "windows", "overlap": 25},
    "longer": {"epochs": 28},  # as many steps as `overlap` takes on ml-1m
    "light": {"model.dropout": 0.2},
    "separate_light": {"model.embedding": "separate", "model.dropout": 0.2},
    "projected_light": {"model.embedding": "projected", "model.dropout": 0.2},
    "projected": {"model.embedding": "projected"},
    "wide": {"model.dim": 128, "model.heads": 2},
    "seen": {"loss.seen": "exclude"},
    "hard": {"loss.label_smoothing": 0.0},
    "plain": {"model.norm": "post", "model.ffn": "relu", "model.ffn_multiplier": 1},
    "times": {"context": "gap,hour,weekday"},
}
UNDONE = "hard", "plain"  # levers that undo choices of `default`
OF_LOGS = ("times",)  # levers that need what a log may lack


def train(log, recipe, changes, runs, name, seed):
    """Trains, or reuses a training. Returns its workdir and its Config."""
    config, _ = fitting.configuration(recipe, changes | {"seed": seed}, log)
    path = runs / f"{name}-{seed}"
    fitting.train(config, name, log, path, consoles.make())
    return path, config


def ranks(log, found, part, query_time=False):
    """Returns the ranks [S, Q] of the targets by the best checkpoint of each training."""
    config = found[0][1]
    split, protocol = fitting.split_for(config, log), default_protocol(config.split)
    protocol = KEPT if protocol == FULL and config.seen == "keep" else protocol
    asked = {"checkpoint": "best", "protocol": protocol, "part": part, "query_time": query_time}
    of = functools.partial(ranks_of, split=split, devices=placement.local(), **asked)
    return np.stack([of(path, config) for path, config in found])


def baskets_of(log, found, part):
    """The user of each question that these trainings answer, if the targets of a user are one basket; else None."""
    split = fitting.split_for(found[0][1], log)
    return split.baskets(getattr(split, part))


def newest(data, number):
    """Returns a Log of the newest `number` events of every history, with users and items only."""
    rows = slices(np.maximum(data.offsets[1:] - number, data.offsets[:-1]), data.offsets[1:])
    users = np.repeat(data.users, np.minimum(np.diff(data.offsets), number))
    return as_log(pl.DataFrame({"user": users, "item": np.asarray(data.catalogue.ids)[data.items[rows] - 1]}))


def main(flags):
    """Runs the trainings that are missing, and writes what each lever gains."""
    log, name = as_log(flags.dataset), Path(flags.dataset).name
    if flags.newest:
        log, name = newest(log.interactions, flags.newest), f"{name}, newest {flags.newest}"
    name = ", ".join([name, *flags.set]) + DEFAULT if flags.default else name
    if not flags.default and name not in BASES:
        raise SystemExit(f"{name} has no base recipe (those with one: {', '.join(BASES)}): give --default")
    recipe, base = ("default", dict(each.split("=", 1) for each in flags.set)) if flags.default else BASES[name]
    levers = flags.levers or [each for each in LEVERS if each not in OF_LOGS and (flags.default or each not in UNDONE)]
    runs, seeds = flags.runs / name.replace(", ", "-"), range(flags.seeds)
    parts = ("valid",) if flags.seeds == 1 else ("valid", "test")
    plain = [train(log, recipe, base, runs, "base", seed) for seed in seeds]
    of_base = {part: ranks(log, plain, part) for part in parts}
    described = {"recipe": recipe, "changes": base, **{part: summary(of_base[part]) for part in parts}}
    for lever in levers:
        changed = [train(log, recipe, base | LEVERS[lever], runs, lever, seed) for seed in seeds]
        row = {"changes": LEVERS[lever], "seeds": flags.seeds}
        for part in parts:
            found = ranks(log, changed, part)
            row[part] = summary(found) | {"gain": paired(found, of_base[part])}
        keep("levers", name, described, lever, row)


def keep(kind, dataset, base, name, row):
    """Adds what a change gains to the result of this kind, and keeps what other runs added against the same base."""
    path = record.place(kind, "json")
    kept = json.loads(path.read_text())["data"] if path.exists() else {}
    before, same = kept.get(dataset, {}), ("recipe", "changes")
    if before.get("base") and all(before["base"][key] == base[key] for key in same):
        base, rows = max(before["base"], base, key=lambda base: base["valid"]["seeds"]), before[CHANGES[kind]]
    else:
        rows = {}
    rows[name] = row | {"machine": record.machine()}
    kept[dataset] = {CHANGES[kind]: rows, "base": base}
    record.write(kind, {"kind": kind, "data": kept})


def summary(ranks, source=None):
    """HR@10 and NDCG@10, means over seeds and questions; over baskets if `source` gives the user of each question."""
    hits, ndcg, _ = gains(ranks, source).mean(1)
    return {"hr@10": float(hits), "ndcg@10": float(ndcg), "seeds": len(ranks)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--default", action="store_true", help="compare with configs/default.py as it is")
    parser.add_argument(
        "--newest", type=int, help="use only this many of the newest events of each history, as if there were no more"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for --default's base")
    parser.add_argument("--levers", type=functools.partial(str.split, sep=","), default=[], help="names (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/levers"), help="folder of the trainings")
    main(parser.parse_args())

"""What stands in, while docs are tested, for the logs, the scores and the trainings that they name."""

import json

import jax
import numpy as np
import polars as pl

from jaxrec.config import parsing as configs
from jaxrec.data import splits
from jaxrec.training import checkpoint, fit, workdir

ASINS = ["B004756YJA", "B004ZT0SSG", "B000052YAN", "B00150LT40", "B001MA0QY2", *(f"B{v:09}" for v in range(115))]


SMALL = {"epochs": 1, "batch": 16, "length": 8, "row": 8, "model.dim": 8, "model.heads": 1, "model.layers": 1}


SYNTHETIC = "synthetic:users=60,items=200,seed=1"


def about(items):
    """Columns that the pages filter by."""
    return pl.DataFrame(
        {
            "title": [f"The matrix, part {v}" for v in range(items)],
            "genres": ["Comedy|War", "Drama", "Comedy", "War"] * (items // 4),
            "year": [1994, 2001] * (items // 2),
            "price": [9.5 + v for v in range(items)],
            "in_stock": [v % 3 < 2 for v in range(items)],
        }
    )


def write_log(path):
    random = np.random.default_rng(0)
    users, items = (
        np.repeat(np.arange(60), 12),
        random.permuted(np.tile(np.arange(120), (60, 1)), axis=1)[:, :12].ravel(),
    )
    rows = {
        "user_id": users,
        "asin": [ASINS[v] for v in items],
        "rating": random.integers(1, 6, len(users)),
        "timestamp": 1_500_000_000 + random.permutation(len(users)) * 60,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_csv(path)


def write_nested(path):
    """Sessions as OTTO's: a line each, with their events."""
    sessions = [
        {"session": s, "events": [{"aid": s + v, "ts": 10**12 + v, "type": "clicks"} for v in range(5)]}
        for s in range(9)
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in sessions))


def write_table(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    about(120).insert_column(0, pl.Series("asin", ASINS)).write_csv(path)


def write_scores(path):
    """A model of the users and products of `write_log`, as another library might leave it: vectors, and lists."""
    random, users = np.random.default_rng(1), np.arange(60)
    vectors = {"users": random.normal(size=(60, 4)), "items": random.normal(size=(120, 4))}
    np.savez(path / "theirs.npz", **vectors, user_ids=users, item_ids=np.array(ASINS))
    best = np.argsort(-vectors["users"] @ vectors["items"].T)[:, :20]
    rows = {"user": np.repeat(users, 20), "item": [ASINS[v] for v in best.ravel()], "rank": np.tile(range(1, 21), 60)}
    pl.DataFrame(rows).write_csv(path / "theirs.csv")


def write_workdir(path, data, model="sasrec", **keys):
    """A workdir of a model as it is at first. keys: of its configuration."""
    named = {"name": model, "dim": 8, "layers": 1, "dropout": 0.0}
    values = {
        "dataset": str(data.name),
        "seed": 0,
        "epochs": 1,
        "batch": 16,
        "length": 8,
        "eval_every": 1,
        "patience": 0,
    }
    loss, optim = {"name": "bce", "negatives": 1}, {"name": "adam", "learning_rate": 1e-2}
    values |= keys
    config, split = configs.from_dict(values | {"model": named, "loss": loss, "optim": optim}), splits.last_item(data)
    path.mkdir(parents=True)
    workdir.claim(path, config, data, str(data.name), data.catalogue.counted(splits.training_counts(split)))
    checkpoints = checkpoint.Checkpoints(path)
    checkpoints.save(64, fit.initial(fit.setup(config, split, jax.devices()[:1])), {})
    checkpoints.close()

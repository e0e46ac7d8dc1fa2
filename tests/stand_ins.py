"""Stand-ins for the logs, scores and trainings that the docs name, for testing the docs."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import polars as pl
import printed

from jaxrec.config import parsing as configs
from jaxrec.data import interactions, prepared, reading, splits
from jaxrec.data.attributes import user_columns
from jaxrec.training import setup as setups
from jaxrec.training.workdirs import checkpoint, workdir

LAUNCHERS = ("train.py", "evaluate.py", "prepare.py", "serve.py")
ASINS = ["B004756YJA", "B004ZT0SSG", "B000052YAN", "B00150LT40", "B001MA0QY2", *(f"B{v:09}" for v in range(115))]


SMALL = {"epochs": 1, "batch": 16, "length": 8, "row": 8, "model.dim": 8, "model.heads": 1, "model.layers": 1}


SYNTHETIC = "synthetic:users=60,items=200,seed=1"


def about(items):
    """The columns of items that the pages filter by."""
    return pl.DataFrame(
        {
            "title": [f"The matrix, part {v}" for v in range(items)],
            "genres": ["Comedy|War", "Drama", "Comedy", "War"] * (items // 4),
            "year": [1994, 2001] * (items // 2),
            "price": [9.5 + v for v in range(items)],
            "in_stock": [v % 3 < 2 for v in range(items)],
        }
    )


def people(users):
    """The columns of this many users."""
    columns = {"gender": "FM", "age": [25, 35, 45], "occupation": range(4)}
    return pl.DataFrame({name: [of[user % len(of)] for user in range(users)] for name, of in columns.items()})


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


def write_events(path):
    """Writes what users of a shop did: views, and now and then a purchase."""
    random = np.random.default_rng(2)
    rows = {
        "user_id": np.repeat(np.arange(40), 12),
        "product_id": random.integers(0, 60, 480),
        "event_type": random.choice(["view", "view", "purchase"], 480),
        "timestamp": 1_500_000_000 + 60 * np.arange(480),
    }
    pl.DataFrame(rows).write_csv(path)


def write_orders(path):
    """Writes receipts of a shop: all items of a receipt have the same time."""
    random = np.random.default_rng(3)
    rows = {
        "user_id": np.repeat(np.arange(40), 12),
        "product_id": random.integers(0, 60, 480),
        "timestamp": 1_500_000_000 + 86_400 * np.repeat(np.arange(160), 3),
    }
    pl.DataFrame(rows).write_csv(path)


def write_nested(path):
    """Writes sessions in OTTO's format: one line per session, with its events."""
    sessions = [
        {"session": s, "events": [{"aid": s + v, "ts": 10**12 + v, "type": "clicks"} for v in range(5)]}
        for s in range(9)
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in sessions))


def write_table(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    about(120).insert_column(0, pl.Series("asin", ASINS)).write_csv(path)


def write_scores(path):
    """Writes a model of the users and products of `write_log` as another library might: as vectors and as lists."""
    random, users = np.random.default_rng(1), np.arange(60)
    vectors = {"users": random.normal(size=(60, 4)), "items": random.normal(size=(120, 4))}
    np.savez(path / "theirs.npz", **vectors, user_ids=users, item_ids=np.array(ASINS))
    best = np.argsort(-vectors["users"] @ vectors["items"].T)[:, :20]
    rows = {"user": np.repeat(users, 20), "item": [ASINS[v] for v in best.ravel()], "rank": np.tile(range(1, 21), 60)}
    pl.DataFrame(rows).write_csv(path / "theirs.csv")


def write_workdir(path, data, model="sasrec", **keys):
    """Writes the workdir of an untrained model. keys: of its configuration."""
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
    checkpoints.save(64, setups.initial(setups.setup(config, split, jax.devices()[:1])), {})
    checkpoints.close()


def write_all(place):
    """Links the repository's launchers into a folder, and writes stand-ins for everything that the pages name."""
    for name in (*LAUNCHERS, "configs", "benchmarks", "examples", "pyproject.toml"):
        (place / name).symlink_to(printed.ROOT / name)
    write_log(place / "ratings.csv")
    write_nested(place / "train.jsonl")
    write_events(place / "events.csv")
    write_orders(place / "orders.csv")
    (place / "lake" / "events").mkdir(parents=True)
    pl.read_csv(place / "events.csv").write_parquet(place / "lake" / "events" / "part-0.parquet")
    view = '10.0.0.1 - ann [0{day}/Jan/2024:10:00:00 +0000] "GET /item/{day} HTTP/1.1" 200 512\n'
    (place / "access.log").write_text("".join(view.format(day=day) for day in (1, 2, 3)))
    write_scores(place)
    write_table(place / "items.csv")
    write_table(place / "products" / "table.csv")
    people(60).insert_column(0, pl.Series("user_id", range(60))).write_csv(place / "people.csv")
    (place / "my").mkdir()
    with contextlib.chdir(place):
        shop = replace(reading.read("ratings.csv"), name=str(place / "ratings.csv"))
        write_workdir(place / "runs" / "mine", shop)
        write_workdir(place / "runs" / "asked", shop, context="asked_gap,asked_hour")
        prepared.save(reading.read("ratings.csv", columns={"weight": "rating"}, users="people.csv"), "my/ratings", {})
        prepared.save(reading.read("ratings.csv"), "my/logs", {})
        prepared.save(reading.read("events.csv", columns={"type": "event_type"}, items=""), "my/events", {})
        prepared.save(reading.read("orders.csv", items=""), "my/orders", {})
        random = np.random.default_rng(0)
        histories = [list(range(1, 151)), list(range(151, 301))] + [
            random.permutation(300)[:12].__add__(1).tolist() for _ in range(40)
        ]
        Path("films.txt").write_text("".join(f"{u} {v}\n" for u, items in enumerate(histories) for v in items))
        films = replace(reading.read("films.txt", items=""), name=str(place / "films.txt"))
        films = replace(films, catalogue=interactions.Catalogue(films.catalogue.ids, about(300)))
        for name, model in (("a", "sasrec"), ("quickstart", "sasrec"), ("gru4rec_ml1m", "gru4rec")):
            write_workdir(place / "runs" / name, films, model)
        write_workdir(place / "runs" / "features", films, features="genres,year")
        known = replace(films, user_columns=interactions.UserColumns(people(len(films.users))))
        columns = {"user_features": "gender,age"}
        write_workdir(place / "runs" / "users", user_columns.chosen(known, "gender,age"), **columns)
        (place / "runs" / "current").symlink_to("a")
        about(8).insert_column(0, pl.Series("item_id", range(296, 304))).write_csv("new_items.csv")

"""What it costs to show a model all that a log knows: latency from Python and over HTTP, and the rate of training.

    python -m benchmarks.everything [--items 54000] [--rate 100] [--seconds 20]

The SASRec of `benchmarks.serving` is shown the times, weights and types of events, user columns, item features and the
query time, or ids only; the two take turns. Params are as at the start of training. The server is the real command,
with one load generator: open loop, Poisson arrivals, 100 events per request. From Python, answers are timed back to
back, and at the same rate as over HTTP, since a core is slow just after a pause: a NumPy product, timed in the same
way, shows how slow. The training is that of a shipped recipe on ML-100K, shown all that it knows or ids only, in turns
of three seconds.
"""

import argparse
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
import polars as pl

import jaxrec
from benchmarks import record
from benchmarks.checkouts import ROOT, contender, in_turns
from benchmarks.engine import take_turns
from benchmarks.serving import CONFIG, LENGTH, Server, save
from jaxrec.api import fitting
from jaxrec.config import parsing as configs
from jaxrec.training import assembly

TYPES, GENRES, REQUESTS, BEGAN = ("view", "cart", "purchase"), 40, 500, 1_700_000_000
SHOWN = {
    "context": "gap,hour,weekday,month,weight,type,switch,asked_gap,asked_hour,asked_weekday,asked_month",
    "features": "genres,year",
    "user_features": "gender,age",
    "id_dropout": 0.1,
}
#: what the training is shown: ML-100K has every kind except types and user columns
TRAINED = {
    "context": "gap,hour,weekday,month,weight,switch,asked_gap,asked_hour,asked_weekday,asked_month",
    "features": "genres,year",
    "id_dropout": 0.1,
}


def log_of(items):
    """A log of `items` items in which every kind of context occurs."""
    random, each = np.random.default_rng(0), 20
    users, events = -(-items // each), -(-items // each) * each
    frame = pl.DataFrame(
        {
            "user": np.repeat(np.arange(users), each),
            "item": np.arange(events) % items,
            "time": BEGAN + np.tile(np.arange(each) * 5000, users) + np.repeat(np.arange(users), each),
            "weight": random.integers(1, 6, events).astype(float),
            "type": random.choice(TYPES, events),
        }
    )
    genres = [f"genre {number}" for number in random.integers(0, GENRES, items)]
    about = pl.DataFrame({"item_id": np.arange(items), "genres": genres, "year": random.integers(1950, 2026, items)})
    gender, age = random.choice(["F", "M"], users), random.integers(1, 8, users)
    return jaxrec.prepare(
        frame,
        user="user",
        item="item",
        time="time",
        weight="weight",
        type="type",
        items=about,
        users=pl.DataFrame({"user": np.arange(users), "gender": gender, "age": age}),
    )


def make(path, log, changes):
    """Creates the workdir of a model that is not trained."""
    plain = {"dataset": "log", "seen": "exclude"}
    config = configs.from_dict(CONFIG | {"loss": {"name": "softmax", "negatives": 0}} | plain | changes)
    setup = assembly.assemble(config, fitting.split_for(config, log), jax.devices()[:1])
    path.mkdir(parents=True)
    fitting.claim(path, setup, log)
    save(path, 1, assembly.to_save(setup, assembly.first_state(setup)))


def requests(items, shown):
    """The fields of requests; if `shown`, with all that is known besides ids."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(REQUESTS):
        asked = {"history": random.permutation(items)[:LENGTH].tolist(), "k": 10}
        if shown:
            times = (BEGAN + np.sort(random.integers(0, 10**6, LENGTH))).tolist()
            asked |= {"times": times, "weights": random.integers(1, 6, LENGTH).tolist(), "now": times[-1] + 3600}
            asked |= {"types": random.choice(TYPES, LENGTH).tolist(), "user_columns": {"gender": "F", "age": "3"}}
        found.append(asked)
    return found


def product(items):
    """Returns (anything) -> scores of all items by NumPy: the least work of an answer, to see what a pause costs."""
    random = np.random.default_rng(0)
    table, vector = random.normal(size=(items, 64)).astype(np.float32), random.normal(size=64).astype(np.float32)
    return lambda _: table @ vector


def rates(rounds):
    """The targets per second of a training shown all that ML-100K knows, and of one shown ids only."""
    running = {}
    for name, changes in (("ids", {}), ("everything", TRAINED)):
        changes = {"dataset": "ml-100k", "history": "windows", "epochs": 10_000, "steps_per_call": 4} | changes
        running[name] = contender(ROOT, {"config": "sasrec_softmax_ml1m", "set": changes, "mode": "training"})
    return {"data": "ml-100k", "shown": TRAINED} | in_turns(running, rounds, 3)


def measure(flags):
    """Measures everything, and returns the result."""
    result = {"items": flags.items, "shown": SHOWN, "training": rates(flags.turns)}
    print(f"training: {result['training']['ratio']:.3f} {result['training']['ci95']}", flush=True)
    log, answers, http = log_of(flags.items), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        asked = {}
        for name, changes in (("ids", {}), ("everything", SHOWN)):
            path = Path(folder) / name
            make(path, log, changes)
            rec, asked[name] = jaxrec.load(path), requests(flags.items, bool(changes))
            answers[name] = lambda number, rec=rec, own=asked[name]: rec.recommend(**own[number[0] % REQUESTS])
        for key, rate in (("engine_milliseconds", None), ("engine_at_rate_milliseconds", flags.rate)):
            result[key] = take_turns(
                answers | {"product": product(flags.items)}, flags.items, flags.rounds, 500, rate=rate
            )
            print(json.dumps(result[key]), flush=True)
        servers = {name: Server(Path(folder) / name) for name in answers}
        for name, server in servers.items():
            server.warm()
            server.load(list(map(json.dumps, asked[name])), flags.rate, 5)
        for _ in range(flags.rounds):
            for name, server in servers.items():
                found = server.load(list(map(json.dumps, asked[name])), flags.rate, flags.seconds)
                http.setdefault(name, []).append(found)
        result["http"] = http
        for server in servers.values():
            server.stop()
    return {"kind": "everything"} | result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=54_000)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20, help="length of each load")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds of loads")
    parser.add_argument("--turns", type=int, default=20, help="number of turns of each training")
    record.write("everything", measure(parser.parse_args()))

"""Ten million items on one machine: the cost of a step, memory, and recall and latency of approximate answers.

    python -m benchmarks.millions [--items 10000000] [--users 1500000] [--minutes 15]

First, steps of SASRec with 512 shared negatives and row-sparse Adam are timed in turns, with 10,000 items, ten times as
many, and so on up to --items. Then a model is trained for --minutes on `synthetic.world`, where popularity follows
Zipf's law, and each group of items leads to a next one. It answers for users who are not in the log, one request at a
time: the result is the share of the exact best 100 items that an approximate answer contains, and its latency, by the
number of parts of the index that are read. Last, 1,000 items are added and 1,000 retired beside the index. Needs 24
GiB.
"""

import argparse
import itertools
import math
import resource
import statistics
import time

import jax
import numpy as np

from benchmarks import engine, plots, record, scaling
from benchmarks.timed import Timed
from jaxrec.data import splits, synthetic
from jaxrec.data.interactions import Catalogue, Interactions
from jaxrec.inference import candidates
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.stock import NewItem, roomy

FEW, LENGTH, K, ASKED, STEPS = 10_000, 50, 100, 400, 64
LOSS = {"name": "sampled-softmax", "negatives": 512, "sampling": "uniform", "share": "batch"}
WORLD = {"tastes": 20, "groups": 500, "lengths": (10, LENGTH)}
ADDED = 1000  # items that are added, and that are retired, at the end
READ = (4, 8, 16, 32, 64, 128, 256)


def config():
    """SASRec, d 64, with row-sparse updates."""
    return scaling.config_of("sasrec", LOSS, True, LENGTH, 64)


def step(items, rounds):
    """Times a step. Returns {items: microseconds per target, and their ratio to those with FEW items}, medians."""
    sizes = [FEW * 10**power for power in range(1 + round(math.log10(items / FEW)))]
    timed = {each: Timed(config(), splits.last_item(scaling.histories(each, LENGTH))) for each in sizes}
    rates = [{each: one.call() for each, one in timed.items()} for _ in range(rounds)]
    over = lambda each: statistics.median(turn[FEW] / turn[each] for turn in rates)
    cost = lambda each: 1e6 / statistics.median(turn[each] for turn in rates)
    return {str(each): {"microseconds_a_target": cost(each), "ratio": over(each)} for each in sizes}


def gibibytes():
    """The peak resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def log_of(world, users):
    """The log of a world's first `users` users, without item titles."""
    chunks = range(0, users, synthetic.CHUNK)
    parts = [synthetic.histories(world, at, min(at + synthetic.CHUNK, users)) for at in chunks]
    lengths = np.concatenate([np.diff(offsets) for _, offsets in parts])
    return Interactions(
        items=np.concatenate([items for items, _ in parts]),
        offsets=np.append(0, np.cumsum(lengths)),
        users=np.arange(1, users + 1),
        catalogue=Catalogue(np.arange(1, world.items + 1)),
        name="synthetic data",
    )


def trained(log, minutes):
    """Trains for `minutes`. Returns (its Timed, its cost)."""
    timed, begun, rates = Timed(config(), splits.last_item(log), STEPS), time.monotonic(), []
    while time.monotonic() - begun < 60 * minutes:
        rates.append(timed.call())
        if len(rates) % 50 == 0:
            print(f"{timed.at:,} steps, {statistics.median(rates):,.0f} targets a second", flush=True)
    took = {"minutes": minutes, "steps": timed.at, "targets_a_second": statistics.median(rates), "gib": gibibytes()}
    return timed, took


def strangers(world, users):
    """Histories of the ASKED users after the first `users`, who are not in the log."""
    items, offsets = synthetic.histories(world, users, users + ASKED)
    return [items[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def answers(rec, asked):
    """Answers one request after the other. Returns (items and scores of each, {quantile: milliseconds})."""
    rec.recommend(asked[0], K)
    found, seconds = [], []
    for history in asked:
        begun = time.perf_counter()
        found.append(rec.recommend(history, K))
        seconds.append(time.perf_counter() - begun)
    quantiles = np.quantile(seconds, list(engine.QUANTILES.values())) * 1e3
    return found, dict(zip(engine.QUANTILES, quantiles.round(3).tolist(), strict=True))


def held(found, exact):
    """The mean share of an exact answer's items that the answer in `found` contains."""
    pairs = zip(found, exact, strict=True)
    return float(np.mean([len({id for id, _ in a} & {id for id, _ in b}) / len(b) for a, b in pairs]))


def served(timed, log, world):
    """{"exact": latency, "gib": memory, "build_seconds": of the index, "curve": by parts that are read}."""
    setup, asked = timed.setup, strangers(world, len(log.users))
    params = jax.tree.map(np.asarray, timed.state.params)
    params, timed.state = jax.device_put(params), None
    rec = Recommender(config(), setup.model, params, log.catalogue, 0, None)
    exact, milliseconds = answers(rec, asked)
    begun = time.monotonic()
    near = Recommender(config(), setup.model, params, log.catalogue, 0, None, approximate=True)
    result = {"exact": milliseconds, "build_seconds": time.monotonic() - begun, "read": candidates.READ, "curve": {}}
    for read in READ:
        candidates.limit(near.engine.index, read)
        found, milliseconds = answers(near, asked)
        result["curve"][str(read)] = {"recall@100": held(found, exact), "milliseconds": milliseconds}
        print(read, result["curve"][str(read)], flush=True)
    candidates.limit(near.engine.index, candidates.READ)
    return result | {"changed": changed(near, found, asked), "gib": gibibytes()}


def changed(near, found, asked):
    """Adds and retires items beside the index. Returns how long that takes, and the latency of answers afterwards.

    The top items of the answers are retired, and as many items are added that are like them.
    """
    best = list(dict.fromkeys(id for rank in zip(*found, strict=True) for id, _ in rank))[:ADDED]
    ids = range(len(near.catalogue.ids) + 1, len(near.catalogue.ids) + 1 + ADDED)
    new = [NewItem(id, like=[best[place % len(best)]]) for place, id in enumerate(ids)]
    seconds = []
    for items, retired in ((new[1:], best), (new[:1], [])):  # many, and then one more
        begun = time.monotonic()
        near = near.changed(items, retired, rows=roomy(len(near.offered) + len(items)))
        seconds.append(time.monotonic() - begun)
    after, milliseconds = answers(near, asked)
    kept = {id for items in after for id, _ in items}
    result = {"added": ADDED, "retired": len(best), "seconds": seconds[0], "seconds_of_one": seconds[1]}
    result |= {"retired_in_answers": len(kept & {*best}), "added_in_answers": len(kept & {*ids})}
    print(result, milliseconds, flush=True)
    return result | {"milliseconds": milliseconds}


def plot(result, path):
    """Draws recall over latency, by the number of parts read, and the cost of a step by the number of items."""
    figure, (left, right) = plots.panels(2)
    curve = result["served"]["curve"]
    recalls = [row["recall@100"] for row in curve.values()]
    for quantile in ("p50", "p99"):
        plots.line(left, [row["milliseconds"][quantile] for row in curve.values()], recalls, quantile)
    for read, row in curve.items():
        place = row["milliseconds"]["p50"], row["recall@100"]
        left.annotate(read, place, fontsize=7, xytext=(3, -8), textcoords="offset points")
    left.set(xscale="log", xlabel="milliseconds of an answer", ylabel="recall@100", title=f"{result['items']:,} items")
    costs = {int(items): row["ratio"] for items, row in result["step"].items()}
    plots.line(right, costs, costs.values())
    plots.over(right, costs, "items")
    right.set(ylabel=f"cost of a step, times that at {FEW:,}", ylim=(0, None))
    plots.save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=1_500_000)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=9)
    flags = parser.parse_args()
    result = {"kind": "millions", "items": flags.items, "rounds": flags.rounds}
    result["step"] = step(flags.items, flags.rounds)
    print(result["step"], flush=True)
    world = synthetic.world(flags.items, **WORLD)
    log = log_of(world, flags.users)
    timed, result["training"] = trained(log, flags.minutes)
    result["log"] = {"users": flags.users, "events": int(log.offsets[-1]), "world": WORLD}
    result["served"] = served(timed, log, world)
    record.write("millions", result)
    plot(result, record.place("millions", "png"))


if __name__ == "__main__":
    main()

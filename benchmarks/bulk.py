"""Recommendations for all users, written to a file: time and memory for a million users, and RecTools' rate.

    python -m benchmarks.bulk --users 1000000 --peer PYTHON

The model is SASRec with 2 blocks of width 64 and random weights. The log has 54,000 items with popularity by Zipf's
law, and histories of 3 to 200 items (mean 20). The 10 best items that a user has not had are written to Parquet. PYTHON
is an interpreter that has RecTools: both then answer the same first users, in turns, and are compared by users per
second. Loading the data and the model is not timed.
"""

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import record
from benchmarks.engine import recommender
from jaxrec.commands.writing import write
from jaxrec.data.interactions import Catalogue, Interactions

ITEMS, K, LONGEST = 54_000, 10, 200
PEER = Path(__file__).parent / "peers" / "rectools_recommend.py"


def log_of(users, seed=0):
    """A log of random histories of `users` users."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.geometric(1 / 18, users) + 2, 3, LONGEST)
    offsets = np.append(0, np.cumsum(lengths))
    weights = 1 / np.arange(1, ITEMS + 1)
    ranks = np.searchsorted(np.cumsum(weights / weights.sum()), random.random(offsets[-1]))
    items = random.permutation(ITEMS).astype(np.int32)[np.minimum(ranks, ITEMS - 1)] + 1
    return Interactions(
        items=items, offsets=offsets, users=np.arange(users), catalogue=Catalogue(np.arange(ITEMS)), name="zipf"
    )


def ours(rec, log, users, path):
    """Returns the seconds that jaxrec takes for the first `users` users of a log."""
    begun = time.perf_counter()
    frames = rec.bulk(log).recommend(np.arange(users), K, exclude_seen=True)
    write(frames, path, users, "users", Console(quiet=True))
    return time.perf_counter() - begun


class Peer:
    """RecTools in a process of its own: each turn it answers once, and says how long that took."""

    def __init__(self, python, log, users, folder):
        stop = log.offsets[users]
        np.savez(folder / "log.npz", items=log.items[:stop], offsets=log.offsets[: users + 1], catalogue=ITEMS)
        command = [python, str(PEER), json.dumps({"data": str(folder / "log.npz"), "k": K, "length": LONGEST})]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.turn()  # not timed, since it also compiles and reads

    def turn(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())["seconds"]


def beside(rec, log, users, rounds, python, folder):
    """Users per second of both for the first `users` users: medians, and the median and range of their ratio."""
    peer = Peer(python, log, users, folder)
    ours(rec, log, users, folder / "warm.parquet")
    rows = [(ours(rec, log, users, folder / "own.parquet"), peer.turn()) for _ in range(rounds)]
    own, other = (statistics.median(users / seconds for seconds in side) for side in zip(*rows, strict=True))
    ratios = sorted(theirs / mine for mine, theirs in rows)
    return {
        "users": users,
        "rounds": rounds,
        "jaxrec_users_per_second": own,
        "rectools_users_per_second": other,
        "times_as_fast": [statistics.median(ratios), ratios[0], ratios[-1]],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has RecTools")
    parser.add_argument("--peer-users", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="bulk")
    flags = parser.parse_args()
    log, rec = log_of(flags.users), recommender("sasrec", ITEMS)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "all.parquet"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = ours(rec, log, flags.users, out)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = {
            "kind": "bulk",
            "users": flags.users,
            "items": ITEMS,
            "events": int(log.offsets[-1]),
            "k": K,
            "seconds": seconds,
            "users_per_second": flags.users / seconds,
            "peak_gib": peak / 2**20,
            "before_gib": before / 2**20,
            "file_mib": out.stat().st_size / 2**20,
        }
        print(result)
        if flags.peer:
            some = min(flags.peer_users, flags.users)
            result["rectools"] = beside(rec, log, some, flags.rounds, flags.peer, Path(folder))
    print(result)
    record.write(flags.name, result)

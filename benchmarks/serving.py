"""The HTTP service under load: latency by load, overload, kills, and minutes with new checkpoints.

    python -m benchmarks.serving [--items 54000] [--seconds 20] [--workers N] [--kills 20] [--soak 10] [--plot FILE]

The server is the real command in a process of its own, and the load generator is another process (`benchmarks.load`):
open loop, Poisson arrivals. The model is SASRec, d 64, 2 blocks, 100 items of history, with params as at the start of
training, since latency depends on shapes only. Histories are those of --dataset, with their item numbers spread over
the catalogue. With --workers N, N processes answer; if there are several, the result has N in its name. With --kills,
the server is killed (kill -9) while events are written: every acknowledged one must be stored. With --soak MINUTES, it
serves half of the load that saturates it, with a new checkpoint every 20 s.
"""

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import jax
import numpy as np

from benchmarks import engine, plots, record
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, sources, splits
from jaxrec.serve.store import Events
from jaxrec.training import assembly, setup as setups
from jaxrec.training.workdirs import checkpoint, workdir

ROOT = Path(__file__).parents[1]
LENGTH, HISTORIES, EVERY = 100, 2000, 20  # items of a history; histories asked; seconds between checkpoints
JSON = {"Content-Type": "application/json"}
RATES = (25, 50, 100, 200, 400, 800)
CONFIG = {
    "dataset": "histories",
    "seed": 0,
    "epochs": 1,
    "batch": 16,
    "length": LENGTH,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 64, "layers": 2, "dropout": 0.0},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-3},
}


def make(path, items):
    """Creates a workdir with `items` items and params as at the start of training, and returns its State."""
    data = interactions.from_sequences([range(1, items + 1), [1, 2, 3]])
    config, split = configs.from_dict(CONFIG), splits.last_item(data)
    path.mkdir(parents=True)
    workdir.claim(path, config, data, "histories", data.catalogue.counted(splits.training_counts(split)))
    state = setups.initial(assembly.assemble(config, split, jax.devices()[:1]))
    save(path, 1, state)
    return state


def save(path, step, state):
    checkpoints = checkpoint.Checkpoints(path)
    checkpoints.save(step, state, {})
    checkpoints.close()


def bodies(dataset, items):
    """Requests with the newest items of real histories, whose numbers are spread over the catalogue."""
    data = sources.load(dataset)
    wide = max(items // len(data.catalogue.ids), 1)
    users = np.random.default_rng(0).permutation(len(data.users))[:HISTORIES]
    own = [data.items[data.offsets[user] : data.offsets[user + 1]][-LENGTH:] for user in users]
    return [json.dumps({"history": ((history - 1) * wide % items + 1).tolist(), "k": 10}) for history in own]


class Server:
    """The command in a process of its own; `warm` waits until it answers its largest batches."""

    def __init__(self, path, *flags, workers=1):
        flags, self.workers = (*flags, *(["--workers", workers] if workers > 1 else [])), workers
        command = [sys.executable, str(ROOT / "serve.py"), "--workdir", str(path), "--port", "0", *map(str, flags)]
        begun = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().split()[-1]
        self.start = round(time.monotonic() - begun, 1)

    def warm(self):
        begun = time.monotonic()
        while any(json.loads(self.get("/readyz"))["batch"] < 16 for _ in self._each()):
            time.sleep(1)
        return round(time.monotonic() - begun, 1)

    def _each(self):
        """One turn for a single process; for several, enough turns to reach all of them by new connections."""
        return range(1 if self.workers == 1 else 16 * self.workers)

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return answer.read()

    def counted(self, name):
        return float(re.search(rf"^{name} (\S+)$", self.get("/metrics").decode(), re.MULTILINE)[1])

    def mebibytes(self):
        own = self.process.pid
        workers = Path(f"/proc/{own}/task/{own}/children").read_text().split() if self.workers > 1 else []
        found = [Path(f"/proc/{each}/status").read_text() for each in (own, *workers)]
        return sum(int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) for status in found) >> 10

    def load(self, asked, rate, seconds, path="/recommend"):
        plan = {"address": self.address, "path": path, "rate": rate, "seconds": seconds, "seed": 0, "bodies": asked}
        command = [sys.executable, "-m", "benchmarks.load"]
        done = subprocess.run(command, input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        result = json.loads(done.stdout)
        print(json.dumps(result), flush=True)
        return result

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def loads(server, asked, seconds):
    """Measures latency at every rate until the server no longer keeps up, then at twice the most that it answers."""
    server.load(asked, 50, 5)  # the first requests after a start are not counted
    rows = []
    for rate in RATES:
        rows.append(server.load(asked, rate, seconds))
        if rows[-1]["answered_a_second"] < 0.9 * rate or set(rows[-1]["statuses"]) != {"200"}:
            break
    saturated = max(each["answered_a_second"] for each in rows)
    rounds, memory = [], [server.mebibytes()]
    for _ in range(3):
        over = server.load(asked, 2 * saturated, seconds)
        rounds.append({"over": over, "just_after": server.load(asked, saturated / 4, 5)})
        memory.append(server.mebibytes())
    return {"loads": rows, "saturated_a_second": saturated, "overload": rounds, "mebibytes_between": memory}


def soak(path, state, asked, rate, minutes, workers):
    """Sends requests at one rate for `minutes`, with a new checkpoint every EVERY seconds."""
    server, stop = Server(path, "--watch", "--checkpoint", "latest", workers=workers), threading.Event()
    steps, memory = [], []
    server.warm()

    def checkpoints():
        while not stop.wait(EVERY):
            steps.append(len(steps) + 2)
            save(path, steps[-1], state._replace(params=jax.tree.map(lambda x: x * 1.01, state.params)))
            memory.append(server.mebibytes())

    saving = threading.Thread(target=checkpoints)
    saving.start()
    result = server.load(asked, rate, 60 * minutes)
    stop.set()
    saving.join()
    time.sleep(5)
    taken = server.counted("jaxrec_checkpoints_taken_total") / workers  # each process takes every checkpoint
    result |= {"checkpoints": len(steps), "taken": int(taken), "mebibytes_every_20_s": memory}
    return result | {"exit": server.stop()}


def kills(path, events, count, seed=0):
    """Kills the server while four writers append events; counts the acknowledged events that are not in the file."""
    moments, acknowledged = random.Random(seed), []
    for kill in range(count):
        server = Server(path, "--events", events)
        writers = [threading.Thread(target=_write, args=(server.address, 4 * kill + w, acknowledged)) for w in range(4)]
        for writer in writers:
            writer.start()
        time.sleep(moments.uniform(0.2, 2))
        server.process.kill()
        server.process.wait()
        for writer in writers:
            writer.join()
        print(f"kill {kill + 1}: {len(acknowledged)} events acknowledged", flush=True)
    store = Events(events, 10)
    there = {(user, item) for user in range(4 * count) for item in store.newest(user, 10**9)}
    store.close()
    return {"kills": count, "acknowledged": len(acknowledged), "lost": len(set(acknowledged) - there)}


def _write(address, user, acknowledged):
    item = 0
    while True:
        item += 1
        request = urllib.request.Request(f"{address}/events", json.dumps({"user": user, "item": item}).encode(), JSON)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()
        except OSError:
            return  # killed
        acknowledged.append((user, item))


def plot(result, path):
    """Draws latency over load, a line per quantile."""
    rows = result["loads"]
    figure, (axes,) = plots.panels(width=7, height=4)
    for name in ("p50", "p95", "p99", "p99.9"):
        plots.line(axes, [row["rate"] for row in rows], [row["milliseconds"][name] for row in rows], name)
    plots.bar(axes, 10)
    plots.over(axes, [row["rate"] for row in rows], "requests a second, Poisson arrivals")
    axes.set(yscale="log", ylabel="milliseconds")
    plots.save(figure, path)


def main(flags):
    with tempfile.TemporaryDirectory() as folder:
        path, asked = Path(folder) / "run", bodies(flags.dataset, flags.items)
        state = make(path, flags.items)
        alone = {"engine, k 10": engine.of_engine(engine.recommender("sasrec", flags.items), 10)}
        result = {"items": flags.items, "workers": flags.workers}
        result["alone_milliseconds"] = engine.take_turns(alone, flags.items, 3, 1000)
        server = Server(path, workers=flags.workers)
        result |= {"start_seconds": server.start, "warm_seconds": server.warm()}
        print(json.dumps(result), flush=True)
        result |= loads(server, asked, flags.seconds)
        result["exit"] = server.stop()
        if flags.kills:
            result["kills"] = kills(path, Path(folder) / "events.db", flags.kills)
            print(json.dumps(result["kills"]), flush=True)
        if flags.soak:
            result["soak"] = soak(path, state, asked, result["saturated_a_second"] / 2, flags.soak, flags.workers)
            print(json.dumps(result["soak"]), flush=True)
    if flags.plot:
        plot(result, flags.plot)
    return {"kind": "serving"} | result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=54_000)
    parser.add_argument("--dataset", default="ml-1m-sasrec")
    parser.add_argument("--seconds", type=float, default=20, help="length of each load")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that answer")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--plot", type=Path)
    flags = parser.parse_args()
    record.write("serving" if flags.workers == 1 else f"serving_{flags.workers}", main(flags))

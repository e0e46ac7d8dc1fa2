"""Rate and memory of training from a large memory-mapped prepared folder, with batches from the host or the device.

    python -m benchmarks.large_train --millions 100 [--folder DIR] [--turns 5] [--name NAME]

The log is that of `benchmarks.large`, as a prepared folder. Each feed runs in a process of its own: SASRec of width 64
with uniform negatives and row-sparse updates, the first steps of a training, in turns of four calls each. Memory is the
peak of the process from start to end, without mapped files (RssAnon).
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import large, plots, record
from benchmarks.prepare import ROOT

CHANGES = {
    "length": "50",
    "row": "50",
    "batch": "512",
    "model.dim": "64",
    "loss.sampling": "uniform",
    "optim.sparse": "True",
    "steps_per_call": "8",
}
CALLS = 4  # per turn


def resident(kind):
    """The GiB that a line of this process's status states, such as RssAnon."""
    return int(re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20


def train(dataset, feed, turns):
    """Runs in a process of its own, and prints the cost of the setup, then the rate of CALLS calls per line read."""
    most, done = {"RssAnon": 0.0, "VmRSS": 0.0}, threading.Event()

    def watch():
        while not done.wait(0.1):
            most.update({kind: max(value, resident(kind)) for kind, value in most.items()})

    threading.Thread(target=watch, daemon=True).start()
    begun = time.monotonic()
    import jax
    import numpy as np

    from jaxrec.config import recipes
    from jaxrec.training import assembly
    from jaxrec.training.feed import Feed

    config, _ = recipes.load("sasrec_ml1m", CHANGES | {"dataset": dataset, "feed": feed})
    setup = assembly.assemble(config, assembly.split_of(config), jax.local_devices()[:1])
    state, data, at = assembly.first_state(setup), Feed(setup), 0

    def call():
        nonlocal state, at
        state, metrics = assembly.call(setup, data, state, at, at + config.steps_per_call)
        at += config.steps_per_call
        return metrics

    jax.block_until_ready(call())
    print(json.dumps({"setup_seconds": round(time.monotonic() - begun, 1)}), flush=True)
    for _ in range(turns):
        sys.stdin.readline()
        begun, count, before = time.perf_counter(), 0.0, None
        for _ in range(CALLS):  # as in a training, whose host reads the metrics of the previous call
            metrics = call()
            count += 0.0 if before is None else float(np.asarray(before.count).sum())
            before = metrics
        count += float(np.asarray(before.count).sum())
        print(json.dumps(count / (time.perf_counter() - begun)), flush=True)
    done.set()
    print(json.dumps({"anonymous_gib": round(most["RssAnon"], 2), "resident_gib": round(most["VmRSS"], 2)}), flush=True)


def by_turns(dataset, turns):
    """Returns the rates of both feeds, measured in turns, and their memory."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.large_train",
        "--turns",
        str(turns),
        "--dataset",
        str(dataset),
        "--feed",
    ]
    runs, found, rates = {}, {}, {"host": [], "device": []}
    for feed in rates:
        runs[feed] = subprocess.Popen(
            [*command, feed], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        found[feed] = json.loads(runs[feed].stdout.readline())  # one after another: a setup uses all cores
    for _ in range(turns):
        for feed, process in runs.items():
            process.stdin.write("\n")
            process.stdin.flush()
            rates[feed].append(json.loads(process.stdout.readline()))
    for feed, process in runs.items():
        found[feed] |= json.loads(process.stdout.readline()) | {"targets_per_second": statistics.median(rates[feed])}
        process.wait()
    pairs = [host / device for host, device in zip(rates["host"], rates["device"], strict=True)]
    return found | {"host_over_device": statistics.median(pairs), "of_turns": [min(pairs), max(pairs)]}


def plot(_, path):
    """Draws memory of both feeds over the rows, from all results of this kind, and the ratio of their rates."""
    results = [json.loads(each.read_text()) for each in path.parent.glob("large_train*.json")]
    results.sort(key=lambda each: each["rows"])
    figure, (left, right) = plots.panels(2, width=3.8)
    rows = [each["rows"] for each in results]
    for feed in ("host", "device"):
        plots.line(left, rows, [each[feed]["anonymous_gib"] for each in results], f"feed={feed}")
    ratios = [each["host_over_device"] for each in results]
    low, high = ([abs(each["of_turns"][end] - each["host_over_device"]) for each in results] for end in (0, 1))
    right.errorbar(rows, ratios, (low, high), fmt="o-", markersize=3, capsize=2)
    left.set(ylabel="GiB beside mapped pages", ylim=(0, None))
    right.set(ylabel="rate of feed=host, of feed=device", ylim=(0, 1.2))
    for axes in (left, right):
        plots.over(axes, rows, "million rows", 1e6)
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=100, help="millions of rows")
    parser.add_argument("--folder", help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--dataset", help="a prepared folder, instead of the random log")
    parser.add_argument("--feed", choices=["host", "device"], help="measure only this feed, and print the result")
    parser.add_argument("--name", default="large_train", help="name of the result")
    flags = parser.parse_args()
    if flags.feed:
        train(flags.dataset, flags.feed, flags.turns)
        sys.exit()
    with tempfile.TemporaryDirectory(dir=flags.folder) as name:
        dataset = flags.dataset
        if dataset is None:
            log = large.write(Path(name) / "log.parquet", int(flags.millions * 1e6))
            dataset = Path(name) / "prepared"
            large.run([sys.executable, "prepare.py", "--input", log, "--output", dataset, "--memory", "1GiB"])
            log.unlink()
        found = by_turns(dataset, flags.turns)
        rows = json.loads((Path(dataset) / "meta.json").read_text())["interactions"]
    command = f"python -m benchmarks.large_train --millions {rows / 1e6:g} --turns {flags.turns}"
    command += f" --name {flags.name}" * (flags.name != "large_train")
    record.write(flags.name, {"kind": "large_train", "seeds": 1, "rows": rows, "changes": CHANGES} | found, command)
    plot(None, record.place("large_train", "png"))

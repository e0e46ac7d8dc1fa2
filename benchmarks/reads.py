"""What each process of a job reads and holds of a prepared folder with feed=host: events, pages of a file, memory.

    python -m benchmarks.reads [--millions 50]

One process with 4 devices, 2 with 2 and 4 with 1 train the same first steps on a log of random histories. Each page of
4 KiB that is requested counts once; the system may read others around it. Memory is that in no file before the first
step, minus that after the imports, so it is that of the log, the split, the plan and the questions.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks import jobs, plots, record

DEVICES, CALLS = 4, 1
PAGE = 4096  # bytes
MEAN, ITEMS = 50, 20_000  # events per user, items
CHANGES = {
    "length": "50",
    "row": "50",
    "batch": "256",
    "feed": "host",
    "model.dim": "16",
    "model.layers": "1",
    "loss.sampling": "uniform",
    "optim.sparse": "True",
    "steps_per_call": "4",
}


def write(path, events):
    """Writes a prepared folder of about `events` random events."""
    from jaxrec.data import prepared
    from jaxrec.data.interactions import Catalogue, Interactions

    random = np.random.default_rng(0)
    lengths = random.integers(3, 2 * MEAN - 3, events // MEAN)
    offsets = np.append(0, np.cumsum(lengths))
    items = random.integers(1, ITEMS + 1, offsets[-1], dtype=np.int32)
    users, catalogue = np.arange(len(lengths)), Catalogue(np.arange(ITEMS))
    made = Interactions(items=items, offsets=offsets, users=users, catalogue=catalogue, name="random")
    prepared.save(made, path, {})


class Watched(np.ndarray):
    """An array that records which pages of its file are requested."""

    pages: ClassVar[set[int]] = set()

    def __getitem__(self, at):
        Watched.pages.update(np.unique(np.asarray(at) * self.itemsize // PAGE).tolist())
        return np.asarray(self)[at]


def measure(dataset, job):
    """Measures what one process reads in the first calls of a training, and what it holds before them."""
    from dataclasses import replace

    import jax

    from jaxrec.config import recipes
    from jaxrec.evaluation.evaluator import validation
    from jaxrec.kernels import placement, processes
    from jaxrec.training import assembly
    from jaxrec.training.feed import Feed

    if job:
        processes.join(job[0], *map(int, job[1:]))
    config, _ = recipes.load("sasrec_ml1m", CHANGES | {"dataset": str(dataset)})
    devices, before = placement.all_devices(), held_mib()
    setup = assembly.assemble(config, assembly.split_of(config), devices)
    validate = validation(setup)  # kept in memory, as in a training
    held, events = held_mib() - before, []

    def gather(*args):
        found = setup.batches.gather(*args)
        events.append(int((found.segments > 0).sum()))
        return found

    data = setup.data._replace(items=setup.data.items.view(Watched))
    state, feed = (
        assembly.first_state(setup),
        Feed(replace(setup, batches=setup.batches._replace(gather=gather), data=data)),
    )
    for start in range(0, CALLS * config.steps_per_call, config.steps_per_call):
        state, _ = assembly.call(setup, feed, state, start, start + config.steps_per_call)
    jax.block_until_ready(state)
    feed._next[1].result()  # waits for the events of one more call
    pages = round(len(Watched.pages) * PAGE / 2**20, 1)
    return {"events": sum(events), "pages_mib": pages, "held_mib": round(held), "repeats": validate.repeats}


def held_mib():
    """The memory of this process that is in no file, in MiB."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def plot(result, path):
    """Draws what each process requests of the file, and what it holds, by the number of processes."""
    figure, (left, right) = plots.panels(2, width=3.6)
    numbers = [int(number) for number, rows in result["rows"].items() for _ in rows]
    each = [row for rows in result["rows"].values() for row in rows]
    left.plot(numbers, [row["pages_mib"] for row in each], "o", markersize=4)
    right.plot(numbers, [row["held_mib"] for row in each], "o", markersize=4)
    left.set(ylabel="MiB of the file asked for by each", ylim=(0, None))
    right.set(ylabel="MiB held by each, beside pages of files", ylim=(0, None))
    for axes in (left, right):
        plots.over(axes, sorted(set(numbers)), "processes")
    plots.save(figure, path)


def main(events):
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder).resolve() / "log"
        write(dataset, events)
        size = (dataset / "items.npy").stat().st_size / 2**20
        for number in (1, 2, 4):
            argv = ["--dataset", dataset]
            found = jobs.ends(jobs.start(argv, number, DEVICES // number, module="benchmarks.reads", cwd=jobs.ROOT))
            if any(status for status, _ in found):
                sys.exit(str(found))
            rows[str(number)] = [json.loads(said.splitlines()[-1]) for _, said in found]
            print(number, rows[str(number)], flush=True)
    size_of = {"events": events, "users": events // MEAN, "items_mib": round(size, 1)}
    changes = {"changes": CHANGES, "steps": (CALLS + 1) * int(CHANGES["steps_per_call"])}
    return {"kind": "reads", **size_of, "rows": rows} | changes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=50, help="millions of events")
    parser.add_argument("--dataset", help="a prepared folder: measure this process on it, and print the result")
    for name in ("coordinator", "processes", "process"):
        parser.add_argument(f"--{name}", help="of the job that this process belongs to")
    flags = parser.parse_args()
    if flags.dataset:
        job = [flags.coordinator, flags.processes, flags.process]
        print(json.dumps(measure(flags.dataset, job if flags.coordinator else None)))
        sys.exit()
    found = main(int(flags.millions * 1e6))
    record.write("reads", found)
    plot(found, record.place("reads", "png"))

"""What each process of a job reads of a prepared folder, with feed=host: events gathered, and pages of the file mapped.

    python -m benchmarks.reads [--millions 50]

One process of 4 devices, 2 of 2 and 4 of 1 train the same first steps from a log of random histories. What the pages
hold besides is counted too: the system maps some around each that is asked for.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import jobs, record

DEVICES, CALLS = 4, 2
MEAN, ITEMS = 50, 20_000  # events a user, items
CHANGES = {
    "length": "50",
    "row": "50",
    "batch": "256",
    "feed": "host",
    "model.dim": "16",
    "model.layers": "1",
    "loss.sampling": "uniform",
    "optim.sparse": "True",
    "steps_per_call": "8",
}


def write(path, events):
    """A prepared folder of about so many random events."""
    from jaxrec.data import prepared
    from jaxrec.data.interactions import Catalogue, Interactions

    random = np.random.default_rng(0)
    lengths = random.integers(3, 2 * MEAN - 3, events // MEAN)
    offsets = np.append(0, np.cumsum(lengths))
    items = random.integers(1, ITEMS + 1, offsets[-1], dtype=np.int32)
    made = Interactions(items, offsets, np.arange(len(lengths)), Catalogue(np.arange(ITEMS)), "random")
    prepared.save(made, path, {})


def mapped(file):
    """MiB of a file that this process has mapped and read."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(file))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found / 1024


def measure(dataset, job):
    """What one process reads in the first calls of a training."""
    from dataclasses import replace

    import jax

    from jaxrec.config import recipes
    from jaxrec.data import maps
    from jaxrec.kernels import placement, processes
    from jaxrec.training import assembly
    from jaxrec.training.setup import Feed

    if job:
        processes.join(job[0], *map(int, job[1:]))
    config, _ = recipes.load("sasrec_ml1m", CHANGES | {"dataset": str(dataset)})
    setup = assembly.assemble(config, assembly.split_of(config), placement.all_devices())
    events = []

    def gather(*args):
        found = setup.gather(*args)
        events.append(int((found.segments > 0).sum()))
        return found

    state, feed = assembly.first_state(setup), Feed(replace(setup, gather=gather))
    maps.release(setup.split.interactions.items)
    for start in range(0, CALLS * config.steps_per_call, config.steps_per_call):
        state, _ = assembly.call(setup, feed, state, start, start + config.steps_per_call)
    jax.block_until_ready(state)
    feed._next[1].result()  # those of one more call
    return {"events": sum(events), "mapped_mib": round(mapped(Path(dataset) / "items.npy"), 1)}


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
    changes = {"changes": CHANGES, "steps": (CALLS + 1) * int(CHANGES["steps_per_call"])}
    return {"kind": "reads", "events": events, "items_mib": round(size, 1), "rows": rows} | changes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=50, help="of events")
    parser.add_argument("--dataset", help="measure this process alone, and print it")
    for name in ("coordinator", "processes", "process"):
        parser.add_argument(f"--{name}", help="of the job that this process belongs to")
    flags = parser.parse_args()
    if flags.dataset:
        job = [flags.coordinator, flags.processes, flags.process]
        print(json.dumps(measure(flags.dataset, job if flags.coordinator else None)))
        sys.exit()
    record.write("reads", main(int(flags.millions * 1e6)))

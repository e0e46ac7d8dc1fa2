"""Ends a training at random moments, over and over, and compares it with an uninterrupted run, bit for bit.

    python -m benchmarks.resume --kills 20
    python -m benchmarks.resume --kills 100 --ways kill,term,full,moved,locked

Every run is the real command in a process of its own. Half of the runs are ended at a moment drawn from the start on
(imports and compilation included), half within a second of a new checkpoint: in a step, a validation or a save. The
ways to end one are kill -9; SIGTERM; a file system that refuses files above some size; moving the workdir away, and
back when the run has ended; and another process that holds its lock. In all ways but the first, the run must end by
itself, with the right status and a one-line message. At the end, the params, the optimiser's state, the loop's state
and metrics.jsonl, except for its seconds, must be those of a run that was never ended.
"""

import argparse
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import record
from jaxrec.models.entry import build
from jaxrec.training import metric_writer
from jaxrec.training.steps.optim import optimiser
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs import checkpoint, leaves, workdir

ROOT = Path(__file__).parents[1]


def command(path, epochs):
    """The command of a training that takes seconds, with a save every half epoch and a validation every epoch."""
    return [
        *(sys.executable, str(ROOT / "train.py"), "--config", "quickstart", "--workdir", str(path)),
        *("--config.dataset=synthetic:users=600,items=200", "--config.loss.name=bce", "--config.loss.negatives=1"),
        *(f"--config.epochs={epochs}", "--config.eval_every=1", "--config.save_every=0.5", "--config.steps_per_call=4"),
        "--config.batch=32",
    ]


def outcome(path):
    """Returns (leaves of the latest State, the loop's state, best step, rows of metrics.jsonl), without seconds."""
    stored = workdir.read(path)
    checkpoints = checkpoint.Checkpoints(path, read_only=True)
    latest, best = checkpoints.latest(), checkpoints.best()
    model = build(stored.config, stored.data["items"], stored.data["users"])

    def initial(key):
        params = model.init(key)
        return State(np.int32(0), params, optimiser(stored.config.optim, 1).init(params), None)

    shapes = jax.eval_shape(initial, jax.random.key(0))
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state, loop = checkpoints.restore(latest, leaves.abstract(shapes, sharding))
    checkpoints.close()
    loop.pop("seconds")
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in metric_writer.read_rows(path / "metrics.jsonl")]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)], loop, best, rows


def identical(a, b):
    """Whether two outcomes agree in every bit."""
    return all(np.array_equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and a[1:] == b[1:]


class Broken:
    """The training that is ended again and again."""

    def __init__(self, path, epochs, moments):
        self.path, self.epochs, self.moments = path, epochs, moments
        self.ends = {
            "kill": self.kill,
            "term": self.term,
            "full": self.full,
            "moved": self.moved,
            "locked": self.locked,
        }

    def start(self, **how):
        told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command(self.path, self.epochs), **told, **how)

    def end(self, way, latest):
        """Starts the training and ends it. latest: the most seconds after its start, if no checkpoint is awaited."""
        if way in ("full", "locked"):
            self.ends[way]()
            return
        before, process = newest(self.path), self.start()
        if self.moments.random() < 0.5:  # just after a checkpoint has appeared: in the next step, validation or save
            while newest(self.path) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(self.moments.uniform(0, 1))
        else:  # anywhere, the start and the compilation included
            time.sleep(self.moments.uniform(0, latest))
        if process.poll() is not None:
            sys.exit(f"ended by itself, with {process.returncode}: give it more --epochs\n{process.communicate()[1]}")
        self.ends[way](process)

    def holder(self):
        lock = self.path / workdir.LOCK
        return lock.read_text() if lock.exists() else ""

    def kill(self, process):
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def term(self, process):
        process.send_signal(signal.SIGTERM)
        ended(process, 143, -signal.SIGTERM)  # the latter before the training has begun

    def full(self):
        most = self.moments.randrange(200, 30_000)
        process = self.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
        ended(process, 2)

    def moved(self, process):
        elsewhere = self.path.with_name("elsewhere")
        while self.holder() != str(process.pid) and process.poll() is None:  # any earlier, it would begin a new one
            time.sleep(0.01)
        self.path.rename(elsewhere)
        ended(process, 2)
        if elsewhere.exists():
            shutil.rmtree(self.path, ignore_errors=True)
            elsewhere.rename(self.path)

    def locked(self):
        with workdir.locked(self.path):
            ended(self.start(), 2)


def ended(process, *statuses):
    """Waits for a run, which must end with one of these statuses, and without a traceback."""
    said = process.communicate(timeout=600)[1]
    if process.returncode not in statuses or "Traceback" in said:
        sys.exit(f"ended with {process.returncode}, not {statuses}:\n{said}")


def main(kills, epochs, seed, ways):
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Broken(Path(folder) / "broken", epochs, moments)
        begun = time.monotonic()
        process = subprocess.Popen(command(whole, epochs), stdout=subprocess.DEVNULL)
        while process.poll() is None and not newest(whole):
            time.sleep(0.01)
        start = time.monotonic() - begun
        if process.wait():
            sys.exit("the uninterrupted run failed")
        life = time.monotonic() - begun
        print(f"uninterrupted: {life:.0f} s, the first checkpoint after {start:.0f} s", flush=True)
        killed = []
        while len(killed) < kills:
            way = ways[len(killed) % len(ways)]
            broken.end(way, start + 2 * (life - start) / kills)  # so that all of them fall within the training
            killed.append(newest(broken.path))
            print(f"{way} {len(killed)}: latest checkpoint {killed[-1]}", flush=True)
        subprocess.run(command(broken.path, epochs), check=True, stdout=subprocess.DEVNULL)
        same = identical(outcome(whole), outcome(broken.path))
        rows = len(metric_writer.read_rows(whole / "metrics.jsonl"))
    print(f"{len(killed)} ended, identical: {same}")
    result = {"kills": len(killed), "ways": ways, "checkpoints_at_kills": killed, "identical": same}
    return {"kind": "resume"} | result | {"seed": seed, "rows": rows}


def newest(path):
    """The step of the newest finished checkpoint, 0 if there is none."""
    return max((int(p.name) for p in path.glob("checkpoints/*") if p.name.isdigit()), default=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", default="kill", help="some of kill,term,full,moved,locked; used in turn")
    flags = parser.parse_args()
    result = main(flags.kills, flags.epochs, flags.seed, flags.ways.split(","))
    record.write("resume", result)
    sys.exit(not result["identical"])

"""Kill -9 a training at random moments, again and again, and compare with the uninterrupted run, bit for bit.

    python -m benchmarks.resume --kills 20

Every run is the real command in a process of its own. Half are killed at a moment drawn from its start on (imports and
compilation included), half within a second of a new checkpoint: in a step, a validation, a save. In the end the params,
the optimiser's state, the loop's state and metrics.jsonl, but for its seconds, must be those of a run that nobody
killed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import record
from jaxrec import checkpoint, report, workdir
from jaxrec.models import build
from jaxrec.optim import optimiser
from jaxrec.step import State

ROOT = Path(__file__).parents[1]


def command(path, epochs):
    """A training of a few seconds' work with a save every half epoch and a validation every epoch."""
    return [
        *(sys.executable, str(ROOT / "train.py"), "--config", "quickstart", "--workdir", str(path)),
        *("--config.dataset=synthetic:users=600,items=200", "--config.loss.name=bce", "--config.loss.negatives=1"),
        *(f"--config.epochs={epochs}", "--config.eval_every=1", "--config.save_every=0.5", "--config.steps_per_call=4"),
        "--config.batch=32",
    ]


def outcome(path):
    """(leaves of the latest State, the loop's state, best step, rows of metrics.jsonl): without their seconds."""
    stored = workdir.read(path)
    checkpoints = checkpoint.Checkpoints(path, read_only=True)
    latest, best = checkpoints.latest(), checkpoints.best()
    model = build(stored.config, stored.data["items"], stored.data["users"])

    def initial(key):
        params = model.init(key)
        return State(np.int32(0), params, optimiser(stored.config.optim, 1).init(params), None)

    shapes = jax.eval_shape(initial, jax.random.key(0))
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state, loop = checkpoints.restore(latest, checkpoint.abstract(shapes, sharding))
    checkpoints.close()
    loop.pop("seconds")
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in report.read_rows(path / "metrics.jsonl")]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)], loop, best, rows


def identical(a, b):
    """Whether two outcomes agree in every bit."""
    return all(np.array_equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and a[1:] == b[1:]


def main(kills, epochs, seed):
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
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
            before = newest(broken)
            process = subprocess.Popen(command(broken, epochs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if len(killed) % 2:  # just after a checkpoint has appeared: in the next step, validation or save
                while newest(broken) == before and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(moments.uniform(0, 1))
            else:  # anywhere, the start and the compilation included
                time.sleep(moments.uniform(0, start + (life - start) / 10))
            if process.poll() is not None:
                sys.exit(f"complete after {len(killed)} kills, before {kills}: give it more --epochs")
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed.append(newest(broken))
            print(f"kill {len(killed)}: latest checkpoint {killed[-1]}", flush=True)
        subprocess.run(command(broken, epochs), check=True, stdout=subprocess.DEVNULL)
        same = identical(outcome(whole), outcome(broken))
        rows = len(report.read_rows(whole / "metrics.jsonl"))
    print(f"{len(killed)} kills, identical: {same}")
    result = {"kills": len(killed), "checkpoints_at_kills": killed, "identical": same, "seed": seed, "rows": rows}
    return {"kind": "resume"} | result


def newest(path):
    """The newest finished checkpoint, 0 where there is none."""
    return max((int(p.name) for p in path.glob("checkpoints/*") if p.name.isdigit()), default=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    result = main(flags.kills, flags.epochs, flags.seed)
    record.write("resume", result)
    sys.exit(not result["identical"])

"""A whole training as a user first starts it: its time, from the command to the printed table, and its metrics.

python -m benchmarks.whole --config quickstart
python -m benchmarks.whole --config sasrec_ml1m --epochs 100
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

from benchmarks import record
from jaxrec.data import sources, synthetic
from jaxrec.evaluation import evaluator
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.training.workdirs import workdir

ROOT = Path(__file__).parents[1]


def measure(name, epochs):
    """Returns the seconds of the whole command, and HR@10 and NDCG@10 on the test of all that it compares."""
    with tempfile.TemporaryDirectory() as folder:
        path, begun = Path(folder) / "run", time.monotonic()
        command = [sys.executable, str(ROOT / "train.py"), "--config", name, "--workdir", str(path)]
        command += [f"--config.epochs={epochs}"] * bool(epochs)
        env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "programs")}
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - begun
        last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
        config, devices = workdir.read(path).config, jax.local_devices()
        answers = evaluator.workdir_answers(path, devices=devices, protocol="full")
        rows, split = {config.model.name: answers.result()["metrics"]}, answers.split
    for baseline in COUNTED:
        rows[baseline] = evaluator.baseline_answers(baseline, split, "full", "test", devices).result()["metrics"]
    if config.dataset.partition(":")[0] == sources.SYNTHETIC:
        rows["best reachable"] = synthetic.best_metrics(sources.world(config.dataset), split.interactions, split.test)
    return {
        "kind": "whole",
        "config": name,
        "epochs": last["epoch"],
        "seconds": seconds,
        "rows": {name: {key: metrics[key] for key in ("hr@10", "ndcg@10")} for name, metrics in rows.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--epochs", type=int, help="instead of the configuration's")
    flags = parser.parse_args()
    record.write(f"whole_{flags.config}", measure(flags.config, flags.epochs))

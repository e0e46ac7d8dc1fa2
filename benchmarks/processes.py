"""2 and 4 processes against one with as many devices, three epochs of a small SASRec of ml-100k.

Writes benchmarks/results/processes.json: losses, validations, and the largest differences.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import record

ROOT = Path(__file__).parents[1]
KEYS = {
    "dataset": "ml-100k",
    "model.dim": 16,
    "model.layers": 1,
    "length": 50,
    "epochs": 3,
    "eval_every": 1,
    "patience": 0,
    "optim.learning_rate": 0.01,
}


def train(workdir, number, devices):
    """Trains by so many processes of so many devices each. Returns (rows of metrics, seconds)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "train.py", "--config", "configs/sasrec_ml1m.py", "--workdir", str(workdir)]
    command += [f"--config.{key}={value}" for key, value in KEYS.items()]
    job = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(number), "--process"]
    begun = time.monotonic()
    commands = [[*command, *([*job, str(index)] if number > 1 else [])] for index in range(number)]
    started = [subprocess.Popen(each, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) for each in commands]
    statuses = [each.wait() for each in started]
    if any(statuses):
        raise SystemExit(f"{number} processes: one failed")
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return rows, round(time.monotonic() - begun, 1)


def main():
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for devices in [int(each) for each in sys.argv[1:]] or [2, 4]:
            alone, _ = train(Path(folder) / f"{devices}-1", 1, devices)
            several, seconds = train(Path(folder) / f"{devices}-{devices}", devices, 1)
            pairs = list(zip(alone, several, strict=True))
            found[str(devices)] = {
                "losses": [row["loss"] for row in several],
                "losses of one process": [row["loss"] for row in alone],
                "valid": several[-1]["valid"],
                "loss differs, relative, at most": max(abs(a["loss"] / b["loss"] - 1) for a, b in pairs),
                "metrics differ at most": max(abs(a["valid"][k] - b["valid"][k]) for a, b in pairs for k in a["valid"]),
                "seconds": seconds,
            }
    record.write("processes", {"keys": KEYS, "processes": found})


if __name__ == "__main__":
    main()

"""Starts several processes on this machine as one job, and compares the trainings that they leave."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from jaxrec.models.entry import build
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.restore import restore_params

ROOT = Path(__file__).parents[1]
SECONDS = 600  # the longest that a job may take


def start(argv, number, devices=1, last=(), module="jaxrec", cluster=(), **how):
    """Starts the `number` processes of a job that runs a module, each with `devices` devices, and returns them.

    `last`: arguments of the last process only. `cluster`: for --distributed, the variables that tell each process of
    the job in its environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }
    job = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(number), "--process"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = []
    for index in range(number):
        own = ["--distributed"] if cluster else [*job, str(index)] if number > 1 else []
        words = [*argv, *own, *(last if index == number - 1 else ())]
        env = environment | (cluster[index] if cluster else {})
        started.append(subprocess.Popen([sys.executable, "-m", module, *map(str, words)], env=env, **pipes | how))
    return started


def ends(started, seconds=SECONDS):
    """Waits for processes, and returns [(exit status, output)]; kills them if they take longer than `seconds`."""
    try:
        said = [each.communicate(timeout=seconds)[0] for each in started]
    finally:
        for each in started:
            each.kill()
    return [(each.returncode, text) for each, text in zip(started, said, strict=True)]


def run(argv, number, devices=1):
    """Runs a job to its end; exits if one of its processes fails."""
    for status, said in ends(start(argv, number, devices)):
        if status:
            sys.exit(f"{' '.join(map(str, argv))}: {number} processes: one ended with {status}:\n{said}")


def keys(values):
    """The flags that set these keys of a configuration."""
    return [f"--config.{key}={value}" for key, value in values.items()]


def rows(path):
    """The rows of a workdir's metrics.jsonl."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def apart(found, wanted):
    """How far a finished training is from another with as many steps.

    Returns:
        The largest differences, {"loss": of a row, relative; "valid" and "test": of a metric; "params": of a parameter
        in the last checkpoint, relative to the largest parameter}.
    """
    pairs = list(zip(rows(found), rows(wanted), strict=True))
    assert all(ours["step"] == theirs["step"] for ours, theirs in pairs), pairs
    tests = [json.loads((each / "done.json").read_text())["test"]["metrics"] for each in (found, wanted)]
    metrics = lambda ours, theirs: max(abs(ours[name] - theirs[name]) for name in theirs)
    ours, theirs = params(found), params(wanted)
    most = max(np.abs(leaf).max() for leaf in theirs)
    return {
        "loss": max(abs(ours["loss"] / theirs["loss"] - 1) for ours, theirs in pairs),
        "valid": max(metrics(ours["valid"], theirs["valid"]) for ours, theirs in pairs if "valid" in theirs),
        "test": metrics(*tests),
        "params": float(max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) / most),
    }


def params(path):
    """The params of a workdir's latest checkpoint, as a list of arrays."""
    stored = workdir.read(path)
    model = build(stored.config, stored.data["items"], stored.data["users"])
    return [np.asarray(leaf) for leaf in jax.tree.leaves(restore_params(path, model, "latest", None)[0])]

"""How long does `train.py` take to its first step and first evaluation, from the start of the interpreter?

    python -m benchmarks.starting [--config sasrec_ml1m] [--rounds 5] [--before DIR]

"cold" starts without cached programs, "seed" with those of a training with a different seed, "warm" with its own.
--before names a checkout of an earlier commit, which takes turns with this one. CPU seconds are those of all threads:
they tell versions apart even if other processes disturb the wall clock.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import record

ROOT = Path(__file__).parents[1]
CHILD = """
import functools, json, os, sys, time

from jaxrec import cli
from jaxrec.system.stopwatch import Stopwatch

begun, config, seed, workdir = sys.argv[1:]
marks, lap = {}, Stopwatch.lap


def mark(name):
    marks[name] = [time.time() - float(begun), time.process_time()]


def marked(watch, part, *now):
    mark(part)
    lap(watch, part, *now)
    if part == "setup":  # all is imported
        from jaxrec.training import assembly, fit

        fit.fit = functools.partial(observed, fit.fit, assembly)


def observed(fit, assembly, setup, path, validate, *args, **named):
    whole = assembly.call

    def call(setup, feed, state, start, end):
        state, metrics = whole(setup, feed, state, start, start + 1)
        float(metrics.loss[0])
        mark("step")
        validate(state.evaluated)
        mark("evaluation")
        print(json.dumps(marks), flush=True)
        os._exit(0)

    assembly.call = call
    return fit(setup, path, validate, *args, **named)


Stopwatch.lap = marked
sys.argv[1:] = ["--config", config, f"--config.seed={seed}", "--workdir", workdir]
cli.run("train")
"""


def started(root, config, seed, folder):
    """Starts a training: {part: [seconds from the start to its end, CPU seconds]}; `folder` caches programs."""
    env = os.environ | {"JAXREC_CACHE": str(folder), "PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-c", CHILD, str(time.time()), config, str(seed), f"{workdir}/run"]
        found = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True, cwd=root).stdout
    return json.loads(found.splitlines()[-1])


def medians(runs):
    """[{part: [seconds, CPU seconds]}, …] -> {part: {"seconds", "cpu_seconds"}}"""
    pairs = {part: zip(*(run[part] for run in runs), strict=True) for part in runs[0]}
    names = ("seconds", "cpu_seconds")
    return {
        part: dict(zip(names, (round(statistics.median(x), 2) for x in both), strict=True))
        for part, both in pairs.items()
    }


def measure(config, rounds, before):
    """Returns {version: {"cold", "seed", "warm": {part: …}}}, medians over the rounds."""
    roots = {"now": ROOT} | ({"before": before.resolve()} if before else {})
    runs = {version: {"cold": [], "seed": [], "warm": []} for version in roots}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for state, seed in (("cold", 1), ("seed", 2), ("warm", 2)):
                for version, root in roots.items():
                    runs[version][state].append(started(root, config, seed, Path(folder) / version))
                    print(version, state, runs[version][state][-1], flush=True)
    return {version: {state: medians(each) for state, each in found.items()} for version, found in runs.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="sasrec_ml1m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, metavar="DIR", help="a checkout of an earlier commit")
    flags = parser.parse_args()
    found = measure(flags.config, flags.rounds, flags.before)
    command = f"python -m benchmarks.starting --config {flags.config} --rounds {flags.rounds}"
    command += " --before DIR" if flags.before else ""
    record.write("starting", {"kind": "starting", "config": flags.config, "rounds": flags.rounds} | found, command)

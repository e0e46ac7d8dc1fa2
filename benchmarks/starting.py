"""How long does a training take to its first step and first evaluation, from the start of the interpreter?

    python -m benchmarks.starting [--config sasrec_ml1m] [--rounds 5] [--before DIR]

Cold is without kept programs; seed is with those of a training by another seed; warm is with its own. --before names a
checkout of an earlier commit, which takes turns with this one. CPU seconds are of all threads: they tell versions apart
where other processes disturb the wall clock.
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
import json, sys, time
marks = {}
def mark(name):
    marks[name] = [time.time() - float(sys.argv[1]), time.process_time()]
from jaxrec.data import sources
from jaxrec.kernels import compiler
compiler.keep_programs(sources.cache())
compiler.trim_after_compiling()
from jaxrec.commands import train
from jaxrec.config import recipes
from jaxrec.evaluation.evaluator import validation
from jaxrec.training import assembly, fit, preflight
mark("imports")
config, _ = recipes.load(sys.argv[2], {"seed": sys.argv[3]})
setup = assembly.assemble(config)
validate = validation(setup)
mark("data")
preflight.check_state(setup)
state, feed = assembly.first_state(setup), fit.Feed(setup)
preflight.check(setup, state, feed, 0, 1)
if hasattr(validate, "compile_ahead"):
    validate.compile_ahead()
state, metrics = assembly.call(setup, feed, state, 0, 1)
float(metrics.loss[0])
mark("step")
validate(state.evaluated)
mark("evaluation")
print(json.dumps(marks))
"""


def started(root, config, seed, folder):
    """{part: [seconds from the start of a new process to its end, CPU seconds]}; programs are kept in the folder."""
    command = [sys.executable, "-c", CHILD, str(time.time()), config, str(seed)]
    env = os.environ | {"JAXREC_CACHE": str(folder), "PYTHONPATH": str(root)}
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
    """{version: {"cold", "seed", "warm": {part: …}}}"""
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

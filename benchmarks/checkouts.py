"""Is one checkout of the code as fast as another? Compares the rates of training and of evaluation, in turns.

    git worktree add ../before COMMIT
    python -m benchmarks.checkouts --before ../before --rounds 40

Both checkouts train each configuration on the same data, in turns of a few seconds; which of them begins alternates
from round to round. Turns are short because a machine's own speed changes within a minute, so a call of the program has
fewer steps than the configuration says. The result is the ratio of their real targets per second, new to old: the
median over the rounds, and its 95% interval by the bootstrap. Each checkout loads its own configuration of that name.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.speed import Contender

ROOT = Path(__file__).resolve().parents[1]
#: {task: steps in a call of a training, which take some 3 seconds on two cores; None for an evaluation}
TASKS = {
    "sasrec_ml1m": 12,
    "sasrec_softmax_ml1m": 4,
    "bert4rec_ml1m": 6,
    "gru4rec_rsc15": 512,
    "sasrec_softmax_ml1m, evaluation": None,
}


def contender(root, told):
    """Starts a process that trains or evaluates with the code of a checkout; told: arguments of `benchmarks.ours`."""
    env = os.environ | {"PYTHONPATH": str(root)}
    os.chdir(root)
    return Contender([sys.executable, "-m", "benchmarks.ours", json.dumps(told)], env)


def compare(before, task, rounds, seconds):
    """Returns the rates of both checkouts in every round, and the ratio of the new to the old."""
    roots = {"before": Path(before).resolve(), "now": ROOT}
    told = {"config": task.partition(",")[0], "set": {}, "mode": "evaluation"}
    if steps := TASKS[task]:
        told |= {"set": {"epochs": 1000, "steps_per_call": steps}, "mode": "training"}
    return in_turns({name: contender(root, told) for name, root in roots.items()}, rounds, seconds)


def in_turns(running, rounds, seconds):
    """Returns the rates of two contenders in every round, and the ratio of the second to the first."""
    for each in running.values():
        each.turn(seconds)  # the first turn compiles
    rates = {name: [] for name in running}
    for number in range(rounds):
        for name in list(running)[:: -1 if number % 2 else 1]:
            rates[name].append(running[name].turn(seconds)["rate"])
    for each in running.values():
        each.end()
    first, second = map(np.array, rates.values())
    ratios, random = second / first, np.random.default_rng(0)
    medians = np.median(ratios[random.integers(0, rounds, (10_000, rounds))], axis=1)
    return {
        "rates": rates,
        "ratio": float(np.median(ratios)),
        "ci95": np.quantile(medians, [0.025, 0.975]).tolist(),
    }


def commit_of(folder):
    """The commit of a checkout."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, type=Path, help="another checkout of this repository")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=3, help="length of a turn")
    flags = parser.parse_args()
    result = {"kind": "checkouts", "before": commit_of(flags.before), "rounds": flags.rounds, "tasks": {}}
    home = Path.cwd()
    for task in flags.tasks:
        result["tasks"][task] = compare(flags.before, task, flags.rounds, flags.seconds)
        found = result["tasks"][task]
        print(f"{task}: {found['ratio']:.3f} [{found['ci95'][0]:.3f} to {found['ci95'][1]:.3f}]", flush=True)
        os.chdir(home)
        record.write("checkouts", result, f"python -m benchmarks.checkouts --before PATH --rounds {flags.rounds}")

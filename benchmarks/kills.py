"""Kills a process of a job (kill -9) at a random moment, over and over, and resumes with 1, 2 and 4 processes in turn.

    python -m benchmarks.kills --kills 10

Every process is the real command. Half of the kills fall at a moment drawn from the start on (imports, the meeting of
the processes and compilation included), half within a second of a new checkpoint. The other processes of the job must
end by themselves: within a minute, or, if the processes had not all met yet, within the five minutes that they wait for
each other. The next job must resume from the newest checkpoint. At the end, steps, losses, validations and test must be
those of one process that was never killed, except for the rounding due to a different number of devices.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import jobs, plots, record
from benchmarks.resume import newest
from jaxrec.kernels.processes import HEARTBEAT, MEETING

NUMBERS = 1, 2, 4  # of processes, in turn
CLOSE = {"loss": 1e-5, "valid": 1e-3, "test": 1e-3}  # as close as different numbers of devices are without kills
KEYS = {
    "dataset": "synthetic:users=600,items=200",
    "model.dim": 16,
    "model.layers": 1,
    "model.ffn": "gelu",  # smooth: at a kink, the rounding of a different number of devices could decide
    "length": 20,
    "row": 20,
    "batch": 32,
    "eval_every": 2,
    "save_every": 1,
    "steps_per_call": 4,
    "patience": 0,
    "optim.eps": 1e-4,
}


def command(path, epochs):
    return ["train", "--config", "sasrec_ml1m", "--workdir", path, *jobs.keys(KEYS | {"epochs": epochs})]


def kill(path, epochs, number, moments, latest):
    """Starts a job, and kills one of its processes: within `latest` seconds of its start, or 1 s of a checkpoint."""
    before, begun = newest(path), time.monotonic()
    started = jobs.start(command(path, epochs), number)
    alive = lambda: all(each.poll() is None for each in started)
    awaits = moments.random() < 0.5
    if awaits:
        while newest(path) == before and alive():
            time.sleep(0.01)
    time.sleep(moments.uniform(0, 1 if awaits else latest))
    victim = moments.randrange(number)
    if not alive():
        sys.exit(f"ended before it was killed: {jobs.ends(started)}")
    started[victim].kill()
    killed = time.monotonic()
    found = jobs.ends(started)
    met = any("[Gloo] Rank" in said for _, said in found)  # the first thing that a job prints
    resumed = re.search(r"resumed at step ([\d,]+)", found[0][1])
    return {
        "processes": number,
        "killed": victim,
        "after_seconds": round(killed - begun, 1),
        "had_met": met,
        "others_ended_after_seconds": round(time.monotonic() - killed, 1),
        "statuses": [status for status, _ in found],
        "checkpoint_before": before,
        "resumed_at": int(resumed[1].replace(",", "")) if resumed else None,
        "checkpoint_after": newest(path),
    }


def lost(row):
    """Lists what a kill must not cost but did; empty if all is well."""
    most = HEARTBEAT if row["had_met"] else MEETING
    others = [status for index, status in enumerate(row["statuses"]) if index != row["killed"]]
    return [
        *(["a checkpoint is gone"] if row["checkpoint_after"] < row["checkpoint_before"] else []),
        *(["resumed from another checkpoint"] if row["resumed_at"] not in (None, row["checkpoint_before"]) else []),
        *(["another said it had ended well"] if {0, 143} & set(others) else []),
        *(["others lived on"] if row["others_ended_after_seconds"] > HEARTBEAT + most else []),
    ]


def main(kills, epochs, seed):
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        begun = time.monotonic()
        [alone] = jobs.start(command(whole, epochs), 1)
        while alone.poll() is None and not newest(whole):
            time.sleep(0.01)
        start = time.monotonic() - begun
        if (ended := jobs.ends([alone])[0])[0]:
            sys.exit(f"the uninterrupted run failed: {ended}")
        print(f"uninterrupted: {time.monotonic() - begun:.0f} s, the first checkpoint after {start:.0f} s", flush=True)
        rows = []
        for turn in range(kills):
            rows.append(kill(broken, epochs, NUMBERS[turn % len(NUMBERS)], moments, 1.25 * start))
            print(rows[-1], lost(rows[-1]), flush=True)
        jobs.run(command(broken, epochs), NUMBERS[kills % len(NUMBERS)])
        apart = jobs.apart(broken, whole)
    wrong = [said for row in rows for said in lost(row)]
    wrong += [f"{name} differs" for name, most in CLOSE.items() if apart[name] > most]
    return {"kind": "kills", "kills": rows, "apart": apart, "wrong": wrong, "seed": seed, "epochs": epochs}


def plot(result, path):
    """The newest checkpoint after each job that was killed, by its number of processes."""
    figure, (axes,) = plots.panels(width=4.8)
    steps = [row["checkpoint_after"] for row in result["kills"]]
    axes.plot(range(1, len(steps) + 1), steps, color="grey", linewidth=1)
    for number in NUMBERS:
        own = {job: row for job, row in enumerate(result["kills"], 1) if row["processes"] == number}
        axes.plot(list(own), [row["checkpoint_after"] for row in own.values()], "o", label=f"{number} processes")
    axes.set(xlabel="jobs, each ended by SIGKILL", ylabel="newest checkpoint, step", ylim=(0, None))
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    result = main(flags.kills, flags.epochs, flags.seed)
    record.write("kills", result)
    plot(result, record.place("kills", "png"))
    sys.exit(bool(result["wrong"]))

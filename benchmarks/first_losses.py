"""Does one checkout of the code train as another does? Compares the first losses, step by step, on the same data.

    git worktree add ../before COMMIT
    python -m benchmarks.first_losses --before ../before

The result is how many of the losses and gradient norms are the same float32, and the largest relative difference. Each
checkout trains with its own `fit`, in a process of its own, on one device.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STEPS = 100
TASKS = {"quickstart": {}, "gru4rec_rsc15": {}, "bert4rec_ml1m": {"dataset": "ml-100k"}}


class Enough(BaseException):
    """Ends a training; not an Exception, so that the loop doesn't catch it."""


def assembled(name, changes):
    """Returns (the module of `fit`, a Setup) of the code on the path, laid out as now or as in commit a1d4161."""
    try:
        from jaxrec.config import recipes
        from jaxrec.training import assembly, fit
    except ImportError:
        import jax

        from jaxrec import fit, recipes
        from jaxrec.data import sources, splits

        config, _ = recipes.load(name, changes)
        split = splits.split(sources.load(config.dataset), config.split, config.split_q, config.valid)
        return fit, fit.setup(config, split, jax.local_devices()[:1])
    return fit, assembly.assemble(recipes.load(name, changes)[0])


def train(name, changes):
    """Returns the losses and gradient norms of the first steps, [2, STEPS] float32."""
    fit, setup = assembled(name, changes)
    found, run = [], setup.run

    def noted(*args):
        state, metrics = run(*args)
        taken = np.isfinite(np.asarray(metrics.loss))
        found.append(np.stack([np.asarray(metrics.loss)[taken], np.asarray(metrics.norm)[taken]]))
        if sum(part.shape[1] for part in found) >= STEPS:
            raise Enough
        return state, metrics

    noted.lower = getattr(run, "lower", None)
    replace = dataclasses.replace if dataclasses.is_dataclass(setup) else lambda setup, **new: setup._replace(**new)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        fit.fit(replace(setup, run=noted), Path(folder), None)
    return np.concatenate(found, axis=1)[:, :STEPS]


def losses(root, name, changes):
    """Runs `train` with the code of a checkout, in a process of its own."""
    told = json.dumps([name, changes])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.npy"
        command = [sys.executable, __file__, "--train", told, "--into", str(file)]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(root)}, cwd=root, check=True)
        return np.load(file)


def main(before):
    """Trains with both checkouts, and writes how much they differ."""
    from benchmarks import record
    from benchmarks.checkouts import commit_of

    roots = Path(before).resolve(), Path(__file__).resolve().parents[1]
    result = {"kind": "first_losses", "before": commit_of(before), "steps": STEPS, "tasks": {}}
    for name, changes in TASKS.items():
        old, new = (losses(root, name, changes) for root in roots)
        apart = (np.abs(new - old) / np.abs(old)).max(1).tolist()
        same = (new == old).sum(1).tolist()
        rows = {what: {"same": same[i], "largest": apart[i]} for i, what in enumerate(("losses", "norms"))}
        result["tasks"][name] = {"changes": changes} | rows
        print(name, result["tasks"][name], flush=True)
    record.write("first_losses", result, "python -m benchmarks.first_losses --before PATH")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="another checkout of this repository")
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.train:
        np.save(flags.into, train(*flags.train))
    else:
        main(flags.before)

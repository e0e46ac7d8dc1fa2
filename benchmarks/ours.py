"""jaxrec as a contender of the speed benchmark: the loop of `fit`, or evaluation, in turns (see benchmarks/peers)."""

import dataclasses
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from benchmarks.peers.turns import Turns, arguments
from jaxrec.config import recipes
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.kernels import compiler
from jaxrec.training import assembly, fit, setup as setups


def training(setup):
    """Runs `fit`, with its plan, its reading of metrics and its saves; a turn can end after any call."""
    turns, before, run = None, None, setup.run

    def turned(*args):
        nonlocal turns, before
        if turns is None:
            turns = Turns()
        if before is not None:
            count = np.asarray(before.count)  # waits until its steps are done
            turns.tick(float(np.nansum(count)) / setup.config.num_future_targets, int(np.isfinite(count).sum()))
        state, before = run(*args)
        return state, before

    turned.lower = run.lower  # `fit` asks it for the memory of the program
    with tempfile.TemporaryDirectory() as folder:
        fit.fit(dataclasses.replace(setup, run=turned), Path(folder), None)


def evaluating(setup):
    """Evaluates the test questions under full ranking, over and over; each user counts as a target."""
    split = setup.split
    evaluator = Evaluator(setup.model, setup.config, split, split.test, setup.devices)
    params = jax.device_put(setups.initial(setup).params)
    turns = Turns()
    while True:
        metrics(evaluator.ranks(params))
        turns.tick(len(split.test.source))


if __name__ == "__main__":
    given = arguments()
    compiler.trim_after_compiling()
    config, _ = recipes.load(given["config"], {key: str(value) for key, value in given["set"].items()})
    setup = assembly.assemble(config)
    evaluating(setup) if given["mode"] == "evaluation" else training(setup)
    sys.exit(0)

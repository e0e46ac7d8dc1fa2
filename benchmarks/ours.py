"""jaxrec as a contender of the speed benchmark: the loop of `fit`, or evaluation, in turns (see benchmarks/peers)."""

import dataclasses
import functools
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from benchmarks import hlo
from benchmarks.peers.turns import Turns, arguments
from jaxrec.config import recipes
from jaxrec.data.sources import cache
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.kernels import compiler
from jaxrec.training import assembly, fit, setup as setups


def about(text=None):
    """Returns what answers say on a GPU: the most bytes that it held, and the kernels of a round of a program.

    text: that of a compiled program.
    """
    if jax.default_backend() != "gpu":
        return {}
    found = {"device_bytes": jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]}
    return found | ({"kernels": kernels(text)} if text else {})


@functools.cache
def kernels(text):
    """The kernels that a round of a compiled program launches; `hlo.Program.round` says what a round is."""
    program = hlo.Program(text)
    return hlo.kernels(program.cost(program.round()))


def training(setup):
    """Runs `fit`, with its plan, its reading of metrics and its saves; a turn can end after any call."""
    turns, before, run, text = None, None, setup.run, None

    def turned(*args):
        nonlocal turns, before
        if turns is None:
            turns = Turns(about=lambda: about(text))
        if before is not None:
            count = np.asarray(before.count)  # waits until its steps are done
            turns.tick(float(np.nansum(count)) / setup.config.num_future_targets, int(np.isfinite(count).sum()))
        state, before = run(*args)
        return state, before

    def lower(*args):  # which `fit` calls to ask the program for its memory
        lowered = run.lower(*args)

        def compile():
            nonlocal text
            compiled = lowered.compile()
            text = compiled.as_text() if jax.default_backend() == "gpu" else None
            return compiled

        return SimpleNamespace(compile=compile)

    turned.lower = lower
    with tempfile.TemporaryDirectory() as folder:
        fit.fit(dataclasses.replace(setup, run=turned), Path(folder), None)


def evaluating(setup):
    """Evaluates the test questions under full ranking, over and over; each user counts as a target."""
    split = setup.split
    evaluator = Evaluator(setup.model, setup.config, split, split.test, setup.devices)
    params = jax.device_put(setups.initial(setup).params)
    turns = Turns(about=about)
    while True:
        metrics(evaluator.ranks(params))
        turns.tick(len(split.test.source))


if __name__ == "__main__":
    given = arguments()
    if jax.default_backend() == "gpu":  # on a CPU the peak of memory is that of a first start
        compiler.keep_programs(cache())
    compiler.trim_after_compiling()
    config, _ = recipes.load(given["config"], {key: str(value) for key, value in given["set"].items()})
    setup = assembly.assemble(config)
    evaluating(setup) if given["mode"] == "evaluation" else training(setup)
    sys.exit(0)

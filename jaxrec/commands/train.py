"""The command train: by a config, from the workdir's latest checkpoint; then the test."""

from pathlib import Path

from jaxrec.api import fitting
from jaxrec.api.logs import as_log
from jaxrec.config import recipes
from jaxrec.system import console as consoles


def train(arguments, overrides):
    """Train by a config, from the workdir's latest checkpoint; then test the best one beside the baselines."""
    config, name = recipes.load(arguments.config, overrides)
    path = arguments.workdir or Path("runs") / name
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    log = as_log(config.dataset, say)
    try:
        done = fitting.train(config, name, log, path, console)
    except fitting.Stopped as stopped:
        console.print(f"stopped by signal {stopped.signum}; a checkpoint is saved: the same command goes on from it")
        return 128 + stopped.signum
    if not done.trained:
        say(f"{path}: training is complete; jaxrec evaluate --workdir {path} evaluates it")
        return 0
    done.show(console)
    say(f"checkpoints {path / 'checkpoints'}, curves {path / fitting.CURVES}")
    return 0

"""The command `train`: trains a configuration in a workdir, and tests it."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxrec.config import recipes
from jaxrec.config.parsing import check_keys, to_dict
from jaxrec.system import collecting, console as consoles, objects
from jaxrec.system.background import started
from jaxrec.system.errors import UserError
from jaxrec.system.files import below
from jaxrec.system.stopwatch import Stopwatch


class Ahead(NamedTuple):
    """What a training prepares while JAX is imported."""

    recipe: recipes.Recipe
    log: Callable  #: () -> the Log, as soon as it is read
    notes: list[str]  #: notes from reading it, to print later


def _recipe(arguments, overrides):
    """Returns the Recipe of --config, or of the training named by --init-from."""
    if arguments.init_from is not None:
        overrides = {**overrides, "init_from": str(arguments.init_from)}
        if arguments.workdir is None:
            raise UserError("--init-from starts a new training: name its folder by --workdir PATH")
    if arguments.config is not None:
        return recipes.read(arguments.config, overrides)
    if arguments.init_from is None:
        raise UserError("name a configuration, --config NAME; jaxrec configs lists the shipped ones")
    from jaxrec.training import growing

    values = to_dict(growing.earlier(arguments.init_from, arguments.workdir))
    return recipes.changed(values, overrides, objects.name_of(arguments.init_from))


def _log(name, say):
    from jaxrec.api.logs import as_log

    return as_log(name, say)


def begin(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    """Reads the recipe, and starts to read its log in a thread, so that JAX is imported meanwhile."""
    recipe = _recipe(arguments, overrides)
    if "dataset" not in recipe.values:
        raise UserError(f"{recipe.name} is for a log of your own: name it, --config.dataset=PATH")
    notes: list[str] = []
    arguments.ahead = Ahead(recipe, started(partial(_log, recipe.values["dataset"], notes.append)), notes)


def train(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Trains from the workdir's latest checkpoint, then tests the best one beside the baselines."""
    from jaxrec.api import fitting

    collecting.resume()
    watch = Stopwatch(arguments.began)
    watch.lap("imports")
    recipe, read, notes = arguments.ahead
    path = arguments.workdir or Path("runs") / recipe.name
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    check_keys(recipe.values)  # before waiting for the log, which may take long
    log = read()
    for note in notes:
        say(note)
    config, name = fitting.resolved(recipe, log, say, path)
    watch.lap("data")
    try:
        done = fitting.train(config, name, log, path, console, watch=watch)
    except fitting.Stopped as stopped:
        console.print(f"stopped by signal {stopped.signum}; a checkpoint is saved: the same command resumes from it")
        return 128 + stopped.signum
    if not done.trained:
        say(f"{path}: training is complete; jaxrec evaluate --workdir {path} evaluates it")
        return 0
    done.show(console)
    say(f"checkpoints {below(path, 'checkpoints')}, curves {below(path, fitting.CURVES)}")
    return 0

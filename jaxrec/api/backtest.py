"""How good would it have been, month after month, and how fast does it go stale? Rolling tests, by a log's dates."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxrec.api import fitting
from jaxrec.api.backtested import Backtest
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import Log, as_log
from jaxrec.config import parsing as configs, registry
from jaxrec.data import event_types, folds as folding, splits
from jaxrec.data.folds import Asked, Fold
from jaxrec.data.times import date
from jaxrec.evaluation import ranker
from jaxrec.evaluation.ageing import Ages, spread
from jaxrec.evaluation.baselines import BASELINES
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.protocols import FULL, KEPT
from jaxrec.kernels import placement
from jaxrec.system import checksums, console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_checked, replacing, write_checked
from jaxrec.training import assembly, fit as loop, wording, workdir as workdirs
from jaxrec.training.building import model_for
from jaxrec.training.restore import restore_params

PLAN = "backtest.json"
LEAST = 1e-6  #: share of a window's events that can validate
Planned = Mapping[str, tuple[str, Mapping[str, Any]]]  #: {label: (configuration, its changes)}
NOTHING = np.zeros(0, np.int32)  #: the ranks where no question can be asked
OWN = ("dataset", "seed", "split", "test_quantile", "valid_fraction")  # keys that follow from the backtest


@with_keywords
def backtest(
    data: Any,
    models: Sequence[str] = (fitting.DEFAULT,),
    *,
    train_days: float | str = 28,
    test_days: float = 7,
    folds: int = 6,
    retrain_every: int | str = 1,
    baselines: Sequence[str] = ("popularity", "transitions"),
    targets: str = folding.ALL,
    valid_fraction: float = 0.1,
    seeds: int = 1,
    workdir: str | os.PathLike | None = None,
    **keys: Any,
) -> Backtest:
    """Train on the past, ask for what came next, and go on in time: metrics by test, and by the age of the model.

    The last `folds` times `test_days` of the log are tests, one after another. Before each a model is trained on the
    `train_days` before it alone, and is asked in that test and in all later ones.

    >>> import jaxrec
    >>> found = jaxrec.backtest("ml-100k", ["default"], train_days=56, test_days=14)  # doctest: +SKIP
    >>> found.rows["default"]["ages"]  # doctest: +SKIP

    Args:
        data: what `prepare` gave, or takes, with dates.
        models: names of models, which `default` trains, or of configurations; models of one's own by their import
            path, or the name by which they are registered.
        train_days: before each test, on which a model is trained; "all" for all that was before it.
        test_days: length of a test.
        folds: how many tests there are.
        retrain_every: tests after which models are trained anew, or days, as "14d".
        baselines: names, as `evaluate` takes them.
        targets: "all" events of a test, or each user's "last" in it.
        valid_fraction: share of the window's events, the last ones, which choose the checkpoint and train nothing;
            0: all train, for all epochs.
        seeds: trainings of each model and window; the metrics are their means.
        workdir: where trainings lie, and are gone on with; a fresh one if None.
        keys: of every configuration, as of `fit`.

    Raises:
        UserError: no such model, baseline or key; the log has no dates, or is too short.
        KeyboardInterrupt: Ctrl-C; with the same workdir the backtest goes on.
    """
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    _check(baselines, targets, valid_fraction, seeds, folds, keys)
    days = _days("--test-days", test_days)
    every = _every(retrain_every, days)
    planned = _planned(models)
    log, types = as_log(data, say), keys.get("target_types", "")
    log = Log(event_types.asking(log.interactions, types), log.dataset, log.steps, log.notes)
    train = None if train_days == folding.ALL else _days("--train-days", train_days)
    plan = folding.plan(log.interactions, train, days, folds)
    asked = folding.asked(log.interactions, plan, targets)
    _check_plan(log, plan, asked, every, valid_fraction)
    keys = {**keys, "split": folding.NAME, "valid_fraction": float(valid_fraction), "test_quantile": 0.9}
    keys |= {"target_types": types}  # of all models, whatever their recipes say
    keys["seen"] = _seen(planned, _window(log, plan[0]), keys)
    told = {"train_days": train or folding.ALL, "test_days": days, "folds": folds, "targets": targets}
    told |= {"valid_fraction": valid_fraction, "seen": keys["seen"]} | ({"target_types": types} if types else {})
    folder = fitting.fresh("backtest") if workdir is None else Path(workdir)
    if workdir is None:
        say(f"workdir {folder}")
    folder = folder.absolute()  # where it is when the caller goes elsewhere
    _claim(folder, {"data": log.fingerprint, **told})
    run = _Run(log, plan, asked, valid_fraction, KEPT if keys["seen"] == "keep" else FULL, console)
    for fold in range(0, folds, every):
        run.learn(fold, baselines)
        with fitting.ending(folder):
            run.train(fold, planned, keys, seeds, folder / f"fold-{fold}")
    names = {"kind": "backtest", "data": Path(log.dataset).name, **told, "seeds": seeds, "retrain_every": every}
    tests = folding.facts(log.interactions, plan, asked)
    found = Backtest(names | {"protocol": run.protocol, "tests": tests, "rows": run.rows(days)}, folder)
    found.plot(folder / found.PLOT)
    return found


class _Run:
    """A backtest under way: the ranks of every question by every training so far."""

    def __init__(self, log: Log, plan: list[Fold], asked: Asked, valid: float, protocol: str, console: Console):
        self.log, self.plan, self.asked, self.valid = log, plan, asked, valid
        self.protocol, self.console, self.devices = protocol, console, placement.local()
        self.ranks: dict[str, dict[int, np.ndarray]] = {}  # {model or baseline: {fold: [S, Q]}}
        self.answered: dict[str, dict[int, np.ndarray]] = {}  # {model or baseline: {fold: [Q] bool}}
        self.costs: dict[str, list[dict[str, float]]] = {}  # {model: of every training}

    def learn(self, fold: int, baselines: Sequence[str]) -> None:
        """Let baselines count what trains before a fold, and ask them what comes in it and later."""
        past = folding.latest(folding.window_of(self.log.interactions, self.plan[fold].window), self.valid)
        split, can = self._questions(fold)
        for name in baselines:
            baseline, own, questions = BASELINES[name], can, split.test
            if baseline.of_users:
                has = (split.stop > split.start)[questions.source]
                own, questions = can.copy(), splits.Questions(*(each[has] for each in questions))
                own[can] = has
            learnt, found = baseline.fit(past), NOTHING
            if own.any():
                layout = ranker.lay_out(split, questions, self.protocol, devices=self.devices)
                queries = baseline.queries(learnt, split, questions)
                found = ranker.run(layout, baseline.scorer, baseline.params(learnt), queries)
            self._keep(name, fold, spread(found, own)[None], own)

    def train(self, fold: int, planned: Planned, keys: Mapping[str, Any], seeds: int, folder: Path) -> None:
        """Train each model before a fold, where it is not trained yet, and ask it what comes in it and later."""
        window, (split, can) = _window(self.log, self.plan[fold]), self._questions(fold)
        for label, (recipe, changes) in planned.items():
            found = []
            for seed in range(seeds):
                told = self._say if (fold, seed) == (0, 0) else lambda line: None
                config, _ = fitting.configuration(recipe, {**keys, **changes, "seed": seed}, window, told)
                path = folder / f"{label.replace(' ', '-').replace(os.sep, '-').replace(':', '-')}-{seed}"
                self._say(f"{label}, seed {seed}, of {window.interactions.name}: {path}")
                done = self._fitted(config, window, path)
                ranks, parameters = self._asked_of(config, window, path, split)
                found.append(spread(ranks, can))
                last = done["rows"][-1]
                cost = {"parameters": parameters, "minutes": last["seconds"] / 60, "epochs": last["epoch"]}
                self.costs.setdefault(label, []).append(cost)
            self._keep(label, fold, np.stack(found), can)

    def rows(self, days: float) -> dict[str, dict[str, Any]]:
        """{model or baseline: what `Ages.result` says, and the mean costs of a model's training}."""
        found = {}
        for name, ranks in self.ranks.items():
            told = {"asked": self.asked, "days": days, "folds": len(self.plan), "answered": self.answered[name]}
            found[name] = Ages(ranks=ranks, **told).result()
            each = self.costs.get(name, [])
            found[name] |= {key: float(np.mean([cost[key] for cost in each])) for key in (each or [{}])[0]}
        return found

    def _questions(self, fold):
        """The Split that asks what is left from a fold on, in the numbers of what trains before it; which can be."""
        later = np.flatnonzero(self.asked.fold >= fold)
        some = Asked(*(each[later] for each in self.asked))
        split, asks = folding.question(self.log.interactions, self.plan[fold].window, self.valid, some)
        can = np.zeros(len(self.asked.fold), bool)
        can[later] = asks
        return split, can

    def _fitted(self, config, window, path):
        with workdirs.locked(path) as held, held.named():
            setup, validate = fitting.assembled(config, assembly.split_of(config, window.interactions))
            fitting.claim(path, setup, window)
            self._say(wording.describe(setup))
            return loop.fit(setup, path, validate, self.console, held)

    def _asked_of(self, config, window, path, split):
        """Ranks of the questions that can be asked by the best checkpoint, and its parameters; ranks are kept."""
        users, types = len(window.interactions.users), window.interactions.types
        model = model_for(config, split.interactions.catalogue, users, len(types.names) if types else 0)
        params, step = restore_params(path, model, "best", placement.replicated(self.devices))
        trained_by = checksums.of_json(configs.to_dict(config) | {"dataset": ""})
        file = path / f"ranks-{step}-{trained_by[:8]}.npy"
        kept = _kept(file, len(split.test.target)) if len(split.test.target) else NOTHING
        if kept is None:
            evaluator = Evaluator(model, config, split, split.test, self.devices, self.protocol)
            kept = evaluator.ranks(params)
            with replacing(file) as temporary, open(temporary, "wb") as stream:
                np.save(stream, kept, allow_pickle=False)
        return kept, sum(each.size for each in jax.tree.leaves(params))

    def _keep(self, name, fold, ranks, answered):
        self.ranks.setdefault(name, {})[fold] = ranks
        self.answered.setdefault(name, {})[fold] = answered

    def _say(self, line):
        self.console.print(consoles.printable(line), soft_wrap=True)


def _kept(file, number):
    """The ranks that an earlier run wrote; None where it did not, or they are damaged."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (number,) and found.dtype == np.int32 else None


def _window(log, fold):
    """The Log that a fold's models are trained on: nothing in it is of the fold's test, or later."""
    interactions = folding.window_of(log.interactions, fold.window)
    span = f"{date(fold.window.since)} to {date(fold.window.until)}"
    return Log(replace(interactions, name=f"{interactions.name}, {span}"), f"{log.dataset}, {span}")


def _planned(models):
    """{label: (configuration, its changes)} of names of models and of configurations."""
    own, planned = registry.names("model"), {}
    for name in models:
        if name in own or (":" in name and not name.endswith(".py")):
            planned[name] = fitting.DEFAULT, {"model.name": name}
        else:
            planned[Path(name).stem] = name, {}
    return planned


def _seen(planned, window, keys):
    """What the key `seen` is of all models, so that all are asked alike: by the first window, the past of all."""
    planned = planned or {"": (fitting.DEFAULT, {})}
    found = {
        label: fitting.configuration(recipe, {**keys, **changes}, window)[0].seen
        for label, (recipe, changes) in planned.items()
    }
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{label} {value}" for label, value in found.items())
        raise UserError(
            f"seen differs ({listed}), and all are to be asked alike: set seen to keep or to exclude, for all"
        )
    return next(iter(found.values()))


def _check(baselines, targets, valid, seeds, folds, keys):
    if unknown := [name for name in baselines if name not in BASELINES]:
        raise UserError(f"no baseline {unknown[0]!r}: choose one of {', '.join(BASELINES)}")
    if targets not in folding.TARGETS:
        raise UserError(f"--targets {targets}: choose one of {', '.join(folding.TARGETS)}")
    if not (valid == 0 or LEAST <= valid < 1):
        raise UserError(f"--valid-fraction {valid:g}: a share of a window's events, less than 1; or 0 for none")
    for flag, value in {"--seeds": seeds, "--folds": folds}.items():
        if type(value) is not int or value < 1:
            raise UserError(f"{flag} {value}: a whole number, at least 1")
    if taken := [key for key in keys if key in OWN]:
        raise UserError(f"{taken[0]} is no key that may be set here: it follows from the backtest")


def _days(flag, value):
    """A number of days above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"{flag} {value}: a number of days above 0")
    return number


def _every(value, days):
    """After how many tests models are trained anew, of a number of them, or of days with a d."""
    text = str(value).strip()
    if text.endswith("d"):
        tests = _days("--retrain-every", text.removesuffix("d")) / days
        if abs(tests - round(tests)) > 1e-6 or tests < 0.5:
            raise UserError(f"--retrain-every {text}: tests are of {days:g} days: name {days:g}d, or a multiple of it")
        return round(tests)
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--retrain-every {text}: a number of tests, at least 1; or of days, as 14d")
    return int(text)


def _check_plan(log, plan, asked, every, valid):
    """That every window can train and validate, and every test asks something: before anything is trained."""
    for number, fold in enumerate(plan):
        if not (asked.fold == number).any():
            raise UserError(
                f"{log.interactions.name}: nobody can be asked from {date(fold.test.since)} to "
                f"{date(fold.test.until)}: no event there has an earlier one of its user; raise --test-days, or lower "
                "--folds"
            )
        if number % every:
            continue
        split = folding.latest(folding.window_of(log.interactions, fold.window), valid)
        trains, validates = (split.stop - split.start >= 2).any(), len(split.valid.target) or not valid
        if not (trains and validates):
            lack = "nobody has two events to train on" if not trains else "no event validates"
            cure = "raise --train-days" + ("" if trains else ", or lower --folds")
            cure += ", or --valid-fraction" if trains else ""
            raise UserError(
                f"{log.interactions.name}: {lack} from {date(fold.window.since)} to {date(fold.window.until)}: {cure}"
            )


def _claim(folder, told):
    """Make a folder this backtest's, or check that it is.

    Raises:
        UserError: it is of another one.
    """
    file = folder / PLAN
    if file.exists():
        kept = read_checked(file, "name another --workdir")
        differ = [f"{key} {kept.get(key)} -> {value}" for key, value in told.items() if kept.get(key) != value]
        if differ:
            raise UserError(f"{folder} holds another backtest: {', '.join(differ)}: name another --workdir")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_checked(file, told)

"""Backtests by rolling tests over the dates of a log: metrics over time, and how fast models go stale."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxrec.api import comparing, fitting
from jaxrec.api.backtested import Backtest
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import Log, as_log
from jaxrec.config import parsing as configs
from jaxrec.data import event_types, folds as folding, splits
from jaxrec.data.folds import Asked, Fold
from jaxrec.data.values.plausible import date
from jaxrec.evaluation import ranker
from jaxrec.evaluation.ageing import Ages, spread
from jaxrec.evaluation.baselines import BASELINES, named_baselines, scored
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.protocols import FULL, KEPT
from jaxrec.kernels import placement
from jaxrec.system import checksums, console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import local, read_checked, replacing, write_checked
from jaxrec.training import assembly, fit as loop, wording
from jaxrec.training.building import model_later
from jaxrec.training.workdirs import workdir as workdirs
from jaxrec.training.workdirs.restore import restore_params

PLAN = "backtest.json"
CONTINUED = ", continued"  #: suffix of the name of a continued model
MEANS = "parameters", "minutes", "epochs"  #: facts averaged over trainings
LEAST = 1e-6  #: minimum share of a window's events for validation
NOTHING = np.zeros(0, np.int32)  #: ranks when no question can be answered
OWN = ("dataset", "seed", "split", "test_quantile", "valid_fraction", "baskets")  # determined by the backtest
ALIKE = ("seen", "target_types", "init_from")  # keys that --continue can't set: they decide the questions and the start


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
    continued: Mapping[str, Any] | None = None,
    workdir: str | os.PathLike | None = None,
    **keys: Any,
) -> Backtest:
    """Trains models on the past and tests them on what followed, repeatedly: metrics by test, and by age of the model.

    The last `folds` times `test_days` of the log are consecutive tests. Before each, models are trained on the
    `train_days` before it, and are evaluated in that test and all later ones.

    >>> import jaxrec
    >>> found = jaxrec.backtest("ml-100k", ["default"], train_days=56, test_days=14)  # doctest: +SKIP
    >>> found.rows["default"]["ages"]  # doctest: +SKIP

    Args:
        data: a Log from `prepare`, or any input of `prepare`, with dates.
        models: names of models, trained by the configuration "default", or of configurations; your own models by import
            path or registered name.
        train_days: length of the training window before each test; "all" for all events before it.
        test_days: length of a test.
        folds: number of tests.
        retrain_every: number of tests between trainings, or days, as "14d".
        baselines: names, as for `evaluate`.
        targets: "all" events of a test, or each user's "last" in it.
        valid_fraction: share of a window's events, the latest ones, that choose the checkpoint and are not trained on;
            0 to train on all events, for all epochs.
        seeds: number of trainings per model and window; metrics are averaged.
        continued: keys of trainings that start from the training of the previous window (`init_from`), such as
            {"epochs": 2}; each model is then listed twice: trained from scratch for every window, and continued.
        workdir: folder of the trainings, resumed if it exists; a new one by default.
        **keys: keys of every configuration, as for `fit`.

    Raises:
        UserError: if a model, baseline or key doesn't exist, or the log has no dates or is too short.
        KeyboardInterrupt: on Ctrl-C; the same workdir resumes the backtest.
    """
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    _check(baselines, targets, valid_fraction, seeds, folds, keys, continued or {})
    days = _days("--test-days", test_days)
    every = _every(retrain_every, days)
    planned = comparing.planned(models)
    for name in (name for name in planned if continued is not None and name + CONTINUED in planned):
        raise UserError(f"model {name + CONTINUED!r}: {name} has this name when it is continued: give another name")
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
    folder = fitting.fresh("backtest") if workdir is None else local(workdir, "a workdir")
    if workdir is None:
        say(f"workdir {folder}")
    folder = folder.absolute()  # before the caller changes directory
    _claim(folder, {"data": log.fingerprint, **told})
    run = _Run(log, plan, asked, valid_fraction, KEPT if keys["seen"] == "keep" else FULL, console)
    for fold in range(0, folds, every):
        run.learn(fold, baselines)
        with fitting.ending(folder):
            run.train(fold, planned, keys, seeds, folder / f"fold-{fold}")
            if continued is not None:
                run.train(fold, planned, {**keys, **continued}, seeds, folder / f"fold-{fold}", continues=True)
    names = {"kind": "backtest", "data": Path(log.dataset).name, **told, "seeds": seeds, "retrain_every": every}
    tests = folding.facts(log.interactions, plan, asked)
    found = Backtest(names | {"protocol": run.protocol, "tests": tests, "rows": run.rows(days)}, folder)
    found.plot(folder / found.PLOT)
    return found


class _Run:
    """A backtest in progress: the ranks of all questions by all trainings so far."""

    def __init__(self, log: Log, plan: list[Fold], asked: Asked, valid: float, protocol: str, console: Console):
        self.log, self.plan, self.asked, self.valid, self.protocol = log, plan, asked, valid, protocol
        self.console, self.devices = console, placement.local()
        self.ranks: dict[str, dict[int, np.ndarray]] = {}  # {model or baseline: {fold: [S, Q]}}
        self.answered: dict[str, dict[int, np.ndarray]] = {}  # {model or baseline: {fold: [Q] bool}}
        self.costs: dict[str, list[dict[str, Any]]] = {}  # {model: cost of each training}
        self.newest: dict[tuple[str, int], Path] = {}  # {(model, seed): workdir to continue from}
        self.anew: dict[str, str] = {}  # {name of a continued model: name of the model trained from scratch}

    def learn(self, fold: int, baselines: Sequence[str]) -> None:
        """Fits baselines on a fold's training data, and ranks the questions of the fold and later ones."""
        past = folding.latest(folding.window_of(self.log.interactions, self.plan[fold].window), self.valid)
        split, can = self._questions(fold)
        for name in baselines:
            own, questions = can, split.test
            if BASELINES[name].of_users:
                has = (split.stop > split.start)[questions.source]
                own, questions = can.copy(), splits.Questions(*(each[has] for each in questions))
                own[can] = has
            found = NOTHING
            if own.any():
                layout = ranker.lay_out(split, questions, self.protocol, devices=self.devices)
                found = ranker.run(layout, *scored(name, split, questions, past))
            self._keep(name, fold, spread(found, own)[None], own)

    def train(
        self,
        fold: int,
        planned: comparing.Planned,
        keys: Mapping[str, Any],
        seeds: int,
        folder: Path,
        continues: bool = False,
    ) -> None:
        """Trains each model for a fold unless done, and ranks the questions of the fold and later ones.

        Args:
            continues: whether trainings start from the params of the previous fold; in the first fold, the training
                from scratch takes their place.
        """
        window, (split, can) = _window(self.log, self.plan[fold]), self._questions(fold)
        for model, (recipe, changes) in planned.items():
            label, found = model + CONTINUED if continues else model, []
            if continues and fold == 0:
                self.anew[label] = model
                self.ranks[label], self.answered[label] = ({0: each[model][0]} for each in (self.ranks, self.answered))
                continue
            for seed in range(seeds):
                begins = {"init_from": str(self.newest[model, seed])} if continues else {}
                told = self._say if (fold, seed) == (0, 0) else lambda line: None
                config, _ = fitting.configuration(recipe, {**keys, **changes, **begins, "seed": seed}, window, told)
                path = folder / f"{label.replace(' ', '-').replace(os.sep, '-').replace(':', '-')}-{seed}"
                self._say(f"{label}, seed {seed}, of {window.interactions.name}: {path}")
                done = self._fitted(config, window, path)
                if continues or fold == 0:
                    self.newest[model, seed] = path
                ranks, parameters = self._asked_of(config, window, path, split)
                found.append(spread(ranks, can))
                last = done["rows"][-1]
                cost = {"parameters": parameters, "minutes": last["seconds"] / 60, "epochs": last["epoch"]}
                self.costs.setdefault(label, []).append({"fold": fold, "seed": seed} | cost)
            self._keep(label, fold, np.stack(found), can)

    def rows(self, days: float) -> dict[str, dict[str, Any]]:
        """Returns {name: `Ages.result`, for models the costs of the trainings, for continued ones also `beside`}."""
        told: dict[str, Any] = {"asked": self.asked, "days": days, "folds": len(self.plan)}
        ages = {name: Ages(ranks=self.ranks[name], answered=self.answered[name], **told) for name in self.ranks}
        found = {name: each.result() for name, each in ages.items()}
        for name, costs in self.costs.items():
            found[name] |= {key: float(np.mean([cost[key] for cost in costs])) for key in MEANS} | {"trainings": costs}
        for name, anew in self.anew.items():
            found[name]["beside"] = ages[name].beside(ages[anew])
        return found

    def _questions(self, fold):
        """Returns the Split with the questions that models of a fold can answer, and which questions these are."""
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
        """Returns the best checkpoint's ranks, cached in the workdir, and the number of parameters."""
        catalogue = workdirs.catalogue(path, workdirs.read(path))
        model, split = model_later(config, window.interactions, catalogue, split)
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
    """Returns the ranks that an earlier run saved; None if there are none, or they are damaged."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (number,) and found.dtype == np.int32 else None


def _window(log, fold):
    """Returns the Log of a fold's training window, without events of the test or later."""
    interactions = folding.window_of(log.interactions, fold.window)
    span = f"{date(fold.window.since)} to {date(fold.window.until)}"
    return Log(replace(interactions, name=f"{interactions.name}, {span}"), f"{log.dataset}, {span}")


def _seen(planned, window, keys):
    """Returns the common value of `seen` for all models, resolved on the first window."""
    planned = planned or {"": (fitting.DEFAULT, {})}
    found = {
        label: fitting.configuration(recipe, {**keys, **changes}, window)[0].seen
        for label, (recipe, changes) in planned.items()
    }
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{label} {value}" for label, value in found.items())
        raise UserError(
            f"seen differs ({listed}), but all models must answer the same: set seen to keep or to exclude, for all"
        )
    return next(iter(found.values()))


def _check(baselines, targets, valid, seeds, folds, keys, continued):
    named_baselines(baselines)
    if targets not in folding.TARGETS:
        raise UserError(f"--targets {targets}: choose one of {', '.join(folding.TARGETS)}")
    if not isinstance(valid, int | float) or not (valid == 0 or LEAST <= valid < 1):
        raise UserError(f"--valid-fraction {valid}: a share of a window's events, less than 1; or 0 for none")
    comparing.check_seeds(seeds)
    if type(folds) is not int or folds < 1:
        raise UserError(f"--folds {folds}: a whole number, at least 1")
    if taken := [key for key in (*keys, *continued) if key in OWN]:
        raise UserError(f"{taken[0]} can't be set here: it is decided by the backtest, which asks for single events")
    if taken := [key for key in continued if key in ALIKE]:
        cure = "leave it out" if taken[0] == "init_from" else "set it for all trainings by --set"
        raise UserError(f"--continue {taken[0]}: continued trainings can't have their own value of this key: {cure}")


def _days(flag, value):
    """Parses a positive number of days."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"{flag} {value}: a number of days above 0")
    return number


def _every(value, days):
    """Parses a number of tests, or a number of days such as "14d", as a number of tests."""
    text = str(value).strip()
    if text.endswith("d"):
        tests = _days("--retrain-every", text.removesuffix("d")) / days
        if abs(tests - round(tests)) > 1e-6 or tests < 0.5:
            raise UserError(f"--retrain-every {text}: tests have {days:g} days: give {days:g}d, or a multiple of it")
        return round(tests)
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--retrain-every {text}: a number of tests, at least 1; or of days, as 14d")
    return int(text)


def _check_plan(log, plan, asked, every, valid):
    """Checks, before training, that every window has training and validation events, and every test has questions."""
    for number, fold in enumerate(plan):
        if not (asked.fold == number).any():
            raise UserError(
                f"{log.interactions.name}: no questions from {date(fold.test.since)} to {date(fold.test.until)}: "
                "no event there comes after another one of its user: raise --test-days, or lower --folds"
            )
        if number % every:
            continue
        split = folding.latest(folding.window_of(log.interactions, fold.window), valid)
        trains, validates = (split.stop - split.start >= 2).any(), len(split.valid.target) or not valid
        if not (trains and validates):
            lack = "nobody has two events to train on" if not trains else "there is no event for validation"
            cure = "raise --train-days" + ("" if trains else ", or lower --folds")
            cure += ", or --valid-fraction" if trains else ""
            raise UserError(
                f"{log.interactions.name}: {lack} from {date(fold.window.since)} to {date(fold.window.until)}: {cure}"
            )


def _claim(folder, told):
    """Records the backtest in a folder, or checks that the folder holds this backtest."""
    file = folder / PLAN
    if file.exists():
        kept = read_checked(file, "name another --workdir")
        differ = [f"{key} {kept.get(key)} -> {value}" for key, value in told.items() if kept.get(key) != value]
        if differ:
            raise UserError(f"{folder} holds another backtest: {', '.join(differ)}: name another --workdir")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_checked(file, told)

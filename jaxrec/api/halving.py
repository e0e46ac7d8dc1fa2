"""Hyperparameter search by successive halving within a time budget, resumable from its folder.

All trials of a round train for an equal share of its time. The better half continues, until only the best trial and
`default` are left; `default` takes part in every round (Jamieson and Talwalkar 2016). These two are trained to
completion, then with further seeds. Every trial is a workdir, so an interrupted search can be resumed. If a process has
several devices, as many trials train side by side, one per device. Several processes train every trial together; the
first one alone decides which is next, and tells the others.
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.api import fitting, search
from jaxrec.api.lanes import Lanes
from jaxrec.api.logs import Log
from jaxrec.api.search import Changes, Trial
from jaxrec.config.keys import Config
from jaxrec.config.parsing import flatten
from jaxrec.evaluation.comparison import paired
from jaxrec.evaluation.evaluator import ranks_of
from jaxrec.evaluation.protocols import FULL, KEPT, default_protocol
from jaxrec.kernels import placement, processes
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_json, write_json
from jaxrec.training import fit as loop, growing, preflight
from jaxrec.training.ongoing import NotFinite
from jaxrec.training.workdirs import workdir as workdirs

STATE = "tune.json"
FOR_TEST = 0.05  # share of the time reserved for the test
FIRST = 0.35  # share of the time for the first round
LAST = 0.5  # share of the remaining time for training the two finalists to completion
LEAST_SHARE = 3  # time per trial in the first round, as a multiple of the time to the first score
MOST = 32  # maximum trials of the first round


class Scored(loop.OutOfTime):
    """Raised to end a trial at its first score."""


class Unfit(UserError):
    """A configuration does not fit the log."""


FAILS = NotFinite, preflight.TooLarge, growing.AnotherModel  #: errors that end a trial, but not the search
ENDS = loop.OutOfTime, *FAILS  #: exceptions that cut off the training of a trial


class Halving:
    """A search: `run` it, then get the `order` of its trials."""

    def __init__(self, log: Log, folder: Path, minutes: float, base: Config, keys: Mapping[str, Any], say: Callable):
        """Starts or resumes a search.

        Args:
            log: the data.
            folder: folder of the search, locked by the caller.
            minutes: time budget.
            base: the Config of `default` for these data.
            keys: keys that the user set for every configuration.
            say: receives notes for the user.
        """
        self.log, self.folder, self.base, self.keys, self.say = log, folder, base, dict(keys), say
        self.devices = placement.local()
        of_all = any(key.startswith("mesh.") for key in flatten(self.keys))  # a trial uses several devices
        self.lanes = Lanes(placement.all_devices(), of_all)
        self.budget, self.seconds, self.least = 60 * minutes, 0.0, 0.0  # least: seconds to a trial's first score
        self.trials, self.planned = [search.trial({})], 0  # number of trials in the first round; 0 if not yet known
        self.shares: list[float] = []  # seconds per trial, for each round begun
        self.combined: Changes | None = None  # changes that helped in the first round; None before it, {} if too few
        self._ready: dict[str, tuple] = {}  # trial name -> (its devices, (Setup, validation function))
        self._keeping = threading.Lock()
        if (folder / STATE).exists():
            self._take_up()
        self.begun = time.monotonic() - self.seconds  # as if there had been a single run

    def _take_up(self):
        try:
            kept = read_json(self.folder / STATE)
            data, self.seconds, self.planned = kept["data"], float(kept["seconds"]), int(kept["planned"])
            self.least, self.shares = float(kept["least"]), [float(share) for share in kept["shares"]]
            self.trials, self.combined = [Trial(**each) for each in kept["trials"]], kept.get("combined")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.folder / STATE}: damaged ({error}): remove it, or name another workdir") from None
        if data != self.log.fingerprint:
            raise UserError(f"{self.folder} holds a search on other data: name another workdir")
        self.say(f"resumed after {self.seconds / 60:.1f} minutes")

    @property
    def first(self) -> Trial:
        """The trial of `default`."""
        return self.trials[0]

    def run(self) -> None:
        """Runs the rounds until the time is used up."""
        if self.first.score is None and not (self.first.ended or self.first.failed):
            self._train(self.first, time.monotonic() + self._left(), -1, to_its_first_score=True)
        self._plan()
        going = self.trials[: self.planned]
        rounds = max(len(going).bit_length() - 1, 0)  # 16 trials: 16, 8, 4, 2
        for number in range(rounds):
            self._round(going, number, self._share(number, rounds, len(going)))
            if number == 0:
                going = going + self._together()
            better = sorted((trial for trial in going if trial.rounds > number), key=lambda trial: -trial.rank)
            going = [self.first, *(trial for trial in better if trial is not self.first)][: max(len(going) // 2, 2)]
            self._ready = {name: each for name, each in self._ready.items() if name in {trial.name for trial in going}}
        finalists = self._finalists()
        waves = self.lanes.waves(finalists)
        for number, wave in enumerate(waves):
            if not all(trial.ended or trial.failed for trial in wave):
                self._round(wave, rounds, self._left() / (len(waves) - number))
        self._reseed(finalists, rounds)
        unfinished = [trial for trial in self.trials if not (trial.ended or trial.failed)]
        for wave in self.lanes.waves(sorted(unfinished, key=lambda trial: -trial.rank)):
            self._round(wave, None, self._left())  # remaining time goes to the next best
        processes.from_first(None)

    def _share(self, number, rounds, trials):
        """Returns the seconds per trial in a round; stored, so that a resumed search uses the same."""
        if number == len(self.shares):
            share = FIRST if number == 0 else (1 - LAST) / (rounds - number)
            self.shares.append(share * self._left() / -(-trials // len(self.lanes)))
            self.keep()
        return self.shares[number]

    def _plan(self):
        """Chooses, once, the number and the candidates of the first round."""
        if self.planned:
            return
        share = LEAST_SHARE * max(self.least, 1e-9)
        number = int(np.clip(FIRST * self.budget / share * len(self.lanes), 1, MOST))
        found = search.candidates(self.base, self.keys, self.log)
        self.trials += [search.trial(changes) for changes, _ in zip(found, range(number - 1), strict=False)]
        self.planned = len(self.trials)
        self.keep()

    def _together(self):
        """Adds a trial that combines the changes that beat `default`; returns it in a list, or an empty list."""
        if self.combined is None:  # otherwise an earlier run decided it, by the scores it had
            self.combined = self._combination()
            self.trials += [search.trial(self.combined)] if self.combined else []
            self.keep()
        found = [trial for trial in self.trials if self.combined and trial.changes == self.combined]
        self._round(found, 0, self.shares[0])
        return found

    def _combination(self):
        """Returns the combined changes of trials that beat `default`; {} if these are few, don't fit, or were tried."""
        better = [each for each in self.trials[1 : self.planned] if each.rank > self.first.rank and not each.of]
        changes = search.together(sorted(better, key=lambda trial: -trial.rank))
        if len(better) < 2 or any(trial.changes == changes for trial in self.trials):
            return {}
        try:
            search.configuration(changes, self.keys, self.log)
        except UserError:  # changes may not fit together
            return {}
        return changes

    def _finalists(self):
        """Returns the best trial and `default`; only `default` if it is the best, or no trial has a score."""
        best = max((each for each in self.trials if not each.of), key=lambda trial: trial.rank)
        return [self.first] if best is self.first or best.score is None else [best, self.first]

    def _reseed(self, finalists, number):
        """Trains the finalists with further seeds, equally often, while there is time for all of them."""
        for seed in range(1, MOST):
            needed = 1.2 * sum(max(trial.seconds for trial in wave) for wave in self.lanes.waves(finalists))
            if not all(trial.ended for trial in finalists) or needed > self._left():
                return
            names = {trial.name: trial for trial in self.trials}
            more = [search.another_seed(trial, seed, self.base.seed) for trial in finalists]
            more = [names.get(trial.name, trial) for trial in more]
            self.trials += [trial for trial in more if trial.name not in names]
            self._round([trial for trial in more if not trial.ended], number, self._left())
            if not all(trial.ended for trial in more):
                self.trials = [trial for trial in self.trials if trial not in more or trial.ended]
                return

    def _left(self) -> float:
        """Returns the seconds left for trials; the rest is reserved for the test."""
        end = self.begun + self.budget - max(FOR_TEST * self.budget, self.least / 2)
        return end - time.monotonic()

    def _round(self, trials, number, share):
        """Trains each trial that hasn't completed a round for its share of seconds. number: None for its next round."""
        rounds = {trial.name: trial.rounds if number is None else number for trial in trials}
        waiting = [each for each in trials if not (each.rounds > rounds[each.name] or each.ended or each.failed)]

        def turn(trial, devices, signals):
            needed = 0.0 if self._is_ready(trial, devices) else 1.2 * self.least
            if self._left() < needed:
                return
            # time already used, as for its first score, counts towards its share
            had = trial.seconds if number == 0 else 0.0
            deadline = time.monotonic() + min(max(share - had, needed), self._left())
            self._train(trial, deadline, rounds[trial.name], devices=devices, signals=signals)

        self.lanes.run(turn, waiting)

    def _train(self, trial, deadline, number, to_its_first_score=False, devices=None, signals=None):
        """Trains a trial until a deadline, or to completion, on the devices of its lane."""
        path, begun, before = self.folder / trial.name, time.monotonic(), trial.seconds
        devices = devices or self.lanes.first
        is_new = not self._is_ready(trial, devices)

        def note(row):
            nonlocal is_new
            if is_new:
                self.least, is_new = max(self.least, time.monotonic() - begun), False
            found = row.get("valid", {}).get(self.base.select_by)
            trial.score = found if trial.score is None else max(trial.score, found or trial.score)
            trial.epoch, trial.seconds = row["epoch"], before + time.monotonic() - begun
            self.keep()
            if to_its_first_score:
                raise Scored

        order = {"name": trial.name, "changes": trial.changes, "kept": [*self._ready]}
        processes.from_first(order | {"to_its_first_score": to_its_first_score})
        try:
            setup, validate = self._assembled(trial, devices)
            with workdirs.locked(path) as held, held.named():
                fitting.claim(path, setup, self.log)
                with contextlib.suppress(loop.OutOfTime):
                    quiet = consoles.make(quiet=True)
                    loop.fit(setup, path, validate, quiet, held, note, deadline=deadline, signals=signals)
                    trial.ended = True
        except (Unfit, *FAILS) as error:
            if trial is self.first and isinstance(error, Unfit | growing.AnotherModel):
                raise  # it doesn't fit in any trial
            trial.failed = str(error).partition(":")[0]
        trial.rounds, trial.seconds = number + 1, before + time.monotonic() - begun
        self.keep()
        score = "no validation yet" if trial.score is None else f"{self.base.select_by} {trial.score:.4f}"
        at = f"round {number + 1}" if number >= 0 else "begins with"
        self.say(f"{at}: {trial.name}: {trial.failed or score}, epoch {trial.epoch:.3g}")

    def _is_ready(self, trial, devices):
        return self._ready.get(trial.name, (None,))[0] == devices

    def _assembled(self, trial, devices):
        if not self._is_ready(trial, devices):
            self._ready[trial.name] = devices, _assembled(trial.changes, self.keys, self.log, devices)
        return self._ready[trial.name][1]

    def keep(self) -> float:
        """Saves the state of the search. Returns its total seconds, over all runs."""
        with self._keeping:  # trials that train side by side call this at any time
            self.seconds = time.monotonic() - self.begun
            kept = {"data": self.log.fingerprint, "seconds": self.seconds, "least": self.least, "shares": self.shares}
            kept |= {"planned": self.planned, "combined": self.combined}
            write_json(self.folder / STATE, kept | {"trials": [trial.to_dict() for trial in self.trials]})
        return self.seconds

    def order(self) -> list[Trial]:
        """Returns the trials, best first, by the mean over seeds if `default` has as many."""
        groups = {trial.name: self._seeds(trial.name) for trial in self.trials if not trial.of}
        both = len(groups[self.first.name])
        means = {
            name: np.mean([each.rank for each in group[:both]]) if len(group) >= both > 1 else group[0].rank
            for name, group in groups.items()
        }
        best = max(means, key=lambda name: (means[name], groups[name][0].epoch))
        others = [trial for name, group in groups.items() if name != best for trial in group]
        within = lambda trials: sorted(trials, key=lambda trial: (-trial.rank, -trial.epoch))
        return within(groups[best]) + within(others)

    def _seeds(self, name):
        return [trial for trial in self.trials if name in (trial.name, trial.of) and trial.score is not None] or [
            trial for trial in self.trials if trial.name == name
        ]

    def against(self) -> dict[str, Any] | None:
        """Compares the best with `default` on the same validation questions, by seed; None if it is `default`."""
        best = self.order()[0]
        name = best.of or best.name
        if name == self.first.name or best.score is None or self.first.score is None:
            return None
        pairs = list(zip(self._seeds(name), self._seeds(self.first.name), strict=False))
        first, second = (np.stack([self._ranks(trial) for trial in each]) for each in zip(*pairs, strict=True))
        _, split = self._config_and_split(self.first)
        return {"first": name, "seeds": len(pairs)} | paired(first, second, source=split.baskets(split.valid))

    def _config_and_split(self, trial):
        config = search.configuration(trial.changes, self.keys, self.log)
        return config, fitting.split_for(config, self.log)

    def _ranks(self, trial):
        """Returns a trial's ranks of the validation targets, under the protocol that chooses the checkpoint."""
        config, split = self._config_and_split(trial)
        protocol = default_protocol(config.split)
        protocol = KEPT if config.seen == "keep" and protocol == FULL else protocol
        return ranks_of(self.folder / trial.name, config, split, "best", protocol, "valid", self.devices)


def follow(log: Log, keys: Mapping[str, Any]) -> None:
    """Follows a search in any process but the first: trains the trials that the first one names, until it is over.

    Args:
        log: the data.
        keys: as for Halving.
    """
    ready: dict[str, tuple] = {}
    while (order := processes.from_first(None)) is not None:
        ready, name = {name: ready[name] for name in order["kept"] if name in ready}, order["name"]
        if name not in ready:
            try:
                ready[name] = _assembled(order["changes"], keys, log)
            except Unfit:  # the first process gets the same error
                continue
        setup, validate = ready[name]
        note = _raise_scored if order["to_its_first_score"] else None
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(*ENDS):
            loop.fit(setup, Path(folder), validate, consoles.make(quiet=True), on_evaluate=note)


def _raise_scored(row):
    raise Scored


def _assembled(changes, keys, log, devices=None):
    try:
        config = search.configuration(changes, keys, log)
        return fitting.assembled(config, fitting.split_for(config, log), devices)
    except UserError as error:
        raise Unfit(str(error)) from None

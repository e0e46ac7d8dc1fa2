"""Which recipe suits a log? Several are tried within a time, by successive halving on the validation.

All trials train for an equal share of the first round's time; the better half goes on, for a longer time each, and so
on until one is left (Jamieson and Talwalkar 2016). Every trial is a workdir, so that a search that was cut off goes on.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxrec.api import fitting
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import Log, as_log
from jaxrec.config.keys import Config
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.evaluator import evaluation
from jaxrec.evaluation.results import Evaluation
from jaxrec.inference.loading import load
from jaxrec.inference.recommender import Recommender
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_json, write_json
from jaxrec.training import fit as loop
from jaxrec.training import workdir as workdirs

#: what is tried: (recipe, what of it changes); after a tie the earlier goes on
TRIALS = [
    ("sasrec_softmax_ml1m", {}),
    ("gru4rec_ml1m", {}),
    ("sasrec_softmax_ml1m", {"model.dim": 128, "model.dropout": 0.3}),
    ("gru4rec_ml1m", {"model.dim": 128, "model.input_dropout": 0.3}),
    ("sasrec_softmax_ml1m", {"model.dropout": 0.5}),
    ("bert4rec_ml1m", {}),
    ("two_tower_ml1m", {}),
    ("caser_ml1m", {}),
]
STATE, BEST = "tune.json", "best"
FOR_TEST = 0.05  # share of the time that is left for the test


@dataclass
class Trial:
    """One recipe that is tried."""

    name: str  #: of its folder
    recipe: str
    changes: dict
    rounds: int = 0  #: it has been through
    seconds: float = 0.0  #: of this search that it took
    score: float | None = None  #: the best validation so far
    epoch: float = 0.0  #: reached
    ended: bool = False  #: whether its training is complete
    failed: str = ""  #: why it can't go on

    @property
    def rank(self) -> float:
        """What trials are ordered by: the score, less than any where there is none."""
        return float("-inf") if self.score is None or self.failed else self.score


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a search found. Printed, it is its table."""

    path: Path  #: the folder of the search
    trials: list[Trial]  #: the best first
    metric: str  #: of the validation, by which they are ordered
    test: Evaluation | None = None  #: of the best, beside baselines; None where nothing was validated
    seconds: float = field(default=0.0)  #: that the search took, all runs together

    @property
    def best(self) -> Path:
        """The workdir of the best trial, as `load`, `jaxrec evaluate` and `jaxrec serve` take it."""
        return self.path / self.trials[0].name

    def load(self) -> Recommender:
        """The best trial's Recommender."""
        return load(self.best)

    def show(self, console: Console | None = None) -> None:
        """Print the table of the trials, and the test of the best."""
        console = console or consoles.make()
        table = Table(title=f"{len(self.trials)} recipes in {self.seconds / 60:.1f} minutes")
        for column in ("", f"validation {self.metric}", "epochs", "minutes", "rounds"):
            table.add_column(column, justify="right" if column else "left")
        for trial in self.trials:
            score = trial.failed or ("" if trial.score is None else f"{trial.score:.4f}")
            cells = f"{trial.epoch:.3g}", f"{trial.seconds / 60:.1f}", str(trial.rounds)
            table.add_row(trial.name, consoles.printable(score, 60), *cells)
        console.print(table)
        if self.test:
            self.test.show(console)
        console.print(consoles.printable(f"the best is left in {self.best}"), soft_wrap=True)

    def __repr__(self) -> str:
        return consoles.as_text(self.show)

    def _repr_html_(self) -> str:
        return consoles.as_html(self.show)


@with_keywords
def tune(
    data: Any,
    minutes: float = 60,
    workdir: str | os.PathLike | None = None,
    **keys: Any,
) -> Tuning:
    """Find the recipe that suits a log within a time; the best training is left ready.

    >>> import jaxrec
    >>> found = jaxrec.tune("ml-100k", minutes=30)  # doctest: +SKIP
    >>> found.load().recommend([1, 2, 3], k=5)  # doctest: +SKIP

    Args:
        data: what `prepare` gave, or takes.
        minutes: of the whole search, all runs of it together; what is compiling at the end may take some seconds more.
        workdir: the folder of the search, which goes on where it holds one of the same data; a fresh one if None.
        keys: of every configuration, as of `fit`.

    Raises:
        UserError: a key or the data are at fault; the folder holds a search on other data.
        KeyboardInterrupt: Ctrl-C: with the same workdir the search goes on.
    """
    if not minutes > 0:
        raise UserError(f"minutes {minutes:g}: above 0")
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    log = as_log(data, say)
    for trial in _trials():
        _config(trial, keys, log)  # before a folder is made, so that a mistake leaves none
    folder = fitting.fresh("tune") if workdir is None else Path(workdir)
    if workdir is None:
        say(f"workdir {folder}")
    folder = folder.absolute()  # where it is when the caller goes elsewhere
    with workdirs.locked(folder):
        search = _Search(log, folder, minutes, keys, say)
        with fitting.ending(folder):
            search.run()
        return search.result()


class _Search:
    """A search under way, kept in its folder."""

    def __init__(self, log: Log, folder: Path, minutes: float, keys: dict, say: Callable[[str], None]):
        self.log, self.folder, self.say = log, folder, say
        self.seconds, self.trials, self._ready = 0.0, _trials(), {}
        self.budget, self.least = 60 * minutes, 0.0  # the longest that a trial took to its first score
        if (folder / STATE).exists():
            self._take_up()
        self.configs = {trial.name: _config(trial, keys, log) for trial in self.trials}
        self.begun = time.monotonic() - self.seconds  # as if all runs were one

    def _take_up(self) -> None:
        try:
            kept = read_json(self.folder / STATE)
            data, self.seconds = kept["data"], float(kept["seconds"])
            self.trials = [Trial(**each) for each in kept["trials"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.folder / STATE}: damaged ({error}): remove it, or name another workdir") from None
        if data != self.log.fingerprint:
            raise UserError(f"{self.folder} holds a search on other data: name another workdir")
        self.say(f"gone on with after {self.seconds / 60:.1f} minutes")

    def run(self) -> None:
        """Go through the rounds, each with half as many trials, until the time is up."""
        going = self.trials
        rounds = len(going).bit_length()  # 8, 4, 2, 1
        for number in range(rounds):
            left = [trial for trial in going if trial.rounds <= number and not (trial.ended or trial.failed)]
            share = (self._end() - time.monotonic()) / (rounds - number)  # of the time, for this round
            for trial in left:
                if not self._has_time_for(trial, number):
                    break
                own = time.monotonic() + share / len(left) if number + 1 < rounds else self._end()
                self._train(trial, min(own, self._end()), number)
            tried = sorted((trial for trial in going if trial.rounds > number), key=lambda trial: -trial.rank)
            going = tried[: max(len(going) // 2, 1)]
            kept = {trial.name for trial in going}
            self._ready = {name: each for name, each in self._ready.items() if name in kept}

    def _end(self) -> float:
        """The moment by which training ends: what is left is for the test."""
        return self.begun + self.budget - max(FOR_TEST * self.budget, self.least / 2)

    def _has_time_for(self, trial: Trial, number: int) -> bool:
        """Whether there is time for a trial: one that must be started needs what others needed to their first score.

        In the first round no more than half of the time is spent on starting.
        """
        now, needed = time.monotonic(), 0.0 if trial.name in self._ready else self.least
        half = number == 0 and self.least and now + needed > self.begun + self.budget / 2
        return now + needed < self._end() and not half

    def _train(self, trial: Trial, deadline: float, number: int) -> None:
        """Let a trial train until a deadline."""
        path, config, begun = self.folder / trial.name, self.configs[trial.name], time.monotonic()
        console, before = consoles.make(quiet=True), trial.seconds

        is_new = trial.name not in self._ready

        def note(row: dict) -> None:
            nonlocal is_new
            if is_new:
                self.least, is_new = max(self.least, time.monotonic() - begun), False
            found = row.get("valid", {}).get(config.select_by)
            trial.score = found if trial.score is None else max(trial.score, found or trial.score)
            trial.epoch, trial.seconds = row["epoch"], before + time.monotonic() - begun
            self._keep()

        try:
            with workdirs.locked(path) as held, held.named():
                if trial.name not in self._ready:
                    self._ready[trial.name] = fitting.assembled(config, fitting.split_for(config, self.log))
                setup, validate = self._ready[trial.name]
                fitting.claim(path, setup, self.log)
                with contextlib.suppress(loop.OutOfTime):
                    loop.fit(setup, path, validate, console, held, note, deadline=deadline)
                    trial.ended = True
        except loop.NotFinite as error:
            trial.failed = str(error).partition(":")[0]
        trial.rounds, trial.seconds = number + 1, before + time.monotonic() - begun
        self._keep()
        score = "no validation yet" if trial.score is None else f"{config.select_by} {trial.score:.4f}"
        self.say(f"round {number + 1}: {trial.name}: {trial.failed or score}, epoch {trial.epoch:.3g}")

    def _keep(self) -> None:
        self.seconds = time.monotonic() - self.begun
        kept = {"data": self.log.fingerprint, "seconds": self.seconds, "trials": [asdict(each) for each in self.trials]}
        write_json(self.folder / STATE, kept)

    def result(self) -> Tuning:
        """The Tuning, with the test of the best trial; a link `best` leads to its workdir."""
        order = sorted(self.trials, key=lambda trial: (-trial.rank, -trial.epoch))
        best, test = order[0], None
        if best.score is not None:
            link = self.folder / BEST
            link.unlink(missing_ok=True)
            link.symlink_to(best.name)
            path = self.folder / best.name
            test = evaluation(path, self.log.interactions, baselines=tuple(COUNTED))
        self._keep()
        metric = self.configs[best.name].select_by
        return Tuning(path=self.folder, trials=order, metric=metric, test=test, seconds=self.seconds)


def _config(trial: Trial, keys: dict, log: Log) -> Config:
    return fitting.configuration(trial.recipe, {"length": "auto", "row": 0} | trial.changes | keys, log)[0]


def _trials() -> list[Trial]:
    """Those of TRIALS, each with a name of its own: "sasrec dim 128 dropout 0.3", as a folder's."""
    found = []
    for recipe, changes in TRIALS:
        words = [recipe.removesuffix("_ml1m"), *(f"{key.partition('.')[2]}{value}" for key, value in changes.items())]
        found.append(Trial("-".join(words), recipe, dict(changes)))
    return found

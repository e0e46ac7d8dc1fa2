"""Searches for the configuration that suits a log best, within a time budget."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxrec.api import fitting, peers
from jaxrec.api.halving import Halving, follow
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import as_log
from jaxrec.api.search import Trial
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.evaluator import evaluation
from jaxrec.evaluation.results import Evaluation
from jaxrec.inference.loading import load
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import processes
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.figures import new_figure, save_figure
from jaxrec.system.files import below, replacing, workdir_at
from jaxrec.training import metric_writer
from jaxrec.training.workdirs import mirror

BEST, PLOT = "best", "tune.png"
SHOWN = 12  # number of trials named in the plot
COLOURS = 10  # after as many, the plot's colours come again, with dashes


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The result of a search. Its repr is its table."""

    path: Path  #: the folder of the search
    trials: list[Trial]  #: best first
    metric: str  #: validation metric that orders them
    test: Evaluation | None = None  #: test of the best trial, beside baselines; None without validation
    seconds: float = field(default=0.0)  #: duration of the search, over all runs
    against: Mapping[str, Any] | None = None  #: the best compared with `default` on the validation questions
    named: Path | str = ""  #: the folder as given, or its address, of which `path` is a local copy

    @property
    def best(self) -> Path:
        """The workdir of the best trial, for `load`, `jaxrec evaluate` and `jaxrec serve`."""
        return self.path / self.trials[0].name

    def load(self) -> Recommender:
        """Returns the best trial's Recommender."""
        return load(self.best)

    def show(self, console: Console | None = None) -> None:
        """Prints the table of trials, the best compared with `default`, and the test of the best."""
        console = console or consoles.make()
        table = Table(title=f"{len(self.trials)} recipes in {self.seconds / 60:.1f} minutes")
        for column in ("", f"validation {self.metric}", "epochs", "minutes", "rounds"):
            table.add_column(column, justify="right" if column else "left")
        for trial in self.trials:
            score = trial.failed or ("" if trial.score is None else f"{trial.score:.4f}")
            epochs = f"{trial.epoch:.3g}{'' if trial.ended else ' of more'}"
            cells = epochs, f"{trial.seconds / 60:.1f}", str(trial.rounds)
            table.add_row(consoles.printable(trial.name, 60), consoles.printable(score, 60), *cells)
        console.print(table)
        if self.against:
            console.print(consoles.printable(_in_words(self.against)), soft_wrap=True)
        if self.test:
            self.test.show(console)
        best = below(self.named or self.path, self.trials[0].name)
        console.print(consoles.printable(f"the best is in {best}"), soft_wrap=True)

    def plot(self, path: str | os.PathLike) -> None:
        """Saves a PNG with each trial's validation over training time; the best trials are named."""
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        for number, trial in enumerate(self.trials):
            rows = metric_writer.read_rows(self.path / trial.name / "metrics.jsonl")
            scored = [row for row in rows if self.metric in row.get("valid", {})]
            minutes = [row.get("seconds", 0.0) / 60 for row in scored]
            style = ".-" if number < COLOURS else ".--"
            (line,) = axes.plot(minutes, [row["valid"][self.metric] for row in scored], style, markersize=3)
            if number < SHOWN:
                line.set_label(consoles.printable(trial.name, 40))
            else:
                line.set_color("lightgrey")
        axes.set(xlabel="minutes of training", ylabel=f"validation {self.metric}", ylim=(0, None))
        axes.grid(alpha=0.3)
        if self.trials:
            axes.legend(fontsize="x-small", loc="lower right")
        with replacing(path) as temporary:
            save_figure(figure, temporary)

    def __repr__(self) -> str:
        return consoles.as_text(self.show)

    def _repr_html_(self) -> str:
        return consoles.as_html(self.show)

    def _repr_png_(self) -> bytes | None:
        file = self.path / PLOT
        return file.read_bytes() if file.exists() else None


def _in_words(against):
    low, high = against["ci95"]
    sure = "which is more than chance" if low > 0 else "which may be chance" if high > 0 else "which is a loss"
    seeds = f", {against['seeds']} seeds each" if against["seeds"] > 1 else ""
    return (
        f"{against['first']} minus default, NDCG@10 of the validation's questions{seeds}: {against['ndcg@10']:+.4f} "
        f"({low:+.4f} to {high:+.4f}), {sure}"
    )


@with_keywords
def tune(
    data: Any,
    minutes: float = 60,
    workdir: str | os.PathLike | None = None,
    **keys: Any,
) -> Tuning:
    """Searches for the best configuration for a log within a time budget; its training is ready to use.

    `default` is tried first, then changes to its block, dropout, width, loss, length and so on, by successive halving
    on the validation score. Changes that help are combined. Finally the best and `default` are trained to completion,
    and with further seeds while there is time. In a job of several processes, all of them train every trial together,
    and only the first one has the result.

    >>> import jaxrec
    >>> found = jaxrec.tune("ml-100k", minutes=30)  # doctest: +SKIP
    >>> found.load().recommend([1, 2, 3], k=5)  # doctest: +SKIP

    Args:
        data: a Log from `prepare`, or any input of `prepare`.
        minutes: time budget over all runs; a final compilation may take some seconds more.
        workdir: folder of the search, resumed if it holds one on the same data; a new one by default.
        **keys: keys of every configuration, as for `fit`; they are not searched.

    Raises:
        UserError: if a key or the data are invalid, or the folder holds a search on other data.
        KeyboardInterrupt: on Ctrl-C; the same workdir resumes the search.
    """
    if not isinstance(minutes, int | float) or not minutes > 0:
        raise UserError(f"minutes {minutes}: a number above 0")
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    log = as_log(data, say)
    # before the folder is created, in case of an error
    base = fitting.configuration(fitting.DEFAULT, keys, log, say)[0]
    if not base.select_by:
        raise UserError("a search chooses by validation, and there is none: set valid_fraction above 0")
    peers.check_same(base, log)
    if not processes.leads():
        try:
            follow(log, keys)
        except fitting.Stopped as stopped:
            raise SystemExit(128 + stopped.signum) from None
        return Tuning(path=Path(), trials=[], metric=base.select_by)
    folder = fitting.fresh("tune") if workdir is None else workdir_at(workdir)
    if workdir is None:
        say(f"workdir {folder}")
    folder = workdir_at(folder)  # before the caller changes directory
    with mirror.locked(folder) as held:
        halving = Halving(log, held.path, minutes, base, keys, say)
        with fitting.ending(folder):
            halving.run()
        return _result(halving, folder)


def _result(halving: Halving, named: Path | str) -> Tuning:
    """Returns the Tuning with a test of the best trial, and links `best` to its workdir."""
    order, test = halving.order(), None
    if order[0].score is not None:
        link = halving.folder / BEST
        link.unlink(missing_ok=True)
        link.symlink_to(order[0].name)
        test = evaluation(halving.folder / order[0].name, halving.log.interactions, baselines=tuple(COUNTED))
    found = Tuning(
        path=halving.folder,
        trials=order,
        metric=halving.base.select_by,
        test=test,
        seconds=halving.keep(),
        against=halving.against(),
        named=named,
    )
    found.plot(halving.folder / PLOT)
    return found

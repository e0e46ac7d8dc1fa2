"""Which recipe suits a log? Several are tried within a time, and the best training is left ready."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxrec.api import fitting
from jaxrec.api.halving import Halving
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import as_log
from jaxrec.api.search import Trial
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.evaluator import evaluation
from jaxrec.evaluation.results import Evaluation
from jaxrec.inference.loading import load
from jaxrec.inference.recommender import Recommender
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.figures import new_figure, save_figure
from jaxrec.system.files import replacing
from jaxrec.training import metric_writer, workdir as workdirs

BEST, PLOT = "best", "tune.png"
SHOWN = 12  # trials of the table and the plot that are named


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a search found. Printed, it is its table."""

    path: Path  #: the folder of the search
    trials: list[Trial]  #: the best first
    metric: str  #: of the validation, by which they are ordered
    test: Evaluation | None = None  #: of the best, beside baselines; None where nothing was validated
    seconds: float = field(default=0.0)  #: that the search took, all runs together
    against: Mapping[str, Any] | None = None  #: the best against `default`, on the validation's users

    @property
    def best(self) -> Path:
        """The workdir of the best trial, as `load`, `jaxrec evaluate` and `jaxrec serve` take it."""
        return self.path / self.trials[0].name

    def load(self) -> Recommender:
        """The best trial's Recommender."""
        return load(self.best)

    def show(self, console: Console | None = None) -> None:
        """Print the table of the trials, the best against `default`, and the test of the best."""
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
        console.print(consoles.printable(f"the best is left in {self.best}"), soft_wrap=True)

    def plot(self, path: str | os.PathLike) -> None:
        """Draw every trial's validation over its minutes, the best ones by name, as a PNG."""
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        for number, trial in enumerate(self.trials):
            rows = metric_writer.read_rows(self.path / trial.name / "metrics.jsonl")
            scored = [row for row in rows if self.metric in row.get("valid", {})]
            minutes = [row.get("seconds", 0.0) / 60 for row in scored]
            (line,) = axes.plot(minutes, [row["valid"][self.metric] for row in scored], ".-", markersize=3)
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
    sure = "which is more than chance" if low > 0 else "which may be chance" if high > 0 else "which is less"
    seeds = f", {against['seeds']} seeds each" if against["seeds"] > 1 else ""
    return (
        f"{against['first']} less default, NDCG@10 of the validation's questions{seeds}: {against['ndcg@10']:+.4f} "
        f"({low:+.4f} to {high:+.4f}), {sure}"
    )


@with_keywords
def tune(
    data: Any,
    minutes: float = 60,
    workdir: str | os.PathLike | None = None,
    **keys: Any,
) -> Tuning:
    """Find the recipe that suits a log within a time; the best training is left ready.

    `default` is tried first, then what differs from it in a block, the dropout, the width, the loss, the length and so
    on, by successive halving on the validation; what helps is tried together. At the end the best and `default` are
    trained to their ends, and with more seeds while there is time.

    >>> import jaxrec
    >>> found = jaxrec.tune("ml-100k", minutes=30)  # doctest: +SKIP
    >>> found.load().recommend([1, 2, 3], k=5)  # doctest: +SKIP

    Args:
        data: what `prepare` gave, or takes.
        minutes: of the whole search, all runs of it together; what is compiling at the end may take some seconds more.
        workdir: the folder of the search, which goes on where it holds one of the same data; a fresh one if None.
        keys: of every configuration, as of `fit`: what is set is not searched.

    Raises:
        UserError: a key or the data are at fault; the folder holds a search on other data.
        KeyboardInterrupt: Ctrl-C: with the same workdir the search goes on.
    """
    if not minutes > 0:
        raise UserError(f"minutes {minutes:g}: above 0")
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    log = as_log(data, say)
    base = fitting.configuration(fitting.DEFAULT, keys, log, say)[0]  # before a folder is made: a mistake leaves none
    if not base.select_by:
        raise UserError("nothing validates, and a search chooses by that: set valid_fraction above 0")
    folder = fitting.fresh("tune") if workdir is None else Path(workdir)
    if workdir is None:
        say(f"workdir {folder}")
    folder = folder.absolute()  # where it is when the caller goes elsewhere
    with workdirs.locked(folder):
        halving = Halving(log, folder, minutes, base, keys, say)
        with fitting.ending(folder):
            halving.run()
        return _result(halving)


def _result(halving: Halving) -> Tuning:
    """The Tuning, with the test of the best trial; a link `best` leads to its workdir."""
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
    )
    found.plot(halving.folder / PLOT)
    return found

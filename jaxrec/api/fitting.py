"""Trains a model in a workdir by a configuration, and tests the best checkpoint beside baselines."""

import base64
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxrec.api import peers
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import Log, as_log
from jaxrec.config import parsing as configs, recipes, registry
from jaxrec.config.keys import Config
from jaxrec.data import sources, splits, synthetic
from jaxrec.data.attributes.users import Users
from jaxrec.evaluation import ranker, results
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.evaluator import Validation, has_vector, test_of_training, tests_of_baselines, validation
from jaxrec.evaluation.protocols import FULL, KEPT
from jaxrec.inference.loading import load
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import placement, processes
from jaxrec.models.entry import has_users
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_checked, workdir_at, write_checked
from jaxrec.system.stopwatch import Stopwatch
from jaxrec.training import assembly, auto, fit as loop, growing, metric_writer, wording
from jaxrec.training.fit import Stopped
from jaxrec.training.setup import Setup
from jaxrec.training.workdirs import mirror, workdir as workdirs

CURVES = "curves.png"
DEFAULT = "default"  # configuration for new data


@dataclass(frozen=True, kw_only=True)
class Training:
    """A complete training, with its test metrics and those of baselines. Its repr is the table of metrics."""

    path: Path  #: the workdir, or its local copy if it is an address
    config: Config
    rows: list[dict]  #: the rows of metrics.jsonl
    seconds: float  #: training time, over all runs
    scores: dict[str, dict]  #: {model or baseline: its test result, see `results.result`}
    reachable: dict | None = None  #: for synthetic data, the best reachable metrics
    trained: bool = True  #: False if it was already complete

    @property
    def below(self) -> dict[str, float]:
        """{baseline: value} of baselines with a better test value of the metric that chooses the checkpoint."""
        own = self._judged(self.config.model.name)
        values = {name: self._judged(name) for name in self.scores if name in COUNTED}
        return {name: value for name, value in values.items() if value is not None and value > own}

    @property
    def _judged_by(self):
        return self.config.select_by or registry.find("split", self.config.split).select_by

    def _judged(self, name):
        return results.deciding(self.scores[name], self.config.seen)["metrics"].get(self._judged_by)

    def warning(self) -> str | None:
        """Returns a warning if a counting baseline is better than the model; otherwise None."""
        if not self.below:
            return None
        name, by = self.config.model.name, self._judged_by
        counted = " and ".join(f"{each} ({value:.4f})" for each, value in self.below.items())
        validated = [row["valid"][by] for row in self.rows if by in row.get("valid", {})]
        cure = "its recipe does not suit it, or the log: jaxrec tune searches for another, jaxrec configs lists more"
        if validated and max(validated) == validated[-1]:
            cure = "it was still improving at its last epoch: raise config.epochs"
        return f"WARNING: {name} ({by} {self._judged(name):.4f}) is worse than {counted}: {cure}"

    def show(self, console: Console | None = None) -> None:
        """Prints the comparison of test metrics."""
        console, own = console or consoles.make(), self.scores[self.config.model.name]
        sessions = own["protocol"] == "sessions"
        asked = f"{own['users']:,} {'events' if sessions else 'users'}"
        asked += f", {self.config.target_types} alone" if self.config.target_types else ""
        console.print(consoles.printable(f"{registry.find('split', self.config.split).held_out}, {asked}:"))
        measured = {label: results.by_measure(result) for label, result in self.scores.items()}
        for each in measured[self.config.model.name]:
            rows = {label: found[each]["metrics"] for label, found in measured.items()}
            if each == FULL and self.reachable:
                rows["best reachable"] = self.reachable
            title = each if len(measured[self.config.model.name]) > 1 else None
            console.print(results.comparison(rows, results.SHOWN[sessions], title))
        console.print(consoles.printable(splits.repeats_in_words(own["repeats"], own["users"])), soft_wrap=True)
        if said := self.warning():
            console.print(consoles.printable(said, 400), style="bold red", soft_wrap=True)

    def __repr__(self) -> str:
        return consoles.as_text(self.show)

    def _repr_png_(self) -> bytes | None:
        file = self.path / CURVES
        return file.read_bytes() if file.exists() else None

    def _repr_html_(self) -> str:
        curves, table = self._repr_png_(), consoles.as_html(self.show)
        if curves is None:
            return table
        return f'{table}<img alt="curves" src="data:image/png;base64,{base64.b64encode(curves).decode()}">'


@with_keywords
def fit(
    data: Any,
    config: Any = None,
    workdir: str | os.PathLike | None = None,
    *,
    on_evaluate: Callable[[dict], None] | None = None,
    on_checkpoint: Callable[[int, Path], None] | None = None,
    **keys: Any,
) -> Recommender:
    """Trains a model on a log, tests its best checkpoint, and returns it as a Recommender.

    >>> import jaxrec
    >>> rec = jaxrec.fit("synthetic:users=200", epochs=1, batch=32, model={"dim": 8})  # doctest: +SKIP
    >>> rec.recommend([1, 2, 3], k=5)  # doctest: +SKIP

    Args:
        data: a Log from `prepare`, or any input of `prepare`: a path, the name of a public data set, an in-memory
            table.
        config: name of a shipped configuration, a file, a ConfigDict or a dict; by default `init_from`'s, or "default".
        workdir: folder of the training, or its address in an object store, as s3://bucket/runs/a; resumed if it holds
            one with the same configuration and data; by default a new one under runs/, which is printed.
        on_evaluate: (row) -> None, called after each evaluation with a row of metrics.jsonl.
        on_checkpoint: (step, folder) -> None, called after each checkpoint.
        **keys: keys of the configuration except `dataset`: `epochs=3, model={"dim": 128}`; a group only changes the
            keys it names.

    Returns:
        Recommender of the best checkpoint; its `training` is the Training.

    Raises:
        UserError: if a key or the data are invalid, or the workdir holds another training.
        KeyboardInterrupt, SystemExit: on Ctrl-C, and on SIGTERM, after saving a checkpoint.
    """
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    log = as_log(data, say)
    made, name = configuration(config, keys, log, say, workdir)
    workdir_is_fresh = workdir is None
    path = fresh(name) if workdir is None else workdir_at(workdir)
    if workdir_is_fresh:
        say(f"workdir {path}")
    path = workdir_at(path)  # before the caller changes directory
    try:
        with ending(path):
            done = train(made, name, log, path, console, on_evaluate, on_checkpoint)
    except UserError:
        if isinstance(path, Path) and workdir_is_fresh and not (path / workdirs.CONFIG).exists():
            shutil.rmtree(path)
        raise
    recommender = load(done.path)
    recommender.training, recommender.data = done, log.interactions
    return recommender


@contextlib.contextmanager
def ending(path: Path | str) -> Iterator[None]:
    """Context in which a training stopped by a signal raises as usual: KeyboardInterrupt, or exit with status 143."""
    try:
        yield
    except Stopped as stopped:
        said = f"stopped by signal {stopped.signum}; a checkpoint is saved: workdir={str(path)!r} resumes from it"
        if stopped.signum == signal.SIGINT:
            raise KeyboardInterrupt(said) from None
        print(consoles.printable(said))
        raise SystemExit(128 + stopped.signum) from None


def configuration(
    config: Any, keys: Mapping[str, Any], log: Log, say: Callable[[str], None] = lambda line: None, begun: Any = None
) -> tuple[Config, str]:
    """Returns the Config of a configuration with changes, resolved for a log, and its name.

    Args:
        config, keys: as for `fit`.
        log: the log.
        say: receives notes: keys adapted to another model, and the resolved `auto` values.
        begun: the workdir, if it may hold this training: see `growing.earlier`.

    Raises:
        UserError: if the configuration or a key doesn't exist, or a value is invalid.
    """
    if "dataset" in keys:
        raise UserError("dataset is not a key here: it is the first argument")
    return resolved(_recipe(config, configs.flatten(dict(keys)), begun), log, say, begun)


def resolved(recipe: recipes.Recipe, log: Log, say: Callable[[str], None], begun: Any = None) -> tuple[Config, str]:
    """As `configuration`, for a recipe that includes its changes."""
    values, taken = growing.settled(recipe.values, begun)
    values, reasons = auto.resolve(values, log.interactions)
    for line in (*recipe.notes, *taken, *reasons):
        say(line)
    made = configs.from_dict(values | {"dataset": log.dataset})
    return made, recipe.name or made.model.name


def _recipe(config, changes, begun):
    """Returns the Recipe for the `config` argument of `fit`; without a name if it has none."""
    if config is None and changes.get("init_from"):
        config = growing.earlier(changes["init_from"], begun)
    if config is None:
        return recipes.read(DEFAULT, changes)._replace(name="")
    if isinstance(config, str | os.PathLike):
        return recipes.read(os.fspath(config), changes)
    if isinstance(config, Config):
        return recipes.changed(configs.to_dict(config), changes, "")
    values = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(values, Mapping):
        raise UserError(f"config is a {type(config).__name__}: give a name, a file, a ConfigDict or a dict")
    return recipes.changed(dict(values), changes, "")


def fresh(name: str) -> Path:
    """Creates a new folder under runs/: runs/NAME-1, or the first free number."""
    Path("runs").mkdir(exist_ok=True)
    for number in itertools.count(1):
        path = Path("runs") / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("numbers do not end")


def train(
    config: Config,
    name: str,
    log: Log,
    path: Path | str,
    console: Console,
    on_evaluate: Callable[[dict], None] | None = None,
    on_checkpoint: Callable[[int, Path], None] | None = None,
    watch: Stopwatch | None = None,
) -> Training:
    """Trains from the workdir's latest checkpoint to the end, then tests the best one beside the baselines.

    Args:
        config: the configuration.
        name: title of the plot.
        log: the data.
        path: the workdir, or its address, locked during training.
        console: shows the progress.
        on_evaluate: as for `fit`.
        on_checkpoint: as for `fit`.
        watch: stopwatch of the start-up so far; by default it starts now.

    Raises:
        UserError: if the data, the workdir or the configuration are invalid.
        Stopped: by a signal.
    """
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    watch = watch or Stopwatch()
    split = split_for(config, log)
    peers.check_same(config, log)
    if not processes.leads():
        return _follow(config, split, log)
    with mirror.locked(path) as held, held.named():
        path = held.path
        setup, validate = assembled(config, split)
        claim(path, setup, log)
        if processes.from_first(workdirs.is_done(path) and loop.complete(setup, path)):
            kept = read_checked(path / workdirs.DONE, "it is written anew")
            found = {"config": config, "scores": {config.model.name: kept["test"]}, "seconds": kept["seconds"]}
            return Training(path=path, rows=metric_writer.read_rows(path / "metrics.jsonl"), trained=False, **found)
        say(wording.describe(setup))
        if config.init_from and not workdirs.has_begun(path):
            say(growing.describe(config, split.interactions.catalogue))
        if validate:
            said = splits.repeats_in_words(validate.repeats, len(split.valid.target))
            say(f"validation: {said}{advice(config, split, validate.repeats)}")
        watch.lap("setup")
        done = loop.fit(setup, path, validate, console, held, on_evaluate, on_checkpoint, watch=watch)
        held.check()
        metric_writer.plot(done["rows"], path / CURVES, name, wording.drawn(config), config.select_by)
        scores = {config.model.name: test_of_training(path, setup)}
        held.check()
        kept = {key: done[key] for key in ("step", "best", "seconds")} | {"select_by": config.select_by}
        write_checked(path / workdirs.DONE, kept | {"test": scores[config.model.name]})
        scores |= tests_of_baselines(setup)
        if validate is None:
            console.print(f"no validation: {config.model.name} is tested by its latest checkpoint")
        ranked_whole = FULL in results.by_measure(scores[config.model.name])
        world = sources.world(config.dataset) if ranked_whole else None
        reachable = synthetic.best_metrics(world, log.interactions, split.test) if world else None
        held.check()
    found = {"rows": done["rows"], "seconds": done["seconds"], "scores": scores, "reachable": reachable}
    return Training(path=path, config=config, **found)


def _follow(config, split, log):
    """Trains in any process but the first: takes part in steps, validations and test, and keeps nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path, console = Path(folder), Console(quiet=True)
        setup, validate = assembled(config, split)
        found = {"path": path, "config": config, "trained": False}
        if processes.from_first(None):
            return Training(rows=[], seconds=0.0, scores={}, **found)
        done = loop.fit(setup, path, validate, console)
        scores = {config.model.name: test_of_training(path, setup)} | tests_of_baselines(setup)
        return Training(rows=done["rows"], seconds=done["seconds"], scores=scores, **found)


def split_for(config: Config, log: Log) -> splits.Split:
    """Returns the split of a log by a configuration.

    Raises:
        UserError: if it has no test questions.
    """
    split = assembly.split_of(config, log.interactions)
    ranker.check(split, split.test)
    return split


def assembled(config: Config, split: splits.Split, devices: Sequence | None = None) -> tuple[Setup, Validation | None]:
    """Returns the Setup of a training, by default on all devices, and its validation (None without questions)."""
    setup = assembly.assemble(config, split, devices or placement.all_devices())
    return setup, validation(setup) if config.select_by else None


def claim(path: Path, setup: Setup, log: Log) -> None:
    """Records the training in a workdir, or checks that the workdir belongs to it.

    Raises:
        UserError: if it holds another training.
    """
    config, split, interactions = setup.config, setup.split, log.interactions
    catalogue = split.interactions.catalogue.counted(splits.training_counts(split))
    users = Users(interactions.users.tolist(), has_vector(config, split)) if has_users(config) else None
    workdirs.claim(path, config, interactions, log.dataset, catalogue, users, setup.total_steps, split.interactions)


def advice(config: Config, split: splits.Split, repeats: int) -> str:
    """Returns a note on the key `seen` if many validation targets repeat an item of their history."""
    if config.seen == "keep" or not splits.many_repeat(repeats, len(split.valid.target)):
        return ""
    return f"; config.seen=keep chooses the checkpoint by {KEPT}, and lets serving recommend these"

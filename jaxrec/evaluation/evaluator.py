"""Models and baselines judged on the questions of a split."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.batches import context, objectives
from jaxrec.config.keys import Config
from jaxrec.config.parsing import row_width
from jaxrec.data import sources, splits
from jaxrec.data.interactions import Interactions
from jaxrec.evaluation import beyond, histories, protocols, ranker, results
from jaxrec.evaluation.answers import Answers
from jaxrec.evaluation.baselines import BASELINES
from jaxrec.evaluation.metrics import NAMES, metrics
from jaxrec.evaluation.protocols import FULL, KEPT, default_protocol
from jaxrec.kernels import placement as dev, ranking, shards
from jaxrec.models.entry import has_users
from jaxrec.models.features import folded
from jaxrec.models.model import Model
from jaxrec.models.sharded import specs
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, sharding, workdir
from jaxrec.training.building import model_of
from jaxrec.training.restore import restore_params
from jaxrec.training.setup import Setup


def validation(setup: Setup) -> Callable[[Any], dict]:
    """What `fit.fit` validates by: (params) -> the metrics under the protocol that chooses the checkpoint.

    Where many targets repeat an item of the history, the other measure of `full` is beside them, under "also", and
    both by their names in the order in which they are shown, under "by".

    Raises:
        UserError: no metric has the name that config.select_by says.
    """
    config, split = setup.config, setup.split
    if config.select_by not in NAMES:
        raise UserError(f"config.select_by is {config.select_by!r}: choose one of {', '.join(NAMES)}")
    repeats = splits.repeated_targets(split.interactions, split.valid)
    protocol = default_protocol(config.split)
    protocol = KEPT if config.seen == "keep" and protocol == FULL else protocol
    names = protocols.measures(protocol, repeats, len(split.valid.target))
    evaluator = Evaluator(setup.model, config, split, split.valid, setup.devices, *names)

    def validate(params):
        found = {name: metrics(ranks) for name, ranks in evaluator.every_rank(params).items()}
        if len(found) == 1:
            return found[protocol]
        also = {name: each for name, each in found.items() if name != protocol}
        return found[protocol] | {"also": also, "by": results.in_order(found)}

    return validate


class Evaluator:
    """The questions of a split, packed once, to be answered by a model again and again.

    On the mesh of its configuration, where the devices make one, the tables of items are split as in training.
    """

    def __init__(
        self,
        model: Model,
        config: Config,
        split: splits.Split,
        questions: splits.Questions,
        devices: dev.Devices,
        protocol: str = FULL,
        *also: str,
    ):
        self.mesh = devices = sharding.mesh_that_fits(config.mesh, devices)
        model = sharding.model_on(model, devices)
        self.layouts = {name: ranker.lay_out(split, questions, name, devices=devices) for name in (protocol, *also)}
        self.objective = objectives.build(config)
        asked = split.interactions.items, questions.start, questions.stop
        width = row_width(config)
        source = questions.source
        if has_users(config):  # who never trained has no vector
            source = np.where(has_vector(config, split)[source], source, -1)
        mask_slots, shown = self.objective.num_mask_slots, context.shown(split.interactions, config.context)
        self.histories = histories.pack_histories(*asked, config.length, width, devices, mask_slots, source, shown)
        self.model = model
        self.encode = histories.encoder(model.folding.plain if model.folding else model, self.objective, devices)

    def ranks(self, params: Any) -> np.ndarray:
        """The rank of every question's target, under the first protocol. [Q]"""
        return next(iter(self.every_rank(params).values()))

    def every_rank(self, params: Any) -> dict[str, np.ndarray]:
        """{protocol: [Q]}"""
        model, params = self._folded(params)
        self.hidden, table = self.encode(params, self.histories), model.output_embedding(params)
        return {name: ranker.run(each, ranking.dot, table, self.hidden) for name, each in self.layouts.items()}

    def best(self, params: Any, protocol: str, k: int) -> np.ndarray:
        """The best k items of each of the questions last ranked, [Q, k], under a protocol that ranks all; 0 is none."""
        model, params = self._folded(params)
        return ranker.best(self.layouts[protocol], ranking.dot, model.output_embedding(params), self.hidden, k)

    def _folded(self, params):
        """A model without features, and its params on the devices."""
        params = shards.put(params, specs(self.model, params), self.mesh, dev.ITEM) if self.model.item_axis else params
        return folded(self.model, params)


def has_vector(config: Config, split: splits.Split) -> np.ndarray:
    """Whether each user of a split has a vector that was trained. [U] bool"""
    subsequences = objectives.build(config).subsequences(split.start, split.stop, config.length, config.history)
    return np.isin(np.arange(len(split.interactions.users)), subsequences.user_index)


def test_of(path: Path, model: Model, config: Config, split: splits.Split, devices: Sequence, **asked: Any) -> dict:
    """The result of a workdir's checkpoint: the dictionary of `results.result`. asked: as of `answers_of`."""
    return answers_of(path, model, config, split, devices, **asked).result()


def answers_of(
    path: Path,
    model: Model,
    config: Config,
    split: splits.Split,
    devices: Sequence,
    checkpoint: str | int | None = "best",
    protocol: str = FULL,
    part: str = "test",
) -> Answers:
    """What a workdir's checkpoint answers to a part of a split."""
    begun = time.monotonic()
    questions = questions_of(split, part)
    params, step = restore_params(path, model, checkpoint, _to_restore_on(config, devices))
    repeats = splits.repeated_targets(split.interactions, questions)
    names = protocols.measures(protocol, repeats, len(questions.target), both=config.seen == "keep")
    evaluator = Evaluator(model, config, split, questions, devices, *names)
    told = {"split": split, "part": part, "questions": questions, "begun": begun, "step": step}
    told["apart"] = bool(config.features or config.cold_items)
    return Answers(ranks=evaluator.every_rank(params), best=partial(evaluator.best, params), **told)


def _to_restore_on(config, devices):
    """The sharding of what an Evaluator is given; None for the host, from which it splits the tables."""
    mesh = sharding.mesh_that_fits(config.mesh, devices)
    return None if dev.item_axis(mesh) else dev.replicated(mesh)


def questions_of(split: splits.Split, part: str) -> splits.Questions:
    """The questions of a part of a split: "test" or "valid".

    Raises:
        UserError: it has no such part.
    """
    if part not in ("test", "valid"):
        raise UserError(f"split {part!r}: choose one of test, valid")
    return getattr(split, part)


def evaluation(
    path: Path,
    interactions: Interactions | None = None,
    checkpoint: str | int | None = "best",
    protocol: str | None = None,
    part: str = "test",
    baselines: Sequence[str] = (),
    beyond_accuracy: int | bool | None = None,
    devices: Sequence | None = None,
) -> results.Evaluation:
    """The Evaluation of a workdir's checkpoint, beside these baselines; the other arguments as of `workdir_answers`.

    Args:
        beyond_accuracy: how many of the best items are looked at, as `beyond.depth` takes it.
    """
    devices, config = devices or dev.local(), workdir.read(path).config
    protocol = protocols.named(protocol or default_protocol(config.split))
    k = beyond.depth(beyond_accuracy, protocol)
    answers = workdir_answers(path, interactions, devices, checkpoint, protocol, part)
    result, split = answers.result(k), answers.split
    title = f"{path}, checkpoint {result['step']}"
    if checkpoint == "best" and not len(split.valid.source):
        title += " (nothing validated: the latest)"
    both = config.seen == "keep"
    beside = {each: baseline_result(each, split, protocol, part, devices, both) for each in baselines}
    return results.Evaluation(config.model.name, result, answers.frame, title, beside)


def workdir_answers(
    path: Path,
    interactions: Interactions | None = None,
    devices: Sequence | None = None,
    checkpoint: str | int | None = "best",
    protocol: str | None = None,
    part: str = "test",
) -> Answers:
    """What a workdir's checkpoint answers on its own split of the data.

    Args:
        path: Path.
        interactions: of the training; those it names if None.
        protocol: the split's own if None.

    Raises:
        UserError: no training lies there; its data are gone, or these are others.
    """
    config, split = opened(path, interactions)
    model = model_of(config, split)
    chosen = str(protocol or default_protocol(config.split))
    return answers_of(path, model, config, split, devices or dev.local(), checkpoint or "best", chosen, part)


def opened(path: Path, interactions: Interactions | None = None) -> tuple[Config, splits.Split]:
    """The configuration of a workdir, and its own split of the data. As of `workdir_answers`."""
    stored = workdir.read(path)
    config = stored.config
    if interactions is None:
        if sources.missing(config.dataset):
            raise UserError(f"the data of {path}, {config.dataset}, are gone: name them with --dataset")
        interactions = sources.load(config.dataset)
    workdir.check_data(path, stored, interactions)
    split = assembly.split_of(config, interactions)
    if config.features:  # what items were in the training, whatever a table says of them now
        catalogue = workdir.catalogue(path, stored)
        split = split._replace(interactions=replace(split.interactions, catalogue=catalogue))
    return config, split


def ranks_of(
    path: Path,
    config: Config,
    split: splits.Split,
    checkpoint: str | int | None,
    protocol: str,
    part: str,
    devices: Sequence,
) -> np.ndarray:
    """The ranks of the targets of a part of a split by a workdir's checkpoint, [Q]."""
    model = model_of(config, split)
    params, _ = restore_params(path, model, checkpoint or "best", _to_restore_on(config, devices))
    return Evaluator(model, config, split, questions_of(split, part), devices, protocol).ranks(params)


def baseline_result(
    name: str, split: splits.Split, protocol: str, part: str, devices: Sequence, both: bool = False
) -> dict:
    """The result of a baseline: the dictionary of `results.result`. both: as of `protocols.measures`."""
    return baseline_answers(name, split, protocol, part, devices, both).result()


def baseline_answers(
    name: str, split: splits.Split, protocol: str, part: str, devices: Sequence, both: bool = False
) -> Answers:
    """What a baseline answers. both: as of `protocols.measures`."""
    begun = time.monotonic()
    baseline, questions = BASELINES[name], questions_of(split, part)
    repeats = splits.repeated_targets(split.interactions, questions)
    names = protocols.measures(protocol, repeats, len(questions.target), both)
    layouts = {each: ranker.lay_out(split, questions, each, devices=devices) for each in names}
    learnt = baseline.fit(split)
    scored = baseline.scorer, baseline.params(learnt), baseline.queries(learnt, split, questions)
    ranks = {each: ranker.run(layouts[each], *scored) for each in names}
    best = lambda protocol, k: ranker.best(layouts[protocol], *scored, k)
    return Answers(split=split, part=part, questions=questions, ranks=ranks, best=best, begun=begun)

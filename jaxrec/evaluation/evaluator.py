"""Evaluates models and baselines on the questions of a split."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.batches import context, objectives, target_types
from jaxrec.config.keys import Config
from jaxrec.config.parsing import row_width
from jaxrec.data import splits
from jaxrec.data.interactions import Interactions
from jaxrec.evaluation import beyond, histories, next_basket, protocols, ranker, results
from jaxrec.evaluation.answers import Answers
from jaxrec.evaluation.baselines import COUNTED, named_baselines, scored
from jaxrec.evaluation.metrics import NAMES, metrics
from jaxrec.evaluation.protocols import FULL, KEPT, default_protocol
from jaxrec.kernels import placement as dev, ranking, shards
from jaxrec.models.entry import has_users
from jaxrec.models.features import compile_fold, folded
from jaxrec.models.model import Model
from jaxrec.models.sharded import specs
from jaxrec.system import arguments
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, sharding
from jaxrec.training.building import data_of, model_of
from jaxrec.training.setup import Setup, evaluated, shapes
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.fetching import here
from jaxrec.training.workdirs.restore import restore_params


class Validation:
    """The validation function that `fit.fit` calls: (params) -> metrics. Created by `validation`."""

    def __init__(self, evaluator: "Evaluator", protocol: str, measured: Callable, shapes: Any, repeats: int):
        self.repeats = repeats  #: number of targets that repeat an item of their history
        self._evaluator, self._protocol, self._measured, self._shapes = evaluator, protocol, measured, shapes
        self._ahead: Future | None = None

    def compile_ahead(self) -> None:
        """Starts to compile the programs in a thread, while the training runs."""
        pool = ThreadPoolExecutor(1, "compile evaluation")
        self._ahead = pool.submit(self._evaluator.compile, self._shapes)
        pool.shutdown(wait=False)

    def __call__(self, params: Any) -> dict:
        if self._ahead:
            self._ahead.result()
        found = {name: self._measured(ranks) for name, ranks in self._evaluator.every_rank(params).items()}
        if len(found) == 1:
            return found[self._protocol]
        also = {name: each for name, each in found.items() if name != self._protocol}
        return found[self._protocol] | {"also": also, "by": results.in_order(found)}


def validation(setup: Setup) -> Validation:
    """Returns the validation function of `fit.fit`: (params) -> metrics under the protocol that chooses the checkpoint.

    If many targets repeat an item of their history, the metrics of the other variant of `full` are added as "also", and
    those of both, by name and in display order, as "by".

    Raises:
        UserError: if config.select_by is not a metric.
    """
    config, split = setup.config, setup.split
    if config.select_by not in NAMES:
        raise UserError(f"config.select_by is {config.select_by!r}: choose one of {', '.join(NAMES)}")
    repeats = ranker.repeats(split, split.valid, setup.devices)
    protocol = default_protocol(config.split)
    protocol = KEPT if config.seen == "keep" and protocol == FULL else protocol
    names = protocols.measures(protocol, repeats, len(split.valid.target))
    told = {"query_time": config.valid_query_time}
    evaluator = Evaluator(setup.model, config, split, split.valid, setup.devices, *names, **told)

    baskets = split.baskets(split.valid)
    measured = metrics if baskets is None else partial(next_basket.metrics, source=baskets)
    return Validation(evaluator, protocol, measured, evaluated(setup, shapes(setup).evaluated), repeats)


class Evaluator:
    """The questions of a split, packed once, which a model can answer any number of times.

    If the devices fit the mesh of the configuration, the tables of items are split over it as in training.
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
        query_time: bool = False,
    ):
        """
        Args:
            query_time: whether a model that is shown the time of asking is told when its targets occurred.
        """
        self.mesh = devices = sharding.mesh_that_fits(config.mesh, devices)
        model = sharding.model_on(model, devices)
        host = config.feed == "host"
        lay_out = partial(ranker.lay_out, split, questions, devices=devices, host=host)
        self.layouts = {name: lay_out(name) for name in (protocol, *also)}
        objective, asked_K = objectives.build(config), objectives.asked_of(config)
        self.objective = objective if query_time else objectives.without_query_time(objective, asked_K)
        asked = split.interactions.items, questions.start, questions.stop
        width = row_width(config)
        source = questions.source
        if has_users(config):  # users that weren't trained have no vector
            source = np.where(has_vector(config, split)[source], source, -1)
        mask_slots, shown = self.objective.num_mask_slots, context.shown(split.interactions, config)
        sizes = config.length, width, devices, mask_slots
        self.histories = histories.pack_histories(*asked, *sizes, source, shown, host)
        self.model, plain = model, model.folding.plain if model.folding else model
        self.encode = histories.encoder(plain, self.objective, devices, host)

    def ranks(self, params: Any) -> np.ndarray:
        """Returns the rank of each question's target under the first protocol. [Q]"""
        return next(iter(self.every_rank(params).values()))

    def every_rank(self, params: Any) -> dict[str, np.ndarray]:
        """Returns the ranks under every protocol: {protocol: [Q]}."""
        model, params = self._folded(params)
        self.hidden, table = self.encode(params, self.histories), model.output_embedding(params)
        return {name: ranker.run(each, ranking.dot, table, self.hidden) for name, each in self.layouts.items()}

    def compile(self, params: Any) -> None:
        """Compiles the programs of `every_rank` for params of these shapes, unless the tables of items are split."""
        if self.model.item_axis:
            return
        model, params = compile_fold(self.model, params)
        encoded = self.encode.trace(params, self.histories)
        encoded.lower().compile()
        hidden = jax.ShapeDtypeStruct((self.histories.total, encoded.out_info.shape[-1]), np.float32)
        table = jax.eval_shape(model.output_embedding, params)
        for layout in self.layouts.values():
            for program in ranker.traces(layout, ranking.dot, table, hidden):
                program.lower().compile()

    def best(self, params: Any, protocol: str, k: int) -> np.ndarray:
        """Returns the best k items of each question, by a protocol over the whole catalogue. [Q, k]; 0 is padding.

        Uses the hidden vectors of the last `every_rank`.
        """
        model, params = self._folded(params)
        return ranker.best(self.layouts[protocol], ranking.dot, model.output_embedding(params), self.hidden, k)

    def _folded(self, params):
        """Returns an equivalent model without features, and its params on the devices."""
        params = shards.put(params, specs(self.model, params), self.mesh, dev.ITEM) if self.model.item_axis else params
        return folded(self.model, params)


def has_vector(config: Config, split: splits.Split) -> np.ndarray:
    """Returns whether each user of a split has a trained vector. [U] bool"""
    asked = split.start, split.stop, config.length, config.history
    subsequences = target_types.build(config, split).subsequences(*asked)
    return np.isin(np.arange(len(split.interactions.users)), subsequences.user_index)


def test_of(path: Path, model: Model, config: Config, split: splits.Split, devices: Sequence, **asked: Any) -> dict:
    """Returns the result of a workdir's checkpoint, see `results.result`. `asked`: arguments of `answers_of`."""
    return answers_of(path, model, config, split, devices, **asked).result()


def test_of_training(path: Path, setup: Setup) -> dict:
    """Returns the test result of a complete training, evaluated on all devices of the job.

    If the job has several processes, all of them call this; the first one, which has the workdir, sends the checkpoint.
    """
    config, protocol = setup.config, default_protocol(setup.config.split)
    return test_of(path, setup.model, config, setup.split, dev.all_devices(), protocol=protocol)


def tests_of_baselines(setup: Setup) -> dict[str, dict]:
    """Returns {baseline: result} of the counting baselines on the test of a training, as `test_of_training`."""
    config, protocol = setup.config, default_protocol(setup.config.split)
    asked = setup.split, protocol, "test", dev.all_devices(), config.seen == "keep", config.feed == "host"
    return {name: baseline_answers(name, *asked).result() for name in COUNTED}


def answers_of(
    path: Path,
    model: Model,
    config: Config,
    split: splits.Split,
    devices: Sequence,
    checkpoint: str | int | None = "best",
    protocol: str = FULL,
    part: str = "test",
    query_time: bool = False,
) -> Answers:
    """Returns the Answers of a workdir's checkpoint to a part of a split.

    Raises:
        UserError: if `query_time` is set, and the model isn't shown the time of asking.
    """
    begun = time.monotonic()
    if query_time and objectives.asked_of(config) is None:
        raise UserError(
            f"{path}: query time is for models that are shown the time of asking, and this one is not: train with "
            "config.context=asked_gap,asked_hour or the like, or leave query time out"
        )
    questions = questions_of(split, part)
    params, step = restore_params(path, model, checkpoint, _to_restore_on(config, devices), dev.spans(devices))
    repeats = ranker.repeats(split, questions, devices)
    names = protocols.measures(protocol, repeats, len(questions.target), both=config.seen == "keep")
    evaluator = Evaluator(model, config, split, questions, devices, *names, query_time=query_time)
    told = {"split": split, "part": part, "questions": questions, "begun": begun, "step": step}
    told |= {"apart": bool(config.features or config.cold_items), "query_time": query_time, "topic": config.topic}
    return Answers(ranks=evaluator.every_rank(params), best=partial(evaluator.best, params), **told)


def _to_restore_on(config, devices):
    """Returns the sharding to restore params on; None for the host, from where an Evaluator splits the tables."""
    mesh = sharding.mesh_that_fits(config.mesh, devices)
    return None if dev.item_axis(mesh) else dev.replicated(mesh)


def questions_of(split: splits.Split, part: str) -> splits.Questions:
    """Returns the questions of a part of a split: "test" or "valid".

    Raises:
        UserError: for another part.
    """
    if part not in ("test", "valid"):
        raise UserError(f"split {part!r}: choose one of test, valid")
    return getattr(split, part)


def evaluation(
    path: Path | str,
    interactions: Interactions | None = None,
    checkpoint: str | int | None = "best",
    protocol: str | None = None,
    part: str = "test",
    baselines: Sequence[str] = (),
    beyond_accuracy: int | bool | None = None,
    devices: Sequence | None = None,
    query_time: bool = False,
) -> results.Evaluation:
    """Returns the Evaluation of a workdir's checkpoint, with baselines; other arguments are as for `workdir_answers`.

    Args:
        path: the workdir, or its address in an object store.
        baselines: names of baselines to evaluate too.
        beyond_accuracy: number of best items to examine, as for `beyond.depth`.
    """
    named, path = path, here(path, arguments.or_best(checkpoint))
    devices, config = devices or dev.local(), workdir.read(path).config
    protocol, baselines = protocols.named(protocol or default_protocol(config.split)), named_baselines(baselines)
    k = beyond.depth(beyond_accuracy, protocol)
    answers = workdir_answers(path, interactions, devices, checkpoint, protocol, part, query_time)
    result, split = answers.result(k), answers.split
    title = f"{named}, checkpoint {result['step']}"
    if checkpoint == "best" and not len(split.valid.source):
        title += " (no validation: the latest checkpoint)"
    both = config.seen == "keep"
    beside = {each: baseline_answers(each, split, protocol, part, devices, both).result() for each in baselines}
    return results.Evaluation(config.model.name, result, answers.frame, title, beside)


def workdir_answers(
    path: Path,
    interactions: Interactions | None = None,
    devices: Sequence | None = None,
    checkpoint: str | int | None = "best",
    protocol: str | None = None,
    part: str = "test",
    query_time: bool = False,
) -> Answers:
    """Returns the Answers of a workdir's checkpoint on its own split of the data.

    Args:
        path: the workdir.
        interactions: the training's data; by default, loaded by the name it recorded.
        devices: by default, the local ones.
        checkpoint: "best", "latest" or a step.
        protocol: by default, the split's own.
        part: "test" or "valid".
        query_time: whether the model is told when its targets occurred; the result's protocols are named accordingly.

    Raises:
        UserError: if there is no training at the path, its data are gone or different, or as for `answers_of`.
    """
    config, split = opened(path, interactions)
    model = model_of(config, split)
    chosen = str(protocol or default_protocol(config.split))
    devices = devices or dev.local()
    return answers_of(path, model, config, split, devices, arguments.or_best(checkpoint), chosen, part, query_time)


def opened(path: Path, interactions: Interactions | None = None) -> tuple[Config, splits.Split]:
    """Returns the configuration of a workdir, and its split of the data; see `workdir_answers`."""
    stored = workdir.read(path)
    config = stored.config
    if interactions is None:
        interactions = data_of(config, path)
    workdir.check_data(path, stored, interactions)
    split = assembly.split_of(config, interactions)
    workdir.check_columns(path, stored, split.interactions)
    if config.features or "switch" in context.named(config.context):  # as in training, even if a table has changed
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
    query_time: bool = False,
) -> np.ndarray:
    """Returns a workdir's ranks for the targets of a part of a split, [Q]; `query_time` as for Evaluator."""
    model = model_of(config, split)
    sharding = _to_restore_on(config, devices)
    params, _ = restore_params(path, model, arguments.or_best(checkpoint), sharding, dev.spans(devices))
    questions = questions_of(split, part)
    return Evaluator(model, config, split, questions, devices, protocol, query_time=query_time).ranks(params)


def baseline_answers(
    name: str, split: splits.Split, protocol: str, part: str, devices: Sequence, both: bool = False, host: bool = False
) -> Answers:
    """Returns the Answers of a baseline. both, host: as for `protocols.measures` and `ranker.lay_out`."""
    begun, questions = time.monotonic(), questions_of(split, part)
    repeats = ranker.repeats(split, questions, devices)
    names = protocols.measures(protocol, repeats, len(questions.target), both)
    layouts = {each: ranker.lay_out(split, questions, each, devices=devices, host=host) for each in names}
    by = scored(name, split, questions)
    ranks = {each: ranker.run(layouts[each], *by) for each in names}
    best = lambda protocol, k: ranker.best(layouts[protocol], *by, k)
    return Answers(split=split, part=part, questions=questions, ranks=ranks, best=best, begun=begun)

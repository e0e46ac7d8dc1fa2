"""What each command does, top to bottom."""

import time
from pathlib import Path

import numpy as np
from rich.table import Table

from jaxrec import console as consoles
from jaxrec import devices as dev
from jaxrec import evaluation, fit, objectives, queries, ranking, recipes, report, results, wording, workdir
from jaxrec.baselines import BASELINES, COUNTED
from jaxrec.config import row_width
from jaxrec.data import sources, splits, synthetic
from jaxrec.errors import UserError
from jaxrec.evaluation import FULL, KEPT
from jaxrec.files import write_json
from jaxrec.metrics import metrics
from jaxrec.models import build
from jaxrec.recommend import restore_params
from jaxrec.users import Users

HELD_OUT = {
    "last-item": "held-out last item, whole catalogue",
    "sessions": "every next item of the test sessions, whole catalogue",
    "by-time": "last item after the cut, whole catalogue",
}
SHOWN = {False: ("hr@10", "ndcg@10"), True: ("recall@20", "mrr@20")}  # of a comparison, by sessions or not


def train(arguments, overrides):
    """Train by a config, from the workdir's latest checkpoint; then test the best one beside the baselines."""
    config, name = recipes.load(arguments.config, overrides)
    path = arguments.workdir or Path("runs") / name
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    interactions = sources.load(config.dataset, {"say": say})
    split = splits.split(interactions, config.split, config.split_q, config.valid)
    evaluation.check(split, split.test)
    with workdir.locked(path) as held, held.named():
        protocol, devices = default_protocol(config.split), dev.local()
        setup = fit.setup(config, split, devices)
        validate = validation(setup) if config.valid or config.split != "sessions" else None
        catalogue = split.interactions.catalogue.counted(splits.training_counts(split))
        users = Users(interactions.users.tolist(), has_vector(config, split)) if config.model.users else None
        workdir.claim(path, config, interactions, sources.locate(config.dataset), catalogue, users)
        if (path / workdir.DONE).exists() and fit.complete(setup, path):
            say(f"{path}: training is complete; jaxrec evaluate --workdir {path} evaluates it")
            return 0
        say(wording.describe(setup))
        if validate:
            repeats = splits.repeated_targets(split.interactions, split.valid)
            say(
                "validation: "
                + splits.repeats_in_words(repeats, len(split.valid.target))
                + advice(config, split, repeats)
            )
        try:
            done = fit.fit(setup, path, validate, console, held)
        except fit.Stopped as stopped:
            console.print(
                f"stopped by signal {stopped.signum}; a checkpoint is saved: the same command goes on from it"
            )
            return 128 + stopped.signum
        held.check()
        report.plot(done["rows"], path / "curves.png", name, wording.drawn(config), config.select_by)
        both = config.seen == "keep"
        scores = {config.model.name: test_of(path, setup.model, config, split, devices, protocol=protocol)}
        scores |= {each: baseline_result(each, split, protocol, "test", devices, both) for each in COUNTED}
        held.check()
        kept = {key: done[key] for key in ("step", "best", "seconds")} | {"select_by": config.select_by}
        write_json(path / workdir.DONE, kept | {"test": scores[config.model.name]})
        if validate is None:
            console.print(f"nothing validated: the latest checkpoint is taken for {config.model.name}")
        asked = f"{len(split.test.source):,} {'events' if protocol == 'sessions' else 'users'}"
        console.print(f"{HELD_OUT[config.split]}, {asked}:")
        measured = {label: results.by_measure(result) for label, result in scores.items()}
        for each in measured[config.model.name]:
            rows = {label: found[each]["metrics"] for label, found in measured.items()}
            if each == FULL and (world := sources.world(config.dataset)):
                rows["best reachable"] = synthetic.best_metrics(world, interactions, split.test)
            title = each if len(measured[config.model.name]) > 1 else None
            console.print(comparison(rows, SHOWN[protocol == "sessions"], title))
        say(splits.repeats_in_words(scores[config.model.name]["repeats"], len(split.test.target)))
        held.check()
        say(f"checkpoints {path / 'checkpoints'}, curves {path / 'curves.png'}")
    return 0


def advice(config, split, repeats):
    """What is said of the key `seen` beside how many validation targets repeat an item of the history."""
    if config.seen == "keep" or not splits.many_repeat(repeats, len(split.valid.target)):
        return ""
    chosen = "" if config.split == "sessions" else f"chooses the checkpoint by {KEPT}, and "
    return f"; config.seen=keep {chosen}lets serving recommend these"


def validation(setup):
    """What `fit.fit` validates by: (params) -> the metrics under the protocol that chooses the checkpoint.

    Where many targets repeat an item of the history, the other measure of `full` is beside them, under "also".
    """
    config, split = setup.config, setup.split
    repeats = splits.repeated_targets(split.interactions, split.valid)
    protocol = KEPT if config.seen == "keep" and config.split != "sessions" else default_protocol(config.split)
    names = evaluation.measures(protocol, repeats, len(split.valid.target))
    judge = Judge(setup.model, config, split, split.valid, setup.devices, *names)

    def validate(params):
        chosen, *others = (metrics(ranks) for ranks in judge.every_rank(params).values())
        return chosen | ({"also": dict(zip(names[1:], others, strict=True))} if others else {})

    return validate


def evaluate(arguments, _overrides):
    """Evaluate a workdir's checkpoint or a baseline; print a table, and write JSON where asked."""
    devices = dev.local()
    if arguments.baseline:
        if arguments.baseline not in BASELINES:
            raise UserError(f"no baseline {arguments.baseline!r}: choose one of {', '.join(BASELINES)}")
        if not arguments.dataset:
            raise UserError("--baseline goes with --dataset: name the data to count on")
        if arguments.checkpoint:
            raise UserError("--checkpoint goes with --workdir: a baseline has no checkpoints, leave it out")
        by, q = arguments.split_by or "last-item", arguments.split_q
        if q is not None and by == "last-item":
            raise UserError(f"--split-q {q} goes with --split-by sessions or by-time: the last item needs none")
        if q is not None and not 0 < q < 1:
            raise UserError(f"--split-q {q}: a share, above 0 and below 1")
        valid = 0.1 if arguments.split == "valid" else 0.0  # else all training sessions are counted
        say = lambda line: print(consoles.printable(line))
        interactions = sources.load(arguments.dataset, {"say": say})
        split = splits.split(interactions, by, 0.9 if q is None else q, valid)
        protocol = evaluation.named(arguments.protocol or default_protocol(by))
        result = baseline_result(arguments.baseline, split, protocol, arguments.split, devices)
        title = f"{arguments.baseline} on {arguments.dataset}"
    else:
        for flag, value in {"--split-by": arguments.split_by, "--split-q": arguments.split_q}.items():
            if value is not None:
                raise UserError(f"{flag} goes with --baseline: a workdir keeps the split of its training, leave it out")
        stored = workdir.read(arguments.workdir)
        if not arguments.dataset and sources.missing(stored.config.dataset):
            raise UserError(
                f"the data of {arguments.workdir}, {stored.config.dataset}, are gone: name them with --dataset"
            )
        interactions = sources.load(arguments.dataset or stored.config.dataset)
        workdir.check_data(arguments.workdir, stored, interactions)
        config = stored.config
        split = splits.split(interactions, config.split, config.split_q, config.valid)
        model = build(config, len(split.interactions.catalogue.ids), len(split.interactions.users))
        result = test_of(
            arguments.workdir,
            model,
            config,
            split,
            devices,
            arguments.checkpoint or "best",
            evaluation.named(arguments.protocol or default_protocol(config.split)),
            arguments.split,
        )
        title = f"{arguments.workdir}, checkpoint {result['step']}"
        if arguments.checkpoint in (None, "best") and not len(split.valid.source):
            title += " (nothing validated: the latest)"
    results.show(result, title)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def default_protocol(split_by):
    """The protocol that goes with a split."""
    return "sessions" if split_by == "sessions" else "full"


class Judge:
    """The questions of a split, packed once, to be answered by a model again and again."""

    def __init__(self, model, config, split, questions, devices, protocol=FULL, *also):
        self.prepared = {
            name: evaluation.prepare(split, questions, name, devices=devices) for name in (protocol, *also)
        }
        self.objective = objectives.build(config)
        asked = split.interactions.items, questions.start, questions.stop
        width = row_width(config)
        source = questions.source
        if config.model.users:  # who never trained has no vector
            source = np.where(has_vector(config, split)[source], source, -1)
        self.histories = queries.pack_histories(*asked, config.length, width, devices, self.objective.room, source)
        self.model, self.encode = model, queries.encoder(model, self.objective, devices)

    def ranks(self, params):
        """The rank of every question's target, under the first protocol. [Q]"""
        return next(iter(self.every_rank(params).values()))

    def every_rank(self, params):
        """{protocol: [Q]}"""
        self.hidden, table = self.encode(params, self.histories), self.model.table(params)
        return {name: evaluation.run(each, ranking.dot, table, self.hidden) for name, each in self.prepared.items()}

    def coverages(self, params):
        """{protocol: coverage@10} of the questions last ranked; None under a sampled protocol."""
        scored = ranking.dot, self.model.table(params), self.hidden
        return {name: _coverage(each, *scored) for name, each in self.prepared.items()}


def has_vector(config, split):
    """Whether each user of a split has a vector that was trained. [U] bool"""
    pieces = objectives.build(config).pieces(split.start, split.stop, config.length, config.history)
    return np.isin(np.arange(len(split.interactions.users)), pieces.source)


def _coverage(prepared, *scored):
    return evaluation.coverage(prepared, *scored) if evaluation.whole(prepared.protocol) else None


def test_of(path, model, config, split, devices, checkpoint="best", protocol=FULL, part="test"):
    """The result of a workdir's checkpoint: the dictionary of `results.result`."""
    begun = time.monotonic()
    questions = getattr(split, part)
    params, step = restore_params(path, model, checkpoint, dev.replicated(devices))
    repeats = splits.repeated_targets(split.interactions, questions)
    names = evaluation.measures(protocol, repeats, len(questions.target), both=config.seen == "keep")
    judge = Judge(model, config, split, questions, devices, *names)
    ranks, coverages = judge.every_rank(params), judge.coverages(params)
    return _result(names, part, ranks, coverages, split, repeats, begun, step)


def baseline_result(name, split, protocol, part, devices, both=False):
    """The result of a baseline: the dictionary of `results.result`. both: as of `evaluation.measures`."""
    begun = time.monotonic()
    baseline, questions = BASELINES[name], getattr(split, part)
    repeats = splits.repeated_targets(split.interactions, questions)
    names = evaluation.measures(protocol, repeats, len(questions.target), both)
    prepared = {each: evaluation.prepare(split, questions, each, devices=devices) for each in names}
    learnt = baseline.fit(split)
    scored = baseline.scorer, baseline.params(learnt), baseline.queries(learnt, split, questions)
    ranks = {each: evaluation.run(prepared[each], *scored) for each in names}
    coverages = {each: _coverage(prepared[each], *scored) for each in names}
    return _result(names, part, ranks, coverages, split, repeats, begun)


def _result(names, part, ranks, coverages, split, repeats, begun, step=None):
    first, *others = names
    return results.result(
        first,
        part,
        ranks[first],
        cold=splits.cold_targets(split, getattr(split, part)),
        repeats=repeats,
        coverage=coverages[first],
        also={name: (ranks[name], coverages[name]) for name in others},
        step=step,
        seconds=time.monotonic() - begun,
    )


def comparison(rows, shown=("hr@10", "ndcg@10"), title=None):
    """A table of {name: metrics}, with these metrics."""
    table = Table(title=title)
    for column in ("", *shown):
        column = {"recall@20": "Recall@20"}.get(column, column.upper())
        table.add_column(column, justify="right" if column else "left")
    for name, found in rows.items():
        table.add_row(name, *(f"{found[each]:.4f}" for each in shown))
    return table


COMMANDS = {"train": train, "evaluate": evaluate}

"""What each command does, top to bottom."""

import time
from pathlib import Path

import numpy as np
from rich.table import Table

from jaxrec import cli, evaluation, fit, objectives, queries, ranking, report, workdir
from jaxrec import console as consoles
from jaxrec import devices as dev
from jaxrec.baselines import BASELINES, COUNTED
from jaxrec.config import row_width
from jaxrec.data import sources, splits, synthetic
from jaxrec.errors import UserError
from jaxrec.files import write_json
from jaxrec.models import build
from jaxrec.recommend import restore_params

HELD_OUT = {
    "last-item": "held-out last item, whole catalogue",
    "sessions": "every next item of the test sessions, whole catalogue",
    "by-time": "last item after the cut, whole catalogue",
}


def train(arguments, overrides):
    """Train by a config, from the workdir's latest checkpoint; then test the best one beside the baselines."""
    config, name = cli.load_config(arguments.config, overrides)
    path = arguments.workdir or Path("runs") / name
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    interactions = sources.load(config.dataset, {"say": say})
    split = splits.split(interactions, config.split, config.split_q, config.valid)
    evaluation.check(split, split.test)
    with workdir.locked(path) as held, held.named():
        protocol, devices = default_protocol(config.split), dev.local()
        setup = fit.setup(config, split, devices)
        validate = None
        if config.valid or config.split != "sessions":
            judge = Judge(setup.model, config, split, split.valid, devices, protocol)
            validate = lambda params: evaluation.metrics(judge.ranks(params))
        catalogue = split.interactions.catalogue.counted(splits.training_counts(split))
        workdir.claim(path, config, interactions, sources.locate(config.dataset), catalogue)
        if (path / workdir.DONE).exists() and fit.complete(setup, path):
            say(f"{path}: training is complete; jaxrec evaluate --workdir {path} evaluates it")
            return 0
        say(fit.describe(setup))
        try:
            done = fit.fit(setup, path, validate, console)
        except fit.Stopped as stopped:
            console.print(
                f"stopped by signal {stopped.signum}; a checkpoint is saved: the same command goes on from it"
            )
            return 128 + stopped.signum
        held.check()
        report.plot(done["rows"], path / "curves.png", name)
        write_json(path / workdir.DONE, {key: done[key] for key in ("step", "best", "seconds")})
        scores = {config.model.name: test_of(path, setup.model, config, split, devices, protocol=protocol)}
        scores |= {baseline: baseline_result(baseline, split, protocol, "test", devices) for baseline in COUNTED}
        rows = {label: result["metrics"] for label, result in scores.items()}
        if protocol == "full" and (world := sources.world(config.dataset)):
            rows["best reachable"] = synthetic.best_metrics(world, interactions, split.test)
        if validate is None:
            console.print(f"nothing validated: the latest checkpoint is taken for {config.model.name}")
        asked = f"{len(split.test.source):,} {'events' if protocol == 'sessions' else 'users'}"
        console.print(f"{HELD_OUT[config.split]}, {asked}:")
        console.print(comparison(rows, ("recall@20", "mrr@20") if protocol == "sessions" else ("hr@10", "ndcg@10")))
        held.check()
        say(f"checkpoints {path / 'checkpoints'}, curves {path / 'curves.png'}")
    return 0


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
        protocol = arguments.protocol or default_protocol(by)
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
            arguments.protocol or default_protocol(config.split),
            arguments.split,
        )
        title = f"{arguments.workdir}, checkpoint {result['step']}"
        if arguments.checkpoint in (None, "best") and not len(split.valid.source):
            title += " (nothing validated: the latest)"
    evaluation.show(result, title)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def default_protocol(split_by):
    """The protocol that goes with a split."""
    return "sessions" if split_by == "sessions" else "full"


class Judge:
    """The questions of a split, packed once, to be answered by a model again and again."""

    def __init__(self, model, config, split, questions, devices, protocol="full"):
        self.prepared = evaluation.prepare(split, questions, protocol, devices=devices)
        self.objective = objectives.build(config)
        asked = split.interactions.items, questions.start, questions.stop
        width = row_width(config)
        source = questions.source
        if config.model.users:  # who never trained has no vector
            trained = self.objective.pieces(split.start, split.stop, config.length, config.history).source
            source = np.where(np.isin(source, trained), source, -1)
        self.histories = queries.pack_histories(*asked, config.length, width, devices, self.objective.room, source)
        self.model, self.encode = model, queries.encoder(model, self.objective, devices)

    def ranks(self, params):
        """The rank of every question's target. [Q]"""
        self.hidden = self.encode(params, self.histories)
        return evaluation.run(self.prepared, ranking.dot, self.model.table(params), self.hidden)

    def coverage(self, params):
        """coverage@10 of the questions that `ranks` was last asked for; None under a sampled protocol."""
        if not evaluation.whole(self.prepared.protocol):
            return None
        return evaluation.coverage(self.prepared, ranking.dot, self.model.table(params), self.hidden)


def test_of(path, model, config, split, devices, checkpoint="best", protocol="full", part="test"):
    """The result of a workdir's checkpoint: the dictionary of `evaluation.result`."""
    begun = time.monotonic()
    questions = getattr(split, part)
    params, step = restore_params(path, model, checkpoint, dev.replicated(devices))
    judge = Judge(model, config, split, questions, devices, protocol)
    ranks = judge.ranks(params)
    return evaluation.result(
        protocol,
        part,
        ranks,
        cold=splits.cold_targets(split, questions),
        coverage=judge.coverage(params),
        step=step,
        seconds=time.monotonic() - begun,
    )


def baseline_result(name, split, protocol, part, devices):
    """The result of a baseline: the dictionary of `evaluation.result`."""
    begun = time.monotonic()
    baseline, questions = BASELINES[name], getattr(split, part)
    prepared = evaluation.prepare(split, questions, protocol, devices=devices)
    learnt = baseline.fit(split)
    scored = baseline.scorer, baseline.params(learnt), baseline.queries(learnt, split, questions)
    ranks = evaluation.run(prepared, *scored)
    return evaluation.result(
        protocol,
        part,
        ranks,
        cold=splits.cold_targets(split, questions),
        coverage=evaluation.coverage(prepared, *scored) if evaluation.whole(protocol) else None,
        seconds=time.monotonic() - begun,
    )


def comparison(rows, shown=("hr@10", "ndcg@10")):
    """A table of {name: metrics}, with these metrics."""
    table = Table()
    for column in ("", *shown):
        column = {"recall@20": "Recall@20"}.get(column, column.upper())
        table.add_column(column, justify="right" if column else "left")
    for name, metrics in rows.items():
        table.add_row(name, *(f"{metrics[each]:.4f}" for each in shown))
    return table


COMMANDS = {"train": train, "evaluate": evaluate}

"""What each command does, top to bottom."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jaxrec import cli, evaluation, fit, queries, ranking, report, workdir
from jaxrec import devices as dev
from jaxrec.baselines import BASELINES
from jaxrec.config import row_width
from jaxrec.data import sources, splits, synthetic
from jaxrec.errors import UserError
from jaxrec.files import write_json
from jaxrec.models import build
from jaxrec.recommend import restore_params

SPLITS = {"last-item": splits.last_item}


def train(arguments, overrides):
    """Train by a config, from the workdir's latest checkpoint; then test the best one beside the baselines."""
    config, name = cli.load_config(arguments.config, overrides)
    path = arguments.workdir or Path("runs") / name
    console = Console(highlight=False)
    interactions = sources.load(config.dataset)
    with workdir.locked(path):
        split, devices = SPLITS[config.split](interactions), dev.local()
        setup = fit.setup(config, split, devices)
        judge = Judge(setup.model, config, split, split.valid, devices)
        workdir.claim(path, config, interactions, sources.locate(config.dataset))
        if (path / workdir.DONE).exists() and fit.complete(config, path):
            console.print(f"{path}: training is complete; jaxrec evaluate --workdir {path} evaluates it")
            return 0
        console.print(fit.describe(setup), soft_wrap=True)
        try:
            done = fit.fit(setup, path, lambda params: evaluation.metrics(judge.ranks(params)), console)
        except fit.Stopped as stopped:
            console.print(
                f"stopped by signal {stopped.signum}; a checkpoint is saved: the same command goes on from it"
            )
            return 128 + stopped.signum
        report.plot(done["rows"], path / "curves.png", name)
        write_json(path / workdir.DONE, {key: done[key] for key in ("step", "best", "seconds")})
        scores = {config.model.name: test_of(path, setup.model, config, split, devices)}
        scores |= {baseline: baseline_result(baseline, split, "full", "test", devices) for baseline in BASELINES}
        rows = {label: result["metrics"] for label, result in scores.items()}
        if world := sources.world(config.dataset):
            rows["best reachable"] = synthetic.best_metrics(world, interactions, split.test)
        console.print(f"held-out last item, whole catalogue, {len(split.test.source):,} users:")
        console.print(comparison(rows))
        console.print(f"checkpoints {path / 'checkpoints'}, curves {path / 'curves.png'}", soft_wrap=True)
    return 0


def evaluate(arguments, _overrides):
    """Evaluate a workdir's checkpoint or a baseline; print a table, and write JSON where asked."""
    devices = dev.local()
    if arguments.baseline:
        if arguments.baseline not in BASELINES:
            raise UserError(f"no baseline {arguments.baseline!r}: choose one of {', '.join(BASELINES)}")
        if not arguments.dataset:
            raise UserError("--baseline goes with --dataset: name the data to count on")
        split = SPLITS[arguments.split_by](sources.load(arguments.dataset))
        result = baseline_result(arguments.baseline, split, arguments.protocol, arguments.split, devices)
        title = f"{arguments.baseline} on {arguments.dataset}"
    else:
        stored = workdir.read(arguments.workdir)
        if not arguments.dataset and sources.missing(stored.config.dataset):
            raise UserError(
                f"the data of {arguments.workdir}, {stored.config.dataset}, are gone: name them with --dataset"
            )
        interactions = sources.load(arguments.dataset or stored.config.dataset)
        workdir.check_data(arguments.workdir, stored, interactions)
        model = build(stored.config, len(interactions.catalogue.ids))
        split = SPLITS[stored.config.split](interactions)
        result = test_of(
            arguments.workdir,
            model,
            stored.config,
            split,
            devices,
            arguments.checkpoint,
            arguments.protocol,
            arguments.split,
        )
        title = f"{arguments.workdir}, checkpoint {result['step']}"
    evaluation.show(result, title)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


class Judge:
    """The questions of a split, packed once, to be answered by a model again and again."""

    def __init__(self, model, config, split, questions, devices, protocol="full"):
        self.prepared = evaluation.prepare(split, questions, protocol, devices=devices)
        self.histories = queries.pack_histories(
            split.interactions.items, questions.start, questions.stop, config.length, row_width(config), devices
        )
        self.model, self.encode = model, queries.encoder(model, devices)

    def ranks(self, params):
        """The rank of every question's target. [Q]"""
        self.hidden = self.encode(params, self.histories)
        return evaluation.run(self.prepared, ranking.dot, self.model.table(params), self.hidden)

    def coverage(self, params):
        """coverage@10 of the questions that `ranks` was last asked for; None under a sampled protocol."""
        if self.prepared.protocol != "full":
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
    scored = baseline.scorer, baseline.fit(split), baseline.queries(split, questions)
    ranks = evaluation.run(prepared, *scored)
    return evaluation.result(
        protocol,
        part,
        ranks,
        cold=splits.cold_targets(split, questions),
        coverage=evaluation.coverage(prepared, *scored) if protocol == "full" else None,
        seconds=time.monotonic() - begun,
    )


def comparison(rows):
    """A table of {name: metrics}: HR@10 and NDCG@10."""
    table = Table()
    for column in ("", "HR@10", "NDCG@10"):
        table.add_column(column, justify="right" if column else "left")
    for name, metrics in rows.items():
        table.add_row(name, f"{metrics['hr@10']:.4f}", f"{metrics['ndcg@10']:.4f}")
    return table


COMMANDS = {"train": train, "evaluate": evaluate}

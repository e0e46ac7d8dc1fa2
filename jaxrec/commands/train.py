"""The command train: by a config, from the workdir's latest checkpoint; then the test."""

from pathlib import Path

from rich.table import Table

from jaxrec.config import recipes
from jaxrec.data import sources, splits, synthetic
from jaxrec.data.users import Users
from jaxrec.evaluation import ranker, results
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.evaluator import baseline_result, has_vector, test_of, validation
from jaxrec.evaluation.protocols import FULL, KEPT, default_protocol
from jaxrec.kernels import placement as dev
from jaxrec.system import console as consoles
from jaxrec.system.files import write_checked
from jaxrec.training import fit, metric_writer, wording, workdir

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
    ranker.check(split, split.test)
    with workdir.locked(path) as held, held.named():
        protocol, devices = default_protocol(config.split), dev.local()
        setup = fit.setup(config, split, devices)
        validate = validation(setup) if config.valid or config.split != "sessions" else None
        catalogue = split.interactions.catalogue.counted(splits.training_counts(split))
        users = Users(interactions.users.tolist(), has_vector(config, split)) if config.model.users else None
        dataset = sources.locate(config.dataset)
        workdir.claim(path, config, interactions, dataset, catalogue, users, setup.total_steps)
        if workdir.is_done(path) and fit.complete(setup, path):
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
        metric_writer.plot(done["rows"], path / "curves.png", name, wording.drawn(config), config.select_by)
        both = config.seen == "keep"
        scores = {config.model.name: test_of(path, setup.model, config, split, devices, protocol=protocol)}
        scores |= {each: baseline_result(each, split, protocol, "test", devices, both) for each in COUNTED}
        held.check()
        kept = {key: done[key] for key in ("step", "best", "seconds")} | {"select_by": config.select_by}
        write_checked(path / workdir.DONE, kept | {"test": scores[config.model.name]})
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


def comparison(rows, shown=("hr@10", "ndcg@10"), title=None):
    """A table of {name: metrics}, with these metrics."""
    table = Table(title=title)
    for column in ("", *shown):
        column = {"recall@20": "Recall@20"}.get(column, column.upper())
        table.add_column(column, justify="right" if column else "left")
    for name, found in rows.items():
        table.add_row(name, *(f"{found[each]:.4f}" for each in shown))
    return table

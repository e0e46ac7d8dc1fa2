"""Evaluates trainings, baselines and external scores on the held-out items of a log."""

import os
from pathlib import Path
from typing import Any

from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import Log, as_log
from jaxrec.config import registry
from jaxrec.config.fields import within
from jaxrec.data import event_types, splits
from jaxrec.data.interactions import Interactions
from jaxrec.evaluation import beyond, evaluator, protocols, referee
from jaxrec.evaluation.baselines import BASELINES, named_baselines
from jaxrec.evaluation.referee import Judgement
from jaxrec.evaluation.results import Evaluation
from jaxrec.evaluation.scores import load
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import placement
from jaxrec.system import arguments, console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import path_or_address
from jaxrec.training.workdirs.fetching import here
from jaxrec.training.workdirs.shared import workdir_of_first


@with_keywords
def evaluate(
    what: Recommender | str | os.PathLike,
    data: Any = None,
    *,
    checkpoint: str | int | None = None,
    protocol: str | None = None,
    split: str = "test",
    split_by: str | None = None,
    test_quantile: float | None = None,
    target_types: str = "",
    beyond_accuracy: int | bool | None = None,
    query_time: bool = False,
) -> Evaluation:
    """Evaluates a Recommender, a workdir or a baseline on held-out items, with 95% intervals.

    >>> import jaxrec
    >>> jaxrec.evaluate("popularity", "synthetic:users=200").metrics["ndcg@10"] > 0
    True

    Args:
        what: a Recommender, the path of a workdir, or the name of a baseline: popularity, transitions, item-knn, als,
            bpr or item-features.
        data: a Log from `prepare`, or any input of `prepare`; required for a baseline. A training uses its own data by
            default.
        checkpoint: of a workdir: "best", "latest" or a step.
        protocol: full, full-seen-kept, sessions, uniform-100 or popularity-100; by default that of the split, sessions
            or full.
        split: "test" or "valid".
        split_by: split for a baseline: last-item (the default), sessions, by-time or last-basket.
        test_quantile: for a baseline split by time, the share of times before the test; 0.9 by default.
        target_types: for a baseline, the types of events that are targets, such as "purchase"; "" for all.
        beyond_accuracy: number of best items per question to examine for coverage, Gini, novelty, diversity, MAP and
            metrics by segment; True for 10. Adds `result["beyond_accuracy"]`. Not for sampled protocols.
        query_time: whether a model that is shown the time of asking is told when the targets occurred. This is a task
            of its own: its protocols are named accordingly, as "full, with query time".

    In a job of several processes, all of them together evaluate a workdir that the first one has.

    Raises:
        UserError: if the training or baseline doesn't exist, the data are missing or different, or `query_time` is set
            for a baseline or a model that isn't shown the time of asking.
    """
    if isinstance(what, Recommender):
        data = what.data if data is None else data
        checkpoint, what = what.step if checkpoint is None else checkpoint, _of(what)
    elif str(what) in BASELINES and not Path(what).exists():
        if checkpoint is not None:
            raise UserError("a baseline has no checkpoints: leave checkpoint out")
        if query_time:
            raise UserError("query_time is for models that are shown the time of asking: a baseline is told no times")
        if data is None:
            raise UserError(f"{what}: name the data to count on")
        asked = {"by": split_by or "last-item", "q": test_quantile, "target_types": target_types}
        return baseline(str(what), data, protocol, split, **asked, beyond_accuracy=beyond_accuracy)
    if split_by is not None or test_quantile is not None or target_types:
        own = "split_by, test_quantile and target_types are for baselines"
        raise UserError(f"{own}: a workdir keeps the split of its training")
    checkpoint = arguments.or_best(checkpoint)
    told = {"checkpoint": checkpoint, "protocol": protocol, "part": split, "query_time": query_time}
    told |= {"beyond_accuracy": beyond_accuracy, "devices": placement.all_devices()}
    with workdir_of_first(path_or_address(what), checkpoint) as path:
        return evaluator.evaluation(path, _interactions(data), **told)


def _interactions(data: Any) -> Interactions | None:
    return data if data is None or isinstance(data, Interactions) else as_log(data).interactions


def _of(recommender: Recommender) -> Path | str:
    if recommender.path is None:
        raise UserError("this Recommender has no workdir: load one from a workdir")
    return recommender.path


def baseline(
    name: str,
    data: Any,
    protocol: str | None,
    split: str,
    by: str,
    q: float | None,
    beyond_accuracy: int | bool | None = None,
    target_types: str = "",
) -> Evaluation:
    """Returns the Evaluation of a baseline. `by`, `q`: as for `splits.split`; the others as for `evaluate`.

    Raises:
        UserError: if the baseline or split doesn't exist, or `q` is invalid or not supported by the split.
    """
    named_baselines([name])
    log, made, chosen = _split(data, protocol, split, by, q, target_types)
    k = beyond.depth(beyond_accuracy, chosen)
    answers = evaluator.baseline_answers(name, made, chosen, split, placement.local())
    title = f"{name} on {data if isinstance(data, str) else log.dataset}"
    return Evaluation(name, answers.result(k), answers.frame, title)


def _split(
    data: Any, protocol: str | None, part: str, by: str, q: float | None, types: str
) -> tuple[Log, splits.Split, str]:
    """Returns the Log of the data, its split, and the protocol; arguments as for `baseline`."""
    if q is not None and "test_quantile" not in registry.find("split", by).keys:
        raise UserError(f"--test-quantile {q} goes with --split-by sessions or by-time: {by} needs none")
    if q is not None and (said := within(q) if isinstance(q, int | float) else "it must be a number"):
        raise UserError(f"--test-quantile {q}: a share; {said}")
    console = consoles.make()
    log = as_log(data, lambda line: console.print(consoles.printable(line), soft_wrap=True))
    valid = 0.1 if part == "valid" else 0.0  # for the test, baselines count all training sessions
    asking = event_types.asking(log.interactions, types, "--target-types")
    made = splits.split(asking, by, 0.9 if q is None else q, valid)
    return log, made, protocols.named(protocol or protocols.default_protocol(by))


@with_keywords
def judge(
    scores: Any,
    data: Any = None,
    *,
    workdir: str | os.PathLike | None = None,
    checkpoint: str | int | None = None,
    protocol: str | None = None,
    split: str = "test",
    split_by: str | None = None,
    test_quantile: float | None = None,
    target_types: str = "",
    beyond_accuracy: int | bool | None = None,
) -> Judgement:
    """Judges any model by its vectors or lists of best items: metrics, and warnings about evaluation mistakes.

    >>> import numpy as np, polars as pl, jaxrec
    >>> log = jaxrec.prepare(pl.DataFrame({"user": [1] * 3 + [2] * 3, "item": [1, 2, 3, 2, 1, 3]}), time="none")
    >>> lists = pl.DataFrame({"user": [1, 2], "item": [3, 4], "rank": [1, 1]})
    >>> jaxrec.judge(lists, log).metrics["hr@1"]
    0.5

    Args:
        scores: a path or a mapping of arrays: `users` [U, D], `user_ids` [U], `items` [V, D], `item_ids` [V] and
            optionally `bias` [V]; or a table, as a path or in memory, of user, item and rank or score. Ids are those of
            the data.
        data: a Log from `prepare`, or any input of `prepare`; by default the data of the workdir.
        workdir: a training to test the scores against, on its own split.
        checkpoint: of the workdir: "best", "latest" or a step.
        protocol: full, full-seen-kept, uniform-100 or popularity-100, as for `evaluate`; for lists one of the first
            two.
        split: "test" or "valid".
        split_by: last-item or by-time; by default that of the workdir, or last-item.
        test_quantile: for a split by time, as for `evaluate`.
        target_types: the types of events that are targets, as for `evaluate`.
        beyond_accuracy: as for `evaluate`; for lists at most their length.

    Raises:
        UserError: if the scores can't be read, or none of their ids is in the data.
    """
    if workdir is None and data is None:
        raise UserError("--scores goes with --dataset, or --workdir: name the data that the scores are for")
    if workdir is None and checkpoint is not None:
        raise UserError("--checkpoint goes with --workdir: leave it out")
    if workdir is not None and (split_by is not None or test_quantile is not None or target_types):
        flags = "--split-by, --test-quantile and --target-types"
        raise UserError(f"{flags} go without --workdir, whose split is that of its training")
    found, devices = load(scores), placement.local()
    if workdir is None:
        _, made, chosen = _split(data, protocol, split, split_by or "last-item", test_quantile, target_types)
        return referee.judge(found, made, chosen, split, devices, beyond_accuracy=beyond_accuracy)
    path = here(workdir, arguments.or_best(checkpoint))
    config, made = evaluator.opened(path, _interactions(data))
    chosen = protocols.named(protocol or protocols.default_protocol(config.split))
    rival = str(workdir), lambda: evaluator.ranks_of(path, config, made, checkpoint, chosen, split, devices)
    told = {"rival": rival, "both": config.seen == "keep", "beyond_accuracy": beyond_accuracy}
    return referee.judge(found, made, chosen, split, devices, **told)

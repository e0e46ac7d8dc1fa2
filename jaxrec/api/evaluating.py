"""Evaluate a training or a baseline on the held-out items of a log."""

import os
from pathlib import Path
from typing import Any

from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import as_log
from jaxrec.config import registry
from jaxrec.config.fields import within
from jaxrec.data import splits
from jaxrec.data.interactions import Interactions
from jaxrec.evaluation import evaluator, protocols
from jaxrec.evaluation.baselines import BASELINES
from jaxrec.evaluation.results import Evaluation
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import placement
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError


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
) -> Evaluation:
    """Evaluate a Recommender, a workdir or a baseline: its metrics on the held-out items, with 95% intervals.

    >>> import jaxrec
    >>> jaxrec.evaluate("popularity", "synthetic:users=200").metrics["ndcg@10"] > 0
    True

    Args:
        what: a Recommender, the path of a workdir, or the name of a baseline: popularity, transitions, item-knn, als or
            bpr.
        data: what `prepare` gave, or takes. A baseline counts on them; a training is evaluated on its own where None.
        checkpoint: of a workdir: "best", "latest" or a step.
        protocol: full, full-seen-kept, sessions, uniform-100 or popularity-100; if None full, and sessions after such a
            split.
        split: "test" or "valid".
        split_by: of a baseline: last-item, sessions or by-time; last-item if None.
        test_quantile: of a baseline, where times split: the share of them before the test; 0.9 if None.

    Raises:
        UserError: there is no such training or baseline; the data are gone, or others.
    """
    if isinstance(what, Recommender):
        data = what.data if data is None else data
        checkpoint, what = what.step if checkpoint is None else checkpoint, _of(what)
    elif str(what) in BASELINES and not Path(what).exists():
        if checkpoint is not None:
            raise UserError("a baseline has no checkpoints: leave checkpoint out")
        if data is None:
            raise UserError(f"{what}: name the data to count on")
        return baseline(str(what), data, protocol, split, split_by or "last-item", test_quantile)
    if split_by is not None or test_quantile is not None:
        raise UserError("split_by and test_quantile are for baselines: a workdir keeps the split of its training")
    interactions = data if data is None or isinstance(data, Interactions) else as_log(data).interactions
    return evaluator.evaluation(Path(what), interactions, checkpoint or "best", protocol, split)


def _of(recommender: Recommender) -> Path:
    if recommender.path is None:
        raise UserError("this Recommender is of no workdir: load one")
    return recommender.path


def baseline(name: str, data: Any, protocol: str | None, split: str, by: str, q: float | None) -> Evaluation:
    """The Evaluation of a baseline. by, q: as `splits.split` takes them; the others as of `evaluate`.

    Raises:
        UserError: there is no such baseline or split, or it takes no q, or not this one.
    """
    if name not in BASELINES:
        raise UserError(f"no baseline {name!r}: choose one of {', '.join(BASELINES)}")
    if q is not None and "test_quantile" not in registry.find("split", by).keys:
        raise UserError(f"--test-quantile {q} goes with --split-by sessions or by-time: {by} needs none")
    if q is not None and (said := within(q)):
        raise UserError(f"--test-quantile {q}: a share; {said}")
    console = consoles.make()
    log = as_log(data, lambda line: console.print(consoles.printable(line), soft_wrap=True))
    valid = 0.1 if split == "valid" else 0.0  # else all training sessions are counted
    made = splits.split(log.interactions, by, 0.9 if q is None else q, valid)
    chosen = protocols.named(protocol or protocols.default_protocol(by))
    result = evaluator.baseline_result(name, made, chosen, split, placement.local())
    return Evaluation(name, result, f"{name} on {data if isinstance(data, str) else log.dataset}")

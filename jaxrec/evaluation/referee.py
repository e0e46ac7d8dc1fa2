"""Anybody's model judged on the questions of a split: metrics, a paired test, which data these are, warnings."""

import time
from collections.abc import Callable

import numpy as np
from rich.console import Console

from jaxrec.data import known, splits
from jaxrec.data.splits import Split
from jaxrec.evaluation import protocols, ranker, results, traps
from jaxrec.evaluation.comparison import paired
from jaxrec.evaluation.evaluator import questions_of
from jaxrec.evaluation.placing import PlacedLists, place_lists, place_vectors
from jaxrec.evaluation.scores import Lists, Vectors, unlisted
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError


class Judgement(results.Evaluation):
    """An Evaluation of scores, with what they show of how they were made. Printed, it is all of it.

    Attributes:
        result: as of an Evaluation, and `data` (which data these are), `k` (of lists: no metric beyond it is known),
            `paired` (the difference to a workdir), `warnings` and `questions`.
    """

    @property
    def warnings(self) -> list[dict]:
        """[{"trap", "text", and figures}]: what the scores show of a trap."""
        return self.result["warnings"]

    def show(self, console: Console | None = None) -> None:
        """Print the tables, the data, the paired test, the warnings and what has to be asked."""
        console = console or consoles.make()
        say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
        super().show(console)
        say(self.result["data"]["words"])
        if self.result["k"]:
            say(f"lists of {self.result['k']:,}: no metric beyond that is known")
        if versus := self.result["paired"]:
            say(
                "{first} less {second}, NDCG@10 of the same users: {ndcg@10:.4f} ({ci95[0]:.4f} to {ci95[1]:.4f}), "
                "p = {p:.4f}".format(**versus)
            )
        for each in self.warnings:
            say(f"warning: {each['trap']}: {each['text']}")
        say("What scores can't show, to be asked:")
        for question in self.result["questions"]:
            say(f"- {question}")


def judge(
    scores: Vectors | Lists,
    split: Split,
    protocol: str,
    part: str,
    devices,
    rival: tuple[str, Callable[[], np.ndarray]] | None = None,
    both: bool = False,
) -> dict:
    """The result of scores: the dictionary of `results.result`, with what `Judgement` says.

    Args:
        protocol: as of `protocols.named`.
        part: "test" or "valid".
        rival: (name, what gives its ranks [Q] by this protocol) to test against.
        both: as of `protocols.measures`.

    Raises:
        UserError: the questions are of events, not of users; or what is asked of lists needs every score.
    """
    begun, questions = time.monotonic(), questions_of(split, part)
    ranker.check(split, questions)
    if not splits.one_a_user(questions):
        raise UserError(
            f"{scores.name}: scores are judged by one question a user, and this split asks after every event of a "
            "session: split the data by last-item or by-time"
        )
    if isinstance(scores, Lists):
        result, ranks, found = _of_lists(scores, split, questions, protocol, part, begun)
    else:
        result, ranks, found = _of_vectors(scores, split, questions, protocol, part, devices, both, begun)
    k = result.pop("k", None)
    versus = None
    if rival is not None:
        if k and k < traps.AT:
            unlisted(f"lists of {k}, and the paired test is of NDCG@{traps.AT}", scores.name)
        name, rank = rival
        versus = {"first": scores.name, "second": name} | paired(ranks[None], rank()[None])
    told = known.identify(split.interactions)._asdict()
    return result | {"k": k, "data": told, "paired": versus, "warnings": found, "questions": list(traps.QUESTIONS)}


def _of_vectors(vectors, split, questions, protocol, part, devices, both, begun):
    placed = place_vectors(vectors, split, questions)
    repeats = splits.repeated_targets(split.interactions, questions)
    first, *others = protocols.measures(protocol, repeats, len(questions.target), both)
    measured = {}
    for name in (first, *others):
        layout = ranker.lay_out(split, questions, name, devices=devices)
        covered = ranker.coverage(layout, *placed.scored) if protocols.whole(name) else None
        measured[name] = ranker.run(layout, *placed.scored), covered
    ranks, coverage = measured.pop(first)
    found = traps.of_vectors(placed, split, questions, devices)
    cold = splits.cold_targets(split, questions)
    told = {"cold": cold, "repeats": repeats, "coverage": coverage, "also": measured}
    return results.result(first, part, ranks, seconds=time.monotonic() - begun, **told), ranks, found


def _of_lists(lists, split, questions, protocol, part, begun):
    if not protocols.whole(protocol):
        unlisted(f"{protocol} draws whom a target is ranked among, and a list may lack them", lists.name)
    placed = place_lists(lists, split, questions)
    ranks, repeats = placed.ranks(questions.target), splits.repeated_targets(split.interactions, questions)
    found = traps.of_lists(placed, split, questions, protocol)
    told = {"cold": splits.cold_targets(split, questions), "repeats": repeats, "coverage": _coverage(placed, split)}
    result = results.result(protocol, part, ranks, seconds=time.monotonic() - begun, **told)
    for measured in ("metrics", "ci95"):
        result[measured] = {name: value for name, value in result[measured].items() if _depth(name) <= placed.k}
    return result | {"k": placed.k}, ranks, found


def _depth(metric: str) -> float:
    """How many of the best items a metric needs."""
    _, _, k = metric.partition("@")
    return float(k) if k else np.inf


def _coverage(placed: PlacedLists, split: Split) -> float:
    """The share of the catalogue that is in somebody's best ten."""
    found = np.zeros(len(split.interactions.catalogue.ids) + 1, bool)
    found[placed.item[placed.place <= traps.AT]] = True
    return float(found[1:].mean())

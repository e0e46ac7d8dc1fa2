"""Judges any model's scores on a split: metrics, a paired test, identification of the data, and warnings."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console

from jaxrec.data import known, splits
from jaxrec.data.splits import Split
from jaxrec.evaluation import beyond, protocols, ranker, results, traps
from jaxrec.evaluation.answers import Answers
from jaxrec.evaluation.comparison import paired
from jaxrec.evaluation.evaluator import questions_of
from jaxrec.evaluation.placing import place_lists, place_vectors
from jaxrec.evaluation.scores import Lists, Vectors, unlisted
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError


class Judgement(results.Evaluation):
    """An Evaluation of scores, with warnings about how they were made. Its repr is the printed report.

    Attributes:
        result: as of Evaluation, and `data` (the identified data set), `k` (length of lists, the limit of metrics),
            `paired` (difference to a workdir), `warnings` and `questions`.
    """

    @property
    def warnings(self) -> list[dict]:
        """[{"trap", "text", and figures}]: signs of evaluation mistakes in the scores."""
        return self.result["warnings"]

    def show(self, console: Console | None = None) -> None:
        """Prints the tables, the data, the paired test, the warnings and the open questions."""
        console = console or consoles.make()
        say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
        super().show(console)
        say(self.result["data"]["words"])
        if self.result["k"]:
            say(f"the lists have {self.result['k']:,} items: no metric beyond that is known")
        if versus := self.result["paired"]:
            say(
                "{first} minus {second}, NDCG@10 of the same users: {ndcg@10:.4f} ({ci95[0]:.4f} to {ci95[1]:.4f}), "
                "p = {p:.4f}".format(**versus)
            )
        for each in self.warnings:
            say(f"warning: {each['trap']}: {each['text']}")
        say("What scores can't show, and should be asked:")
        for question in self.result["questions"]:
            say(f"- {question}")


def judge(
    scores: Vectors | Lists,
    split: Split,
    protocol: str,
    part: str,
    devices: Sequence,
    rival: tuple[str, Callable[[], np.ndarray]] | None = None,
    both: bool = False,
    beyond_accuracy: int | bool | None = None,
) -> Judgement:
    """Judges scores on a part of a split.

    Args:
        scores: vectors or lists.
        split: the split.
        protocol: as from `protocols.named`.
        part: "test" or "valid".
        devices: to rank on.
        rival: (name, function that returns its ranks [Q] under this protocol), to be tested against.
        both: as for `protocols.measures`.
        beyond_accuracy: number of best items to examine, as for `beyond.depth`.

    Raises:
        UserError: if users have several questions, or lists don't determine what is requested.
    """
    begun, questions, depth = time.monotonic(), questions_of(split, part), beyond.depth(beyond_accuracy, protocol)
    ranker.check(split, questions)
    if not splits.one_a_user(questions):
        asks = "for all items of a basket" if split.together else "after every event of a session"
        cure = "split the data by last-item or by-time"
        raise UserError(
            f"{scores.name}: scores are judged on one question per user, but this split asks {asks}: {cure}"
        )
    told = {"split": split, "part": part, "questions": questions, "begun": begun}
    if isinstance(scores, Lists):
        answers, warnings = _of_lists(scores, protocol, told)
    else:
        answers, warnings = _of_vectors(scores, protocol, devices, both, told)
    k, versus = answers.reach, None
    if rival is not None:
        if k and k < traps.AT:
            unlisted(f"the lists have {k} items, but the paired test is of NDCG@{traps.AT}", scores.name)
        name, rank = rival
        versus = {"first": scores.name, "second": name} | paired(answers.ranks[protocol][None], rank()[None])
    result = answers.result(beyond.depth(depth, protocol, k))
    result |= {"k": k, "data": known.identify(split.interactions)._asdict(), "paired": versus}
    result |= {"warnings": warnings(), "questions": list(traps.QUESTIONS)}
    return Judgement(scores.name, result, answers.frame)


def _of_vectors(vectors, protocol, devices, both, told):
    """Returns the Answers of vectors, and the function that looks for traps."""
    split, questions = told["split"], told["questions"]
    placed = place_vectors(vectors, split, questions)
    repeats = splits.repeated_targets(split.interactions, questions)
    names = protocols.measures(protocol, repeats, len(questions.target), both)
    layouts = {name: ranker.lay_out(split, questions, name, devices=devices) for name in names}
    ranks = {name: ranker.run(layout, *placed.scored) for name, layout in layouts.items()}
    best = lambda name, k: ranker.best(layouts[name], *placed.scored, k=k)
    return Answers(ranks=ranks, best=best, **told), lambda: traps.of_vectors(placed, split, questions, devices)


def _of_lists(lists, protocol, told):
    """As `_of_vectors`, for lists."""
    if not protocols.whole(protocol):
        unlisted(f"{protocol} ranks a target among sampled items, which a list may lack", lists.name)
    split, questions = told["split"], told["questions"]
    placed = place_lists(lists, split, questions)
    answers = Answers(
        ranks={protocol: placed.ranks(questions.target)}, best=lambda _, k: placed.best(k), reach=placed.k, **told
    )
    return answers, lambda: traps.of_lists(placed, split, questions, protocol)

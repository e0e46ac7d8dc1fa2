"""Detects evaluation mistakes from scores: ties, seen items, a different order, an input that ends too early.

Several checks compare how often items are among the ten best (or the k best, for shorter lists) as if each were the
target: the target itself, the item before it, and the two before that. The last item of the model's input differs
clearly from the earlier ones: far above them if the model repeats items, far below if it never does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxrec.data.files.text import some
from jaxrec.data.splits import Questions, Split, many_repeat
from jaxrec.data.storage.ragged import distinct, slices
from jaxrec.evaluation import ranker
from jaxrec.evaluation.baselines import scored
from jaxrec.evaluation.metrics import MISS
from jaxrec.evaluation.placing import PlacedLists, PlacedVectors, Strangers
from jaxrec.evaluation.protocols import FULL
from jaxrec.kernels.ranking import dot

AT = 10  # k of the hits
SAMPLE = 4000  # questions used to check vectors
FEW = 10  # minimum number of hits for a warning
TIED = 0.01  # share of tied targets that is reported
NEWEST = 10  # number of history items that count as the last ones
ALIKE = 0.65  # how far the hits of items are apart, at most, to be called alike
LONG = 4  # minimum history length for a warning
QUESTIONS = (
    "Was the checkpoint, or any setting, chosen by looking at the test? Choose on the validation items.",
    "Did anything train on the test items: the interactions themselves, vectors of items or users made beforehand?",
    "Is this the best of several seeds or runs? Give the mean of all of them.",
    "Did the model see the histories in the order of these data? A weak model may hide that it did not.",
    "Was the model told when the target happened? Others are not.",
)


def warning(trap: str, text: str, **figures: float) -> dict[str, Any]:
    """Returns a warning as plain values: the name of the trap, a description, and figures."""
    return {"trap": trap, "text": text, **figures}


def of_lists(placed: PlacedLists, split: Split, questions: Questions, protocol: str) -> list[dict]:
    """Returns the warnings for lists."""
    found = _strangers(placed.strangers, "list", len(questions.source)) + _of_rows(placed, questions)
    at, seen = min(AT, placed.k), _seen_share(placed, split, questions)
    if seen and protocol == FULL:
        text = (
            f"{seen:.2%} of the rows hold an item of the user's history (except the newest): the seen-filter misses it "
        )
        text += (
            "(it sets scores to 0, or looks at too few events), or the history differs; `full` filters before it cuts"
        )
        found.append(warning("seen items", text, share=seen))
    elif protocol == FULL:
        found += _seen_targets(placed, split, questions)
    every = np.stack([placed.ranks(target) <= at for target in _backwards(split, questions, 4)])
    hit = every[:, questions.stop - questions.start >= LONG]
    hits, rates = hit.sum(1), (hit.mean(1) if hit.size else np.zeros(4)).tolist()
    if max(rates[2:]) >= 0.1 * max(rates[:2]):  # no seen-filter, or one for another order
        found += _input_ends_elsewhere(rates, hits, at)
    elif hits[1] >= FEW and rates[1] >= 0.3 * rates[0]:
        found.append(_newest_in_lists(hit, at))
    newest = _newest_hits(placed, split, questions, at)
    if newest.sum() > max(every[0].sum(), FEW) and seen * placed.k < 0.5:  # otherwise there is no seen-filter
        text = (
            f"the target is in the top {at} for {every[0].mean():.1%} of the users, a random one of the last {NEWEST} "
        )
        text += f"items of the history for {newest.mean():.1%}: the data are in another order, or from another file"
        found.append(warning("wrong order", text, target=float(every[0].mean()), newest=float(newest.mean())))
    return found + _below_popularity(placed.ranks(questions.target), split, questions, at)


def _of_rows(placed: PlacedLists, questions: Questions) -> list[dict]:
    """Returns warnings about the form of lists, independent of the history."""
    found, lengths, k = [], placed.lengths[placed.lengths > 0], placed.k
    if short := int((lengths < k).sum()):
        text = f"lists have {lengths.min():,} to {k:,} items, {short:,} of {len(lengths):,} fewer than the longest"
        found.append(warning("unequal lists", f"{text}: items that they lack count as misses", lists=short))
    if placed.repeated:
        text = f"{placed.repeated:,} rows repeat an item of the same list, and waste a place"
        found.append(warning("repeated items", text, rows=placed.repeated))
    tied = _tied_in_lists(placed, questions)
    if tied > TIED:
        text = f"{tied:.1%} of the targets in lists share their rank or score with others, which count as better"
        found.append(warning("ties", f"{text}: write a rank, or scores with more digits", share=tied))
    return found


def of_vectors(placed: PlacedVectors, split: Split, questions: Questions, devices: Sequence) -> list[dict]:
    """Returns the warnings for vectors."""
    found = _strangers(placed.strangers, "vector", len(questions.source))
    here = np.flatnonzero(~np.isnan(placed.queries[:, 0]))
    if len(here) > SAMPLE:
        here = np.sort(np.random.default_rng(0).choice(here, SAMPLE, replace=False))
    asked = Questions(*(field[here] for field in questions))
    some_of = placed._replace(queries=placed.queries[here])
    ranks = some_of.ranks(split, asked, FULL, devices)
    tied = _tied_in_vectors(some_of, split, asked, ranks, devices)
    if tied > TIED:
        text = f"{tied:.1%} of the targets score the same as other items, which count as better"
        found.append(warning("ties", f"{text}: are scores rounded, or vectors of many items the same?", share=tied))
    long = np.flatnonzero(asked.stop - asked.start >= LONG)
    if len(long):
        asked = Questions(*(field[long] for field in asked))
        some_of = some_of._replace(queries=some_of.queries[long])
        every = [asked._replace(target=target) for target in _backwards(split, asked, 4)]
        hits = np.array([(some_of.ranks(split, each, FULL, devices) <= AT).sum() for each in every])
        found += _input_ends_elsewhere((hits / len(long)).tolist(), hits, AT)
        found += _target_among_history(hits, len(long), lambda: _popular_hits(every, split))
    return found + _below_popularity(ranks, split, Questions(*(field[here] for field in questions)), AT)


def _strangers(found: Strangers, what: str, asked: int) -> list[dict]:
    """Returns warnings about ids that only the file or only the data have."""
    warnings = []
    for kind, ids in (("users", found.users), ("items", found.items)):
        text = f"{len(ids):,} {kind} are not in the data ({some(ids, 3)})"
        if kind == "items":
            text += f", {found.item_rows:.1%} of the {'rows, which waste a place' if what == 'list' else 'vectors'}"
        warnings += [warning(f"unknown {kind}", text, number=len(ids))] if ids else []
    if found.absent_users:
        text = (
            f"{found.absent_users:,} of {asked:,} users with a question have no {what}: their targets count as misses"
        )
        warnings.append(warning("missing users", text, number=found.absent_users))
    if found.absent_items:
        text = f"{found.absent_items:,} items of the data have no vector: they are ranked last"
        warnings.append(warning("missing items", text, number=found.absent_items))
    return warnings


def _backwards(split: Split, questions: Questions, number: int) -> list[np.ndarray]:
    """Returns the targets, the items before them, the items before those, ...: `number` arrays [Q]; 0 if none."""
    items = split.interactions.items
    found = [questions.target]
    for back in range(1, number):
        at = questions.stop - back
        found.append(np.where(at >= questions.start, np.asarray(items[np.maximum(at, 0)]), 0))
    return found


def _input_ends_elsewhere(rates: list[float], hits: np.ndarray, at: int) -> list[dict]:
    """Returns a warning if the input seems to end elsewhere than at the item before the target.

    That is, if another item stands out as the last one of the input, or if the item before the target is hit about as
    rarely as the target, and earlier items far more often.
    """
    target, before, second, third = rates
    if target > max(0.5, 3 * max(rates[1:])) and min(rates[1:]) > 0.05:
        text = f"the target is in the top {at} for {target:.1%} of the users, the two items before it for {before:.1%} "
        text += f"and {second:.1%}: the input seems to contain the target itself (use jaxrec vectors --split test), "
        text += "or to be in another order"
        return [warning("target in the input", text, target=target, before=before)]
    stands_out = abs(second - third) > 1.2 * abs(before - third) + 0.03 and max(hits[1:]) >= FEW
    unlike = 0.7 * target < before < 1.5 * target and min(second, third) > 2 * before and hits[1] >= FEW
    return [_too_short(rates, at)] if stands_out or unlike else []


def _target_among_history(hits: np.ndarray, asked: int, popular: Callable[[], np.ndarray]) -> list[dict]:
    """Returns a warning if the target and the three items before it are hit alike, and far more than by popularity.

    A model that remembers its input hits these three more than the target, which it has not seen, and a model of
    sequences treats the last one differently. If all are alike, all were seen.

    Args:
        hits: [4] hits of the target, the item before it, ....
        asked: number of questions.
        popular: returns the same hits of the popularity baseline.
    """
    if hits.min() < max(ALIKE * hits.max(), FEW) or hits.min() < 2 * popular().max():
        return []
    rates = (hits / asked).tolist()
    text = f"the target is in the top {AT} for {rates[0]:.1%} of the users, the three items before it for "
    text += f"{rates[1]:.1%}, {rates[2]:.1%} and {rates[3]:.1%}, alike and far above popularity: the model seems to "
    text += "have seen the target among the history: the data are in another order, or it trained on the test"
    return [warning("wrong order", text, target=rates[0], before=rates[1])]


def _popular_hits(every: list[Questions], split: Split) -> np.ndarray:
    """Returns the number of hits of the popularity baseline for each of these questions."""
    run = lambda each: ranker.run(ranker.lay_out(split, each, FULL), *scored("popularity", split, each))
    return np.array([(run(each) <= AT).sum() for each in every])


def _too_short(rates: list[float], at: int) -> dict:
    target, before, second, _ = rates
    text = f"the item before the target (in a test, the validation item) is in the top {at} for {before:.1%} of the "
    text += f"users, the target for {target:.1%}, the item before both for {second:.1%}: the input seems to end before "
    text += "that item, which the test gives to models"
    return warning("missing validation item", text, target=target, before=before, second=second)


def _newest_in_lists(hit: np.ndarray, at: int) -> dict:
    """Returns the warning for lists that contain the item before the target, but no earlier items.

    Args:
        hit: [4, Q] whether the target, the item before it, ... are in the lists.
        at: k of the hits.
    """
    target, before, second, _ = hit.mean(1).tolist()
    together, apart = hit[0][hit[1]].sum(), hit[1].sum() * target  # apart: expected number if they were independent
    never = together < 0.2 * apart if apart >= 5 else target < 0.1 * before
    if never:
        text = f"the target is in the top {at} for {target:.1%} of the users, the item before it for {before:.1%}, "
        text += "never both: the last items are in another order, or the file is the wrong one (of the validation)"
        return warning("wrong order", text, target=target, before=before)
    text = f"the item before the target (in a test, the validation item) is in the top {at} for {before:.1%} of the "
    text += (
        f"users, the target for {target:.1%}, the item before both for {second:.1%}: the seen-filter lacks that item, "
    )
    text += "and so may the input, likelier the closer the first two are; the test gives that item to models"
    return warning("missing validation item", text, target=target, before=before, second=second)


def _seen_share(placed: PlacedLists, split: Split, questions: Questions) -> float:
    """Returns the share of rows with a history item other than the target and the item before it."""
    stop = np.maximum(questions.stop - 1, questions.start)
    row = np.repeat(np.arange(len(stop)), stop - questions.start)
    total = len(split.interactions.catalogue.ids) + 1
    history = distinct(row * total + np.asarray(split.interactions.items[slices(questions.start, stop)]))
    before = _backwards(split, questions, 2)[1]
    own = (placed.item == questions.target[placed.question]) | (placed.item == before[placed.question])
    return float((np.isin(placed.question * total + placed.item, history) & ~own).mean())


def _seen_targets(placed: PlacedLists, split: Split, questions: Questions) -> list[dict]:
    """Returns a warning if a seen-filter removes many targets from the lists, which the protocol never does."""
    row = np.repeat(np.arange(len(questions.target)), questions.stop - questions.start)
    same = np.asarray(split.interactions.items[slices(questions.start, questions.stop)]) == questions.target[row]
    repeats, hit = np.isin(np.arange(len(questions.target)), row[same]), placed.ranks(questions.target) < MISS
    lost = int((repeats & (placed.lengths > 0)).sum())
    if (repeats & hit).any() or not many_repeat(lost, len(questions.target)):
        return []
    text = f"{lost:,} of {len(questions.target):,} targets repeat an item of their history, and their lists lack them: "
    text += (
        "a seen-filter removed them, which `full` never does: give vectors (jaxrec vectors), by which they are ranked"
    )
    return [warning("seen targets", text, targets=lost)]


def _newest_hits(placed: PlacedLists, split: Split, questions: Questions, at: int) -> np.ndarray:
    """Returns whether a random item among the history's last ones, except the very last, is among the best. [Q] bool"""
    length = np.minimum(questions.stop - questions.start - 1, NEWEST)
    back = 2 + np.floor(np.random.default_rng(0).random(len(length)) * np.maximum(length, 1)).astype(np.int64)
    item = np.asarray(split.interactions.items[np.maximum(questions.stop - back, 0)])
    return placed.ranks(np.where((length > 0) & (item != questions.target), item, -1)) <= at


def _tied_in_lists(placed: PlacedLists, questions: Questions) -> float:
    """Returns the share of listed targets that tie with another row."""
    here = placed.item == questions.target[placed.question]
    alone = np.ones(len(placed.item), bool)
    same = (placed.question[1:] == placed.question[:-1]) & (placed.last[1:] == placed.last[:-1])
    alone[1:] &= ~same
    alone[:-1] &= ~same
    return float((~alone[here]).mean()) if here.any() else 0.0


def _tied_in_vectors(placed: PlacedVectors, split: Split, questions: Questions, ranks, devices) -> float:
    """Returns the share of targets that tie with another candidate.

    A rank counts candidates with a score at least as high; with all signs flipped, at least as low. Ties are in both.
    """
    layout = ranker.lay_out(split, questions, FULL, devices=devices)
    table, bias = placed.params
    turned = ranker.run(layout, dot, (-table, None if bias is None else -bias), placed.queries)
    one = np.zeros((len(table), 1), np.float32), None
    candidates = ranker.run(layout, dot, one, np.zeros((len(ranks), 1), np.float32))
    return float((ranks + turned - 2 > candidates - 1).mean())


def _below_popularity(ranks: np.ndarray, split: Split, questions: Questions, at: int) -> list[dict]:
    """Returns a warning if popularity ranks clearly better."""
    counted = ranker.run(ranker.lay_out(split, questions, FULL), *scored("popularity", split, questions))
    own, floor = ((each <= at).sum() for each in (ranks, counted))
    if floor - own < max(3 * np.sqrt(floor), FEW):  # three standard deviations
        return []
    own, floor = float(own / len(ranks)), float(floor / len(ranks))
    text = (
        f"HR@{at} is {own:.4f}, and that of popularity {floor:.4f}: other ids, another order or another file are more "
    )
    return [warning("below popularity", text + "likely than so weak a model", own=own, popularity=floor)]

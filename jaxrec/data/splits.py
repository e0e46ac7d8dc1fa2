"""Which interactions train, which validate, which test: ranges into the Interactions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from jaxrec.config import registry
from jaxrec.config.registry import Entry
from jaxrec.data import event_types
from jaxrec.data.interactions import Interactions, by_session
from jaxrec.data.ragged import distinct, slices
from jaxrec.system.errors import UserError

MANY = 0.01  # share of the targets
ITEMS_AT_ONCE = 2**22  # of histories, where questions are gone through in blocks


class Questions(NamedTuple):
    """What comes next? Question q gives the history `items[start[q]:stop[q]]`, and the answer is `target[q]`."""

    source: np.ndarray  # [Q] int32, the user
    start: np.ndarray  # [Q] int64
    stop: np.ndarray  # [Q] int64
    target: np.ndarray  # [Q] int32, the item


class Split(NamedTuple):
    """User u trains on `items[start[u]:stop[u]]`; validation and test are questions."""

    interactions: Interactions
    start: np.ndarray  # [U] int64
    stop: np.ndarray  # [U] int64
    valid: Questions
    test: Questions
    left_out: int = 0  # events of test sessions that can't be asked, or given: their items did not train


@dataclass(frozen=True, kw_only=True)
class SplitEntry(Entry):
    """A way to split, by its name for `config.split`."""

    kind: ClassVar[str] = "split"
    name: str
    split: Callable[[Interactions, float, float], Split]  #: (interactions, test_quantile, valid_fraction)
    held_out: str  #: what is asked in the test, for people
    keys: tuple[str, ...] = ()  #: which of "test_quantile" and "valid_fraction" it takes
    protocol: str = "full"  #: by which its questions are ranked, where nobody says
    metrics: tuple[str, ...] = ("hr@10", "ndcg@10", "mrr")  #: that are shown of a validation
    select_by: str = "ndcg@10"  #: the metric that chooses the checkpoint, where nobody says
    same_users: bool = True  #: whether those who are asked in the test may have trained
    by_type: bool = False  #: whether it asks for the events alone that `event_types.targets` says


def split(interactions: Interactions, name: str, q: float = 0.9, valid: float = 0.1) -> Split:
    """The split of an entry's name; q and valid are for those that take them."""
    entry = registry.find("split", name)
    if (types := event_types.asked(interactions)) and not entry.by_type:
        raise UserError(f"split {name} asks for events of all types: take another, as last-item, to ask for {types[0]}")
    return entry.split(interactions, q, valid)


def last_item(interactions: Interactions) -> Split:
    """Leave one out: the last item of every user is the test, the one before the validation, the rest trains.

    The test's history includes the validation item. Users with fewer than three items train only, on all they have
    (Kang and McAuley 2018, as in their code).

    Where events of some types alone are targets, the test and the validation are the last two of them, each given
    everything before it, and what is before both trains.

    >>> from jaxrec.data.interactions import from_sequences
    >>> found = last_item(from_sequences([[7, 8, 9, 10], [8, 9]]))
    >>> found.stop - found.start  # the second user has too few items to be asked
    array([2, 2])
    >>> found.test.target.tolist(), found.valid.target.tolist()  # items by number, from 1
    ([4], [3])
    """
    start, end = interactions.offsets[:-1], interactions.offsets[1:]
    last = event_types.last_target(interactions, end)
    before = event_types.last_target(interactions, last)
    asked = np.flatnonzero(before > start)
    stop = end.copy()
    stop[asked] = before[asked]
    valid, test = (_given_all(interactions, asked, at) for at in (before, last))
    return Split(interactions, start.copy(), stop, valid, test)


def by_time(interactions: Interactions, q: float = 0.9) -> Split:
    """One moment for all: what lies before it trains and validates, and nothing of what comes after is known.

    The cut is the q-quantile of all times (`quantile`). Whoever has an interaction at or after it is asked for the last
    item, given everything before that item. The validation is the same one level down: its cut is the q-quantile of
    the times before the cut, and what comes at or after the cut does not exist. What lies before the validation's cut
    trains: of some users nothing. A question gives at least one item.

    Raises:
        UserError: times are missing, or count from an unknown moment.
    """
    if not _absolute(interactions):
        raise UserError(
            f"{interactions.name}: a split by time needs every interaction's absolute time, and {_lack(interactions)}: "
            "give data with a time column, or split by last-item"
        )
    start, end, times = interactions.offsets[:-1], interactions.offsets[1:], np.asarray(interactions.times)
    cut = quantile(times, q)
    before = times < cut
    stop, trained = _stop(interactions, before), _stop(interactions, times < quantile(times[before], q))

    def questions(begins, ends):
        last = event_types.last_target(interactions, ends)
        return _given_all(interactions, np.flatnonzero((last >= begins) & (last > start)), last)

    return Split(interactions, start.copy(), trained, questions(trained, stop), questions(stop, end))


def sessions(interactions: Interactions, q: float = 0.9, valid: float = 0.1) -> Split:
    """By session: after every prefix of a test session, what comes next? (Hidasi et al. 2016)

    Where the data say how many sessions train, the others test, in the order of the data. Else the sessions are put in
    the order of their starts, and those test whose last event is at or after the q-quantile of all times, so that no
    training session reaches into the time of the test. Of the training sessions the last share `valid` validates, by
    the same questions: at least one where there are two or more; none where valid is 0.

    The catalogue is that of the training sessions, those that validate included, and items are numbered anew: other
    items are removed from the test sessions, and then test sessions of fewer than two items.

    Returns:
        Split, whose interactions are the training sessions and then the test sessions, each in the place of a user.

    Raises:
        UserError: neither the number of training sessions nor absolute times are known.
    """
    data = by_session(interactions)
    lengths = np.diff(data.offsets)
    order = np.flatnonzero(lengths)
    if data.train_sessions is not None:
        tests = order >= data.train_sessions
    elif data.times is not None and _absolute(data):
        order = order[np.argsort(data.times[data.offsets[order]], kind="stable")]
        tests = data.times[data.offsets[order + 1] - 1] >= quantile(data.times, q)
    else:
        raise UserError(
            f"{data.name}: which sessions test is not known: train_sessions is not given, and {_lack(data)}. Put a "
            "stats.json with train_sessions beside sequences.txt, give data with a time column, or split by last-item"
        )
    trains = int((~tests).sum())
    order = order[np.argsort(tests, kind="stable")]
    at = slices(data.offsets[order], data.offsets[order + 1])
    row = np.repeat(np.arange(len(order)), lengths[order])
    items = np.asarray(data.items[at])
    known = np.zeros(len(data.catalogue.ids) + 1, bool)
    known[items[row < trains]] = True
    left = np.bincount(row[known[items]], minlength=len(order))
    stays = (np.arange(len(order)) < trains) | (left >= 2)
    kept = known[items] & stays[row]
    at, offsets = at[kept], np.append(0, np.cumsum(left[stays]))
    data = replace(
        data,
        items=np.cumsum(known, dtype=np.int32)[items[kept]],
        offsets=offsets,
        users=data.users[order[stays]],
        catalogue=data.catalogue.take(np.flatnonzero(known)),
        times=None if data.times is None else np.asarray(data.times[at]),
        weights=None if data.weights is None else np.asarray(data.weights[at]),
        types=event_types.taken(data.types, at),
        train_sessions=trains,
        digest=None,
    )
    validate = min(max(int(valid * trains), 1), trains - 1) if valid and trains else 0
    stop = offsets[1:].copy()
    stop[trains - validate :] = offsets[trains - validate : -1]
    return Split(
        data,
        offsets[:-1].copy(),
        stop,
        _every(data, trains - validate, trains),
        _every(data, trains, len(data.users)),
        left_out=int(lengths[order[trains:]].sum() - left[trains:][stays[trains:]].sum()),
    )


LAST_ITEM = SplitEntry(
    name="last-item",
    split=lambda interactions, q, valid: last_item(interactions),
    held_out="held-out last item, whole catalogue",
    by_type=True,
)
SESSIONS = SplitEntry(
    name="sessions",
    split=sessions,
    held_out="every next item of the test sessions, whole catalogue",
    by_type=True,
    keys=("test_quantile", "valid_fraction"),
    protocol="sessions",
    metrics=("recall@20", "mrr@20"),
    select_by="mrr@20",
    same_users=False,
)
BY_TIME = SplitEntry(
    name="by-time",
    split=lambda interactions, q, valid: by_time(interactions, q),
    held_out="last item after the cut, whole catalogue",
    by_type=True,
    keys=("test_quantile",),
)


def quantile(times: np.ndarray, q: float) -> int:
    """The time at place floor(q n) of the n in ascending order, counted from 0; 0 < q < 1.

    So it is one of the times, and no more than a share q of them comes before it. Of no times it is the least integer.
    """
    place = int(q * len(times))
    return int(np.partition(times, place)[place]) if len(times) else int(np.iinfo(np.int64).min)


def one_a_user(questions: Questions) -> bool:
    """Whether no user is asked twice, so that a user's id says which question is meant."""
    return bool((np.bincount(questions.source) <= 1).all())


def training_items(split: Split) -> np.ndarray:
    """Every item of every training history, one after another: int32."""
    return np.asarray(split.interactions.items[slices(split.start, split.stop)])


def training_counts(split: Split) -> np.ndarray:
    """How often each item occurs in training: [V] int64, row v - 1 of item v."""
    return np.bincount(training_items(split), minlength=len(split.interactions.catalogue.ids) + 1)[1:]


def target_counts(split: Split) -> np.ndarray:
    """As `training_counts`, of the events that may be targets."""
    if (may := event_types.targets(split.interactions)) is None:
        return training_counts(split)
    at = slices(split.start, split.stop)
    return np.bincount(split.interactions.items[at[may[at]]], minlength=len(split.interactions.catalogue.ids) + 1)[1:]


def cold_targets(split: Split, questions: Questions) -> int:
    """How many targets never occur in training."""
    return int((training_counts(split)[questions.target - 1] == 0).sum())


def repeated_targets(interactions: Interactions, questions: Questions) -> int:
    """How many targets are an item of the given history."""
    ends = np.cumsum(questions.stop - questions.start)
    found, first = 0, 0
    while first < len(ends):  # so many questions at once that their histories are a few million items
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + ITEMS_AT_ONCE, side="right")), first + 1)
        start, stop, target = (x[first:last] for x in (questions.start, questions.stop, questions.target))
        row = np.repeat(np.arange(last - first), stop - start)
        same = np.asarray(interactions.items[slices(start, stop)]) == target[row]
        found += len(distinct(row[same]))
        first = last
    return found


def many_repeat(repeats: int, questions: int) -> bool:
    """Whether so many targets are an item of their history that a ranking without the history is no fair measure."""
    return repeats > MANY * questions


def repeats_in_words(repeats: int, questions: int) -> str:
    """How many targets repeat an item of the history, for people."""
    if not repeats:
        return f"none of the {questions:,} targets repeats an item of the history"
    if repeats == questions:
        return f"all {questions:,} targets repeat an item of the history"
    return f"{repeats:,} of {questions:,} targets repeat{'s' * (repeats == 1)} an item of the history"


def advice(interactions: Interactions) -> str | None:
    """What to do where many users' last item is one that they had before; None where few do."""
    test = last_item(interactions).test
    repeats, questions = repeated_targets(interactions, test), len(test.target)
    if not many_repeat(repeats, questions):
        return None
    return (
        f"last items: {repeats_in_words(repeats, questions)}: if such an item is a right answer, train with "
        "--config.seen=keep, else it is never recommended, and see `full, seen kept` for how good a model is"
    )


def describe(split: Split) -> dict:
    """Counts, plain numbers: sequences with a training part, the interactions in it, questions, cold targets."""
    lengths, counts = split.stop - split.start, training_counts(split)
    cold = lambda questions: int((counts[questions.target - 1] == 0).sum())
    return {
        "sequences": int((lengths > 0).sum()),
        "interactions": int(lengths.sum()),
        "valid": len(split.valid.target),
        "test": len(split.test.target),
        "cold_valid": cold(split.valid),
        "cold_test": cold(split.test),
        "left_out": split.left_out,
    }


def in_words(split: Split) -> str:
    """What `describe` counts, for people."""
    facts = describe(split)
    words = (
        f"{facts['interactions']:,} interactions of {facts['sequences']:,} sequences train, "
        f"{facts['valid']:,} validation and {facts['test']:,} test questions"
    )
    if facts["cold_test"]:
        words += f", {facts['cold_test']:,} of these with a target that never occurs in training"
    if facts["left_out"]:
        words += (
            f"; {facts['left_out']:,} test events left out, of items that no training session has or alone without them"
        )
    return words


def _given_all(interactions, users, at):
    """For each of these users the item at at[user], given all before it."""
    at, start = at[users], interactions.offsets[:-1][users]
    return Questions(users.astype(np.int32), start, at, np.asarray(interactions.items[at], np.int32))


def _every(data, first, last):
    """For histories number first to last, without last: every target but a history's first, given all before it."""
    start, end = data.offsets[first:last], data.offsets[first + 1 : last + 1]
    at = slices(start + 1, end)
    source = np.repeat(np.arange(first, last), end - start - 1)
    if (may := event_types.targets(data)) is not None:
        at, source = at[may[at]], source[may[at]]
    return Questions(source.astype(np.int32), data.offsets[source], at, data.items[at])


def _stop(interactions, before):
    """Where each history's leading interactions end for which `before` [N] holds. [U] int64"""
    counts = np.append(0, np.cumsum(before))
    start, end = interactions.offsets[:-1], interactions.offsets[1:]
    return start + counts[end] - counts[start]


def _absolute(interactions):
    return interactions.times is not None and not interactions.relative


def _lack(interactions):
    return "there are no times" if interactions.times is None else "the times count from an unknown moment"

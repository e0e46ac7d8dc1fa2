"""Splits into training, validation and test, as ranges into the Interactions."""

from dataclasses import replace

import numpy as np

from jaxrec.config import registry
from jaxrec.data import blocks, event_types
from jaxrec.data.baskets import LAST_BASKET as LAST_BASKET
from jaxrec.data.interactions import Interactions, by_session
from jaxrec.data.questions import Questions as Questions, Split as Split, SplitEntry as SplitEntry
from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import distinct, slices, spans
from jaxrec.system.errors import UserError

MANY = 0.01  # share of repeated targets that counts as many
ITEMS_AT_ONCE = 2**22  # history items processed at once


def split(interactions: Interactions, name: str, q: float = 0.9, valid: float = 0.1) -> Split:
    """Splits interactions by the entry of this name; `q` and `valid` are used by the entries that take them."""
    entry = registry.find("split", name)
    if (types := event_types.asked(interactions)) and not entry.by_type:
        raise UserError(
            f"split {name} asks for events of all types: to ask for {types[0]}, take another, such as last-item"
        )
    return entry.split(interactions, q, valid)


def last_item(interactions: Interactions) -> Split:
    """Leave-one-out: each user's last item is the test target, the one before the validation target, the rest trains.

    The test history includes the validation item. Users with fewer than three items are used for training only, with
    all their items (Kang and McAuley 2018, as in their code).

    If only events of some types are targets, the last two of these are the test and the validation target, each given
    everything before it; everything before both is for training.

    >>> from jaxrec.data.interactions import from_sequences
    >>> found = last_item(from_sequences([[7, 8, 9, 10], [8, 9]]))
    >>> found.stop - found.start  # the second user has too few items for questions
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
    """Splits at one moment for all users, so that nothing from after it is known in training or validation.

    The cut is the q-quantile of all times (see `quantile`). Each user with an interaction at or after the cut has a
    test question: the last item, given all items before it. Validation works the same on the interactions before the
    cut, with its own cut, the q-quantile of their times. Interactions before the validation cut are for training; some
    users have none. The history of a question has at least one item.

    Raises:
        UserError: if times are missing or relative.
    """
    if not _absolute(interactions):
        raise UserError(
            f"{interactions.name}: a split by time needs every interaction's absolute time, and {_lack(interactions)}: "
            "give data with a time column, or split by last-item"
        )
    start, end, times = interactions.offsets[:-1], interactions.offsets[1:], interactions.times
    assert times is not None
    cut = quantile(times, q)
    stop = _stop(interactions, cut)
    trained = _stop(interactions, quantile(times, q, int((stop - start).sum())))

    def questions(begins, ends):
        last = event_types.last_target(interactions, ends)
        return _given_all(interactions, np.flatnonzero((last >= begins) & (last > start)), last)

    return Split(interactions, start.copy(), trained, questions(trained, stop), questions(stop, end))


def sessions(interactions: Interactions, q: float = 0.9, valid: float = 0.1) -> Split:
    """Splits by session: after each prefix of a test session, the next item is asked for (Hidasi et al. 2016).

    If the data give a number of training sessions, the others are the test, in the order of the data. Otherwise
    sessions are sorted by start time, and those whose last event is at or after the q-quantile of all times are the
    test, so that no training session overlaps with the test period. The last share `valid` of the training sessions is
    for validation, with the same kind of questions: at least one session if there are two or more, none if `valid` is
    0.

    The catalogue consists of the items of the training and validation sessions, renumbered. Other items are removed
    from the test sessions, and then test sessions with fewer than two items.

    Returns:
        Split, whose interactions are the training sessions and then the test sessions, as users.

    Raises:
        UserError: if neither the number of training sessions nor absolute times are known.
    """
    data = by_session(interactions)
    lengths = np.diff(data.offsets)
    order, trains = training_first(data, q)
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
        user_columns=data.columns_of(order[stays]),
        catalogue=data.catalogue.take(np.flatnonzero(known)),
        times=None if data.times is None else np.asarray(data.times[at]),
        weights=None if data.weights is None else np.asarray(data.weights[at]),
        types=event_types.taken(data.types, at),
        train_sessions=trains,
        digest=None,
    )
    validate = validating(trains, valid)
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


def training_first(data: Interactions, q: float) -> tuple[np.ndarray, int]:
    """Returns the indices of the non-empty sessions, those for training first, and their number; see `sessions`."""
    order = np.flatnonzero(np.diff(data.offsets))
    if data.train_sessions is not None:
        tests = order >= data.train_sessions
    elif data.times is not None and _absolute(data):
        begun = np.argsort(maps.take(data.times, data.offsets[order]), kind="stable")
        tests = maps.take(data.times, data.offsets[order + 1] - 1)[begun] >= quantile(data.times, q)
        order = order[begun]
    else:
        raise UserError(
            f"{data.name}: it is not known which sessions are for testing: train_sessions is not given, and "
            f"{_lack(data)}. Put a stats.json with train_sessions beside sequences.txt, give data with a time column, "
            "or split by last-item"
        )
    return order[np.argsort(tests, kind="stable")], int((~tests).sum())


def validating(trains: int, valid: float) -> int:
    """Returns how many of the last training sessions are for validation."""
    return min(max(int(valid * trains), 1), trains - 1) if valid and trains else 0


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


def quantile(times: np.ndarray, q: float, number: int | None = None) -> int:
    """Returns element floor(q n) of the n sorted times, counted from 0; 0 < q < 1.

    So at most a share q of the times lies before it. Without times, returns the smallest int64.

    Args:
        times: [N] int64.
        q: the share.
        number: n, to take only the first n of the sorted times; N by default.
    """
    number = len(times) if number is None else number
    return maps.nth(times, int(q * number)) if number else int(np.iinfo(np.int64).min)


def one_a_user(questions: Questions) -> bool:
    """Returns whether each user has at most one question, so that a user id identifies a question."""
    return bool((np.bincount(questions.source) <= 1).all())


def training_items(split: Split) -> np.ndarray:
    """Returns the items of all training histories, concatenated: int32."""
    return np.asarray(split.interactions.items[slices(split.start, split.stop)])


def training_counts(split: Split) -> np.ndarray:
    """Returns the number of training interactions per item: [V] int64, index v - 1 for item v."""
    counts, items = np.zeros(len(split.interactions.catalogue.ids) + 1, np.int64), split.interactions.items
    for first, last in spans(np.append(0, np.cumsum(split.stop - split.start)), maps.ROWS):
        counts += np.bincount(items[slices(split.start[first:last], split.stop[first:last])], minlength=len(counts))
        maps.release(items)
    return counts[1:]


def target_counts(split: Split) -> np.ndarray:
    """Like `training_counts`, but only of the events that may be targets."""
    if (may := event_types.targets(split.interactions)) is None:
        return training_counts(split)
    at = slices(split.start, split.stop)
    return np.bincount(split.interactions.items[at[may[at]]], minlength=len(split.interactions.catalogue.ids) + 1)[1:]


def cold_targets(split: Split, questions: Questions) -> int:
    """Returns the number of targets that never occur in training."""
    return int((training_counts(split)[questions.target - 1] == 0).sum())


def repeated_targets(interactions: Interactions, questions: Questions) -> int:
    """Returns the number of targets that occur in their question's history."""
    ends = np.cumsum(questions.stop - questions.start)
    found, first = 0, 0
    while first < len(ends):  # in blocks of questions with a few million history items together
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + ITEMS_AT_ONCE, side="right")), first + 1)
        start, stop, target = (x[first:last] for x in (questions.start, questions.stop, questions.target))
        row = np.repeat(np.arange(last - first), stop - start)
        same = np.asarray(interactions.items[slices(start, stop)]) == target[row]
        found += len(distinct(row[same]))
        maps.release(interactions.items)
        first = last
    return found


def many_repeat(repeats: int, questions: int) -> bool:
    """Returns whether too many targets repeat an item of their history for a fair ranking without these items."""
    return repeats > MANY * questions


def repeats_in_words(repeats: int, questions: int) -> str:
    """Returns a sentence on how many targets repeat an item of their history."""
    if not repeats:
        return f"none of the {questions:,} targets repeats an item of the history"
    if repeats == questions:
        return f"all {questions:,} targets repeat an item of the history"
    return f"{repeats:,} of {questions:,} targets repeat{'s' * (repeats == 1)} an item of the history"


def advice(interactions: Interactions) -> str | None:
    """Returns advice if many users' last item occurs earlier in their history; otherwise None."""
    test = last_item(interactions).test
    repeats, questions = repeated_targets(interactions, test), len(test.target)
    if not many_repeat(repeats, questions):
        return None
    return (
        f"last items: {repeats_in_words(repeats, questions)}: if such an item may be recommended, train with "
        "--config.seen=keep, since otherwise it never is, and judge models by `full, seen kept`"
    )


def describe(split: Split) -> dict:
    """Returns the counts of training sequences and interactions, questions, cold targets and left-out events."""
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
    """Returns the counts of `describe` as a sentence."""
    return facts_in_words(describe(split))


def facts_in_words(facts: dict) -> str:
    """Returns the counts of `describe` as a sentence."""
    words = (
        f"training on {facts['interactions']:,} interactions in {facts['sequences']:,} sequences; "
        f"{facts['valid']:,} validation and {facts['test']:,} test questions"
    )
    if facts["cold_test"]:
        words += f", {facts['cold_test']:,} of them with a target that never occurs in training"
    if facts["left_out"]:
        words += (
            f"; {facts['left_out']:,} test events left out: their items are in no training session, or nothing else of "
            "their session is left"
        )
    return words


def _given_all(interactions, users, at):
    """Returns a question per user: the item at at[user], given all items before it."""
    at, start = at[users], interactions.offsets[:-1][users]
    return Questions(users.astype(np.int32), start, at, maps.take(interactions.items, at))


def _every(data, first, last):
    """Returns a question for each target but the first item of histories `first` to `last` - 1, given all before."""
    start, end = data.offsets[first:last], data.offsets[first + 1 : last + 1]
    at = slices(start + 1, end)
    source = np.repeat(np.arange(first, last), end - start - 1)
    if (may := event_types.targets(data)) is not None:
        at, source = at[may[at]], source[may[at]]
    return Questions(source.astype(np.int32), data.offsets[source], at, data.items[at])


def _stop(interactions, cut):
    """Returns the end of each history's interactions before the cut. [U] int64"""
    stop = interactions.offsets[:-1].copy()
    for block in blocks.of(interactions):
        counts = np.append(0, np.cumsum(block.data.times < cut))
        stop[block.users] += np.diff(counts[block.data.offsets])
    return stop


def _absolute(interactions):
    return interactions.times is not None and not interactions.relative


def _lack(interactions):
    return "there are no times" if interactions.times is None else "the times count from an unknown moment"

"""Baskets, the sets of a user's events at one time, and the split whose test is each user's last basket."""

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.data.questions import Questions, Split, SplitEntry
from jaxrec.data.storage.ragged import distinct, slices
from jaxrec.system.errors import UserError


def starts(offsets: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Returns the index of the first event of each event's basket. [N] int64

    Args:
        offsets: [U + 1] int64, the offsets of the histories.
        times: [N] int64; consecutive events of a history with equal times form a basket.

    >>> starts(np.array([0, 3, 5]), np.array([7, 7, 8, 8, 8])).tolist()
    [0, 0, 2, 3, 3]
    """
    times = np.asarray(times)
    begins = np.diff(times, prepend=0) != 0
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(times)), 0)) if len(times) else np.zeros(0, np.int64)


def of_log(interactions: Interactions) -> np.ndarray:
    """Returns `starts` of a log's events.

    Raises:
        UserError: if the log has no times.
    """
    if interactions.times is None:
        raise UserError(
            f"{interactions.name}: a basket is the events of one time, but there are no times: give data with a "
            "time column, or split by last-item and leave config.baskets out"
        )
    return starts(interactions.offsets, interactions.times)


def ends(begin: np.ndarray) -> np.ndarray:
    """Returns the index after the last event of each event's basket, given the result of `starts`. [N] int64

    >>> ends(np.array([0, 0, 2, 3, 3])).tolist()
    [2, 2, 3, 5, 5]
    """
    stops = np.append(np.flatnonzero(np.diff(begin)) + 1, len(begin))
    return stops[np.searchsorted(stops, np.arange(len(begin)), side="right")]


def newest(split: Split, questions: Questions, number: int) -> np.ndarray:
    """Returns the newest items of each history, oldest first, padded with 0 at the right: [Q, L] int32.

    If the questions ask for baskets, only whole baskets are returned, so there are more than `number` items where it
    would cut one. The items of a basket are then sorted by number, whatever their order in the log.

    Args:
        split: the split.
        questions: its validation or test questions.
        number: number of items per history; fewer if the history is shorter.
    """
    data, start, stop = split.interactions, questions.start, questions.stop
    first = np.maximum(stop - number, start)
    begin = of_log(data) if split.together and len(data.items) else None
    if begin is not None:
        first = np.where(stop > start, begin[np.minimum(first, len(begin) - 1)], first)
    at, lengths = slices(first, stop), stop - first
    found = np.zeros((len(lengths), max(lengths.max(initial=0), 1)), np.int32)
    items = np.asarray(data.items[at])
    if begin is not None:
        items = items[np.lexsort((items, begin[at], np.repeat(np.arange(len(lengths)), lengths)))]
    found[np.arange(found.shape[1]) < lengths[:, None]] = items
    return found


def last_basket(interactions: Interactions) -> Split:
    """Splits by basket: each user's last basket is the test, the one before it the validation, the rest trains.

    Each distinct item of a basket is a question, given everything before the basket and nothing of the basket itself.
    Users with fewer than three baskets are used for training only, with all their baskets.

    Raises:
        UserError: if there are no times.
    """
    begin, start, end = of_log(interactions), interactions.offsets[:-1], interactions.offsets[1:]
    last = _newest(begin, start, end)
    before = _newest(begin, start, last)
    asked = np.flatnonzero(before > start)
    stop = end.copy()
    stop[asked] = before[asked]
    valid = _every_item(interactions, asked, before, last)
    test = _every_item(interactions, asked, last, end)
    return Split(interactions, start.copy(), stop, valid, test, together=True)


LAST_BASKET = SplitEntry(
    name="last-basket",
    split=lambda interactions, q, valid: last_basket(interactions),
    held_out="held-out last basket, whole catalogue",
    metrics=("recall@10", "ndcg@10", "hr@10"),
)


def _newest(begin, start, end):
    """Returns where the last basket of each range begins; the range's start if it is empty. [U]"""
    return np.where(end > start, begin[np.maximum(end - 1, 0)], start) if len(begin) else start


def _every_item(data, users, first, stop):
    """Returns a question for each distinct item of the baskets from first[user] to stop[user], for these users."""
    first, stop = first[users], stop[users]
    row = np.repeat(np.arange(len(users)), stop - first)
    many = len(data.catalogue.ids) + 1
    row, item = np.divmod(distinct(row * many + data.items[slices(first, stop)]), many)
    return Questions(users[row].astype(np.int32), data.offsets[:-1][users][row], first[row], item.astype(np.int32))

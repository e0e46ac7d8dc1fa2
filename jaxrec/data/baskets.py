"""Baskets: the events of one user at one time, as a set; and the split that asks for each user's last one."""

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.data.questions import Questions, Split, SplitEntry
from jaxrec.data.storage.ragged import distinct, slices
from jaxrec.system.errors import UserError


def starts(offsets: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The place at which each event's basket begins. [N] int64

    Args:
        offsets: [U + 1] int64, where histories begin.
        times: [N] int64; neighbours in a history that have the same are of one basket.

    >>> starts(np.array([0, 3, 5]), np.array([7, 7, 8, 8, 8])).tolist()
    [0, 0, 2, 3, 3]
    """
    times = np.asarray(times)
    begins = np.diff(times, prepend=0) != 0
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(times)), 0)) if len(times) else np.zeros(0, np.int64)


def of_log(interactions: Interactions) -> np.ndarray:
    """`starts` of a log.

    Raises:
        UserError: it has no times.
    """
    if interactions.times is None:
        raise UserError(
            f"{interactions.name}: a basket is what has one time, and there are no times: give data with a time "
            "column, or split by last-item and leave config.baskets out"
        )
    return starts(interactions.offsets, interactions.times)


def ends(begin: np.ndarray) -> np.ndarray:
    """The place after each event's basket, of what `starts` gives. [N] int64

    >>> ends(np.array([0, 0, 2, 3, 3])).tolist()
    [2, 2, 3, 5, 5]
    """
    stops = np.append(np.flatnonzero(np.diff(begin)) + 1, len(begin))
    return stops[np.searchsorted(stops, np.arange(len(begin)), side="right")]


def newest(split: Split, questions: Questions, number: int) -> np.ndarray:
    """The newest items of each history, [Q, L] int32, oldest first; 0 is none.

    Where a basket is asked for they are of whole baskets, and so more where `number` ends within one; what has one time
    is in the order of its items, whatever that of the log.

    Args:
        split: Split.
        questions: its own.
        number: of items; fewer where a history has no more.
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
    """Each user's last basket is the test, the one before it the validation, and what is before both trains.

    Each different item of a basket is a question, given everything before the basket and nothing of it. Users with
    fewer than three baskets train only, with all of them.

    Raises:
        UserError: there are no times.
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
    """Where the last basket of each range begins; its start where it is empty. [U]"""
    return np.where(end > start, begin[np.maximum(end - 1, 0)], start) if len(begin) else start


def _every_item(data, users, first, stop):
    """A question for each different item of the baskets from first[user] to stop[user]."""
    first, stop = first[users], stop[users]
    row = np.repeat(np.arange(len(users)), stop - first)
    many = len(data.catalogue.ids) + 1
    row, item = np.divmod(distinct(row * many + data.items[slices(first, stop)]), many)
    return Questions(users[row].astype(np.int32), data.offsets[:-1][users][row], first[row], item.astype(np.int32))

"""Which interactions train, which validate, which test: ranges into the Interactions, nothing copied."""

from typing import NamedTuple

import numpy as np

from jaxrec.data.interactions import Interactions


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


def last_item(interactions: Interactions) -> Split:
    """Leave one out: the last item of every user is the test, the one before the validation, the rest trains.

    The test's history includes the validation item. Users with fewer than three items train only, on all they have
    (Kang and McAuley 2018, as in their code).
    """
    start, end = interactions.offsets[:-1], interactions.offsets[1:]
    asked = np.flatnonzero(end - start >= 3)
    stop = end.copy()
    stop[asked] -= 2

    def questions(back: int) -> Questions:
        at = end[asked] - back
        return Questions(asked.astype(np.int32), start[asked], at, np.asarray(interactions.items[at], np.int32))

    return Split(interactions, start.copy(), stop, questions(2), questions(1))

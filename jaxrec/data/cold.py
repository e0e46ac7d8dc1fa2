"""Holds items out of training, to measure how a model ranks items that it has never seen."""

from dataclasses import replace

import numpy as np

from jaxrec.data import event_types
from jaxrec.data.interactions import Sessions
from jaxrec.data.splits import Questions, Split
from jaxrec.system.errors import UserError


def hold_out(split: Split, share: float, seed: int) -> Split:
    """Returns the split without a random share of the items in training and validation histories.

    The gaps close up. A validation question is dropped if its target is held out, or if its history becomes empty. The
    catalogue keeps all items, and the test is unchanged: held-out items occur in its histories and as its targets.

    The shortened histories are appended after the original ones, as if they belonged to additional users, so that
    existing indices stay valid.

    >>> from jaxrec.data.interactions import from_sequences
    >>> from jaxrec.data.splits import last_item
    >>> whole = last_item(from_sequences([[1, 2, 3, 4, 5, 6]] * 2))
    >>> held = hold_out(whole, 0.2, seed=0)
    >>> held.interactions.items[held.start[0] : held.stop[0]].tolist(), held.test.target.tolist()
    ([1, 2, 3], [6, 6])

    Args:
        split: the split.
        share: fraction of the catalogue to hold out; at least one item, and not all.
        seed: of the random choice.

    Raises:
        UserError: if no history of two items is left to train on.
    """
    data = split.interactions
    items = len(data.catalogue.ids)
    number = min(max(round(share * items), 1), items - 1)
    stays = np.ones(items + 1, bool)
    stays[1 + np.random.default_rng(seed).permutation(items)[:number]] = False
    every = np.asarray(data.items)
    kept = stays[every]
    place = len(every) + np.append(0, np.cumsum(kept))  # the new index of each old row, or of the next one kept
    start, stop = place[split.start], place[split.stop]
    if (stop - start < 2).all():
        raise UserError(
            f"config.cold_items={share:g} leaves no history of two items to train on: hold out a smaller share"
        )
    behind = lambda array: None if array is None else np.concatenate([array, np.asarray(array)[kept]])
    begins = lambda offsets: np.append(offsets, place[offsets[1:]])
    sessions = data.sessions
    if sessions is not None:
        sessions = Sessions(begins(sessions.offsets), np.concatenate([sessions.ids, sessions.ids]))
    longer = replace(
        data,
        items=behind(every),
        offsets=begins(data.offsets),
        times=behind(data.times),
        weights=behind(data.weights),
        types=event_types.taken(data.types, np.append(np.arange(len(every)), np.flatnonzero(kept))),
        sessions=sessions,
        user_columns=data.columns_of(np.tile(np.arange(len(data.users)), 2)),
    )
    return split._replace(interactions=longer, start=start, stop=stop, valid=_without(split.valid, stays, place))


def _without(questions: Questions, stays: np.ndarray, place: np.ndarray) -> Questions:
    start, stop = place[questions.start], place[questions.stop]
    asked = stays[questions.target] & (start < stop)
    return Questions(questions.source[asked], start[asked], stop[asked], questions.target[asked])

"""The influence of each item of a history on scores: the score with it minus the score without it."""

import numpy as np

from jaxrec.batches.context import is_asked
from jaxrec.inference.engine import Engine


def influence(
    engine: Engine,
    known: list[int],
    places: list[int],
    length: int,
    items: list[int],
    user: int = -1,
    context: np.ndarray | None = None,
) -> np.ndarray:
    """What each place of a history moved.

    Args:
        known: the numbers of the history's items that the catalogue has, oldest first.
        places: where each of them stands in the history, of this length.
        items: the numbers of the items whose scores are looked at.
        user: a number, -1 for nobody.
        context: of the items' events, as CheckedQuery has it: an event is left out with all that is known of it, and
            what came next is asked for, when it was, after the event before.

    Returns:
        [items, length] float32: what is unknown, or too old for the model to see, moved is 0.
    """
    seen = engine.newest(known)
    without = [seen, *(seen[:place] + seen[place + 1 :] for place in range(len(seen)))]
    contexts = None
    if context is not None:
        shown = context[len(known) - len(seen) :]
        contexts = [shown, *(_without(shown, place, is_asked(engine.kinds)) for place in range(len(seen)))]
    hidden = []
    for first in range(0, len(without), engine.rows):
        block = slice(first, first + engine.rows)
        users = [user] * len(without[block])
        hidden.append(engine.hidden(without[block], users, None if contexts is None else contexts[block]))
    hidden = np.concatenate(hidden)
    if len(seen) == 1 and not engine.num_mask_slots:
        hidden[1:] = 0  # without it there is no history, and nothing that a model could have said
    scores = engine.scores(hidden, items)
    moved = np.zeros((len(items), length), np.float32)
    moved[:, places[-len(seen) :]] = (scores[0] - scores[1:]).T
    return moved


def _without(context, place, asked_K):
    """The context of the other events."""
    left = np.delete(context, place, axis=0)
    if place:
        left[place - 1, asked_K] = context[place, asked_K]
    return left

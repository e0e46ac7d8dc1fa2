"""The influence of each item of a history on scores: the score with it minus the score without it."""

import numpy as np

from jaxrec.inference.engine import Engine


def influence(
    engine: Engine, known: list[int], places: list[int], length: int, items: list[int], user: int = -1
) -> np.ndarray:
    """The influence of each place of a history on the scores of items.

    Args:
        engine: Engine.
        known: the numbers of the history's known items, oldest first.
        places: their places in the history.
        length: the length of the history.
        items: the numbers of the items to score.
        user: the number of the user, -1 if unknown.

    Returns:
        [items, length] float32; 0 for unknown items, and for those too old for the model to see.
    """
    seen = engine.newest(known)
    without = [seen, *(seen[:place] + seen[place + 1 :] for place in range(len(seen)))]
    blocks = (without[first : first + engine.rows] for first in range(0, len(without), engine.rows))
    hidden = np.concatenate([engine.hidden(block, [user] * len(block)) for block in blocks])
    if len(seen) == 1 and not engine.num_mask_slots:
        hidden[1:] = 0  # without it there is no history, and nothing that a model could have said
    scores = engine.scores(hidden, items)
    moved = np.zeros((len(items), length), np.float32)
    moved[:, places[-len(seen) :]] = (scores[0] - scores[1:]).T
    return moved

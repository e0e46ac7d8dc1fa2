"""The influence of each item of a history on scores: the score with it minus the score without it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jaxrec.inference.engine import Engine
from jaxrec.inference.queries import CheckedQuery, Query
from jaxrec.system import arguments

BESIDE = ("times", "weights", "types", "sessions")  # fields of a Query with a value for each event


def influence(
    engine: Engine, check: Callable[[Query], CheckedQuery], query: Query, places: list[int], items: list[int]
) -> np.ndarray:
    """Returns the influence of each event of a history on the scores of items.

    An event is left out as if it had never happened: the gap and the topic switch of the event after it are computed
    from the event before it. Events that are too old for the model to see don't take its place.

    Args:
        engine: the model's Engine.
        check: (Query) -> CheckedQuery for the engine.
        query: the Query with the history.
        places: the positions in the history of items that the catalogue has.
        items: the numbers of the items whose scores are compared.

    Returns:
        [items, history] float32; 0 for events that are unknown, or too old for the model to see.
    """
    listed = {
        name: arguments.id_list(getattr(query, name), name) for name in BESIDE if getattr(query, name) is not None
    }
    history = arguments.id_list(query.history, "history")
    query = replace(query, history=history, strict=False, **listed)
    whole = check(query)
    seen = engine.newest(whole.known)
    places = places[-len(seen) :]
    asked = [(seen, _newest(whole, len(seen)))]
    for number, place in enumerate(places):
        left = check(_without(query, place))
        # without its only event, a history is what stands for an empty one
        known = seen[:number] + seen[number + 1 :] if len(seen) > 1 else left.known
        asked.append((known, _newest(left, len(known))))
    hidden = []
    for first in range(0, len(asked), engine.rows):
        block = asked[first : first + engine.rows]
        contexts = [context for _, context in block] if engine.kinds else None
        hidden.append(engine.hidden([known for known, _ in block], [whole.user] * len(block), contexts))
    hidden = np.concatenate(hidden)
    if not asked[-1][0] and not engine.num_mask_slots:
        hidden[1:] = 0  # without its only event there is no history, and the model has no scores
    table_VD, _ = engine.output_table  # without biases: they cancel out, and are -inf for retired items
    scores = hidden @ table_VD[np.asarray(items, np.int32) - 1].T
    moved = np.zeros((len(items), len(history)), np.float32)
    moved[:, places] = (scores[0] - scores[1:]).T
    return moved


def _newest(checked, count):
    """Returns the context of the newest events of a CheckedQuery, and of its mask slots; None if it has none."""
    return None if checked.context is None else checked.context[len(checked.known) - count :]


def _without(query, place):
    """Returns the Query without one event of its history."""
    rest = {name: _but(getattr(query, name), place) for name in BESIDE if getattr(query, name) is not None}
    return replace(query, history=_but(query.history, place), **rest)


def _but(values, place):
    return values[:place] + values[place + 1 :]

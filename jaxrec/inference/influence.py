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
    """What each place of a history moved.

    An event is left out with all that it brings: what follows is then as long after the event before it, and of the
    same topic as that or not, as if it had never been. What the model has forgotten does not come back for it.

    Args:
        engine: of the model.
        check: (Query) -> CheckedQuery for the engine.
        query: with the history.
        places: where the items that the catalogue has stand in the history.
        items: the numbers of the items whose scores are looked at.

    Returns:
        [items, history] float32: what is unknown, or too old for the model to see, moved is 0.
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
        # of an only event nothing is left, or what stands for that
        known = seen[:number] + seen[number + 1 :] if len(seen) > 1 else left.known
        asked.append((known, _newest(left, len(known))))
    hidden = []
    for first in range(0, len(asked), engine.rows):
        block = asked[first : first + engine.rows]
        contexts = [context for _, context in block] if engine.kinds else None
        hidden.append(engine.hidden([known for known, _ in block], [whole.user] * len(block), contexts))
    hidden = np.concatenate(hidden)
    if not asked[-1][0] and not engine.num_mask_slots:
        hidden[1:] = 0  # without it there is no history, and nothing that a model could have said
    table_VD, _ = engine.output_table  # a bias is the same with an event and without; of a retired item it is -inf
    scores = hidden @ table_VD[np.asarray(items, np.int32) - 1].T
    moved = np.zeros((len(items), len(history)), np.float32)
    moved[:, places] = (scores[0] - scores[1:]).T
    return moved


def _newest(checked, count):
    """The context of the newest events of a CheckedQuery, and of its masks; None where it has none."""
    return None if checked.context is None else checked.context[len(checked.known) - count :]


def _without(query, place):
    """The Query whose history lacks one event."""
    rest = {name: _but(getattr(query, name), place) for name in BESIDE if getattr(query, name) is not None}
    return replace(query, history=_but(query.history, place), **rest)


def _but(values, place):
    return values[:place] + values[place + 1 :]

"""States of histories, kept so that the answer to a longer history costs only its new items."""

import weakref
from collections import OrderedDict
from collections.abc import Sequence

import jax
import numpy as np

from jaxrec.inference.queries import CheckedQuery
from jaxrec.inference.recommender import Recommender

NEW = 16  # maximum number of new items after a kept state that is looked for
NUMBER = np.dtype(np.int32)  # type of an item number in a key


class States:
    """The states of the histories that were requested last, for models with a recurrent state.

    A history is identified by the numbers of all its items, so users with the same history share a state, and an event
    inserted between earlier ones makes it another history. The states belong to the params of a checkpoint, and are
    dropped with them; adding or retiring items does not change them.

    A history that is requested once gets no state: answering takes one dispatch, and computing a state another. It gets
    a state from the second time on that it, or a beginning of it, is requested.

    Only histories that the model sees in full have a state. Of longer ones the model sees only the newest items, which
    begin with another item after each event.

    >>> states = States(room=1000)
    >>> states.continued
    0
    """

    def __init__(self, room: int):
        """Starts without states.

        Args:
            room: the maximum number of states; the least recently used one is dropped for another.
        """
        self._room, self._kept = room, OrderedDict()
        self._whose = lambda: None
        self.continued = 0  #: the number of histories that were answered from an earlier state

    def stated(self, recommender: Recommender, queries: Sequence[CheckedQuery]) -> list[CheckedQuery]:
        """Returns the queries with the states of their histories, where there are any.

        Args:
            recommender: the Recommender that will answer them.
            queries: as returned by its `check`.
        """
        found, engine = list(queries), recommender.engine
        if not engine.keeps_states:
            return found
        self._belong_to(recommender.base or recommender)
        seen = engine.length - engine.num_mask_slots
        new = []
        for at, query in enumerate(found):
            if query.state is not None or not 0 < len(query.known) <= seen:
                continue
            whole = _key(query.known)
            count, state = self._beginning(whole)
            if not count:
                self._keep(whole, None)
            elif state is None:
                new.append(at)
            else:
                self.continued += 1
                if count < len(query.known):
                    state = engine.advance(state, query.known[count:])
                    self._keep(whole, state)
                found[at] = query._replace(state=state)
        for block in _blocks(engine, new, [query.known for query in found]):
            states = _each(engine.states([found[at].known for at in block]), len(block))
            for at, state in zip(block, states, strict=True):
                self._keep(_key(found[at].known), state)
                found[at] = found[at]._replace(state=state)
        return found

    def _belong_to(self, base):
        """Drops the states if they belong to other params."""
        if self._whose() is not base:
            self._kept.clear()
            self._whose = weakref.ref(base)

    def _beginning(self, whole):
        """Returns the longest beginning of a history that is kept: its number of items (0 if none is), and its state.

        A beginning with a state is preferred to a longer one without, which was requested once.
        """
        items, asked = len(whole) // NUMBER.itemsize, 0
        for count in range(items, max(items - NEW, 1) - 1, -1):
            key = whole[: count * NUMBER.itemsize]
            if (state := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return count, state
            asked = asked or (count if key in self._kept else 0)
        return asked, None

    def _keep(self, key, state):
        self._kept[key] = state
        self._kept.move_to_end(key)
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)


def _key(known):
    return np.array(known, NUMBER).tobytes()


def _each(states, rows):
    """Returns the state of each row. A single one stays on the device, so that scoring need not wait for it."""
    if rows == 1:
        return [states]
    on_host = jax.tree.map(np.asarray, states)
    return [jax.tree.map(lambda leaf, row=row: leaf[row : row + 1].copy(), on_host) for row in range(rows)]


def _blocks(engine, places, histories):
    """Returns the places of histories in groups that are encoded together."""
    by_slots = {}
    for place in places:
        by_slots.setdefault(engine.slots(histories[place]), []).append(place)
    return [
        group[first : first + engine.rows] for group in by_slots.values() for first in range(0, len(group), engine.rows)
    ]

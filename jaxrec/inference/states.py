"""States of histories, kept so that the answer to a longer history costs only its new items."""

import weakref
from collections import OrderedDict
from collections.abc import Sequence

import jax
import numpy as np

from jaxrec.inference.queries import CheckedQuery
from jaxrec.inference.recommender import Recommender

NEW = 16  # maximum number of new items for which a state is looked for
NUMBER = np.dtype(np.int32)  # of an item, in a key


class States:
    """The states of the histories that were asked for last, of models with a recurrent state.

    A history is known by the numbers of all its items, so whoever has the same one has the same state, and an event
    that is put between earlier ones makes it another history. The states belong to the params of a checkpoint, and are
    dropped with them; items that are added or retired meanwhile don't change them.

    A history that is asked for once has no state: it is answered in one dispatch, and computing a state is another. It
    has one from the second time on that it, or its beginning, is asked for.

    Only histories that the model sees from their first item have a state here: of longer ones it sees the newest items
    alone, so that each event begins another history.

    >>> states = States(room=1000)
    >>> states.continued
    0
    """

    def __init__(self, room: int):
        """Starts without states.

        Args:
            room: the maximum number of states; the one used longest ago makes room for another.
        """
        self._room, self._kept = room, OrderedDict()
        self._whose = lambda: None
        self.continued = 0  #: the number of histories that were answered by an earlier state

    def stated(self, recommender: Recommender, queries: Sequence[CheckedQuery]) -> list[CheckedQuery]:
        """Returns the queries with the states of their histories, wherever there are any.

        Args:
            recommender: the Recommender that answers them next.
            queries: as its `check` returns them.
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
        """Drops the states of other params."""
        if self._whose() is not base:
            self._kept.clear()
            self._whose = weakref.ref(base)

    def _beginning(self, whole):
        """Returns the longest beginning of a history that is kept: its number of items, 0 if there is none, and state.

        One with a state goes before a longer one without, which was asked for once.
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
    """Returns the state of each row. That of one alone stays on the device: what scores it needs not wait for it."""
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

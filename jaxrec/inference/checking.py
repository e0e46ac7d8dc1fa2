"""Checks a Query and turns its external ids into item numbers."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxrec.batches import context
from jaxrec.config.keys import Config
from jaxrec.data.attributes import topics
from jaxrec.data.attributes.user_columns import Column, of_request
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import Catalogue
from jaxrec.inference.attributes import Attributes, common
from jaxrec.inference.events import context_of, start_of, type_numbers
from jaxrec.inference.numbering import Numbering
from jaxrec.inference.programs import START
from jaxrec.inference.queries import CheckedQuery, Query, Session, check_session
from jaxrec.inference.user_vectors import UserVectors
from jaxrec.system import arguments
from jaxrec.system.errors import UserError


class Checker:
    """Checks Queries against a catalogue; independent of a checkpoint's params."""

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        users: Users | None,
        types: Sequence[str] = (),
        columns: Sequence[Column] = (),
    ):
        """
        Args:
            config: the config of the training.
            catalogue: the Catalogue.
            users: the users of the training; None as for UserVectors.
            types: the names of the training's event types, in the order of their numbers from 1.
            columns: the user columns that the model uses.
        """
        self.numbering, self.attributes = Numbering(catalogue.ids), Attributes(catalogue.about)
        self.user_vectors = UserVectors(users, config)
        self._items, self._zone, self.types = len(catalogue.ids), config.context_zone, types
        self.columns = columns
        self.topics = topics.values(catalogue, config.topic) if "switch" in context.named(config.context) else None

    def extended(self, config: Config, catalogue: Catalogue) -> "Checker":
        """Returns the Checker of a catalogue with further items."""
        other = copy.copy(self)
        other.numbering = self.numbering.extended(catalogue.ids[self._items :])
        other.attributes, other._items = Attributes(catalogue.about), len(catalogue.ids)
        other.topics = None if self.topics is None else topics.values(catalogue, config.topic)
        return other

    def check(self, query: Any, recommender: Any, which: str = "") -> CheckedQuery:
        """Returns the CheckedQuery of a Query.

        Args:
            query: the Query.
            recommender: the Recommender that answers it.
            which: the beginning of an error's message, such as "history 3: ".

        Raises:
            UserError: a field has a wrong value, or the query is strict and the catalogue has no item of its history.
        """
        if not isinstance(query, Query):
            raise UserError(f"{which}{arguments.some([query])} is no Query: give Query(history, ...)")
        k, state, shown, new_types = arguments.count(query.k, which), None, None, []
        if isinstance(query.history, Session):
            check_session(query.history, recommender, which)
            state, known, unknown, _ = query.history
        else:
            known, unknown, shown, new_types = self._events(query, recommender.engine, which)
        if not known and query.strict:
            said = f"none of its ids is in the catalogue ({arguments.some(unknown)})" if unknown else "it is empty"
            raise UserError(f"{which or 'the history: '}{said}: give at least one item of the training data")
        blocked, more = self._numbers(() if query.block is None else query.block, "block", which)
        pools = self.attributes.pools({} if query.where is None else query.where, which)
        if query.candidates is not None:
            candidates, strangers = self._numbers(query.candidates, "candidates", which)
            pools.append(np.unique(np.array(candidates, np.int32)))
            more = [*dict.fromkeys(strangers), *more]
        pool = common(pools, self._items) if pools else None
        exclude = recommender.config.seen == "exclude" if query.exclude_seen is None else query.exclude_seen
        out = [*known, *blocked] if arguments.flag(exclude, "exclude_seen", which) else blocked
        user, new = self.user_vectors.row(query.user, which)
        if not known and shown is not None:
            known, shown = self._start(query, recommender.engine, which)
        unknown = [*unknown, *more, *new, *new_types]
        return CheckedQuery(list(known), state, unknown, min(k, self._items), out, pool, user=user, context=shown)

    def _numbers(self, ids, name, which):
        return self.numbering.numbers(arguments.id_list(ids, name, which), f"{which}{name}: ")

    def _start(self, query, engine, which):
        """Returns what stands for a history without events, if anything does, and its context."""
        columns, _ = of_request(query.user_columns or {}, self.columns, which)
        known = [START] if engine.model.starts and any(columns.values()) else []
        return known, start_of(engine.kinds, columns, query.now, which, self._zone)

    def _events(self, query, engine, which):
        """Returns (known numbers, unknown ids, context of known events or None, unknown types and column values)."""
        history, kinds = arguments.id_list(query.history, "history", which), engine.kinds
        known, unknown = self.numbering.numbers(history, f"{which}history: ")
        if not kinds:
            return known, unknown, None, []
        items = [(self.numbering.numbers([id])[0] or [0])[0] for id in history] if unknown else known
        items = np.array(items, np.int32)
        types, new = type_numbers(query.types, self.types, len(history), which) if "type" in kinds else (None, [])
        columns, values = of_request(query.user_columns or {}, self.columns, which) if self.columns else (None, [])
        new = [*new, *values]
        told = {
            "users": columns,
            "types": types,
            "items": items,
            "topics": self.topics,
            "places": np.flatnonzero(items),
            "sessions": query.sessions if "session" in kinds else None,
        }
        told |= {"now": query.now, "zone": self._zone, "masks": engine.num_mask_slots}
        return known, unknown, context_of(kinds, len(history), query.times, query.weights, which, **told), new

"""A trained model that recommends, with external ids in and out."""

import copy
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from jax.sharding import Mesh

from jaxrec.batches import context, objectives
from jaxrec.config.keys import Config
from jaxrec.data import sources
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import Catalogue, Interactions
from jaxrec.evaluation.results import Evaluation
from jaxrec.inference import placed, stock, together, vectors
from jaxrec.inference.bulk import Bulk, rows_of
from jaxrec.inference.checking import Checker
from jaxrec.inference.engine import Engine
from jaxrec.inference.influence import influence
from jaxrec.inference.popularity import Popularity
from jaxrec.inference.queries import CheckedQuery, Query, Ranked, Session, belonging, check_session, queries_of
from jaxrec.inference.stock import NewItem, Stock
from jaxrec.models.model import Model
from jaxrec.system import arguments
from jaxrec.system.errors import UserError
from jaxrec.training.building import data_of


class Recommender:
    """Takes histories of external ids, and returns external ids with scores. Created by `jaxrec.load`."""

    def __init__(
        self,
        config: Config,
        model: Model,
        params: Any,
        catalogue: Catalogue,
        step: int | None = None,
        path: Path | str | None = None,  # of the workdir, or its address
        approximate: bool = False,
        users: Users | None = None,
        types: Sequence[str] = (),
        columns: Sequence[Column] = (),
        mesh: Mesh | None = None,
    ):
        self.config, self.catalogue, self.step, self.path, self.users = config, catalogue, step, path, users
        self.columns, self.types = columns, types  #: user columns that the model uses; names of event types
        self.data: Interactions | None = None  #: those of the training, if `jaxrec.fit` has them in memory
        self.training: Any = None  #: the Training of `jaxrec.fit`
        self._model, self._checker = model, Checker(config, catalogue, users, types, columns)
        self._popularity, self._trained = Popularity(catalogue.counts), params
        self.offered = np.ones(len(catalogue.ids), bool)  #: [V] whether each item is recommended: see `changed`
        self.base: Recommender | None = None  #: the Recommender before any change
        self._ids = catalogue.ids.astype(object)  # Python objects, so that results need no conversion
        plain, params = placed.folded_on(model, params, mesh)
        sizes = len(catalogue.ids), config.length, approximate
        self.engine = Engine(plain, objectives.build(config), params, *sizes, context.kinds_of(config), mesh)

    def renewed(self, checkpoint: str | int = "best") -> "Recommender":
        """Returns the Recommender of another checkpoint, with the same compiled programs, but no changes by `changed`.

        Raises:
            UserError: there is no such checkpoint, or no workdir.
        """
        if self.path is None:
            raise UserError("a Recommender without a workdir has no other checkpoint: load one")
        params, step = placed.restored(self.path, self._model, checkpoint, self.engine.mesh)
        other = copy.copy(self.base or self)
        _, own = placed.folded_on(self._model, params, self.engine.mesh)
        other.engine, other.step, other._trained = other.engine.renewed(own), step, params
        return other

    def changed(self, added: Sequence[NewItem] = (), retired: Sequence = (), rows: int = 0) -> "Recommender":
        """Returns a Recommender with items added to the catalogue, and others that are no longer recommended.

        Raises:
            UserError: as for `stock.changed`, which takes the same arguments.
        """
        before = Stock(self.catalogue, self.engine, self.offered)
        trained = self.config, self._model, placed.whole(self._model, self._trained, self.engine.mesh)
        now = stock.changed(before, self._checker.numbering, trained, added, retired, rows)
        other, more = copy.copy(self), len(now.offered) - len(self.offered)
        other.catalogue, other.engine, other.offered = now
        other.base = self.base or self
        if more:
            other._checker = self._checker.extended(self.config, now.catalogue)
            other._popularity = self._popularity.extended(more)
            other._ids = np.append(self._ids, now.catalogue.ids[-more:].astype(object))
        return other

    def recommend(
        self,
        history: Iterable,
        k: int = 10,
        exclude_seen: bool | None = None,
        candidates: Iterable | None = None,
        block: Iterable = (),
        where: Mapping = MappingProxyType({}),
        user: object = None,
        strict: bool = False,
        times: Sequence | None = None,
        weights: Sequence | None = None,
        types: Sequence | None = None,
        now: object = None,
        user_columns: Mapping | None = None,
        sessions: Sequence | None = None,
    ) -> Ranked:
        """Returns the k best next items for one history. The arguments are the fields of a Query."""
        rest: dict[str, Any] = {"exclude_seen": exclude_seen, "candidates": candidates, "block": block, "where": where}
        rest |= {"user": user, "strict": strict, "times": times, "weights": weights, "types": types, "now": now}
        return self.answer([Query(history, k, user_columns=user_columns, sessions=sessions, **rest)])[0]

    def recommend_batch(
        self,
        histories: Iterable,
        k: int = 10,
        exclude_seen: bool | None = None,
        candidates: Iterable | None = None,
        block: Iterable = (),
        where: Mapping = MappingProxyType({}),
        users: Iterable | None = None,
        strict: bool = False,
        times: Iterable | None = None,
        weights: Iterable | None = None,
        types: Iterable | None = None,
        now: object = None,
        user_columns: Iterable | None = None,
        sessions: Iterable | None = None,
    ) -> list[Ranked]:
        """`recommend` for many histories. users, times, weights, types, user_columns and sessions hold one for each."""
        own = {"users": users, "times": times, "weights": weights, "types": types, "sessions": sessions}
        rest: dict[str, Any] = {"exclude_seen": exclude_seen, "candidates": candidates, "block": block, "where": where}
        own |= {"user_columns": user_columns}
        return self.answer(queries_of(histories, own, k=k, strict=strict, now=now, **rest))

    def answer(self, queries: Iterable[Query | CheckedQuery]) -> list[Ranked]:
        """Returns the best items for each of many queries, all fields of which may differ.

        Args:
            queries: Query, or CheckedQuery as returned by `check`.

        Returns:
            A Ranked [(external id, score), ...] for each query. Among equal scores the lower item number comes first.
            Without a known item, or columns of the user that suffice, these are the most popular items allowed.

        Raises:
            UserError: a query is invalid; the message says which, and why.
        """
        checked = [
            query if isinstance(query, CheckedQuery) else self._checker.check(query, self, f"history {index}: ")
            for index, query in enumerate(queries)
        ]
        kinds = {}
        results: list[Any] = [None] * len(checked)
        for index, query in enumerate(checked):
            if query.known:
                kinds.setdefault(together.kind_of(self.engine, query), []).append(index)
            else:
                results[index] = self._popular(query)
        for kind, indices in kinds.items():
            for first in range(0, len(indices), self.engine.rows):
                block = indices[first : first + self.engine.rows]
                found = together.found(self.engine, kind, [checked[index] for index in block])
                for index, (items, scores) in zip(block, found, strict=True):
                    k, unknown = checked[index].k, checked[index].unknown
                    results[index] = Ranked(self._pairs(items[:k], scores[:k]), unknown, step=self.step)
        return results

    def check(self, query: Query) -> CheckedQuery:
        """Checks a Query for `answer`, so that one request's errors are raised before a batch is answered.

        Raises:
            UserError: a field is wrong, or the Query is strict and the catalogue has no item of its history.
        """
        return self._checker.check(query, self)

    def start(self, history: Iterable = ()) -> Session:
        """Returns a Session with this history, for models with a recurrent state. `advance` adds an item to it.

        Raises:
            UserError: the model has no state.
        """
        if (state := self.engine.start()) is None:
            name = self.config.model.name
            raise UserError(f"{name} carries no state of a user, unlike gru4rec: give the whole history to recommend")
        if shown := ", ".join(self.engine.kinds):
            raise UserError(f"the model uses the {shown} of events: give recommend the whole history, with them")
        return self._advanced(Session(state), history)

    def advance(self, session: Session, item: Any) -> Session:
        """Returns the Session after one more item. If the catalogue lacks it, only `unknown` of the Session changes."""
        check_session(session, self)
        return self._advanced(session, [item])

    def similar(self, item: Any, k: int = 10) -> Ranked:
        """Returns the k other items most similar to this one, by the cosine of their embeddings: (external id, cosine).

        Raises:
            UserError: the item is not in the catalogue; k is below 1.
        """
        k = arguments.count(k)
        (number,) = self._checker.numbering.known([item], "item")
        others = np.zeros(self.engine.items, bool)
        others[: len(self.offered)] = self.offered
        others[number - 1] = False
        (items,), (scores,) = self.engine.similar([number], others[None], min(k, len(self._ids)))
        return Ranked(self._pairs(items, scores))

    def influence(
        self,
        history: Iterable,
        items: Iterable,
        user: object = None,
        times: Sequence | None = None,
        weights: Sequence | None = None,
        types: Sequence | None = None,
        now: object = None,
        user_columns: Mapping | None = None,
        sessions: Sequence | None = None,
    ) -> np.ndarray:
        """Returns the change in the scores of `items` due to each item of a history: scores with it minus without it.

        Args:
            history: external ids, oldest first.
            items: external ids, such as those that were recommended.
            user, times, weights, types, now, user_columns, sessions: as in a Query.

        Returns:
            [items, history] float32; 0 for ids that the catalogue lacks, and for those too old for the model to see.

        Raises:
            UserError: the catalogue has no item of the history, or lacks one of `items`.
        """
        if isinstance(history, Session):
            raise UserError("history is a Session, which does not keep the ids of all its items: give the ids")
        history, items = arguments.id_list(history, "history"), arguments.id_list(items, "items")
        numbers = self._checker.numbering.known(items, "items")
        told: dict[str, Any] = {"times": times, "weights": weights, "types": types, "user_columns": user_columns}
        query = Query(history, user=user, strict=True, now=now, sessions=sessions, **told)
        self.check(query)
        places = [place for place, id in enumerate(history) if self._checker.numbering.numbers([id])[0]]
        return influence(self.engine, self.check, query, places, numbers)

    def evaluate(
        self,
        data: Any = None,
        *,
        protocol: str | None = None,
        split: str = "test",
        baselines: Sequence[str] = ("popularity", "transitions"),
        beyond_accuracy: int | bool | None = None,
        query_time: bool = False,
    ) -> "Evaluation":
        """Evaluates this checkpoint, and baselines, on the split of the data that it was trained with.

        Args:
            data: the training's data: a Log, a path or a table in memory; None: those at the path of the training.
            protocol, split, beyond_accuracy, query_time: as in `jaxrec.evaluate`.

        Raises:
            UserError: the data are not found, or are not those of the training.
        """
        from jaxrec.evaluation.evaluator import evaluation  # serving does not need it

        if self.path is None:
            raise UserError("a Recommender without a workdir can't be evaluated: load one")
        of = self.path, self._data(data), self.step, protocol, split, baselines
        return evaluation(*of, beyond_accuracy=beyond_accuracy, query_time=query_time)

    def item_vectors(self) -> pl.DataFrame:
        """Returns a polars frame with a row per item: `id`, `vector` [D] float32, and `bias` if the model has one."""
        return vectors.item_vectors(self.engine, self.catalogue)

    def user_vectors(self, data: Any = None) -> pl.DataFrame:
        """Returns a polars frame of `id` and `vector` [D] float32, for users of a log with an item of the catalogue."""
        log = self.log(data)
        return pl.concat(self.bulk(log).hidden(np.arange(len(log.users))))

    def recommend_users(
        self, users: Any = "all", k: int = 10, data: Any = None, exclude_seen: bool | None = None, now: object = None
    ) -> pl.DataFrame:
        """Returns the best next items for users of a log: a polars frame of `user`, `rank` (from 1), `item`, `score`.

        Args:
            users: external ids, or "all".
            k: the maximum number of items per user.
            data: the log, as in `evaluate`.
            exclude_seen: as in a Query.
            now: as in a Query, the same for all users.

        Raises:
            UserError: the log lacks one of the users, or has events of them after `now`; k is below 1.
        """
        log = self.log(data)
        return pl.concat(self.bulk(log, now).recommend(rows_of(log, users), *self.asked(k, exclude_seen)))

    def bulk(self, log: Interactions, now: object = None) -> Bulk:
        """Returns the Bulk of a log, which answers for its users in blocks. `now` is as in a Query."""
        known, vectors, zone = self._checker, self._checker.user_vectors.rows(log), self.config.context_zone
        return Bulk(self.engine, self.catalogue, log, vectors, now, zone, known.types, known.topics, known.columns)

    def log(self, data: Any = None) -> Interactions:
        """Returns the Interactions of a Log, a path or a table in memory; those of the training if None."""
        return data_of(self.config, self.path) if (found := self._data(data)) is None else found

    def asked(self, k: int, exclude_seen: bool | None = None) -> tuple[int, bool]:
        """Returns (k, at most the number of items; whether to leave out the history's items), with defaults applied."""
        exclude = self.config.seen == "exclude" if exclude_seen is None else exclude_seen
        return min(arguments.count(k), len(self._ids)), arguments.flag(exclude, "exclude_seen")

    def _data(self, data):
        own = getattr(data, "interactions", data)  # of a Log; or a table's column of that name
        return self.data if data is None else own if isinstance(own, Interactions) else sources.load(data)

    def __repr__(self):
        model, loss = self.config.model, self.config.loss.name
        sizes = f"{len(self._ids):,} items, dim {model.dim}, {model.layers} layers, length {self.config.length}"
        return f"Recommender({model.name}, {loss}, {sizes}, step {self.step}, {self.path})"

    def _repr_html_(self):
        return f"<p>{html.escape(repr(self))}</p>{self.training._repr_html_() if self.training else ''}"

    def warm(self, batch: int = 1, k: int = 10) -> None:
        """Compiles the programs for up to `k` items and `batch` histories; others are compiled when first needed."""
        for power in range((2 * min(batch, self.engine.rows) - 1).bit_length()):
            self.engine.compile(min(1 << power, self.engine.rows), min(k, len(self._ids)))
        self.similar((number := self._ids[:1].tolist())[0], k)
        if self.engine.start() is not None:
            self.answer([Query(self.start(number), k)])

    def _popular(self, query):
        """Returns the answer to a Query whose history has no item of the catalogue."""
        allowed = together.allowed(len(self._ids), query.out, query.pool) & self.offered
        best = self._pairs(*self._popularity.best(allowed, query.k))
        return Ranked(best, query.unknown, fallback=True, step=self.step)

    def _advanced(self, session, ids):
        numbers, unknown = self._checker.numbering.numbers(arguments.id_list(ids, "history"))
        state, known = self.engine.advance(session.state, numbers), (*session.known, *numbers)
        return Session(state, known, (*session.unknown, *unknown), belonging(self, known))

    def _pairs(self, items, scores):
        items = items[items > 0]
        return list(zip(self._ids[items - 1].tolist(), scores[: len(items)].tolist(), strict=True))

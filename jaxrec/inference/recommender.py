"""From Python: a trained workdir as a recommender of external ids."""

import copy
import html
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import polars as pl

from jaxrec.batches import context, objectives
from jaxrec.data import sources
from jaxrec.data.interactions import Interactions
from jaxrec.inference import vectors
from jaxrec.inference.bulk import Bulk, rows_of
from jaxrec.inference.checking import Checker
from jaxrec.inference.engine import Engine
from jaxrec.inference.influence import influence
from jaxrec.inference.popularity import Popularity
from jaxrec.inference.queries import CheckedQuery, Query, Ranked, Session, check_session
from jaxrec.models.features import folded
from jaxrec.system import arguments
from jaxrec.system.errors import UserError
from jaxrec.training.restore import restore_params

FEW = 32  # a choice among this share of the catalogue, or less, is scored alone


class Recommender:
    """Histories of external ids in, external ids and scores out. Made by `loading.load`."""

    def __init__(self, config, model, params, catalogue, step=None, path=None, approximate=False, users=None):
        self.config, self.catalogue, self.step, self.path = config, catalogue, step, path
        self.data: Interactions | None = None  #: of the training, where `jaxrec.fit` has them in memory
        self.training: Any = None  #: the Training of `jaxrec.fit`
        self._model, self._checker = model, Checker(config, catalogue, users)
        self._popularity = Popularity(catalogue.counts)
        self._ids = catalogue.ids.astype(object)  # what a result is made of, without a conversion
        objective, (plain, params) = objectives.build(config), folded(model, params)
        kinds = context.named(config.context)
        self.engine = Engine(plain, objective, params, len(catalogue.ids), config.length, approximate, kinds)
        self.users = users

    def renewed(self, checkpoint="best"):
        """A Recommender of another checkpoint of the same workdir. Both share all compiled programs.

        Raises:
            UserError: no such checkpoint.
        """
        params, step = restore_params(self.path, self._model, checkpoint, one_device())
        other = copy.copy(self)
        other.engine, other.step = self.engine.renewed(folded(self._model, params)[1]), step
        return other

    def recommend(
        self,
        history,
        k=10,
        exclude_seen=None,
        candidates=None,
        block=(),
        where=MappingProxyType({}),
        user=None,
        strict=False,
        times=None,
        weights=None,
    ):
        """The k best next items for one history: `answer` of one Query, whose fields these are."""
        rest: dict[str, Any] = {"exclude_seen": exclude_seen, "candidates": candidates, "block": block, "where": where}
        return self.answer([Query(history, k, user=user, strict=strict, times=times, weights=weights, **rest)])[0]

    def recommend_batch(
        self,
        histories,
        k=10,
        exclude_seen=None,
        candidates=None,
        block=(),
        where=MappingProxyType({}),
        users=None,
        strict=False,
        times=None,
        weights=None,
    ):
        """`recommend` for many histories, which share all the rest. -> a list of Ranked in their order.

        Args:
            users: whose they are, in their order; None where nobody says.
            times, weights: of each history those of its events, or None.
        """
        # what can be gone through but once serves all of them
        histories = arguments.id_list(histories, "histories")
        candidates = candidates if candidates is None else arguments.id_list(candidates, "candidates")
        block = () if block is None else arguments.id_list(block, "block")
        own = {"users": users, "times": times, "weights": weights}
        own = {name: [None] * len(histories) if given is None else list(given) for name, given in own.items()}
        for name, given in own.items():
            if len(given) != len(histories):
                raise UserError(f"{name}: {len(given)} for {len(histories)} histories: give one each, None for nobody")
        rest: dict[str, Any] = {"exclude_seen": exclude_seen, "candidates": candidates, "block": block, "where": where}
        each = zip(histories, *own.values(), strict=True)
        return self.answer(
            [
                Query(history, k, user=user, strict=strict, times=times, weights=weights, **rest)
                for history, user, times, weights in each
            ]
        )

    def answer(self, queries):
        """The best items for each of many queries, which may differ in everything.

        Args:
            queries: a list of Query, or of what `check` made of them.

        Returns:
            [Ranked [(external id, score), ...], ...] in their order; of equal scores the lower item first.
            Where nothing of a history is known, the most popular of the items that the rest of its Query allows.

        Raises:
            UserError: one of them is at fault; the message says which, and why.
        """
        checked = [
            query if isinstance(query, CheckedQuery) else self._checker.check(query, self, f"history {index}: ")
            for index, query in enumerate(queries)
        ]
        kinds = {}
        results: list[Any] = [None] * len(checked)
        for index, query in enumerate(checked):
            if query.known:
                kinds.setdefault(self._kind(query), []).append(index)
            else:
                results[index] = self._popular(query)
        for kind, indices in kinds.items():
            for first in range(0, len(indices), self.engine.rows):
                block = indices[first : first + self.engine.rows]
                found = self._found(kind, [checked[index] for index in block])
                for index, (items, scores) in zip(block, found, strict=True):
                    k, unknown = checked[index].k, checked[index].unknown
                    results[index] = Ranked(self._pairs(items[:k], scores[:k]), unknown)
        return results

    def check(self, query):
        """A Query checked and in numbers: so errors are found one request at a time, before a batch is answered.

        Raises:
            UserError: a field is not of its kind; `where` names an unknown attribute or value; the Query is strict, and
                its history is empty or holds no known id.
        """
        return self._checker.check(query, self)

    def start(self, history=()):
        """A Session with this history, of a model that carries a state: `advance` takes it on by an item.

        Raises:
            UserError: the model carries none.
        """
        if (state := self.engine.start()) is None:
            name = self.config.model.name
            raise UserError(f"{name} carries no state of a user, as gru4rec does: give the whole history to recommend")
        if self.engine.kinds:
            shown = ", ".join(self.engine.kinds)
            raise UserError(
                f"the model is shown the {shown} of events: give the whole history to recommend, with its times"
            )
        return self._advanced(Session(state, params=self.engine.checksum), history)

    def advance(self, session, item):
        """The Session with one item more; the same where the catalogue lacks it, but for its `unknown`."""
        check_session(session, self)
        return self._advanced(session, [item])

    def similar(self, item, k=10):
        """The k items whose embeddings point most nearly the way this item's does (cosine): who likes it likes them.

        Returns:
            Ranked [(external id, cosine), ...], without the item itself.

        Raises:
            UserError: the item is not in the catalogue; k is below 1.
        """
        k = arguments.count(k)
        (number,) = self._checker.numbering.known([item], "item")
        (items,), (scores,) = self.engine.similar([number], self._allowed([number], None)[None], min(k, len(self._ids)))
        return Ranked(self._pairs(items, scores))

    def influence(self, history, items, user=None, times=None, weights=None):
        """How much each item of a history moved the scores of these items: the score with it, less that without it.

        Args:
            history: external ids, oldest first. items: external ids, such as those that were recommended.
            user, times, weights: of the history, as of a Query.

        Returns:
            [items, history] float32: what an id that is unknown, or too old for the model to see, moved is 0.

        Raises:
            UserError: the history holds no known id; an item is not in the catalogue.
        """
        if isinstance(history, Session):
            raise UserError("history is a Session, which does not keep the ids of all its items: give the ids")
        history, items = arguments.id_list(history, "history"), arguments.id_list(items, "items")
        numbers = self._checker.numbering.known(items, "items")
        asked = self.check(Query(history, user=user, strict=True, times=times, weights=weights))
        places = [place for place, id in enumerate(history) if self._checker.numbering.numbers([id])[0]]
        return influence(self.engine, asked.known, places, len(history), numbers, asked.user, asked.context)

    def evaluate(
        self, data=None, *, protocol=None, split="test", baselines=("popularity", "transitions"), beyond_accuracy=None
    ):
        """The results.Evaluation of this checkpoint on its training's split of the data, beside baselines.

        Args:
            data: those of the training: a Log, a path, a table in memory; where they are known to lie if None.
            protocol, split, beyond_accuracy: as of `jaxrec.evaluate`.

        Raises:
            UserError: the data are gone, or others than those of the training.
        """
        from jaxrec.evaluation.evaluator import evaluation  # serving does without

        if self.path is None:
            raise UserError("a Recommender of no workdir can't be evaluated: load one")
        return evaluation(self.path, self._data(data), self.step, protocol, split, baselines, beyond_accuracy)

    def item_vectors(self):
        """A polars frame, a row an item: id, vector [D] float32, and bias where the model has one."""
        return vectors.item_vectors(self.engine, self.catalogue)

    def user_vectors(self, data=None):
        """A polars frame, a row a user: id, and the vector [D] float32 after the whole history.

        Args:
            data: whose users are meant, as of `evaluate`. Users without a known item are left out.
        """
        log = self.log(data)
        return pl.concat(self.bulk(log).hidden(np.arange(len(log.users))))

    def recommend_users(self, users="all", k=10, data=None, exclude_seen=None):
        """The best next items of users of a log: a polars frame of user, rank (from 1), item and score.

        Args:
            users: external ids, or "all" users of the log. k: items a user, at most.
            data: the log, as of `evaluate`. exclude_seen: as of a Query.

        Raises:
            UserError: the log lacks one of the users; k is below 1.
        """
        log = self.log(data)
        return pl.concat(self.bulk(log).recommend(rows_of(log, users), *self.asked(k, exclude_seen)))

    def bulk(self, log):
        """The users of a log, Interactions, to be answered in blocks."""
        return Bulk(self.engine, self.catalogue, log, self._checker.user_vectors.rows(log))

    def log(self, data=None):
        """Interactions of what stands for a log: a Log, a path, a table in memory; those of the training if None."""
        found = self._data(data)
        return sources.load(self.config.dataset) if found is None else found

    def asked(self, k, exclude_seen=None):
        """(how many items, whether those of the history are left out) of what a person gave."""
        exclude = self.config.seen == "exclude" if exclude_seen is None else exclude_seen
        return min(arguments.count(k), len(self._ids)), exclude

    def _data(self, data):
        data = getattr(data, "interactions", data)  # of a Log
        return self.data if data is None else data if isinstance(data, Interactions) else sources.load(data)

    def __repr__(self):
        model, loss = self.config.model, self.config.loss.name
        sizes = f"{len(self._ids):,} items, dim {model.dim}, {model.layers} layers, length {self.config.length}"
        return f"Recommender({model.name}, {loss}, {sizes}, step {self.step}, {self.path})"

    def _repr_html_(self):
        return f"<p>{html.escape(repr(self))}</p>{self.training._repr_html_() if self.training else ''}"

    def warm(self, batch=1, k=10):
        """Compile ahead of time what is asked for up to so many items, of up to `batch` histories of any length.

        What is not warmed is compiled when it is first asked for, while others wait.
        """
        rows = 1
        while rows < min(batch, self.engine.rows) * 2:
            self.engine.compile(min(rows, self.engine.rows), min(k, len(self._ids)))
            rows *= 2
        number = self._ids[:1].tolist()
        self.similar(number[0], k)
        if self.engine.start() is not None:
            self.answer([Query(self.start(number), k)])

    def _popular(self, query):
        """The answer where nothing of the history is known."""
        items, shares = self._popularity.best(self._allowed(query.out, query.pool), query.k)
        return Ranked(self._pairs(items, shares), query.unknown, fallback=True)

    def _kind(self, query):
        """Queries of one kind are answered together: (slots, None with a state; whether few items are scored)."""
        few = query.pool is not None and len(query.pool) * FEW <= len(self._ids)
        return None if query.state else self.engine.slots(query.known), few

    def _found(self, kind, queries):
        """(items, scores) for each of at most `rows` queries of one kind."""
        (slots, few), engine = kind, self.engine
        histories, users = [query.known for query in queries], [query.user for query in queries]
        contexts = [query.context for query in queries] if engine.kinds else None
        stated = lambda: np.concatenate([query.state[1] for query in queries])
        if few:
            hidden = stated() if slots is None else engine.hidden(histories, users, contexts)
            pools = [np.setdiff1d(query.pool, query.out, assume_unique=False) for query in queries]
            asked = zip(hidden, pools, queries, strict=True)
            return [engine.score_subset(hidden_D, pool, query.k) for hidden_D, pool, query in asked]
        allowed, k = np.stack([self._allowed(query.out, query.pool) for query in queries]), max(q.k for q in queries)
        if slots is None:
            return zip(*engine.top_k_from_hidden(stated(), allowed, k), strict=True)
        return zip(*engine.top_k(histories, allowed, k, users, contexts), strict=True)

    def _allowed(self, out, pool):
        """Whether each item may be recommended. [V] bool"""
        allowed = np.ones(len(self._ids), bool) if pool is None else np.zeros(len(self._ids), bool)
        if pool is not None:
            allowed[pool - 1] = True
        if out:
            allowed[np.array(out) - 1] = False
        return allowed

    def _advanced(self, session, ids):
        numbers, unknown = self._checker.numbering.numbers(arguments.id_list(ids, "history"))
        state = self.engine.advance(session.state, numbers)
        return Session(state, (*session.known, *numbers), (*session.unknown, *unknown), session.params)

    def _pairs(self, items, scores):
        items = items[items > 0]
        return list(zip(self._ids[items - 1].tolist(), scores[: len(items)].tolist(), strict=True))


def one_device():
    """Where a Recommender answers."""
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])

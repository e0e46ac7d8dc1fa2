"""From Python: a trained workdir as a recommender of external ids."""

import contextlib
import copy
import logging
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from jaxrec import attributes, objectives, workdir
from jaxrec.checkpoint import Checkpoints, abstract
from jaxrec.console import printable
from jaxrec.engine import Engine
from jaxrec.errors import UserError
from jaxrec.models import build

log = logging.getLogger("jaxrec")
FEW = 32  # a choice among this share of the catalogue, or less, is scored alone


class Query(NamedTuple):
    """One request for recommendations. Ids are external ones."""

    history: Sequence  #: ids, oldest first, of any length: the model sees the newest of them; or a Session
    k: int = 10  #: how many at most; fewer where fewer are left
    exclude_seen: bool = True  #: leave out the items of the history
    candidates: Sequence | None = None  #: ids to choose among; the whole catalogue if None
    block: Sequence = ()  #: ids never to recommend
    where: Mapping = MappingProxyType({})  #: attribute of items -> a value, or a list of values of which one will do


class Session(NamedTuple):
    """A user of a model that carries a state, such as GRU4Rec: what `Recommender.start` and `advance` return.

    It stands for a history in a Query, and is never changed: sessions may be kept, and go on in several ways.
    """

    state: tuple  #: (carry, hidden [1, D])
    known: tuple = ()  #: numbers of the items so far
    unknown: tuple = ()  #: ids that the catalogue lacks: they count for nothing


class Prepared(NamedTuple):
    """A Query that has been checked, in numbers of items."""

    known: list  #: the history's
    state: tuple | None  #: of a Session
    unknown: list  #: ids of history, candidates and block list that the catalogue lacks
    k: int
    out: list  #: not to be recommended
    pool: np.ndarray | None  #: to choose among, ascending; None for the whole catalogue


class Ranked(list):
    """A list of (external id, score), the best first; `unknown` are the ids given that the catalogue lacks."""

    def __init__(self, pairs, unknown=()):
        super().__init__(pairs)
        self.unknown = list(unknown)


def load(path, checkpoint="best", approximate=False):
    """The Recommender of a workdir.

    Args:
        path: the workdir. checkpoint: "best", "latest" or a step.
        approximate: for large catalogues on a CPU: only the likely best items are scored (see `jaxrec.candidates`).

    Raises:
        UserError: no training lies there, or no such checkpoint; a library is missing.
    """
    path = Path(path)
    stored = workdir.read(path)
    catalogue = workdir.catalogue(path, stored)
    model = build(stored.config, len(catalogue.ids), stored.data["users"])
    params, step = restore_params(path, model, checkpoint, _one_device())
    return Recommender(stored.config, model, params, catalogue, step, path, approximate)


def restore_params(path, model, checkpoint, sharding):
    """The params of a workdir's checkpoint, with this sharding, and its step."""
    wanted = abstract(jax.eval_shape(model.init, jax.random.key(0)), sharding)
    with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:
        params, step, damaged = checkpoints.take(checkpoint, lambda step: checkpoints.restore_params(step, wanted))
    for error in damaged.values():
        log.warning("%s", printable(f"{error}: checkpoint {step} is taken in its place"))
    return params, step


class Recommender:
    """Histories of external ids in, external ids and scores out. Made by `load`."""

    def __init__(self, config, model, params, catalogue, step=None, path=None, approximate=False):
        self.config, self.catalogue, self.step, self.path = config, catalogue, step, path
        self._model = model
        self._number = {id: v for v, id in enumerate(catalogue.ids.tolist(), 1)}
        self._ids = catalogue.ids.astype(object)  # what a result is made of, without a conversion
        objective = objectives.build(config)
        self.engine = Engine(model, objective, params, len(catalogue.ids), config.length, approximate)
        self._attributes = {}

    def renewed(self, checkpoint="best"):
        """A Recommender of another checkpoint of the same workdir. Both share all compiled programs.

        Raises:
            UserError: no such checkpoint.
        """
        params, step = restore_params(self.path, self._model, checkpoint, _one_device())
        other = copy.copy(self)
        other.engine, other.step = self.engine.renewed(params), step
        return other

    def recommend(self, history, k=10, exclude_seen=True, candidates=None):
        """The k best next items for one history: `answer` of one Query, whose fields these are."""
        return self.answer([Query(history, k, exclude_seen, candidates)])[0]

    def recommend_batch(self, histories, k=10, exclude_seen=True, candidates=None):
        """`recommend` for many histories, which share the candidates. -> a list of Ranked in their order."""
        return self.answer([Query(history, k, exclude_seen, candidates) for history in histories])

    def answer(self, queries):
        """The best items for each of many queries, which may differ in everything.

        Args:
            queries: a list of Query, or of what `prepare` made of them.

        Returns:
            [Ranked [(external id, score), ...], ...] in their order; of equal scores the lower item first.

        Raises:
            UserError: one of them is at fault; the message says which, and why.
        """
        prepared = [
            query if isinstance(query, Prepared) else self._prepared(query, f"history {index}: ")
            for index, query in enumerate(queries)
        ]
        kinds = {}
        for index, query in enumerate(prepared):
            kinds.setdefault(self._kind(query), []).append(index)
        results = [None] * len(prepared)
        for kind, indices in kinds.items():
            for first in range(0, len(indices), self.engine.rows):
                block = indices[first : first + self.engine.rows]
                found = self._found(kind, [prepared[index] for index in block])
                for index, (items, scores) in zip(block, found, strict=True):
                    results[index] = self._ranked(items, scores, prepared[index])
        return results

    def prepare(self, query):
        """A Query checked and in numbers: so errors are found one request at a time, before a batch is answered.

        Raises:
            UserError: the history is empty or holds no known id; k is below 1; `where` names an unknown attribute or
                value.
        """
        return self._prepared(query, "")

    def start(self, history=()):
        """A Session with this history, of a model that carries a state: `advance` takes it on by an item.

        Raises:
            UserError: the model carries none.
        """
        state = self.engine.start()
        if state is None:
            name = self.config.model.name
            raise UserError(f"{name} carries no state of a user, as gru4rec does: give the whole history to recommend")
        return self._advanced(Session(state), history)

    def advance(self, session, item):
        """The Session with one item more; the same where the catalogue lacks it, but for its `unknown`."""
        return self._advanced(session, [item])

    def similar(self, item, k=10):
        """The k items whose embeddings point most nearly the way this item's does (cosine): who likes it likes them.

        Returns:
            Ranked [(external id, cosine), ...], without the item itself.

        Raises:
            UserError: the item is not in the catalogue; k is below 1.
        """
        if k < 1:
            raise UserError(f"k is {k}: ask for at least one item")
        (number,) = self._known([item], "item")
        (items,), (scores,) = self.engine.similar([number], self._allowed([number], None)[None], min(k, len(self._ids)))
        return Ranked(self._pairs(items, scores))

    def influence(self, history, items):
        """How much each item of a history moved the scores of these items: the score with it, less that without it.

        Args:
            history: external ids, oldest first. items: external ids, such as those that were recommended.

        Returns:
            [items, history] float32: what an id that is unknown, or too old for the model to see, moved is 0.

        Raises:
            UserError: the history holds no known id; an item is not in the catalogue.
        """
        engine, numbers = self.engine, self._known(items, "items")
        seen = engine.newest(self.prepare(Query(history)).known)
        places = [place for place, id in enumerate(history) if self._numbers([id])[0]][-len(seen) :]
        asked = [seen, *(seen[:place] + seen[place + 1 :] for place in range(len(seen)))]
        hidden = [engine.hidden(asked[first : first + engine.rows]) for first in range(0, len(asked), engine.rows)]
        hidden = np.concatenate(hidden)
        if len(seen) == 1 and not engine.room:
            hidden[1:] = 0  # without it there is no history, and nothing that a model could have said
        scores = engine.scores(hidden, numbers)
        moved = np.zeros((len(numbers), len(history)), np.float32)
        moved[:, places] = (scores[0] - scores[1:]).T
        return moved

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

    def _prepared(self, query, which):
        if query.k < 1:
            raise UserError(f"{which}k is {query.k}: ask for at least one item")
        for name in ("history", "candidates", "block"):
            if isinstance(getattr(query, name), str):
                raise UserError(f"{which}a {name} is a list of ids, and this is one text: put it into brackets")
        if isinstance(query.history, Session):
            state, known, unknown = query.history
        else:
            state, (known, unknown) = None, self._numbers(query.history)
        if not known:
            why = f"none of its ids is in the catalogue ({unknown[:5]})" if unknown else "it is empty"
            if self.catalogue.ids.dtype.kind == "i" and any(isinstance(id, str) for id in unknown):
                why += ", whose ids are integers"
            raise UserError(f"{which or 'the history: '}{why}: give at least one item of the training data")
        blocked, more = self._numbers(query.block)
        pools = [self._where(name, wanted, which) for name, wanted in query.where.items()]
        if query.candidates is not None:
            candidates, strangers = self._numbers(dict.fromkeys(query.candidates))
            pools.append(np.unique(np.array(candidates, np.int32)))
            more = [*strangers, *more]
        pool = reduce(partial(np.intersect1d, assume_unique=True), pools) if pools else None
        out = [*known, *blocked] if query.exclude_seen else blocked
        return Prepared(known, state, [*unknown, *more], min(query.k, len(self._ids)), out, pool)

    def _kind(self, query):
        """Queries of one kind are answered together: (slots, None with a state; whether few items are scored)."""
        few = query.pool is not None and len(query.pool) * FEW <= len(self._ids)
        return None if query.state else self.engine.slots(query.known), few

    def _found(self, kind, queries):
        """(items, scores) for each of at most `rows` queries of one kind."""
        (slots, few), engine = kind, self.engine
        if slots is None:
            hidden = np.concatenate([query.state[1] for query in queries])
        elif few:
            hidden = engine.hidden([query.known for query in queries])
        if few:
            pools = [np.setdiff1d(query.pool, query.out, assume_unique=False) for query in queries]
            return [engine.among(*each, query.k) for *each, query in zip(hidden, pools, queries, strict=True)]
        allowed, k = np.stack([self._allowed(query.out, query.pool) for query in queries]), max(q.k for q in queries)
        if slots is None:
            return zip(*engine.best_for(hidden, allowed, k), strict=True)
        return zip(*engine.best([query.known for query in queries], allowed, k), strict=True)

    def _allowed(self, out, pool):
        """Whether each item may be recommended. [V] bool"""
        allowed = np.ones(len(self._ids), bool) if pool is None else np.zeros(len(self._ids), bool)
        if pool is not None:
            allowed[pool - 1] = True
        if out:
            allowed[np.array(out) - 1] = False
        return allowed

    def _advanced(self, session, ids):
        numbers, unknown = self._numbers(ids)
        state = self.engine.advance(session.state, numbers)
        return Session(state, (*session.known, *numbers), (*session.unknown, *unknown))

    def _known(self, ids, what):
        """External ids -> item numbers, all of which must be known."""
        numbers, unknown = self._numbers(ids)
        if unknown:
            raise UserError(f"{what}: {unknown[0]!r} is not in the catalogue: give items of the training data")
        return numbers

    def _numbers(self, ids):
        """External ids -> (item numbers, the ids that are unknown)."""
        known, unknown = [], []
        for id in ids:
            id = id.item() if isinstance(id, np.generic) else id
            number = self._number.get(id) if id.__hash__ else None
            known.append(number) if number else unknown.append(id)
        return known, unknown

    def _where(self, name, wanted, which):
        """Numbers of the items whose attribute is as wanted, ascending."""
        if name not in self._attributes:
            about = self.catalogue.about
            if about is None or name not in about.columns:
                there = f"there are {', '.join(about.columns)}" if about is not None else "the catalogue has none"
                raise UserError(f"{which}where: items have no attribute {name!r}: {there}")
            self._attributes[name] = attributes.index(about[name])
        try:
            return attributes.items_with(self._attributes[name], name, wanted)
        except UserError as error:
            raise UserError(f"{which}where: {error}") from None

    def _ranked(self, items, scores, query):
        return Ranked(self._pairs(items[: query.k], scores[: query.k]), query.unknown)

    def _pairs(self, items, scores):
        items = items[items > 0]
        return list(zip(self._ids[items - 1].tolist(), scores[: len(items)].tolist(), strict=True))


def _one_device():
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])

"""From Python: a trained workdir as a recommender of external ids."""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import attributes, objectives, ranking, workdir
from jaxrec.checkpoint import Checkpoints, abstract
from jaxrec.data.interactions import Catalogue
from jaxrec.data.stream import Stream
from jaxrec.errors import UserError
from jaxrec.models import build

ROWS = 64  # histories encoded at once


class Query(NamedTuple):
    """One request for recommendations. Ids are external ones."""

    history: Sequence  #: ids, oldest first; of any length: the model sees the newest of them
    k: int = 10  #: how many at most; fewer where fewer are left
    exclude_seen: bool = True  #: leave out the items of the history
    candidates: Sequence | None = None  #: ids to choose among; the whole catalogue if None
    block: Sequence = ()  #: ids never to recommend
    where: Mapping = MappingProxyType({})  #: attribute of items -> a value, or a list of values of which one will do


class Prepared(NamedTuple):
    """A Query that has been checked, in numbers of items."""

    known: list  #: the history's
    unknown: list  #: ids of history, candidates and block list that the catalogue lacks
    k: int
    out: list  #: not to be recommended
    pool: np.ndarray | None  #: to choose among, ascending, without `out`; None for the whole catalogue


class Ranked(list):
    """A list of (external id, score), the best first; `unknown` are the ids given that the catalogue lacks."""

    def __init__(self, pairs, unknown=()):
        super().__init__(pairs)
        self.unknown = list(unknown)


def load(path, checkpoint="best"):
    """The Recommender of a workdir: of its best checkpoint, the latest, or a step.

    Raises:
        UserError: no training lies there, or no such checkpoint.
    """
    path = Path(path)
    stored = workdir.read(path)
    catalogue = Catalogue.load(path / workdir.CATALOGUE)
    model = build(stored.config, len(catalogue.ids), stored.data["users"])
    params, step = restore_params(path, model, checkpoint, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    return Recommender(stored.config, model, params, catalogue, step)


def restore_params(path, model, checkpoint, sharding):
    """The params of a workdir's checkpoint, with this sharding, and its step."""
    checkpoints = Checkpoints(path, read_only=True)
    try:
        step = checkpoints.choose(checkpoint)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        return checkpoints.restore_params(step, abstract(shapes, sharding)), step
    finally:
        checkpoints.close()


class Recommender:
    """Histories of external ids in, external ids and scores out. Made by `load`."""

    def __init__(self, config, model, params, catalogue, step=None):
        self.config, self.catalogue, self.step = config, catalogue, step
        self._model, self._params = model, params
        self._number = {id: v for v, id in enumerate(catalogue.ids.tolist(), 1)}
        self._objective = objectives.build(config)
        self._encode = jax.jit(partial(_encode, model, self._objective))
        self._unit = None
        self._attributes = {}

    def recommend(self, history, k=10, exclude_seen=True, candidates=None):
        """The k best next items for one history: `answer` of one Query."""
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
        prepared = [self._prepared(query, f"history {index}: ") for index, query in enumerate(queries)]
        results = [None] * len(prepared)
        by_length = sorted(range(len(prepared)), key=lambda i: len(prepared[i].known))
        for first in range(0, len(prepared), ROWS):
            block = by_length[first : first + ROWS]
            hidden = self._hidden([prepared[i].known for i in block])
            for row, i in enumerate(block):
                query = prepared[i]
                results[i] = Ranked(self._best(hidden[row : row + 1], query), query.unknown)
        return results

    def prepare(self, query):
        """A Query checked and in numbers: errors are found here, one request at a time, before a batch is answered.

        Raises:
            UserError: the history is empty or holds no known id; k is below 1; `where` names an unknown attribute or
                value.
        """
        return self._prepared(query, "")

    def _prepared(self, query, which):
        if isinstance(query, Prepared):
            return query
        if query.k < 1:
            raise UserError(f"{which}k is {query.k}: ask for at least one item")
        for name in ("history", "candidates", "block"):
            if isinstance(getattr(query, name), str):
                raise UserError(f"{which}a {name} is a list of ids, and this is one text: put it into brackets")
        known, unknown = self._numbers(query.history)
        if not known:
            why = f"none of its ids is in the catalogue ({unknown[:5]})" if unknown else "it is empty"
            if self.catalogue.ids.dtype.kind == "i" and any(isinstance(id, str) for id in unknown):
                why += ", whose ids are integers"
            raise UserError(f"{which or 'the history: '}{why}: give at least one item of the training data")
        blocked, more = self._numbers(query.block)
        out = [*known, *blocked] if query.exclude_seen else blocked
        pools = [self._where(name, wanted, which) for name, wanted in query.where.items()]
        if query.candidates is not None:
            candidates, strangers = self._numbers(dict.fromkeys(query.candidates))
            pools.append(np.unique(np.array(candidates, np.int32)))
            more = [*strangers, *more]
        pool = None
        if pools:
            pool = np.setdiff1d(reduce(partial(np.intersect1d, assume_unique=True), pools), out, assume_unique=False)
        return Prepared(known, [*unknown, *more], query.k, out, pool)

    def similar(self, item, k=10):
        """The k items whose embeddings point most nearly the way this item's does (cosine): who likes it likes them.

        Returns:
            Ranked [(external id, cosine), ...], without the item itself.

        Raises:
            UserError: the item is not in the catalogue; k is below 1.
        """
        if k < 1:
            raise UserError(f"k is {k}: ask for at least one item")
        numbers, unknown = self._numbers([item])
        if unknown:
            raise UserError(f"item {item!r} is not in the catalogue: give an item of the training data")
        if self._unit is None:
            table, _ = self._model.table(self._params)
            self._unit = table / jnp.maximum(jnp.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        query = self._unit[jnp.array(numbers) - 1]
        items, scores = self._top((self._unit, None), query, np.array([numbers], np.int32), k)
        return Ranked(self._pairs(items[0], scores[0]))

    def influence(self, history, items):
        """How much each item of a history moved the scores of these items: with it, less without it.

        Args:
            history: external ids, oldest first. items: external ids, such as those that were recommended.

        Returns:
            [items, history] float32: what an id that is unknown, or too old for the model to see, moved is 0.

        Raises:
            UserError: the history holds no known id; an item is not in the catalogue.
        """
        prepared = self.prepare(Query(history))
        numbers, unknown = self._numbers(items)
        if unknown:
            raise UserError(f"item {unknown[0]!r} is not in the catalogue: give items of the training data")
        places = [place for place, id in enumerate(history) if self._numbers([id])[0]]
        places = places[-(self.config.length - self._objective.room) :]
        seen = prepared.known[-len(places) :]
        without = [seen[:place] + seen[place + 1 :] for place in range(len(seen))]
        params, at = self._model.table(self._params), jnp.array(numbers, jnp.int32)
        batches = [[seen, *without][first : first + ROWS] for first in range(0, len(seen) + 1, ROWS)]
        hidden = np.concatenate([self._hidden(batch) for batch in batches])
        scores = np.asarray(jax.vmap(ranking.dot.at, (None, 0, None))(params, jnp.asarray(hidden), at))
        if len(seen) == 1 and not self._objective.room:  # nothing is left to encode: as a model that knows nothing
            scores[1:] = np.asarray(ranking.dot.at(params, jnp.zeros_like(hidden[0]), at))
        moved = np.zeros((len(numbers), len(history)), np.float32)
        moved[:, places] = (scores[0] - scores[1:]).T
        return moved

    def warm(self, batch=1, k=10):
        """Compile ahead of time what requests need: every length of history, up to so many at once, for so many items.

        What is not warmed is compiled when it is first asked for.
        """
        size = 1
        while size <= min(_power(batch), ROWS):
            length = 1
            while length <= _power(self.config.length):
                self.answer([Query(self.catalogue.ids[:1].tolist() * length, k)] * size)
                length *= 2
            size *= 2

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

    def _hidden(self, histories):
        """The hidden vector after each history's newest items. At most ROWS lists -> [n, D]"""
        length, room = self.config.length, self._objective.room
        newest = [numbers[-(length - room) :] for numbers in histories]
        slots = min(_power(max(map(len, newest)) + room), length)
        items = np.zeros((_power(len(newest)), slots), np.int32)
        for row, numbers in enumerate(newest):
            items[row, : len(numbers)] = numbers
        return self._encode(self._params, items)[: len(newest)]

    def _best(self, hidden, query):
        params = self._model.table(self._params)
        if query.pool is None:
            out = np.zeros((1, _power(len(query.out))), np.int32)
            out[0, : len(query.out)] = query.out
            return self._pairs(*(values[0] for values in self._top(params, hidden, out, query.k)))
        if not len(query.pool):
            return []
        scores = np.asarray(ranking.dot.at(params, hidden[0], jnp.asarray(query.pool)))
        kept = np.argsort(-scores, kind="stable")[: query.k]
        return self._pairs(query.pool[kept], scores[kept])

    def _top(self, params, queries, seen, k):
        items = len(self.catalogue.ids)
        return map(np.asarray, ranking.top_k(ranking.dot, params, queries, seen, k=min(k, items), catalogue=items))

    def _pairs(self, items, scores):
        real = np.asarray(items) > 0
        ids = self.catalogue.ids[np.asarray(items)[real] - 1].tolist()
        return list(zip(ids, np.asarray(scores, np.float64)[real].tolist(), strict=True))


def _encode(model, objective, params, items_RT):
    length_R = (items_RT > 0).sum(-1) + objective.room
    slots = jnp.broadcast_to(jnp.arange(items_RT.shape[1], dtype=jnp.int32), items_RT.shape)
    real = slots < length_R[:, None]
    zeros = jnp.zeros_like(items_RT)
    nobody = zeros - 1  # not one of the users that were trained on
    stream = Stream(items_RT, zeros, real.astype(jnp.int32), jnp.where(real, slots, 0), nobody)
    hidden, _ = model.encode(params, objective.show(stream))
    last = jnp.take_along_axis(hidden, jnp.maximum(length_R - 1, 0)[:, None, None], axis=1)[:, 0]
    return model.head(params, last)


def _power(n):
    """The power of two from n up: few shapes, few compilations."""
    return 1 << max(n - 1, 0).bit_length()

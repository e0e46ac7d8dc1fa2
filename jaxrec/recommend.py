"""From Python: a trained workdir as a recommender of external ids."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import objectives, ranking, workdir
from jaxrec.checkpoint import Checkpoints, abstract
from jaxrec.data.interactions import Catalogue
from jaxrec.data.stream import Stream
from jaxrec.errors import UserError
from jaxrec.models import build

ROWS = 64  # histories encoded at once


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
    params = restore_params(path, model, checkpoint, jax.sharding.SingleDeviceSharding(jax.devices()[0]))[0]
    return Recommender(stored.config, model, params, catalogue)


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

    def __init__(self, config, model, params, catalogue):
        self.config, self.catalogue = config, catalogue
        self._model, self._params = model, params
        self._number = {id: v for v, id in enumerate(catalogue.ids.tolist(), 1)}
        self._objective = objectives.build(config)
        self._encode = jax.jit(partial(_encode, model, self._objective))
        self._unit = None

    def recommend(self, history, k=10, exclude_seen=True, candidates=None):
        """The k best next items for one history.

        Args:
            history: external ids, oldest first. Any length: the model sees the newest of them.
            k: how many at most; fewer where fewer are left.
            exclude_seen: leave out the items of the history.
            candidates: external ids to choose among; the whole catalogue if None.

        Returns:
            Ranked [(external id, score), ...]; its `unknown` lists ids of history and candidates that training had not.

        Raises:
            UserError: the history is empty, or holds no known id; k is below 1.
        """
        return self.recommend_batch([history], k, exclude_seen, candidates)[0]

    def recommend_batch(self, histories, k=10, exclude_seen=True, candidates=None):
        """`recommend` for many histories, which share the candidates. -> a list of Ranked in their order."""
        if k < 1:
            raise UserError(f"k is {k}: ask for at least one item")
        if any(isinstance(history, str) for history in histories):
            raise UserError("a history is a list of ids, and this is one text: put it into brackets")
        known, unknown = zip(*map(self._numbers, histories), strict=True) if histories else ((), ())
        for index, numbers in enumerate(known):
            if not numbers:
                why = f"none of its ids is in the catalogue ({unknown[index][:5]})" if unknown[index] else "it is empty"
                if self.catalogue.ids.dtype.kind == "i" and any(isinstance(id, str) for id in unknown[index]):
                    why += ", whose ids are integers"
                raise UserError(f"history {index}: {why}: give at least one item of the training data")
        pool, strangers = (None, []) if candidates is None else self._numbers(dict.fromkeys(candidates))
        results = [None] * len(histories)
        by_length = sorted(range(len(histories)), key=lambda i: len(known[i]))
        for first in range(0, len(histories), ROWS):
            block = by_length[first : first + ROWS]
            hidden = self._hidden([known[i] for i in block])
            seen = [known[i] if exclude_seen else [] for i in block]
            for i, pairs in zip(block, self._best(hidden, seen, k, pool), strict=True):
                results[i] = Ranked(pairs, [*unknown[i], *strangers])
        return results

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

    def _numbers(self, ids):
        """External ids -> (item numbers, the ids that are unknown)."""
        known, unknown = [], []
        for id in ids:
            number = self._number.get(id.item() if isinstance(id, np.generic) else id)
            known.append(number) if number else unknown.append(id)
        return known, unknown

    def _hidden(self, histories):
        """The hidden vector after each history's newest items. At most ROWS lists -> [n, D]"""
        length, room = self.config.length, self._objective.room
        newest = [numbers[-(length - room) :] for numbers in histories]
        slots = min(_power(max(map(len, newest)) + room), length)
        items = np.zeros((_power(len(newest)), slots), np.int32)
        for row, numbers in enumerate(newest):
            items[row, : len(numbers)] = numbers
        return self._encode(self._params, items)[: len(newest)]

    def _best(self, hidden, seen, k, pool):
        params = self._model.table(self._params)
        if pool is not None:
            scores = np.asarray(jax.vmap(ranking.dot.at, (None, 0, None))(params, hidden, jnp.array(pool, jnp.int32)))
            order = np.argsort(-scores, axis=1, kind="stable")
            for row, places in enumerate(order):
                out = set(seen[row])
                kept = [place for place in places if pool[place] not in out][:k]
                yield self._pairs(np.array(pool)[kept], scores[row, kept])
            return
        padded = np.zeros((len(seen), _power(max(map(len, seen)))), np.int32)
        for row, numbers in enumerate(seen):
            padded[row, : len(numbers)] = numbers
        for items, scores in zip(*self._top(params, hidden, padded, k), strict=True):
            yield self._pairs(items, scores)

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

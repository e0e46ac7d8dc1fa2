"""Baselines: counting scorers, and neighbours and matrix factorisation with the library implicit."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data import baskets, event_types
from jaxrec.data.splits import Questions, Split, target_counts, training_counts
from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import slices, spans
from jaxrec.evaluation import content
from jaxrec.kernels.ranking import Scorer, dot
from jaxrec.system.arguments import shown
from jaxrec.system.errors import UserError
from jaxrec.system.hushed import HUSHED


class Baseline(NamedTuple):
    """A scorer, with the functions that fit it and make its queries."""

    scorer: Scorer
    fit: Callable  #: (split) -> fitted values, on the host
    queries: Callable  #: (fitted, split, questions) -> queries, a tree with leading axis Q, or None
    params: Callable = lambda learnt: learnt  #: (fitted) -> the scorer's parameters
    of_users: bool = False  #: whether it only answers for users in training


def _popularity_chunk(counts_V, _query, start, size):
    return jax.lax.dynamic_slice_in_dim(counts_V, start, size)


def _popularity_at(counts_V, _query, items_C):
    return counts_V[items_C - 1]


def _count_items(split):
    # ranks of the counts rather than counts: exact in float32, however large the data
    return _popularity(split).astype(np.int32)


def _popularity(split):
    """Returns the dense rank of each item, by its count as a training target, then by its count in training. [V]"""
    counts = training_counts(split)
    return np.unique(target_counts(split) * (counts.max(initial=0) + 1) + counts, return_inverse=True)[1]


def _no_query(_learnt, split, questions):
    return None


class Transitions(NamedTuple):
    """Item transitions in training: row v - 1 has the items that follow item v, in ascending order.

    A score is a small exact integer: the rank of (transition count, popularity) among all pairs. For baskets, it orders
    items by the number of transitions from any item of the last basket, then by popularity.
    """

    offsets: Any  #: [V + 1] int32
    items: Any  #: [E + 1] int32
    gains: Any  #: [E + 1] int32, the score of an item that follows, minus its score in `rest`
    rest: Any  #: [V] int32, score of an item that never follows
    slots: Any  #: [W] int32, 0, 1, ... W - 1; W is the length of the longest row


def _count_transitions(split):
    levels = _popularity(split)
    total = len(levels) + 1
    pairs, counts = (_basket_pairs if split.together else _pairs)(split, total)
    last, following = np.divmod(pairs, total)
    if split.together:
        rest, gains = _summed(split, levels, counts)
    else:
        scores = np.unique(np.append(levels, counts * total + levels[following - 1]), return_inverse=True)[1]
        rest, scores = np.split(scores, [total - 1])
        gains = scores - rest[following - 1]
    offsets = np.searchsorted(last, np.arange(1, total + 1))
    slots = np.arange(max(np.diff(offsets).max(), 1), dtype=np.int32)
    if len(pairs) + len(slots) >= 2**31:
        raise UserError(
            f"{split.interactions.name}: transitions has {len(pairs):,} pairs of items, nearly 2^31 or more: leave it "
            "out of the baselines"
        )
    # an extra entry that belongs to no item, so that the arrays are never empty
    ended = lambda values: np.append(values, 0).astype(np.int32)
    return Transitions(offsets.astype(np.int32), ended(following), ended(gains), rest.astype(np.int32), slots)


def _pairs(split, total):
    """Returns the distinct transitions in training, as item * total + next item, ascending, and the count of each."""
    items, may = split.interactions.items, event_types.targets(split.interactions)
    stop = np.maximum(split.stop - 1, split.start)
    ends = np.append(0, np.cumsum(stop - split.start))
    pairs, filled = np.empty(ends[-1], np.int64), 0
    for first, last in spans(ends, maps.ROWS):
        before = slices(split.start[first:last], stop[first:last])
        before = before if may is None else before[may[before + 1]]
        np.add(items[before] * np.int64(total), items[before + 1], out=pairs[filled : (filled := filled + len(before))])
        maps.release(items)
    return _counted(pairs[:filled])


def _counted(values):
    """Returns the distinct values and their counts, as np.unique does; sorts the values in place to save memory."""
    values.sort()
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.zeros(0, np.int64)
    return values[starts], np.diff(starts, append=len(values))


def _basket_pairs(split, total):
    """As `_pairs`, but pairs each item of a basket with each item of the next basket."""
    from scipy.sparse import csr_matrix

    begin = baskets.of_log(split.interactions)
    at, stop = slices(split.start, split.stop), np.repeat(split.stop, split.stop - split.start)
    items, following = np.asarray(split.interactions.items[at]), baskets.ends(begin)[at]
    more, shape = following < stop, (len(begin) + 1, total)
    by_basket = lambda basket, items: csr_matrix((np.ones(len(items), np.int64), (basket, items)), shape)
    counts = (by_basket(following[more], items[more]).T @ by_basket(begin[at], items)).tocsr()
    counts.sort_indices()
    rows = np.repeat(np.arange(total), np.diff(counts.indptr))
    return rows * total + counts.indices, counts.data


def _summed(split, levels, counts):
    """Returns (`rest`, `gains`) for Transitions whose gains are summed: counts, with popularity in the bits below."""
    longest = np.unique(baskets.of_log(split.interactions), return_counts=True)[1].max(initial=1)
    room = max(31 - (int(counts.max(initial=0)) * int(longest)).bit_length(), 0)
    over = max(int(levels.max(initial=0)).bit_length() - room, 0)  # low bits of the popularity that don't fit
    return levels >> over, counts << min(room, int(levels.max(initial=0)).bit_length())


def _place(params, last, items):
    """Returns where items are, or would be inserted, in the row of item `last`, and where the row ends.

    Item 0 has an empty row.
    """
    begin, end = jnp.where(last > 0, params.offsets[last - 1], params.offsets[last]), params.offsets[last]

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        before = params.items[middle] < items
        return jnp.where((low < high) & before, middle + 1, low), jnp.where((low < high) & ~before, middle, high)

    low, high = (jnp.broadcast_to(bound, jnp.shape(items)) for bound in (begin, end))
    return jax.lax.fori_loop(0, len(params.slots).bit_length(), halve, (low, high))[0], end


def _transitions_chunk(params, last, start, size):
    last_L, slots_W = jnp.atleast_1d(last), params.slots[:size]  # a row has at most `size` items in the chunk

    def add(at, scores):
        begin, end = _place(params, last_L[at], start + 1)
        places_W = begin + slots_W
        at_W = jnp.where(slots_W < end - begin, params.items[places_W] - 1 - start, size)
        return scores.at[at_W].add(params.gains[places_W], mode="drop")

    return jax.lax.fori_loop(0, len(last_L), add, jax.lax.dynamic_slice_in_dim(params.rest, start, size))


def _transitions_at(params, last, items_C):
    last_L = jnp.atleast_1d(last)

    def add(at, scores_C):
        places_C, end = _place(params, last_L[at], items_C)
        follows_C = (places_C < end) & (params.items[places_C] == items_C)
        return scores_C + jnp.where(follows_C, params.gains[places_C], 0)

    return jax.lax.fori_loop(0, len(last_L), add, params.rest[items_C - 1])


NEIGHBOURS = 100  # per item
FACTORS = 64
NEWEST = 1000  # number of newest history items whose neighbours are summed


class Neighbours(NamedTuple):
    """The nearest neighbours of each item, [V + 1, K]; row 0 is empty."""

    items: Any  #: int32; 0 is padding
    weights: Any  #: float32


def _library():
    try:
        import implicit
    except ImportError:
        raise UserError("this baseline needs the library implicit: pip install 'jaxrec[baselines]'") from None
    return implicit


def _matrix(split, start, stop):
    """Returns histories as a sparse matrix of counts, users by items."""
    from scipy.sparse import csr_matrix

    items = np.asarray(split.interactions.items[slices(start, stop)]) - 1
    shape = len(start), len(split.interactions.catalogue.ids)
    matrix = csr_matrix((np.ones(len(items), np.float32), items, np.append(0, np.cumsum(stop - start))), shape)
    matrix.sum_duplicates()
    return matrix


def _fit_neighbours(split):
    """Fits item neighbours by cosine similarity of their training users (Sarwar et al. 2001)."""
    model = _library().nearest_neighbours.CosineRecommender(K=NEIGHBOURS + 1)
    with HUSHED:  # the library warns about its own matrix
        model.fit(_matrix(split, split.start, split.stop), show_progress=False)
    similar = model.similarity.tocsr()  # pyright: ignore[reportOptionalMemberAccess] it is set by fit
    similar.setdiag(0)
    similar.eliminate_zeros()
    counts = np.diff(similar.indptr)
    real = np.arange(max(counts.max(), 1)) < counts[:, None]
    items, weights = np.zeros(real.shape, np.int32), np.zeros(real.shape, np.float32)
    items[real], weights[real] = similar.indices + 1, similar.data
    none = lambda values: np.pad(values, ((1, 0), (0, 0)))
    return Neighbours(none(items), none(weights))


def _neighbours_chunk(params, history_L, start, size):
    place_N = params.items[history_L].ravel() - 1 - start
    place_N = jnp.where(place_N >= 0, place_N, size)
    scores = jnp.zeros_like(params.weights, shape=(size,))
    return scores.at[place_N].add(params.weights[history_L].ravel(), mode="drop")


def _neighbours_at(params, history_L, items_C):
    return _neighbours_chunk(params, history_L, 0, len(params.items) - 1)[items_C - 1]


def _fit_als(split):
    """Fits alternating least squares for implicit feedback (Hu, Koren and Volinsky 2008)."""
    model = _library().als.AlternatingLeastSquares(factors=FACTORS, regularization=0.05, iterations=15, random_state=0)
    model.fit(_matrix(split, split.start, split.stop), show_progress=False)
    return model


def _place_als(model, split, questions):
    """Returns user vectors computed from the histories of the questions."""
    return model.recalculate_user(np.arange(len(questions.start)), _matrix(split, questions.start, questions.stop))


def _fit_bpr(split):
    """Fits Bayesian personalised ranking (Rendle et al. 2009)."""
    model = _library().bpr.BayesianPersonalizedRanking(factors=FACTORS, iterations=100, random_state=0)
    model.fit(_matrix(split, split.start, split.stop), show_progress=False)
    return model


def _place_bpr(model, split, questions):
    trained = (split.stop > split.start)[questions.source]
    if not trained.all():
        raise UserError("bpr has no vector for users without training events: use als, or a split where all have some")
    return model.user_factors[questions.source]


#: Baselines without extra dependencies.
COUNTED = {
    "popularity": Baseline(Scorer(_popularity_chunk, _popularity_at), _count_items, _no_query),
    "transitions": Baseline(
        Scorer(_transitions_chunk, _transitions_at), _count_transitions, partial(content.newest, number=1)
    ),
}
BASELINES = COUNTED | {
    "item-knn": Baseline(
        Scorer(_neighbours_chunk, _neighbours_at), _fit_neighbours, partial(content.newest, number=NEWEST)
    ),
    "als": Baseline(dot, _fit_als, _place_als, lambda model: (model.item_factors, None)),
    "bpr": Baseline(dot, _fit_bpr, _place_bpr, lambda model: (model.item_factors, None), of_users=True),
    "item-features": Baseline(content.scorer, content.fit, content.newest),
}


def scored(name: str, split: Split, questions: Questions, past: Split | None = None) -> tuple[Scorer, Any, Any]:
    """Fits a baseline, and returns its (scorer, params, queries) for `ranker.run`.

    Args:
        name: in BASELINES.
        split: the split that the questions belong to.
        questions: the questions.
        past: the split to fit to; by default `split`.
    """
    baseline = BASELINES[name]
    learnt = baseline.fit(past or split)
    return baseline.scorer, baseline.params(learnt), baseline.queries(learnt, split, questions)


def named_baselines(names: Any) -> list[str]:
    """Returns names of baselines as a list.

    Raises:
        UserError: if they are not a list, or one is not in BASELINES.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise UserError(f"baselines is {shown(names)}: give a list of names, as ['popularity'], or [] for none")
    if unknown := [name for name in names if name not in BASELINES]:
        raise UserError(f"no baseline {shown(unknown[0])}: choose one of {', '.join(BASELINES)}")
    return list(names)

"""Synthetic users with a known best reachable metric, to test how close a sequential recommender comes to it.

An item is a triple: one of G groups g, one of K flavours f, and a rank r among the items of that group and flavour. A
user starts with a taste z_0, uniform over K, and a group drawn by the groups' popularity. At t = 0, 1, ...

    z_t   = z_{t-1}, but with probability `drift` a new one, uniform              taste: hidden, drifts
    c_t   = g(x_0)                           where t is a multiple of `period`    the cue: the first group comes back
            rule[g(x_{t-2}), g(x_{t-1})]     elsewhere (rule[g, g] at t = 1)      order 2
    x_t   = (g, f, r), three independent draws, all redrawn while they give an item that the user has had:
            g = c_t, but with probability `whim` by popularity                    p(g | c_t)
            f = z_t, but with probability `stray` uniform                         p(f | z_t)
            r in proportion to (r + 1)^-skew                                      p(r | g, f)

So, for items outside the history h = x_0 ... x_{t-1},

    p(x | z, h) = p(g | c_t) p(f | z) p(r | g, f) / Z_z(h),     Z_z(h) = 1 - the sum of that product over h

and the taste is filtered exactly (the forward algorithm; what does not depend on z cancels):

    b_t(z) = p(z_t = z | h)
    b_{t+1}(y) ~ sum_z b_t(z) p(f(x_t) | z) / Z_z(h) p(z_{t+1} = y | z_t = z)
    p(x | h) = p(g | c_t) p(r | g, f) sum_z b_t(z) p(f | z) / Z_z(h)

No ranking is better than p(x | h), so its expected metrics are the best reachable. The last item alone shows neither
the pair of groups nor the cue, and only one flavour of the taste.

A history is a pure function of the world and the user's number: each random number is a hash (splitmix64; Steele, Lea
and Flood 2014) of seed, user, step, attempt and purpose. So chunks of any size give the same users, and 10 million of
them need no more memory than a chunk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from jaxrec.data.interactions import Catalogue, Interactions
from jaxrec.data.splits import Questions
from jaxrec.system.errors import UserError
from jaxrec.system.files import replacing

CHUNK = 1 << 14  # users generated at once, so that their arrays fit the cache
LENGTH, TASTE, GROUP, FLAVOUR, RANK, TIME = range(6)  # purposes of random numbers
DAY = 24 * 60 * 60
START = 50 * 365 * DAY  # seconds; first items are within the year after it


@dataclass(frozen=True, kw_only=True)
class World:
    """The parameters of a data set. Item (g, f, r) has the number (r G + g) K + f + 1."""

    items: int  #: V
    seed: int
    rule: np.ndarray  #: [G, G] the group that follows (the second to last group, the last group)
    popularity: np.ndarray  #: [G] p(g) of a first item or a whim
    weight: np.ndarray  #: [R] weights of ranks
    mass: np.ndarray  #: [G, K] sum of the weights of each group's and flavour's items
    whim: float
    stray: float
    drift: float
    period: int
    lengths: tuple[int, int]  #: shortest, longest


def world(
    items: int = 768,
    tastes: int = 8,
    seed: int = 0,
    *,
    groups: int = 12,
    branches: int = 4,
    period: int = 4,
    whim: float = 0.1,
    stray: float = 0.05,
    drift: float = 0.05,
    skew: float = 1.0,
    lengths: tuple[int, int] = (10, 30),
) -> World:
    """Returns a World; with the defaults, SASRec reaches 90% of the best metric in a minute.

    Args:
        items: catalogue size; at least groups x tastes, and twice the longest history.
        tastes: K, the number of tastes.
        groups: G, the number of groups.
        seed: for the rule and for all users.
        branches: number of groups that can follow a group by the rule; the group before decides which.
        period: the cue returns at every multiple of it.
        whim: see the module.
        stray: see the module.
        drift: see the module.
        skew: see the module.
        lengths: shortest and longest history; a length is the smaller of two uniform draws.

    Raises:
        UserError: if the catalogue is too small, or a number is out of range.
    """
    shortest, longest = lengths
    if items < max(groups * tastes, 2 * longest):
        need = max(groups * tastes, 2 * longest)
        raise UserError(
            f"synthetic data with {items} items: {groups} groups x {tastes} tastes and histories of up to {longest}"
            f" items without repeats need at least {need}; take more items, or fewer groups or shorter lengths"
        )
    if not 1 <= shortest <= longest:
        raise UserError(f"synthetic data with lengths={lengths}: two numbers from 1, the first not above the second")
    if min(tastes, groups, period) < 1 or not 1 <= branches <= groups:
        raise UserError(
            f"synthetic data with tastes={tastes}, groups={groups}, branches={branches}, period={period}:"
            " all must be at least 1, and branches at most groups"
        )
    for name, chance, least in (("whim", whim, 0.001), ("stray", stray, 0.001), ("drift", drift, 0.0)):
        if not least <= chance <= 1:  # without whims and strays, a user could run out of items
            raise UserError(f"synthetic data with {name}={chance}: a probability from {least} to 1")

    random = np.random.default_rng(seed)
    followers = np.stack([random.permutation(groups)[:branches] for _ in range(groups)])
    branch = np.stack([random.permutation(groups) % branches for _ in range(groups)], axis=1)
    popularity = (1 + np.arange(groups)) ** -0.5
    weight = np.arange(1, 1 + -(-items // (groups * tastes))) ** -float(skew)
    sizes = -(-(items - np.arange(groups * tastes)) // (groups * tastes))
    return World(
        items=items,
        seed=seed,
        rule=followers[np.arange(groups), branch].astype(np.int32),
        popularity=popularity / popularity.sum(),
        weight=weight,
        mass=np.cumsum(weight)[sizes - 1].reshape(groups, tastes),
        whim=whim,
        stray=stray,
        drift=drift,
        period=period,
        lengths=(shortest, longest),
    )


def parts(world: World, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the groups, flavours and ranks of item numbers of any shape."""
    groups, tastes = world.mass.shape
    rank, cell = np.divmod(np.asarray(items) - 1, groups * tastes)
    return cell // tastes, cell % tastes, rank


def histories(world: World, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the histories of users start ... stop - 1 [N] int32, and their offsets [stop - start + 1] int64."""
    keys, lengths = _keys(world, start, stop), _lengths(world, start, stop)
    groups, tastes = world.mass.shape
    popular, weights = np.cumsum(world.popularity)[:-1], np.cumsum(world.weight)[:-1]
    items = np.zeros((world.lengths[1], len(keys)), np.int32)
    taste = _switch(_uniform(keys, TASTE), 1.0, 0, tastes)
    for t in range(len(items)):
        if t:
            taste = _switch(_uniform(keys, TASTE, t), world.drift, taste, tastes)
        called, whim = (_called(world, items[:t].T, t), world.whim) if t else (np.zeros(len(keys), np.int32), 1.0)
        todo, attempt = np.flatnonzero(lengths > t), 0
        while len(todo):
            key = keys[todo]
            u = _uniform(key, GROUP, t, attempt)
            g = np.where(u < whim, np.searchsorted(popular, u / whim, "right"), called[todo])
            f = _switch(_uniform(key, FLAVOUR, t, attempt), world.stray, taste[todo], tastes)
            r = np.searchsorted(weights, _uniform(key, RANK, t, attempt) * world.mass[g, f], "right")
            item = (r * groups + g) * tastes + f + 1
            items[t, todo] = item
            again = (items[:t, todo] == item).any(0) | (item > world.items)  # rounding can reach one past the last rank
            todo, attempt = todo[again], attempt + 1
    return items.T[np.arange(len(items)) < lengths[:, None]], _offsets(lengths)


def sample(world: World, users: int) -> Interactions:
    """Returns users 0 ... users - 1 of a world, with ids 1 ... users."""
    offsets = _offsets(_lengths(world, 0, users))
    items = np.empty(offsets[-1], np.int32)
    for start in range(0, users, CHUNK):
        stop = min(start + CHUNK, users)
        items[offsets[start] : offsets[stop]] = histories(world, start, stop)[0]
    name = f"synthetic data ({users} users, {world.items} items, seed {world.seed})"
    return Interactions(
        items=items, offsets=offsets, users=np.arange(1, users + 1), catalogue=catalogue(world), name=name
    )


def interactions(users: int = 10_000, items: int = 768, seed: int = 0, **options: Any) -> Interactions:
    """Returns `sample(world(items, seed=seed, **options), users)`; by default, the quickstart's data."""
    return sample(world(items, seed=seed, **options), users)


def catalogue(world: World) -> Catalogue:
    """Returns items 1 ... V with titles ("Item 17 of group 3", by popularity) and genres ("Group 3|Flavour 5")."""
    ids = np.arange(1, world.items + 1)
    tastes = world.mass.shape[1]
    triples = list(zip(*(part.tolist() for part in parts(world, ids)), strict=True))
    titles = [f"Item {r * tastes + f + 1} of group {g + 1}" for g, f, r in triples]
    genres = [f"Group {g + 1}|Flavour {f + 1}" for g, f, _ in triples]
    return Catalogue(ids, pl.DataFrame({"title": titles, "genres": genres}))


def best(world: World, histories: np.ndarray) -> np.ndarray:
    """Returns the exact p(next item | history), whose ranking no model can beat.

    Args:
        histories: [B, T] int, each from the user's first item on, padded with 0 at the right.

    Returns:
        [B, V] float64, column v - 1 for item v; 0 for items of the history, the others sum to one.
    """
    histories = np.asarray(histories)
    (rows, steps), (groups, tastes) = histories.shape, world.mass.shape
    lengths = (histories > 0).sum(1)
    group, flavour, _ = parts(world, np.maximum(histories, 1))
    group_V, flavour_V, rank_V = parts(world, np.arange(1, world.items + 1))
    within_V = world.weight[rank_V] / world.mass[group_V, flavour_V]
    flavours, drift = _blend(world.stray, tastes), _blend(world.drift, tastes)

    belief = np.full((rows, tastes), 1 / tastes)
    seen = np.zeros((rows, groups, tastes))  # sum of p(r | g, f) over the history
    by_group, by_flavour = np.zeros((rows, groups)), np.zeros((rows, tastes))
    for t in range(steps + 1):
        p_group = np.tile(world.popularity, (rows, 1))
        if t:
            p_group = world.whim * p_group + (1 - world.whim) * np.eye(groups)[_called(world, histories[:, :t], t)]
        unseen = 1 - np.einsum("bg,bgf->bf", p_group, seen) @ flavours.T
        ends = lengths == t
        by_group[ends], by_flavour[ends] = p_group[ends], (belief / unseen)[ends] @ flavours
        if t < steps:
            g, f = group[:, t], flavour[:, t]
            belief = belief * flavours[:, f].T / unseen
            belief = belief / belief.sum(1, keepdims=True) @ drift
            seen[np.arange(rows), g, f] += np.where(histories[:, t] > 0, within_V[histories[:, t] - 1], 0)
    p = np.zeros((rows, 1 + world.items))
    p[:, 1:] = by_group[:, group_V] * by_flavour[:, flavour_V] * within_V
    np.put_along_axis(p, histories, 0, axis=1)  # padding goes to column 0
    return p[:, 1:]


def best_metrics(world: World, interactions: Interactions, questions: Questions, k: int = 10) -> dict[str, float]:
    """Returns the expected HR@k and NDCG@k of the best ranking, {"hr@10": ..., "ndcg@10": ...}.

    These are the means over questions of sum_i p_i and sum_i p_i / log2(i + 1), i = 1 ... k, where p_i is the i-th
    largest probability given the history. The best ranking's metrics on the actual targets differ from them only by
    chance.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    hits = gain = 0.0
    chunk = max(1, (1 << 22) // world.items)
    for first in range(0, len(questions.start), chunk):
        start, stop = questions.start[first : first + chunk], questions.stop[first : first + chunk]
        at = start[:, None] + np.arange((stop - start).max())
        given = np.where(at < stop[:, None], interactions.items[np.minimum(at, len(interactions.items) - 1)], 0)
        p = best(world, given)
        top = -np.sort(np.partition(-p, k - 1, axis=1)[:, :k], axis=1)
        hits, gain = hits + top.sum(), gain + (top @ discount).sum()
    return {f"hr@{k}": float(hits / len(questions.start)), f"ndcg@{k}": float(gain / len(questions.start))}


def write(world: World, path: str | Path, users: int, format: str = "parquet", chunk: int = CHUNK) -> Path:
    """Writes users 0 ... users - 1 to a file in chunks, under a temporary name until it is complete.

    Args:
        format: "parquet" (columns user, item and time, int64, in seconds, increasing per user) or "sequences" (a line
            per user: the user's id, then the items').

    Returns:
        The path.
    """
    path = Path(path)
    if format not in ("parquet", "sequences"):
        raise UserError(f"{path}: unknown format {format!r}; take parquet or sequences")

    def frames(*_):
        for start in range(0, users, chunk):
            frame = _frame(world, start, min(start + chunk, users))
            yield frame if format == "parquet" else _lines(frame)

    table = _frame(world, 0, 0)
    with replacing(path) as partial:
        if format == "parquet":
            register_io_source(frames, schema=table.schema).sink_parquet(partial)
        else:
            lines = register_io_source(frames, schema=_lines(table).schema)
            lines.sink_csv(partial, separator=" ", include_header=False, quote_style="never")
    return path


def _frame(world, start, stop):
    """Returns users start ... stop - 1 as a table of user, item and time."""
    items, offsets = histories(world, start, stop)
    lengths, keys = np.diff(offsets), _keys(world, start, stop)
    gaps = [(_uniform(keys, TIME, t) * (2 * DAY if t else 365 * DAY)).astype(np.int64) for t in range(world.lengths[1])]
    times = START + np.cumsum(1 + np.array(gaps), axis=0)
    user = np.repeat(np.arange(start + 1, stop + 1), lengths)
    return pl.DataFrame({"user": user, "item": items, "time": times.T[np.arange(len(gaps)) < lengths[:, None]]})


def _lines(frame):
    return frame.group_by("user", maintain_order=True).agg(pl.col("item").cast(pl.String).str.join(" "))


def _called(world, histories, t):
    """Returns the group c_t after the t > 0 items of [B, t], by the cue or the rule."""
    if t % world.period == 0:
        return parts(world, histories[:, 0])[0]
    return world.rule[parts(world, histories[:, max(t - 2, 0)])[0], parts(world, histories[:, t - 1])[0]]


def _blend(chance, count):
    """Returns the transition matrix [count, count] that keeps a value, or with this chance draws any."""
    return np.full((count, count), chance / count) + (1 - chance) * np.eye(count)


def _lengths(world, start, stop):
    shortest, longest = world.lengths
    keys = _keys(world, start, stop)
    # makes histories near the longest rare; otherwise many questions would be beyond the end of most training histories
    u = np.minimum(_uniform(keys, LENGTH, 0), _uniform(keys, LENGTH, 1))
    return shortest + (u * (longest - shortest + 1)).astype(np.int64)


def _offsets(lengths):
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _switch(u, chance, value, count) -> np.ndarray:
    """Returns `value`, or with this chance (if u is below it) a uniform draw from 0 ... count - 1."""
    if not chance:
        return np.asarray(value)
    draw = (np.minimum(u, chance) / chance * count).astype(np.int32)
    return np.where(u < chance, np.minimum(draw, count - 1), value)


def _keys(world, start, stop):
    """Returns [stop - start] uint64, a key per user for a stream of random numbers."""
    return _mix(_mix(np.array([world.seed % 2**64], np.uint64)) ^ _mix(np.arange(start, stop, dtype=np.uint64)))


def _uniform(keys, purpose, step=0, attempt=0):
    """Returns float64 in [0, 1), number (attempt, step, purpose) of each key's stream."""
    counter = (attempt << 32 | step << 4 | purpose) + 1
    return (_mix(keys + np.uint64(counter * 0x9E3779B97F4A7C15 % 2**64)) >> np.uint64(11)) * 2.0**-53


def _mix(x):
    """Returns splitmix64's finaliser of x, a bijection of uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

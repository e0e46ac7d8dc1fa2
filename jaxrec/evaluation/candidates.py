"""Draws the candidates of sampled protocols, reproducibly by (seed, user)."""

import numpy as np

from jaxrec.data.splits import Questions, Split
from jaxrec.data.storage.ragged import distinct, slices, within
from jaxrec.evaluation import protocols
from jaxrec.system.errors import UserError

TRIES = 256  # draws per user before the rest is drawn from the whole catalogue


GOLDEN = 0x9E3779B97F4A7C15


def draw(split: Split, questions: Questions, protocol: str, seed: int = 0, block: int = 4096) -> np.ndarray:
    """Draws the candidates of a sampled protocol, fixed by (seed, user), without replacement.

    An item's probability is its share of the pool among the remaining items (successive sampling). Items are drawn with
    replacement, keeping first occurrences, which gives the same distribution. The few users for whom this takes too
    many draws are completed by a race of exponential variables.

    Args:
        split: the split.
        questions: the questions.
        protocol: name of the protocol.
        seed: seed of the draws.
        block: users processed at once.

    Returns:
        [Q, number] int32, in the order drawn, without the target and the items that the protocol excludes.

    Raises:
        UserError: if a user has too few items to draw from.
    """
    found = protocols.find(protocol)
    number, known = found.number, found.known
    assert number and known and found.pool, "a protocol that draws"
    pool, total = found.pool(split), len(split.interactions.catalogue.ids) + 1
    weights = np.bincount(pool, minlength=total)
    drawn = np.zeros((len(questions.source), number), np.int32)
    for first in range(0, len(drawn), block):
        users, out = questions.source[first : first + block], drawn[first : first + block]
        start, stop = known(split, users)
        row = np.repeat(np.arange(len(users)), stop - start) * total
        own = np.arange(len(users)) * total + questions.target[first : first + block]
        barred = np.append(row + split.interactions.items[slices(start, stop)], own)
        left = _allowed(barred, weights, len(users))
        if left.min() < number:
            worst = left.argmin()
            raise UserError(
                f"{split.interactions.name}: only {left[worst]} items can be drawn for user "
                f"{split.interactions.users[users[worst]]}, and {protocol} takes {number}: use --protocol full"
            )
        tries = pool[(_uniform(seed, users, TRIES) * len(pool)).astype(np.int64)]
        row, column = _first_seen(barred, np.arange(len(users))[:, None] * total + tries, total)
        have = np.bincount(row, minlength=len(users))
        place = within(have)
        kept = place < number
        out[row[kept], place[kept]] = tries[row[kept], column[kept]]
        short = np.flatnonzero(have < number)
        at_once = max(2**22 // total, 1)
        for some in (short[i : i + at_once] for i in range(0, len(short), at_once)):
            out[some] = _race(out[some], have[some], barred, some, weights, seed, users[some])
    return drawn


def _first_seen(barred, keys, total):
    """Returns rows and columns in `keys` [U, T] (row * total + item) of the first draws of items that aren't barred."""
    width = keys.shape[1] + 1  # barred items get column 0, before all draws
    codes = np.sort(np.append(barred * width, keys * width + np.arange(1, width)))
    keys, column = np.divmod(codes, width)
    fresh = (column > 0) & np.append(True, keys[1:] != keys[:-1])
    row, column = np.divmod(np.sort(keys[fresh] // total * width + column[fresh]), width)
    return row, column - 1


def _allowed(barred, weights, rows):
    """Returns the number of items per row with a weight that aren't barred."""
    row, item = np.divmod(distinct(barred), len(weights))
    return (weights > 0).sum() - np.bincount(row[weights[item] > 0], minlength=rows)


def _race(out, have, barred, rows, weights, seed, users):
    """Fills `out` from place `have` on with the items whose exponential variables, of rates `weights`, are smallest."""
    total, number = len(weights), out.shape[1]
    with np.errstate(divide="ignore"):
        time = -np.log1p(-_uniform(seed, users, total, first=TRIES)) / weights
    row, item = np.divmod(barred, total)
    here = np.isin(row, rows)
    time[np.searchsorted(rows, row[here]), item[here]] = np.inf
    time[:, 0] = np.inf
    place = np.arange(number)
    done = place < have[:, None]
    time[np.nonzero(done)[0], out[done]] = np.inf
    best = np.argpartition(time, number, axis=1)[:, :number]
    best = np.take_along_axis(best, np.argsort(np.take_along_axis(time, best, 1), 1), 1)
    return np.where(done, out, np.take_along_axis(best, np.maximum(place - have[:, None], 0), 1))


def _mix(bits):
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _uniform(seed, users, count, first=0):
    """Returns numbers `first`, `first` + 1, ... of each user's random sequence, in [0, 1): [U] -> [U, count] float64.

    Uses SplitMix64 (Steele, Lea and Flood 2014) in integers, which is the same on every machine.
    """
    start = _mix(_mix(np.array([seed % 2**64], np.uint64)) + users.astype(np.uint64) * np.uint64(GOLDEN))
    steps = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return (_mix(_mix(start)[:, None] + steps) >> np.uint64(11)) * 2.0**-53

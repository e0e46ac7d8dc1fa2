"""The candidates of a sampled protocol: drawn once a user, fixed by (seed, user)."""

import numpy as np

from jaxrec.data.ragged import distinct, slices
from jaxrec.data.splits import Questions, Split
from jaxrec.evaluation import protocols
from jaxrec.system.errors import UserError

TRIES = 256  # draws a user before what is missing is drawn from the whole catalogue


GOLDEN = 0x9E3779B97F4A7C15


def draw(split: Split, questions: Questions, protocol: str, seed: int = 0, block: int = 4096) -> np.ndarray:
    """The candidates of a sampled protocol, fixed by (seed, user): one draw a user, without replacement.

    An item's chance is its share of the pool among what is left (successive sampling): items are drawn with
    replacement and counted at their first occurrence only, which is the same law; the few users for whom that takes
    too many are completed by a race of exponentials.

    Args:
        split: as of splits.
        questions: as of splits.
        protocol: a name.
        seed: int.
        block: users at once.

    Returns:
        [Q, number] int32, in the order drawn: never the target, nor what the protocol calls known.

    Raises:
        UserError: fewer items than that can be drawn for some user.
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
        place = np.arange(len(row)) - np.repeat(np.cumsum(have) - have, have)
        kept = place < number
        out[row[kept], place[kept]] = tries[row[kept], column[kept]]
        short = np.flatnonzero(have < number)
        at_once = max(2**22 // total, 1)
        for some in (short[i : i + at_once] for i in range(0, len(short), at_once)):
            out[some] = _race(out[some], have[some], barred, some, weights, seed, users[some])
    return drawn


def _first_seen(barred, keys, total):
    """Where in `keys` [U, T] (row * total + item) items first occur that are not barred, in order: rows, columns."""
    width = keys.shape[1] + 1  # a barred item is at column 0, before any draw
    codes = np.sort(np.append(barred * width, keys * width + np.arange(1, width)))
    keys, column = np.divmod(codes, width)
    fresh = (column > 0) & np.append(True, keys[1:] != keys[:-1])
    row, column = np.divmod(np.sort(keys[fresh] // total * width + column[fresh]), width)
    return row, column - 1


def _allowed(barred, weights, rows):
    """How many items with a weight are not barred, a row."""
    row, item = np.divmod(distinct(barred), len(weights))
    return (weights > 0).sum() - np.bincount(row[weights[item] > 0], minlength=rows)


def _race(out, have, barred, rows, weights, seed, users):
    """`out` with the places from `have` on filled by the items of the least exponentials, of rates `weights`."""
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
    """Numbers `first`, `first` + 1, … of each user's own sequence, in [0, 1): [U] -> [U, count] float64.

    The generator is SplitMix64 (Steele, Lea and Flood 2014), in integers, so that it is the same on every machine.
    """
    start = _mix(_mix(np.array([seed % 2**64], np.uint64)) + users.astype(np.uint64) * np.uint64(GOLDEN))
    steps = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return (_mix(_mix(start)[:, None] + steps) >> np.uint64(11)) * 2.0**-53

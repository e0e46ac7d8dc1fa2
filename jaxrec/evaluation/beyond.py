"""Beyond accuracy: what the lists of the best items are like, whatever the targets.

Coverage and Gini are of the exposure of items, novelty and diversity means over lists. The last two look at who trained
on an item, and so are the same measure for every model, whether it has vectors or not.
"""

from typing import Any

import numpy as np

from jaxrec.data.ragged import slices
from jaxrec.data.splits import ITEMS_AT_ONCE, Split
from jaxrec.evaluation import protocols
from jaxrec.evaluation.metrics import interval
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

K = 10  # items of a list, where nobody says
PAIRS = 1 << 21  # of items that diversity compares; of more a sample of the lists
SIMILARITY = "cosine of the sets of users who trained on two items"


def depth(k: int | bool | None, protocol: str, reach: int | None = None) -> int | None:
    """How many of the best items are looked at: K where k is True, None where nobody asks.

    Args:
        protocol: its name.
        reach: of lists their length, None of what can rank every item.

    Raises:
        UserError: k is no such number; the protocol recommends nothing, or lists are shorter.
    """
    if k is None or k is False:
        return None
    number = K if k is True else arguments.count(k, "beyond_accuracy: ")
    if not protocols.whole(protocol):
        raise UserError(
            f"--beyond-accuracy looks at the best items of the whole catalogue, and {protocol} ranks a target among "
            "drawn ones: ask by --protocol full, or write --ranks, which go by every protocol"
        )
    if reach is not None and number > reach:
        raise UserError(f"--beyond-accuracy {number}: the lists are of {reach}: ask for {reach}, or give longer lists")
    return number


def measures(items: np.ndarray, ranks: np.ndarray, split: Split) -> dict[str, Any]:
    """Coverage, Gini, novelty, diversity and MAP of lists.

    Args:
        items: [Q, k] int32, the best items of each question; 0 is none.
        ranks: [Q] of the targets.
        split: whose training says who knows an item.

    Returns:
        {"k", "similarity", "metrics": {"coverage@k", "gini@k", "novelty@k", "diversity@k", "map@k"}, "ci95": of the
        last three, "diversity_lists": how many lists diversity is of}. What no list can show is left out.
    """
    k, catalogue = items.shape[1], len(split.interactions.catalogue.ids)
    shown = np.bincount(items.ravel(), minlength=catalogue + 1)[1:]
    known, users = _who_trained(np.flatnonzero(shown) + 1, split)
    place = np.zeros(catalogue + 1, np.int64)
    place[1:][shown > 0] = np.arange(known.shape[0])
    sizes = np.diff(known.indptr)
    bits = np.log2(max(users, 1) / np.maximum(sizes, 1))  # whom nobody trained on is as if one had
    real = items > 0
    novelty = np.where(real, bits[place[items]] if len(bits) else 0, 0).sum(1)[real.any(1)] / real.sum(1)[real.any(1)]
    diversity, lists = _diversity(items, place, known, sizes)
    found: dict[str, Any] = {f"coverage@{k}": coverage(items, catalogue)}
    if shown.any():
        found[f"gini@{k}"] = gini(shown)
    per_list = {"novelty": novelty, "diversity": diversity, "map": np.where(ranks <= k, 1 / ranks, 0)}
    found |= {f"{name}@{k}": float(values.mean()) for name, values in per_list.items() if len(values)}
    bounds = {f"{name}@{k}": interval(values) for name, values in per_list.items() if len(values)}
    return {"k": k, "similarity": SIMILARITY, "diversity_lists": lists, "metrics": found, "ci95": bounds}


def coverage(items: np.ndarray, catalogue: int) -> float:
    """The share of a catalogue of so many items that is in somebody's list; 0 is none.

    >>> coverage(np.array([[1, 2], [2, 0]]), 4)
    0.5
    """
    found = np.zeros(catalogue + 1, bool)
    found[items] = True
    return float(found[1:].mean())


def gini(counts: np.ndarray) -> float:
    """How unequal counts are: 0 where all are one, near 1 where one item has everything.

    >>> gini(np.array([3, 3, 3])), round(gini(np.array([0, 0, 0, 8])), 2)
    (0.0, 0.75)
    """
    number = len(counts)
    places = 2 * np.arange(1, number + 1) - number - 1
    return float(places @ np.sort(counts) / (number * counts.sum()))


def _who_trained(numbers: np.ndarray, split: Split) -> tuple[Any, int]:
    """A sparse matrix of ones, a row for each of these items and a column a user who trained on it; how many train."""
    from scipy.sparse import csr_matrix

    place = np.full(len(split.interactions.catalogue.ids) + 1, -1, np.int32)
    place[numbers] = np.arange(len(numbers))
    lengths = np.maximum(split.stop - split.start, 0)
    ends, rows, columns = np.cumsum(lengths), [], []
    for first, last in _blocks(ends):
        user = np.repeat(np.arange(first, last), lengths[first:last])
        row = place[split.interactions.items[slices(split.start[first:last], (split.start + lengths)[first:last])]]
        rows.append(row[row >= 0])
        columns.append(user[row >= 0].astype(np.int32))
    row, column = np.concatenate([*rows, []]), np.concatenate([*columns, []])
    known = csr_matrix((np.ones(len(row), np.int32), (row, column)), (len(numbers), len(lengths)))
    known.sum_duplicates()
    known.data[:] = 1  # however often
    return known, int((lengths > 0).sum())


def _blocks(ends):
    """Ranges of users whose histories, which end there in a flat array, are a few million items."""
    first = 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + ITEMS_AT_ONCE, side="right")), first + 1)
        yield first, last
        first = last


def _diversity(items, place, known, sizes):
    """Of each list 1 - the mean similarity of its pairs, of lists with two items or more; how many were looked at."""
    first, second = np.triu_indices(items.shape[1], 1)
    if not len(first):
        return np.zeros(0), 0
    most = max(PAIRS // len(first), 1)
    if len(items) > most:
        items = items[np.sort(np.random.default_rng(0).choice(len(items), most, replace=False))]
    real = (items[:, first] > 0) & (items[:, second] > 0)
    low, high = np.sort(np.stack([place[items[:, first]], place[items[:, second]]]), 0)
    pairs, which = np.unique(low[real] * len(sizes) + high[real], return_inverse=True)
    low, high = np.divmod(pairs, max(len(sizes), 1))
    alike = np.zeros(real.shape)
    alike[real] = (_common(known, sizes, low, high) / np.sqrt(np.maximum(sizes[low] * 1.0 * sizes[high], 1)))[which]
    number = real.sum(1)
    return 1 - alike.sum(1)[number > 0] / number[number > 0], int((number > 0).sum())


def _common(known, sizes, first, second):
    """How many users both items of a pair have, [P]; a few million at once."""
    found = np.zeros(len(first))
    for begin, end in _blocks(np.cumsum(sizes[first] + sizes[second], dtype=np.int64)):
        both = known[first[begin:end]].multiply(known[second[begin:end]])
        found[begin:end] = np.asarray(both.sum(1)).ravel()
    return found

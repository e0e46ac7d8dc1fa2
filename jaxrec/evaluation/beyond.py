"""Measures of recommendation lists beyond accuracy.

Coverage and Gini measure the exposure of items; novelty and diversity are means over lists. The latter two are computed
from the training users of items, so that they are comparable across models, with or without vectors.
"""

from typing import Any

import numpy as np

from jaxrec.data.splits import ITEMS_AT_ONCE, Split
from jaxrec.data.storage.ragged import slices
from jaxrec.evaluation import next_basket, protocols
from jaxrec.evaluation.metrics import interval
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

K = 10  # default length of a list
PAIRS = 1 << 21  # item pairs for diversity; beyond that, lists are sampled
SIMILARITY = "cosine of the sets of users who trained on two items"


def depth(k: int | bool | None, protocol: str, reach: int | None = None) -> int | None:
    """Returns the number of best items to examine: K if k is True, None if not requested.

    Args:
        k: the requested number.
        protocol: name of the protocol.
        reach: length of lists; None for models that rank every item.

    Raises:
        UserError: if k is invalid, the protocol doesn't rank the whole catalogue, or lists are shorter.
    """
    if k is None or k is False:
        return None
    number = K if k is True else arguments.count(k, "beyond_accuracy: ")
    if not protocols.whole(protocol):
        raise UserError(
            f"--beyond-accuracy looks at the best items of the whole catalogue, but {protocol} ranks targets among "
            "sampled items: use --protocol full, or write the ranks by --ranks, which works with every protocol"
        )
    if reach is not None and number > reach:
        raise UserError(
            f"--beyond-accuracy {number}: the lists have {reach} items: ask for {reach}, or give longer lists"
        )
    return number


def check(k: int | None, items: int) -> None:
    """Checks that a catalogue has enough items for lists of k, see `depth`.

    Raises:
        UserError: if it doesn't.
    """
    if k and k > max(items, K):
        raise UserError(f"--beyond-accuracy {k}: the catalogue has {items:,} items: ask for {items} or fewer")


def measures(items: np.ndarray, ranks: np.ndarray, split: Split, source: np.ndarray | None = None) -> dict[str, Any]:
    """Returns coverage, Gini, novelty, diversity and MAP of lists.

    Args:
        items: [Q, k] int32, the best items of each question; 0 is padding.
        ranks: [Q] of the targets.
        split: its training histories determine novelty and diversity.
        source: [Q] the users, if a user's targets are a basket that shares one list; None if each target has its own.

    Returns:
        {"k", "similarity", "metrics": {"coverage@k", "gini@k", "novelty@k", "diversity@k", "map@k"}, "ci95": of the
        last three, "diversity_lists": number of lists used for diversity}. Measures that no list defines are left out.
    """
    k, catalogue = items.shape[1], len(split.interactions.catalogue.ids)
    precision = np.where(ranks <= k, 1 / ranks, 0)
    if source is not None:
        items = items[np.unique(source, return_index=True)[1]]
        precision = next_basket.average_precision(ranks, source, k)
    shown = np.bincount(items.ravel(), minlength=catalogue + 1)[1:]
    known, users = _who_trained(np.flatnonzero(shown) + 1, split)
    place = np.zeros(catalogue + 1, np.int64)
    place[1:][shown > 0] = np.arange(known.shape[0])
    sizes = np.diff(known.indptr)
    bits = np.log2(max(users, 1) / np.maximum(sizes, 1))  # items without training users count as having one
    real = items > 0
    novelty = np.where(real, bits[place[items]] if len(bits) else 0, 0).sum(1)[real.any(1)] / real.sum(1)[real.any(1)]
    diversity, lists = _diversity(items, place, known, sizes)
    found: dict[str, Any] = {f"coverage@{k}": coverage(items, catalogue)}
    if shown.any():
        found[f"gini@{k}"] = gini(shown)
    per_list = {"novelty": novelty, "diversity": diversity, "map": precision}
    found |= {f"{name}@{k}": float(values.mean()) for name, values in per_list.items() if len(values)}
    bounds = {f"{name}@{k}": interval(values) for name, values in per_list.items() if len(values)}
    return {"k": k, "similarity": SIMILARITY, "diversity_lists": lists, "metrics": found, "ci95": bounds}


def coverage(items: np.ndarray, catalogue: int) -> float:
    """Returns the share of the catalogue that is in at least one list; 0 is padding.

    >>> coverage(np.array([[1, 2], [2, 0]]), 4)
    0.5
    """
    found = np.zeros(catalogue + 1, bool)
    found[items] = True
    return float(found[1:].mean())


def gini(counts: np.ndarray) -> float:
    """Returns the Gini coefficient of counts: 0 if all are equal, near 1 if one item has everything.

    >>> gini(np.array([3, 3, 3])), round(gini(np.array([0, 0, 0, 8])), 2)
    (0.0, 0.75)
    """
    number = len(counts)
    places = 2 * np.arange(1, number + 1) - number - 1
    return float(places @ np.sort(counts) / (number * counts.sum()))


def _who_trained(numbers: np.ndarray, split: Split) -> tuple[Any, int]:
    """Returns a sparse 0/1 matrix of these items by training users, and the number of training users."""
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
    known.data[:] = 1  # regardless of frequency
    return known, int((lengths > 0).sum())


def _blocks(ends):
    """Yields ranges of users with a few million history items; `ends`: where histories end in a flat array."""
    first = 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + ITEMS_AT_ONCE, side="right")), first + 1)
        yield first, last
        first = last


def _diversity(items, place, known, sizes):
    """Returns 1 - the mean pairwise similarity of each list with at least two items, and the number of such lists."""
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
    """Returns the number of users that the two items of each pair share, [P]; works in blocks of a few million."""
    found = np.zeros(len(first))
    for begin, end in _blocks(np.cumsum(sizes[first] + sizes[second], dtype=np.int64)):
        both = known[first[begin:end]].multiply(known[second[begin:end]])
        found[begin:end] = np.asarray(both.sum(1)).ravel()
    return found

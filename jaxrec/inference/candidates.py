"""Finds a few likely candidates in a large catalogue with the library faiss; the engine then scores them exactly.

Each coordinate of an item's vector is stored in 4 bits, with a codebook of its own. A scan over all items sums
looked-up products with SIMD (André, Kermarrec & Le Scouarnec, VLDB 2015). It reads an eighth of the memory that exact
scoring reads. For a catalogue of many millions, the index is divided into parts, each of items near to each other, and
an answer reads only some of them.
"""

from typing import Any

import numpy as np

from jaxrec.system.errors import UserError

WIDER = 20  # candidates per wanted item
LEAST = 1024  # minimum number of candidates
SURE = 10  # the best k are trusted if they are within the first 1/SURE of the list
LEARN = 1 << 16  # number of items from which the codebooks are learned
MANY = 1 << 22  # number of items from which on an index has parts
PARTS, READ = 4096, 64  # the number of parts, and how many of them an answer reads
EACH = 40  # number of items per part from which the centroids are learned
DEEPER = 4  # factor on the candidates of an index with parts: nearly all items in the parts read are contenders


def build(table_VD: np.ndarray, bias_V: np.ndarray | None = None) -> Any:
    """Returns a faiss index of the items' vectors; a bias becomes an additional coordinate.

    Raises:
        UserError: the library is missing.
    """
    try:
        import faiss
    except ImportError:
        raise UserError("approximate answers need the library faiss: pip install 'jaxrec[candidates]'") from None
    vectors = table_VD if bias_V is None else np.concatenate([table_VD, bias_V[:, None]], axis=1)
    vectors = np.ascontiguousarray(vectors, np.float32)
    items, width = vectors.shape
    if items < MANY:
        index = faiss.IndexPQFastScan(width, width, 4, faiss.METRIC_INNER_PRODUCT)
        index.train(_telling(vectors, LEARN))
        index.add(vectors)
        return index
    # An item belongs to the part with the nearest centroid; an answer reads those with the best-scoring centroids.
    middles, best = faiss.IndexFlatL2(width), faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQFastScan(middles, width, PARTS, width, 4, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = False
    index.train(_telling(vectors, EACH * PARTS))
    index.add(vectors)
    best.add(middles.reconstruct_n(0, PARTS))
    index.quantizer = best
    setattr(index, "referenced_objects", (middles, best))  # noqa: B010 faiss does not keep them alive, nor declare this
    limit(index, READ)
    return index


def _telling(vectors, count):
    """Draws `count` of the vectors in proportion to their norms: items with small vectors are never the best."""
    norms = np.linalg.norm(vectors, axis=1)
    waits = np.random.default_rng(0).exponential(size=len(vectors)) / np.maximum(norms, np.finfo(np.float32).tiny)
    return vectors[np.argpartition(waits, min(count, len(waits)) - 1)[:count]]


def limit(index: Any, parts: int) -> None:
    """Sets how many parts of an index an answer reads. More parts find more of the best items, and take longer."""
    index.nprobe = parts


def search(index: Any, hidden_ND: np.ndarray, k: int) -> list[np.ndarray]:
    """Returns the numbers of the candidates for the best k of each hidden vector. [N, D] -> N arrays of int32."""
    queries = np.ascontiguousarray(hidden_ND, np.float32)
    if index.d > queries.shape[1]:  # a coordinate of 1 for the bias
        queries = np.concatenate([queries, np.ones((len(queries), 1), np.float32)], axis=1)
    wanted = max(WIDER * k, LEAST) * (DEEPER if hasattr(index, "nprobe") else 1)
    _, found = index.search(queries, min(wanted, index.ntotal))
    return [(row[row >= 0] + 1).astype(np.int32) for row in found]


def among(
    index: Any, hidden_ND: np.ndarray, k: int, allowed_NV: np.ndarray, offered_V: np.ndarray
) -> list[np.ndarray | None]:
    """Returns the candidates for the best k allowed items of each hidden vector; None if some might be missing.

    Items added after the index was built are always candidates.

    Args:
        index: as returned by `build`.
        hidden_ND: the hidden vectors.
        k: at least 1.
        allowed_NV: whether each item can be recommended for each hidden vector.
        offered_V: whether each item can be recommended at all.

    Returns:
        For each hidden vector, an ascending int32 array or None.
    """
    later = (np.flatnonzero(offered_V[index.ntotal :]) + index.ntotal + 1).astype(np.int32)
    result = []
    for row, found in enumerate(search(index, hidden_ND, k)):
        places = np.flatnonzero(allowed_NV[row, found - 1] & offered_V[found - 1])
        each = np.sort(found[places]), later[allowed_NV[row, later - 1]]
        result.append(np.concatenate(each) if enough(places, len(found), k) else None)
    return result


def enough(places: np.ndarray, found: int, k: int) -> bool:
    """Returns whether the best k are surely among the kept candidates: an index errs at the end of its list.

    Args:
        places: positions of the kept candidates in the index's list, ascending.
        found: the length of that list.
        k: at least 1.
    """
    return len(places) >= k and SURE * (int(places[k - 1]) + 1) <= found

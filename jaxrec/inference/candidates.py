"""Few items that are likely the best of a large catalogue, by the library faiss; the engine scores them exactly.

Every coordinate of an item's vector is kept in 4 bits, by a codebook of its own, and a scan over all items adds up
looked-up products by SIMD (André, Kermarrec & Le Scouarnec, VLDB 2015). It reads an eighth of what exact scores read.
"""

from typing import Any

import numpy as np

from jaxrec.system.errors import UserError

WIDER = 20  # candidates for each item that is wanted
LEAST = 1024  # candidates at least
SURE = 10  # of which so many for each item that is wanted have to be allowed
LEARN = 1 << 16  # items that the codebooks are learnt from


def build(table_VD: np.ndarray, bias_V: np.ndarray | None = None) -> Any:
    """An index of the items' vectors; a bias is one coordinate more.

    Raises:
        UserError: the library is missing.
    """
    try:
        import faiss
    except ImportError:
        raise UserError("approximate answers need the library faiss: pip install 'jaxrec[candidates]'") from None
    vectors = table_VD if bias_V is None else np.concatenate([table_VD, bias_V[:, None]], axis=1)
    vectors = np.ascontiguousarray(vectors, np.float32)
    index = faiss.IndexPQFastScan(vectors.shape[1], vectors.shape[1], 4, faiss.METRIC_INNER_PRODUCT)
    some = np.random.default_rng(0).permutation(len(vectors))[:LEARN]
    index.train(vectors[some])
    index.add(vectors)
    return index


def search(index: Any, hidden_ND: np.ndarray, k: int) -> list[np.ndarray]:
    """The numbers of the candidates for the best k, for each hidden vector. [N, D] -> N arrays of int32"""
    queries = np.ascontiguousarray(hidden_ND, np.float32)
    if index.d > queries.shape[1]:  # the bias counts once
        queries = np.concatenate([queries, np.ones((len(queries), 1), np.float32)], axis=1)
    _, found = index.search(queries, min(max(WIDER * k, LEAST), index.ntotal))
    return [(row[row >= 0] + 1).astype(np.int32) for row in found]


def enough(kept: int, k: int) -> bool:
    """Whether so many allowed candidates hold the best k allowed items: an index errs at the end of its list."""
    return kept >= SURE * k

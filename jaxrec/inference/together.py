"""Decides which queries are answered in one call, and answers them."""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxrec.inference.engine import Engine
from jaxrec.inference.queries import CheckedQuery

FEW = 32  # a choice among at most 1/FEW of the catalogue is scored by itself


def kind_of(engine: Engine, query: CheckedQuery) -> tuple[int | None, bool]:
    """Returns the key of queries that can be answered together: (slots, None with a state; whether few are scored)."""
    few = query.pool is not None and len(query.pool) * FEW <= engine.items
    return None if query.state else engine.slots(query.known), few


def found(engine: Engine, kind: tuple[int | None, bool], queries: Sequence[CheckedQuery]) -> Iterable[tuple]:
    """Returns (items, scores) for each of at most `engine.rows` queries of one kind."""
    slots, few = kind
    histories, users = [query.known for query in queries], [query.user for query in queries]
    contexts = [query.context for query in queries] if engine.kinds else None
    stated = lambda: _joined([query.state[1] for query in queries if query.state])
    if few:
        hidden = np.asarray(stated()) if slots is None else engine.hidden(histories, users, contexts)
        pools = [np.setdiff1d(query.pool, query.out) for query in queries if query.pool is not None]
        asked = zip(hidden, pools, queries, strict=True)
        return [engine.score_subset(hidden_D, pool, query.k) for hidden_D, pool, query in asked]
    k = max(query.k for query in queries)
    each = [allowed(engine.items, query.out, query.pool) for query in queries]
    allowed_BV = each[0][None] if len(each) == 1 else np.stack(each)
    if slots is None:
        return zip(*engine.top_k_from_hidden(stated(), allowed_BV, k), strict=True)
    return zip(*engine.top_k(histories, allowed_BV, k, users, contexts), strict=True)


def _joined(hidden):
    """Joins the hidden vectors of queries with states to [n, D]; a single one is not waited for."""
    return hidden[0] if len(hidden) == 1 else np.concatenate(hidden)


def allowed(items: int, out: Sequence[int], pool: np.ndarray | None) -> np.ndarray:
    """Returns whether each item can be recommended: those of `pool` (None: all), except those in `out`. [V] bool"""
    found = np.ones(items, bool) if pool is None else np.zeros(items, bool)
    if pool is not None:
        found[pool - 1] = True
    if out:
        found[np.array(out) - 1] = False
    return found

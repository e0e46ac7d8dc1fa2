"""What a model is: pure functions of a plain dict of params."""

from collections.abc import Callable
from typing import NamedTuple


class Model(NamedTuple):
    """A sequential recommender. Row v - 1 of its table is item v; padding is never a row that could be ranked."""

    init: Callable  #: (key) -> params
    encode: Callable  #: (params, stream, carry=None, *, keys=None) -> (hidden_BTD, carry); no keys, no dropout
    carry0: Callable  #: (params, rows) -> carry, or None for a model that carries nothing
    head: Callable  #: (params, hidden_...D) -> hidden_...D, applied only at slots that are asked
    table: Callable  #: (params) -> (output table [V, D], bias [V] or None)
    tables: dict  #: of params whose row v - 1 belongs to item v: which items' rows a step uses, "shown", "asked"

"""Splits whose questions are ranked in tests."""

import numpy as np

from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import last_item

ITEMS = 40


def split_of(histories, items=None):
    """A split with the histories' own item numbers: an extra user, neither trained on nor evaluated, has all items."""
    split = last_item(from_sequences([list(range(1, (items or max(map(max, histories))) + 1)), *histories]))
    split.stop[0] = split.start[0]
    return split._replace(
        **{name: type(q)(*(x[1:] for x in q)) for name, q in (("valid", split.valid), ("test", split.test))}
    )


def random_split(users=60, items=ITEMS, longest=60, seed=0):
    rng = np.random.default_rng(seed)
    return split_of([rng.integers(1, items + 1, n).tolist() for n in rng.integers(3, longest, users)], items)

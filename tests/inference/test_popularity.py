"""What is recommended when nothing is known of a user."""

import numpy as np

from jaxrec.inference.popularity import Popularity


def test_items_that_are_added_are_the_least_popular():
    known = Popularity(np.array([2, 0, 3])).extended(2)
    items, shares = known.best(np.ones(5, bool), 5)
    assert items.tolist() == [3, 1, 2, 4, 5] and shares.tolist() == [0.6, 0.4, 0, 0, 0]

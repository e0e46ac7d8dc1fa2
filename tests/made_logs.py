"""Logs in memory that the tests of the Python API share."""

import numpy as np
import polars as pl

import jaxrec

COLUMNS = {"user": "customer", "item": "sku", "time": "at"}


def made_log(seed=0):
    """A Log of `made_rows`."""
    return jaxrec.prepare(made_rows(seed), **COLUMNS)


def made_rows(seed=0, users=40, rows=700):
    """A table of interactions with column names that no reader recognises, except for the rating's."""
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "customer": random.integers(1, users + 1, rows),
            "sku": [f"i{v:02}" for v in random.integers(0, 50, rows)],
            "at": 1_500_000_000 + 60 * random.permutation(rows),
            "rating": random.integers(1, 6, rows),
        }
    )

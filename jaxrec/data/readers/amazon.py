"""Reads Amazon ratings without a header."""

import itertools
from functools import partial

import polars as pl

from jaxrec.data.formats import tables
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished
from jaxrec.system.errors import UserError


def read(given: Input) -> Interactions:
    """Reads Amazon ratings: user, item, rating, time (2014), or item, user, rating, time (2018), without a header."""
    log = given.log({"user": "user", "item": "item", "weight": "rating", "time": "time"})
    names = None
    for file in given.files:
        read = partial(tables.delimited, file, ",", 4, header=False, quote=given.quote, odd=given.odd)
        flipped = any(map(_items_first, itertools.islice(read({"user": 0, "item": 1}), 1)))
        own = ["item", "user", "rating", "time"] if flipped else ["user", "item", "rating", "time"]
        if own != names:
            given.say(f"{file}: columns: {', '.join(own)}" if names else f"columns: {', '.join(own)}")
        names = own
        given.collect(log, file, names, {role: names.index(name) for role, name in log.columns.items()}, read)
    return described(given, finished(given, log))


def _items_first(batch: Batch) -> bool:
    """Returns whether the first of the two id columns holds the items.

    Raises:
        UserError: if this can't be told from the first rows.
    """
    first, second = _asins(batch.frame["user"]), _asins(batch.frame["item"])
    if max(first, second) < 0.9 or abs(first - second) < 0.5:
        raise UserError(
            f"{batch.file}: four columns without a header: which is the user, which the item? "
            "Say --user 1 --item 2 --weight 3 --time 4, or the numbers that apply"
        )
    return first > second


def _asins(tokens: pl.Series) -> float:
    """Returns the share of the first tokens that look like Amazon item ids: B and nine characters, or an ISBN."""
    first = tokens.drop_nulls().head(1000)
    return float(first.str.contains(r"^(B[0-9A-Z]{9}|[0-9]{9}[0-9X])$").sum()) / max(len(first), 1)


READER = ReaderEntry(name="amazon", read=read, takes=ROWS, as_table=frozenset({"columns", "separator"}))

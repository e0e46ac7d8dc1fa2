"""Reads an in-memory table as Interactions."""

from collections.abc import Iterator
from functools import partial

import polars as pl

from jaxrec.data import columns as cols, tabular
from jaxrec.data.files.text import some
from jaxrec.data.formats import columnar, headers
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch
from jaxrec.data.reader import described, finished
from jaxrec.data.unread import times
from jaxrec.system.errors import UserError


def check(given: Input, allow_large: bool) -> None:
    """Checks that no options for files are given.

    Raises:
        UserError: if there are.
    """
    said = {"format": given.format, "separator": given.separator, "quote": not given.quote, "allow_large": allow_large}
    if wrong := [name for name, is_given in said.items() if is_given]:
        raise UserError(f"{given.name}: a table in memory is not a file: leave out {some(wrong)}")


def read(frame: pl.DataFrame, given: Input) -> Interactions:
    """Reads the interactions of a frame. Columns, ids, times and missing values are treated as in a Parquet file."""
    peek = lambda columns: iter([_batch(frame.head(tabular.SAMPLE), columns, given.name, 0)])
    table = tabular.records(frame.schema, partial(_batches, frame, given), peek, given.say)
    names, where = table.names, given.name
    chosen = tabular.choose(table, given.columns, where)
    times.check(given, where, table, chosen)
    given.say(cols.said(names, chosen, given.columns) + tabular.unread_lists(table, chosen))
    log = given.log({role: names[number] for role, number in chosen.items()})
    given.collect(log, where, names, chosen, table.batches)
    relative = "time" in chosen and cols.plain(names[chosen["time"]]).startswith("relative")
    interactions = finished(given, log, relative)
    return interactions if given.items is None else described(given, interactions, log.columns["item"])


def _batches(frame: pl.DataFrame, given: Input, columns: dict[str, str]) -> Iterator[Batch]:
    """Yields the rows of a frame. `columns`: {role: name, or a path as from `nested.paths`}."""
    given.odd.begin(given.name)
    for first in range(0, max(len(frame), 1), columnar.ROWS):
        batch = _batch(frame.slice(first, columnar.ROWS), columns, given.name, first)
        yield headers.left_out(batch, columns, given.odd)


def _batch(frame: pl.DataFrame, columns: dict[str, str], name: str, first: int) -> Batch:
    chosen = columnar.select(frame.lazy(), frame.schema, columns).collect()
    return Batch(chosen, name, partial(columnar.record, chosen, columns, first))

"""The filterable attributes of items: names, kinds and most frequent values."""

import numpy as np
import polars as pl

from jaxrec.batches import context
from jaxrec.inference import attributes
from jaxrec.inference.recommender import Recommender

VALUES, LONGEST = 200, 80  # maximum values listed per attribute, and characters of a value


def facets(about: pl.DataFrame | None) -> list[dict]:
    """Returns the filters of the page, one per column of the catalogue except titles.

    Returns:
        Dictionaries of `name` and `kind`: "boolean"; "number" or "date" with `least` and `most`; or "text" with
        `values`, most frequent first, and whether there are `more`. Columns of other types, empty columns, and text
        columns in which no two items share a value are left out.
    """
    if about is None:
        return []
    return [{"name": column.name, **said} for column in about if column.name != "title" and (said := _facet(column))]


def asking(recommender: Recommender) -> dict:
    """Returns what a model uses beside the items of a history, as GET /context answers it."""
    kinds = recommender.engine.kinds
    needs = {context.kind_of(kind).needs for kind in kinds if not context.is_asked([kind])[0]}
    said = {"times": needs & {"times", "dates"}, "weights": needs & {"weights"}, "types": needs & {"types"}}
    said["sessions"] = needs & {"sessions"}
    return {
        "events": [name for name, needed in said.items() if needed],
        "now": bool(context.is_asked(kinds).any()),
        "user_columns": [
            {"name": column.name, "kind": "text", "values": list(column.values[:VALUES])}
            | {"more": len(column.values) > VALUES}
            if column.values
            else {"name": column.name, "kind": "number"}
            for column in recommender.columns
        ],
        "alone": recommender.engine.model.starts,
    }


def _facet(column):
    if column.dtype == pl.Boolean:
        return {"kind": "boolean"} if column.count() else None
    if column.dtype.is_numeric():
        values = column.cast(pl.Float64)
        return _range("number", values.filter(values.is_finite()))
    if column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime):
        return _range("date", column.dt.to_string("iso"))
    if column.dtype in (pl.String, pl.List(pl.String)):
        return _text(attributes.index(column))
    return None


def _range(kind, values):
    return {"kind": kind, "least": values.min(), "most": values.max()} if values.count() else None


def _text(attribute):
    names, counts = list(attribute.places), np.diff(attribute.offsets)
    if counts.max(initial=0) < 2:
        return None  # no two items share a value, so it can't group them
    common = np.argsort(-counts, kind="stable")
    chosen = [names[place] for place in common[: 2 * VALUES] if len(names[place]) <= LONGEST][:VALUES]
    return {"kind": "text", "values": chosen, "more": len(names) > len(chosen)} if chosen else None

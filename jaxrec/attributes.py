"""What is known of items, as an index from a value to the items that have it: what filters of a request are made of."""

from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.errors import UserError

SHOWN = 30  # values that an error lists


class Attribute(NamedTuple):
    """The values of one column, and whose they are."""

    places: dict  #: value -> its place
    offsets: np.ndarray  #: [places + 1]
    items: np.ndarray  #: [N] int32, numbers of items: those of place p are items[offsets[p]:offsets[p + 1]], ascending


def index(column: pl.Series) -> Attribute:
    """The Attribute of a column of the catalogue. Texts "A|B", and lists, have each of their parts; null has none."""
    values = column.str.split("|") if column.dtype == pl.String else column
    frame = pl.DataFrame({"value": values.alias("value"), "item": np.arange(1, len(column) + 1, dtype=np.int32)})
    if isinstance(values.dtype, pl.List):
        frame = frame.explode("value")
    frame = frame.drop_nulls().unique().sort("value", "item")
    if frame["value"].dtype == pl.String:
        frame = frame.filter(pl.col("value") != "")
    counts = frame.group_by("value", maintain_order=True).len()
    offsets = np.append(0, np.cumsum(counts["len"].to_numpy().astype(np.int64)))
    places = {value: place for place, value in enumerate(counts["value"].to_list())}
    return Attribute(places, offsets, frame["item"].to_numpy())


def items_with(attribute: Attribute, name: str, wanted) -> np.ndarray:
    """Numbers of the items that have the wanted value, or any of a list of them, ascending. [N] int32

    Raises:
        UserError: no item has such a value; the message lists those there are.
    """
    wanted = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    found = []
    for value in wanted:
        place = attribute.places.get(value) if value.__hash__ else None
        if place is None:
            there = list(attribute.places)
            more = f" and {len(there) - SHOWN:,} more" if len(there) > SHOWN else ""
            raise UserError(f"no item's {name} is {value!r}: there are {', '.join(map(str, there[:SHOWN]))}{more}")
        found.append(attribute.items[attribute.offsets[place] : attribute.offsets[place + 1]])
    if len(found) == 1:
        return found[0]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int32)

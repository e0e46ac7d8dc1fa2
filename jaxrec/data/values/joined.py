"""Detects items that are whole histories written as plain text, such as `1 2 3`, each of which would be one item."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from jaxrec.data.files.text import short
from jaxrec.data.storage.ragged import distinct
from jaxrec.data.values.spellings import FLOAT

PART = r"[^\s,;|'\"]+"
BRACKETS = " \t()[]{}<>"
#: what Python writes before the brackets of some lists: array([1, 2]), frozenset({1, 2})
NAMED = r"(?s)^\s*(?:[A-Za-z_]\w*\.)?[A-Za-z_]\w*\(\s*([\[({].*[\])}])\s*(?:,\s*\w+=.*)?\)\s*$"
LIST = r"(?s)^\s*\[.*\]\s*$"
ENTRY = r"""(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|"[^"]*"|'[^']*')"""
ENTRIES = rf"^\s*\[\s*{ENTRY}(?:\s*,\s*{ENTRY})+\s*,?\s*\]\s*$"  # several, as JSON and Python write them
LISTED = 0.9  # minimum share of rows with a distinct user, or a distinct value
BRACKETED = 0.9  # minimum share of values in brackets, for values to be lists
MULTIPLE = 0.5  # minimum share of values with several parts
PLAIN = r"^[A-Za-z]*[0-9]+(?:-[0-9]+)?$"  # a number, perhaps after letters: N19976, N10447-1
NUMBERED = 0.9  # minimum share of parts that look like ids: short, with a digit
RECURRING = 0.5  # minimum share of parts that occur in several values
MIXED = 0.75  # minimum share of parts that occur at several positions, in baskets
LENGTHS = 3  # minimum number of different lengths of baskets
LONGEST = 40  # maximum characters of a part that looks like an id
SAMPLE = 10_000  # values examined
CURE = (
    "all as [1, 2, 3], a single one as [1] (in CSV within quotes), or as a row per event; to keep each as one item, say"
)


def example(
    values: pl.Series, count: int, rows: int, owners: int, codes: Iterable[tuple[np.ndarray, np.ndarray]] = ()
) -> tuple[str, bool] | None:
    """Returns a value that looks like a history, and whether its parts look like ids; None if the items don't.

    Ids have digits, so titles don't look like histories. Words, which may be genres, count only in square brackets, or
    if they are separated by commas, semicolons or | and either each user has one row or the values are like baskets. A
    single list as Python or JSON writes it is enough. Values that recur, as a history may in each row of its user,
    count if they differ in length and nearly all have a single owner, or if most parts occur at several positions, as
    in baskets.

    Args:
        values: distinct items as text; plain numbers may be left out.
        count: number of distinct items.
        rows: number of rows.
        owners: number of users (or sessions).
        codes: (owner numbers, item numbers) of consecutive rows, in parts; only the first part is used.

    >>> example(pl.Series(["1 2 3", "2 3 4"]), 2, 2, 2)
    ('1 2 3', True)
    >>> example(pl.Series(["[1 2 ... 8 9]", "[1, nan]"]), 2, 2, 2)
    ('[1 2 ... 8 9]', True)
    >>> example(pl.Series(["array([1, 2])"]), 3, 9, 2)
    ('array([1, 2])', True)
    >>> example(pl.Series(["The Matrix (1999)", "The Terminal (2004)"]), 2, 2, 2)
    """
    values = values.filter(~values.str.contains(FLOAT))  # 1,0 is a number
    ends = values.filter(values.str.starts_with("[") | values.str.ends_with(")"))
    if len(lists := ends.filter(ends.str.replace(NAMED, "${1}").str.contains(ENTRIES))):
        return lists[0], True
    alone = owners >= LISTED * rows
    once = alone or count >= LISTED * rows
    looked = values.head(SAMPLE)
    bare = looked.str.replace(NAMED, "${1}")
    inner = bare.str.strip_chars(BRACKETS)
    parts = inner.str.extract_all(PART)
    several = parts.list.len() > 1
    if not several.any() or several.sum() * len(values) < MULTIPLE * count * len(several):
        return None
    bracketed = bare.str.contains(LIST)
    lists = looked.filter(bracketed & several)
    if bracketed.sum() >= BRACKETED * len(looked) and len(lists) > MULTIPLE * len(looked):
        return lists[0], True
    single = count > len(values) or not several.all()
    values, inner, parts = (each.filter(several) for each in (looked, inner, parts))
    differ = parts.list.len().n_unique() > 1
    found = parts.list.unique().explode()
    recurring = found.is_duplicated().sum() >= RECURRING * len(found)
    ids = (found.str.contains("[0-9]") & (found.str.len_chars() <= LONGEST)).sum() >= NUMBERED * len(found)
    if ids and once and (recurring or (differ and found.str.contains("^[0-9]+$").all())):
        return values[0], True
    if ids and differ and not once and (recurring or found.str.contains(PLAIN).all()) and _have_one_owner(codes):
        return values[0], True
    marked = inner.str.contains(r"[,;|]")
    clear = marked.sum() >= NUMBERED * len(marked) or bool(found.str.contains("^[0-9]+$").all())
    baskets = parts.list.len().n_unique() + single >= LENGTHS and _are_sets(parts)
    if ids and recurring and clear and baskets:
        return values[0], True
    listed = marked & ~inner.str.contains(r"[^\s,;|]\s+[^\s,;|]")
    return (values[0], False) if (alone or baskets) and recurring and listed.sum() >= NUMBERED * len(listed) else None


def _are_sets(parts: pl.Series) -> bool:
    """Returns whether most parts occur at several positions in values, as in baskets but not in ids."""
    places = pl.DataFrame({"part": parts, "place": [list(range(length)) for length in parts.list.len()]})
    found = places.explode("part", "place").group_by("part").agg(pl.col("place").n_unique())
    return (found["place"] > 1).sum() >= MIXED * len(found)


def _have_one_owner(codes: Iterable[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Returns whether nearly all items of the first rows have a single owner."""
    for owner, item in codes:
        pairs = distinct(owner.astype(np.int64) << 32 | item)
        return LISTED * len(pairs) <= len(distinct(item.astype(np.int64)))
    return False


def refusal(where: object, column: str, value: str, flags: str = "--ids text") -> str:
    """Returns the error message for a column of histories. `flags`: flags that read each of them as one item."""
    named = column if column.startswith("column ") else f"column {column}"
    told = f"{where}: {named}: {short(value)} and the like look like histories, each of which would be one item"
    lost = "; its ... stands for items that are lost" if "..." in value else ""
    return f"{told}{lost}: write them {CURE} {flags}"


def note(column: str, value: str) -> str:
    """Returns the note for a column that may hold histories of words."""
    return (
        f"{column}: each value is one item; if values such as {short(value)} list several, write them as "
        '["a", "b"], or as a row per event'
    )

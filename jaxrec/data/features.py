"""What items are, as numbers that a model takes: categories, bins of quantities, and given vectors.

They follow from a catalogue alone, so that a workdir's catalogue gives again what its training had.
"""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.columns import plain
from jaxrec.data.interactions import COUNT, TITLES, Catalogue
from jaxrec.data.text import some
from jaxrec.system.errors import UserError

BINS = 20  # of a quantity: quantiles of the items that have it
SHARED = 2  # items of training that a value must have, to say anything of another
CATEGORY = "category"  # brand_id:category is a code, not a quantity
YEAR = "year"  # of titles such as Heat (1995), where no column has this name
YEARS = r"\((1[89]\d\d|20\d\d)\)"


class Features(NamedTuple):
    """Of V items; row v - 1 is of item v."""

    values: np.ndarray  # [V, F] int32, numbers of values from 1, ascending and then 0: an item may have many, or none
    vectors: np.ndarray  # [V, K] float32, of standardised columns divided by sqrt(K); zero where none is given
    names: list[tuple[str, str]]  # (column, value) of each number from 1


def parse(names: str) -> list[str]:
    """The columns that a key names: "genres, year" -> ["genres", "year"]."""
    return [name.strip() for name in names.split(",") if name.strip()]


def build(catalogue: Catalogue, names: Sequence[str]) -> Features:
    """The features of these columns.

    A text is one value, or several: those between "|", else between commas or spaces where that leaves fewer different
    ones than there are texts (of titles never). A list holds several; one of floats is a vector. Booleans are values,
    and so are numbers and dates, by the quantile that they lie in: of 20, fewer where these are not distinct. What
    fewer than two items of training have (of all, where counts are not known) is left out.

    >>> import polars as pl
    >>> titles = ["A (1990)", "B (1990)", "C (1990)", "D (1995)"]
    >>> about = pl.DataFrame({"genres": ["Drama|War", "War", "Drama", "Horror"], "title": titles})
    >>> found = build(Catalogue(np.arange(4), about), ["genres", "year"])
    >>> found.names, found.values.tolist()
    ([('genres', 'Drama'), ('genres', 'War'), ('year', '1990')], [[1, 2, 3], [2, 3, 0], [1, 3, 0], [0, 0, 0]])

    Args:
        catalogue: what is made of a column is decided by the items that train: others change nothing for them.
        names: of columns; `NAME:category` takes numbers as they are; `year` is that of titles where no column is it.

    Raises:
        UserError: a column is not there, holds nothing to go by, or vectors of different lengths, or not finite.
    """
    trained = np.ones(len(catalogue.ids), bool) if catalogue.counts is None else catalogue.counts > 0
    pairs, vectors, known = [], [np.zeros((len(trained), 0), np.float32)], []
    for name in dict.fromkeys(names):
        column = _column(catalogue, name)
        if _is_vectors(column):
            vectors.append(_standardised(column, name, trained))
            continue
        found = _values(column, name, trained)
        found = found.filter(pl.col("value").is_in(_shared(found, trained).implode()))
        if not len(found):
            raise UserError(
                f"config.features names {name}: no value of it is that of {SHARED} items or more that train, and so it "
                "tells nothing of one by another: leave it out"
            )
        different = found["value"].unique().sort()
        number = pl.DataFrame({"value": different, "number": np.arange(len(different)) + len(known) + 1})
        pairs.append(found.join(number, on="value").select("item", "number"))
        known += [(name.partition(":")[0], str(value)) for value in different.to_list()]
    width = sum(each.shape[1] for each in vectors)
    scaled = np.concatenate(vectors, axis=1) / np.float32(max(width, 1)) ** 0.5
    return Features(_padded(pairs, len(trained)), scaled.astype(np.float32), known)


def pairs(catalogue: Catalogue, name: str) -> pl.DataFrame:
    """Which item has which value of a column: the columns item, from 1, and value, each pair once; numbers as they are.

    Raises:
        UserError: the column holds no values.
    """
    assert catalogue.about is not None, "a column is of a table"
    column = catalogue.about[name]
    if _is_vectors(column):
        raise UserError(f"column {name} of items holds vectors: name one of texts, or lists of them")
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        column = column.cast(pl.String)
    return _values(column, name, np.ones(len(column), bool))


def usable(catalogue: Catalogue) -> list[str]:
    """The columns of a catalogue that `build` takes: but for numbers that are another in every item, as ids are."""
    about = pl.DataFrame() if catalogue.about is None else catalogue.about.drop(COUNT, strict=False)
    found = []
    from_titles = [YEAR] if catalogue.titles is not None and YEAR not in about.columns else []
    for name in about.columns + from_titles:
        column = _column(catalogue, name)
        if column.dtype.is_numeric() and column.drop_nulls().is_unique().all():
            continue
        with contextlib.suppress(UserError):
            build(catalogue, [name])
            found.append(name)
    return found


def _column(catalogue: Catalogue, name: str) -> pl.Series:
    column, _, kind = name.partition(":")
    about = pl.DataFrame() if catalogue.about is None else catalogue.about.drop(COUNT, strict=False)
    if kind not in ("", CATEGORY):
        raise UserError(f"config.features names {name}: after the colon only {CATEGORY} may come")
    if column in about.columns:
        found = about[column]
        return found.cast(pl.String) if kind and not found.dtype.is_nested() else found
    if column == YEAR and catalogue.titles is not None:
        return pl.Series(YEAR, catalogue.titles).str.extract(YEARS).cast(pl.Int64)
    there = f"there are {some(about.columns, 30)}" if about.width else "nothing is known of them"
    cure = "" if about.width else ": put a table such as items.csv beside the log, or name one with prepare's --items"
    raise UserError(f"config.features names {column}: items have no such column, {there}{cure}")


def _is_vectors(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.List | pl.Array) and column.dtype.inner.is_float()


def _standardised(column: pl.Series, name: str, trained: np.ndarray) -> np.ndarray:
    """Vectors, each of whose columns has mean 0 and deviation 1 over the items of training that have one. [V, K]"""
    given = column.drop_nulls().to_list()
    lengths = {len(each) for each in given}
    if len(lengths) != 1 or lengths == {0}:
        has = "no item has one" if not given else f"they have {min(lengths)} to {max(lengths)} numbers"
        raise UserError(
            f"config.features names {name}, a column of vectors: {has}: give all items as many, one or more"
        )
    rows = np.array([[np.nan if x is None else x for x in each] for each in given])
    if not np.isfinite(rows).all():
        row = column.is_not_null().arg_true()[int(np.flatnonzero(~np.isfinite(rows).all(1))[0])]
        raise UserError(
            f"config.features names {name}, a column of vectors: that in row {row + 1} is not finite: mend it"
        )
    has = column.is_not_null().to_numpy()
    known = rows[trained[has]]
    if not len(known):
        raise UserError(f"config.features names {name}, a column of vectors: no item that trains has one: leave it out")
    found, deviation = np.zeros((len(column), rows.shape[1]), np.float32), known.std(0)
    found[has] = (rows - known.mean(0)) / np.where(deviation > 0, deviation, 1)
    return found


def _values(column: pl.Series, name: str, trained: np.ndarray) -> pl.DataFrame:
    """Who has which value: the columns item, from 1, and value, each pair once."""
    dtype = column.dtype
    if dtype in (pl.Boolean, pl.Categorical, pl.Enum, pl.Null):
        column = column.cast(pl.String)
    elif dtype.is_numeric() or dtype.is_temporal():
        column = _binned(column.to_physical() if dtype.is_temporal() else column, trained)
    elif dtype == pl.String:
        column = _parts(column, trained)
    elif not isinstance(dtype, pl.List | pl.Array):
        raise UserError(f"config.features names {name}, which holds {dtype}: texts, numbers, dates and lists will do")
    frame = pl.DataFrame({"item": np.arange(1, len(column) + 1), "value": column})
    while isinstance(frame["value"].dtype, pl.List | pl.Array):
        frame = frame.explode("value")
    if frame["value"].dtype == pl.Struct:
        raise UserError(f"config.features names {name}, which holds {dtype}: texts, numbers, dates and lists will do")
    if not frame["value"].dtype.is_integer():
        frame = frame.with_columns(pl.col("value").cast(pl.String).str.strip_chars())
        frame = frame.filter(pl.col("value") != "")
    return frame.drop_nulls().unique()


def _binned(column: pl.Series, trained: np.ndarray) -> pl.Series:
    """The highest number of each item's quantile, of those that train: the value of its bin."""
    numbers = column.cast(pl.Float64).to_numpy()
    real = np.isfinite(numbers)
    if not (real & trained).any():
        return pl.Series([None] * len(column), dtype=pl.Float64)
    of = numbers[real & trained]
    ends = np.unique(np.quantile(of, np.arange(1, BINS + 1) / BINS, method="inverted_cdf"))
    bins = ends[np.minimum(np.searchsorted(ends, numbers), len(ends) - 1)]
    whole = (ends == np.round(ends)).all()
    shown = [
        None if not ok else str(int(end)) if whole else repr(float(end)) for end, ok in zip(bins, real, strict=True)
    ]
    return pl.Series(shown, dtype=pl.String)


def _parts(column: pl.Series, trained: np.ndarray) -> pl.Series:
    """The values of each text, as lists; what parts them is seen by the items that train."""
    known = column.filter(pl.Series(trained))
    if known.str.contains("|", literal=True).any():
        return column.str.split("|")
    for separator in (",", " ") if plain(column.name) not in TITLES else ():
        parts = known.str.split(separator).explode().str.strip_chars()
        if known.str.contains(separator, literal=True).any() and parts.n_unique() < known.n_unique():
            return column.str.split(separator)
    return column


def _shared(found: pl.DataFrame, trained: np.ndarray) -> pl.Series:
    """The values that enough items of training have."""
    met = found.filter(pl.Series(trained[found["item"].to_numpy() - 1], dtype=pl.Boolean))
    return met.group_by("value").len().filter(pl.col("len") >= SHARED)["value"]


def _padded(pairs: list[pl.DataFrame], items: int) -> np.ndarray:
    """The numbers of each item's values in a row, ascending, then 0. [V, F] int32"""
    frame = pl.concat([each.cast(pl.Int64) for each in pairs]) if pairs else pl.DataFrame({"item": [], "number": []})
    frame = frame.cast(pl.Int64).sort("item", "number")
    item = frame["item"].to_numpy() - 1
    count = np.bincount(item, minlength=items)
    padded = np.zeros((items, count.max(initial=0)), np.int32)
    padded[np.arange(padded.shape[1]) < count[:, None]] = frame["number"].to_numpy()
    return padded

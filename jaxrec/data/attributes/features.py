"""Item features for models: categories, binned quantities and vectors.

They are computed from the catalogue alone, so the catalogue in a workdir reproduces the features of its training.
"""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.columns import plain
from jaxrec.data.files.text import some
from jaxrec.data.interactions import COUNT, TITLES, Catalogue
from jaxrec.system.errors import UserError

BINS = 20  # quantile bins of a quantity
SHARED = 2  # minimum number of training items that must have a value
TELLING = 0.5  # minimum share of the training items that must share a value of a column with another item
CATEGORY = "category"  # as in brand_id:category: the numbers are codes, not quantities
FAR = 1e15  # standard deviations from the mean beyond which products of vectors would overflow float32
YEAR = "year"  # taken from titles such as Heat (1995), if there is no column of this name
YEARS = r"\((1[89]\d\d|20\d\d)\)"


class Features(NamedTuple):
    """Features of V items; row v - 1 is item v."""

    values: np.ndarray  #: [V, F] int32 numbers of the item's values, from 1, ascending, padded with 0
    vectors: np.ndarray  #: [V, K] float32, columns standardised and divided by sqrt(K); zero for items without vectors
    names: list[tuple[str, str]]  #: (column, value) that the numbers 1, 2, ... stand for


def parse(names: str) -> list[str]:
    """Splits a comma-separated list of column names: "genres, year" -> ["genres", "year"]."""
    return [name.strip() for name in names.split(",") if name.strip()]


def build(catalogue: Catalogue, names: Sequence[str]) -> Features:
    """Returns the features that these columns give.

    Text holds one value or several: it is split at "|", otherwise at commas or spaces if that reduces the number of
    distinct values (titles are never split). A list holds several values; a list of floats is a vector. Booleans are
    values. Numbers and dates are binned into up to 20 quantiles. Values that fewer than two training items have (or
    two items in all, if training counts are unknown) are left out.

    >>> import polars as pl
    >>> titles = ["A (1990)", "B (1990)", "C (1990)", "D (1995)"]
    >>> about = pl.DataFrame({"genres": ["Drama|War", "War", "Drama", "Horror"], "title": titles})
    >>> found = build(Catalogue(np.arange(4), about), ["genres", "year"])
    >>> found.names, found.values.tolist()
    ([('genres', 'Drama'), ('genres', 'War'), ('year', '1990')], [[1, 2, 3], [2, 3, 0], [1, 3, 0], [0, 0, 0]])

    Args:
        catalogue: the items; splits, bins and scales depend only on the training items.
        names: column names; `NAME:category` treats numbers as categories; `year` is taken from titles if there is no
            such column.

    Raises:
        UserError: if a column is missing or has no usable values, or vectors differ in length or aren't finite.
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
                f"config.features names {name}: no value is shared by {SHARED} or more training items, so there is "
                "nothing to learn from it: leave it out"
            )
        different = found["value"].unique().sort()
        number = pl.DataFrame({"value": different, "number": np.arange(len(different)) + len(known) + 1})
        pairs.append(found.join(number, on="value").select("item", "number"))
        known += [(name.partition(":")[0], str(value)) for value in different.to_list()]
    width = sum(each.shape[1] for each in vectors)
    scaled = np.concatenate(vectors, axis=1) / np.float32(max(width, 1)) ** 0.5
    return Features(_padded(pairs, len(trained)), scaled.astype(np.float32), known)


def pairs(catalogue: Catalogue, name: str) -> pl.DataFrame:
    """Returns the distinct pairs of item, from 1, and value of a column, as columns; numbers are not binned.

    Raises:
        UserError: if the column holds vectors, or a type that can't be split into values, such as records.
    """
    assert catalogue.about is not None, "a column is of a table"
    column = catalogue.about[name]
    if _is_vectors(column):
        raise UserError(f"column {name} of items holds vectors: name a column of texts or of lists of texts")
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        column = column.cast(pl.String)
    return _values(column, name, np.ones(len(column), bool))


def usable(catalogue: Catalogue) -> list[str]:
    """Returns the columns that `build` accepts, except numbers that differ for every item, such as ids."""
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


def telling(catalogue: Catalogue) -> list[str]:
    """Returns the columns that group items: categories, lists, vectors, and years in titles.

    A column counts if at least half of the training items have a vector in it, or a value that another training item
    has too. Columns of numbers and dates don't: they may be codes, or statistics of the very events to be predicted.

    >>> about = pl.DataFrame({"title": ["A", "B", "C"], "brand": ["X", "X", "Y"], "sold": [9, 9, 1]})
    >>> telling(Catalogue(np.arange(3), about))
    ['brand']
    """
    trained = slice(None) if catalogue.counts is None else catalogue.counts > 0
    found = []
    for name in usable(catalogue):
        column = _column(catalogue, name)
        if name != YEAR and (column.dtype.is_numeric() or column.dtype.is_temporal()):
            continue
        made = build(catalogue, [name])
        known = (made.values > 0).any(1) | (made.vectors != 0).any(1)
        if known[trained].mean() >= TELLING:
            found.append(name)
    return found


def _column(catalogue: Catalogue, name: str) -> pl.Series:
    column, _, kind = name.partition(":")
    about = pl.DataFrame() if catalogue.about is None else catalogue.about.drop(COUNT, strict=False)
    if kind not in ("", CATEGORY):
        raise UserError(f"config.features names {name}: only {CATEGORY} may follow the colon")
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
    """Returns the vectors, each column scaled to mean 0 and standard deviation 1 over the training items. [V, K]"""
    given = column.drop_nulls()
    lengths = {column.dtype.size} if isinstance(column.dtype, pl.Array) else {*given.list.len().unique()}
    if len(lengths) != 1 or lengths == {0} or not len(given):
        has = f"they have {min(lengths)} to {max(lengths)} numbers" if len(given) else "no item has one"
        raise UserError(
            f"config.features names {name}, a column of vectors: {has}: give all items vectors of one length, 1 or more"
        )
    rows = given.explode().cast(pl.Float64).fill_null(np.nan).to_numpy().reshape(len(given), *lengths)
    if not np.isfinite(rows).all():
        row = column.is_not_null().arg_true()[int(np.flatnonzero(~np.isfinite(rows).all(1))[0])]
        raise UserError(
            f"config.features names {name}, a column of vectors: the one in row {row + 1} is not finite: mend it"
        )
    has = column.is_not_null().to_numpy()
    known = rows[trained[has]]
    if not len(known):
        raise UserError(f"config.features names {name}, a column of vectors: no training item has one: leave it out")
    deviation = known.std(0)
    scaled = (rows - known.mean(0)) / np.where(deviation > 0, deviation, 1)
    if (far := np.flatnonzero(~(np.abs(scaled) < FAR).all(1))).size:
        row = column.is_not_null().arg_true()[int(far[0])]
        raise UserError(
            f"config.features names {name}, a column of vectors: the one in row {row + 1} is out of all proportion to "
            "the others: mend it"
        )
    found = np.zeros((len(column), rows.shape[1]), np.float32)
    found[has] = scaled
    return found


def _values(column: pl.Series, name: str, trained: np.ndarray) -> pl.DataFrame:
    """Returns the distinct pairs of item, from 1, and value, as columns."""
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


def bin_ends(numbers: np.ndarray) -> np.ndarray:
    """Returns the upper ends of up to `BINS` quantile bins of these numbers, ascending."""
    return np.unique(np.quantile(numbers, np.arange(1, BINS + 1) / BINS, method="inverted_cdf"))


def _binned(column: pl.Series, trained: np.ndarray) -> pl.Series:
    """Returns each item's bin, written as its upper end; the bins are quantiles over the training items."""
    numbers = column.cast(pl.Float64).to_numpy()
    real = np.isfinite(numbers)
    if not (real & trained).any():
        return pl.Series([None] * len(column), dtype=pl.Float64)
    of = numbers[real & trained]
    ends = bin_ends(of)
    bins = ends[np.minimum(np.searchsorted(ends, numbers), len(ends) - 1)]
    whole = (ends == np.round(ends)).all()
    shown = [
        None if not ok else str(int(end)) if whole else repr(float(end)) for end, ok in zip(bins, real, strict=True)
    ]
    return pl.Series(shown, dtype=pl.String)


def _parts(column: pl.Series, trained: np.ndarray) -> pl.Series:
    """Returns the column with each text split into a list, if the training items have a separator."""
    known = column.filter(pl.Series(trained))
    if known.str.contains("|", literal=True).any():
        return column.str.split("|")
    for separator in (",", " ") if plain(column.name) not in TITLES else ():
        parts = known.str.split(separator).explode().str.strip_chars()
        if known.str.contains(separator, literal=True).any() and parts.n_unique() < known.n_unique():
            return column.str.split(separator)
    return column


def _shared(found: pl.DataFrame, trained: np.ndarray) -> pl.Series:
    """Returns the values that at least SHARED training items have."""
    met = found.filter(pl.Series(trained[found["item"].to_numpy() - 1], dtype=pl.Boolean))
    return met.group_by("value").len().filter(pl.col("len") >= SHARED)["value"]


def _padded(pairs: list[pl.DataFrame], items: int) -> np.ndarray:
    """Returns each item's value numbers, ascending, padded with 0. [V, F] int32"""
    frame = pl.concat([each.cast(pl.Int64) for each in pairs]) if pairs else pl.DataFrame({"item": [], "number": []})
    frame = frame.cast(pl.Int64).sort("item", "number")
    item = frame["item"].to_numpy() - 1
    count = np.bincount(item, minlength=items)
    padded = np.zeros((items, count.max(initial=0)), np.int32)
    padded[np.arange(padded.shape[1]) < count[:, None]] = frame["number"].to_numpy()
    return padded

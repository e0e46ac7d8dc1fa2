"""User attributes from a table of users, and the numbers by which models look them up."""

import datetime
import decimal
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.attributes import features, items
from jaxrec.data.files import beside
from jaxrec.data.files.text import short, some
from jaxrec.data.given import Input
from jaxrec.data.interactions import ID, Catalogue, Interactions, UserColumns
from jaxrec.system import arguments, checksums
from jaxrec.system.errors import UserError

KEY = "config.user_features"
MOST = 65_000  # maximum number of distinct values of a column
#: types of values that a table of users or a request may have
VALUES = (str, bool, np.bool_, int, float, np.number, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


class Column(NamedTuple):
    """A user column whose values have embeddings; values are numbered from 1, and 0 means unknown."""

    name: str
    values: tuple[str, ...] = ()  #: the categories, sorted
    ends: tuple[float, ...] = ()  #: for a quantity, the upper ends of its bins, ascending

    @property
    def size(self) -> int:
        """The number of values or bins, without the 0 for unknown."""
        return len(self.values) + len(self.ends)

    def numbers(self, values: Sequence) -> list[int]:
        """Returns the numbers of some values: texts, numbers, booleans or dates, or None where unknown.

        >>> Column("gender", values=("F", "M")).numbers(["M", None, "X"])
        [2, 0, 0]
        >>> Column("age", ends=(18.0, 35.0)).numbers([3, "20", 99, "old"])
        [1, 2, 2, 0]
        """
        if self.values:
            place = {value: number for number, value in enumerate(self.values, 1)}
            return [place.get(_text(value), 0) for value in values]
        quantities = np.array([_quantity(value) for value in values], np.float64)
        places = np.minimum(np.searchsorted(self.ends, quantities), len(self.ends) - 1) + 1
        return np.where(np.isfinite(quantities), places, 0).tolist()


def described(interactions: Interactions, given: Input) -> Interactions:
    """Returns the interactions with the columns of the given table of users, or of one found beside the log.

    A table found beside the log that can't be read, or isn't about these users, is ignored with a note.

    Raises:
        UserError: if the given table is missing or damaged, or has none of the log's users.
    """
    path = given.users
    if (isinstance(path, str) and not path) or (path is None and (not given.files or interactions.digest is not None)):
        return interactions  # a prepared folder has its own columns
    column = given.columns.get("user")
    own = Catalogue(interactions.users)
    try:
        table = beside.table(given.files, given.name, "user") if path is None else path
        if table is None:
            return interactions
        name, about = items.given(table, own, column, "user")
        ids = pl.DataFrame({ID: pl.Series(own.ids.tolist()).cast(pl.String)})
        unknown = ids.join(about, on=ID, how="anti")[ID]
        if len(unknown) == len(ids):
            told = f"{short(str(about[ID].first()))}, where the log has {short(str(own.ids[0]))}"
            raise UserError(f"{name}: none of its ids is a user of the log; it has {told}: name their column user_id")
    except UserError as error:
        if path is not None:
            raise
        given.say(f"no table of users: {error}")
        return interactions
    about = items.looked_over(name, about, given.say)
    given.say(f"users: {name}: {some(about.drop(ID).columns, 30)}")
    if about.width == 1:
        return interactions
    if len(unknown):
        example = items.as_in(unknown, ids, about)
        given.say(f"{len(unknown):,} of {len(ids):,} users have no row in the table of users{example}")
    aligned = ids.join(about, on=ID, how="left", maintain_order="left").drop(ID)
    return replace(interactions, user_columns=UserColumns(aligned))


def parse(names: str) -> list[str]:
    """Returns the columns of a key, without what follows a colon: "gender, job:category" -> ["gender", "job"]."""
    return [name.partition(":")[0] for name in features.parse(names)]


def chosen(interactions: Interactions, names: str) -> Interactions:
    """Returns the interactions with the user columns that a model uses, their values numbered.

    Texts and booleans are categories; only values that two or more users share are kept. Numbers and dates are binned
    into up to 20 quantiles, or are categories if the name is followed by `:category`.

    Args:
        interactions: the interactions of the training.
        names: `user_features` of a configuration; "" for none.

    >>> from jaxrec.data.interactions import from_sequences
    >>> about = pl.DataFrame({"gender": ["F", "M", "F"]})
    >>> log = replace(from_sequences([[1, 2]] * 3), user_columns=UserColumns(about))
    >>> chosen(log, "gender").user_columns.chosen
    (Column(name='gender', values=('F',), ends=()),)

    Raises:
        UserError: if there is no such column (the message names those there are), or no model could learn from it.
    """
    if not (wanted := features.parse(names)):
        return interactions
    known = interactions.user_columns
    if known is None:
        cure = "put a table such as users.csv beside the log, or name one with prepare's --users"
        raise UserError(f"{KEY} names {wanted[0]}: nothing is known of the users of {interactions.name}: {cure}")
    made = tuple(_made(known.about, name) for name in wanted)
    for column in made:
        if [each.name for each in made].count(column.name) > 1:
            raise UserError(f"{KEY} names {column.name} twice: once will do")
    return replace(interactions, user_columns=known._replace(chosen=made))


def _made(about, name):
    column, _, kind = name.partition(":")
    if column not in about.columns:
        raise UserError(f"{KEY} names {column}: users have no such column, there are {some(about.columns, 30)}")
    if kind not in ("", features.CATEGORY):
        raise UserError(f"{KEY} names {name}: only {features.CATEGORY} may follow the colon")
    found = about[column]
    _check(found)
    if not kind and (found.dtype.is_numeric() or found.dtype.is_temporal()):
        numbers = np.array([_quantity(value) for value in found.to_list()], np.float64)
        if (real := np.isfinite(numbers)).any():
            return Column(column, ends=tuple(features.bin_ends(numbers[real]).tolist()))
    texts = pl.Series([_text(value) for value in found.to_list()], dtype=pl.String)
    counts = texts.value_counts(name="users").filter(pl.col("users") >= features.SHARED)
    values = sorted(set(counts[texts.name].drop_nulls().to_list()) - {""})
    if not values:
        raise UserError(f"{KEY} names {name}: no value is shared by two or more users: leave it out")
    if len(values) > MOST:
        raise UserError(f"{KEY} names {name}, which has more than {MOST:,} different values: name a coarser column")
    return Column(column, values=tuple(values))


def _check(column):
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        said = f"a column of users holds one text, number, date or boolean per user, not {column.dtype}"
        raise UserError(f"{KEY} names {column.name}: {said}")


def per_user(interactions: Interactions, columns: Sequence[Column]) -> dict[str, np.ndarray] | None:
    """Returns {column: [U] uint16 value numbers of the log's users}, 0 if the log lacks it; None without a table."""
    known = interactions.user_columns
    if known is None:
        return None
    found = {}
    for column in columns:
        found[column.name] = np.zeros(len(known.about), np.uint16)
        if column.name in known.about.columns:
            _check(known.about[column.name])
            found[column.name][:] = column.numbers(known.about[column.name].to_list())
    return found


def per_event(interactions: Interactions, columns: Sequence[Column] | None = None) -> dict[str, np.ndarray] | None:
    """Returns `per_user`, repeated for each event: [N]. By default of the chosen columns; None if there are none."""
    known = interactions.user_columns
    columns = (known.chosen if known else ()) if columns is None else columns
    if known is None or not columns:
        return None
    lengths, found = np.diff(interactions.offsets), per_user(interactions, columns) or {}
    return {name: np.repeat(numbers, lengths) for name, numbers in found.items()}


def of_request(given: Any, columns: Sequence[Column], which: str = "") -> tuple[dict[str, int], list]:
    """Returns {column: value number} of what a request says about its user, and the values unknown to the model.

    >>> of_request({"gender": "X"}, [Column("gender", values=("F", "M"))])
    ({'gender': 0}, ['X'])

    Raises:
        UserError: if the model uses no such column, or a value is of the wrong type.
    """
    if not isinstance(given, Mapping):
        raise UserError(f"{which}user_columns: {short(repr(given))} is not a mapping: give {{column: value}}")
    known = {column.name: column for column in columns}
    numbers, unknown = {}, []
    for name, value in given.items():
        if name not in known:
            raise UserError(
                f"{which}user_columns: the model does not use {short(str(name))}: it uses {some(known, 30)}"
            )
        if not (value is None or isinstance(value, VALUES)):
            raise UserError(f"{which}user_columns: {name} is {short(repr(value))}: give a text, a number or a date")
        (numbers[name],) = known[name].numbers([value])
        unknown += [value] if not numbers[name] and value not in (None, "") else []
    return numbers, unknown


def values_of(interactions: Interactions, row: int) -> dict:
    """Returns {column: value} of what the log says about a user; empty if nothing is known."""
    known = interactions.user_columns
    if known is None:
        return {}
    values = known.about.row(row, named=True)
    unknown = lambda value: value is None or (isinstance(value, float) and not math.isfinite(value))
    return {name: value for name, value in values.items() if not unknown(value)}


def stored(interactions: Interactions) -> dict | None:
    """Returns the chosen columns as plain values, with a checksum of the users' numbers; None if none are chosen."""
    if interactions.user_columns is None or not interactions.user_columns.chosen:
        return None
    columns = interactions.user_columns.chosen
    numbers = np.stack(list((per_user(interactions, columns) or {}).values()))
    told = [{"name": column.name, "values": list(column.values), "ends": list(column.ends)} for column in columns]
    return {"columns": told, "checksum": checksums.of_array(numbers)}


def restored(stored: dict | None) -> tuple[Column, ...]:
    """Returns the columns from the result of `stored`."""
    return tuple(
        Column(each["name"], tuple(each["values"]), tuple(each["ends"]))
        for each in (stored or {"columns": []})["columns"]
    )


def _text(value):
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        value = int(value)
    return "" if value is None else str(value).strip()


def _quantity(value):
    """Returns a number as float, a date as seconds since 1970, and NaN for anything else."""
    value = value.strip() if isinstance(value, str) else value
    value = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else value
    if isinstance(value, bool | np.bool_):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # dates, times of day and the like; integers too large for a float
        moment = arguments.microseconds(value)
        return math.nan if moment is None else moment / 1_000_000

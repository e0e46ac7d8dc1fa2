"""Interactions: the users' histories as flat arrays of item numbers, with the external ids."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.columns import plain
from jaxrec.data.storage.maps import release
from jaxrec.system.errors import UserError

ID = "id"  # column of the external ids, in Parquet
COUNT = "training_count"  # column of each item's number of training interactions, in a workdir's catalogue
#: names of the columns of titles and of genres, in order of preference; compared by `columns.plain`
TITLES, GENRES = ("title", "movietitle", "name", "itemname"), ("genres", "genre", "class", "categories", "category")


class Catalogue(NamedTuple):
    """The items: row v - 1 is item v. The items of a log are sorted by external id."""

    ids: np.ndarray  #: [V] int64, or str
    about: pl.DataFrame | None = None  #: [V rows] the items' attributes, with the names and types of their source

    @property
    def titles(self) -> list[str] | None:
        """Titles [V] from the first column in TITLES, "" where missing; None if there is no title column."""
        return self._column(TITLES)

    @property
    def genres(self) -> list[str] | None:
        """Genres [V] from the first column in GENRES, several joined as "A|B"; None if there is no genre column."""
        return self._column(GENRES)

    @property
    def counts(self) -> np.ndarray | None:
        """Number of training interactions per item [V]; None if the training did not record it."""
        if self.about is None or COUNT not in self.about.columns:
            return None
        return self.about[COUNT].to_numpy()

    def counted(self, counts_V: np.ndarray) -> "Catalogue":
        """Returns the catalogue with these training counts."""
        column = pl.Series(COUNT, counts_V, pl.Int64)
        return self._replace(about=column.to_frame() if self.about is None else self.about.with_columns(column))

    def _column(self, names):
        if self.about is None:
            return None
        found = {plain(name): name for name in reversed(self.about.columns)}
        name = next((found[each] for each in names if each in found), None)
        if name is None or isinstance(self.about[name].dtype, pl.Struct):
            return None
        column = self.about[name]
        if isinstance(column.dtype, pl.List):
            column = column.list.eval(pl.element().cast(pl.String)).list.join("|", ignore_nulls=True)
        return column.cast(pl.String).fill_null("").to_list()

    def save(self, path: str | Path) -> None:
        """Writes the catalogue as Parquet: the column "id", then the attributes."""
        frame = pl.DataFrame({ID: self.ids.tolist()})
        if self.about is not None:
            frame = frame.hstack(self.about.drop(ID, strict=False))
        with open(path, "wb") as file:
            frame.write_parquet(file)

    @classmethod
    def load(cls, path: str | Path) -> "Catalogue":
        """Reads a catalogue written by `save`."""
        with open(path, "rb") as file:  # polars would read a path as a glob pattern
            frame = pl.read_parquet(file)
        about = frame.drop(ID)
        return cls(to_array(frame[ID]), about if about.width else None)

    def take(self, numbers: np.ndarray) -> "Catalogue":
        """Returns the catalogue of these items (numbers from 1), in this order."""
        rows = np.asarray(numbers) - 1
        return Catalogue(self.ids[rows], None if self.about is None else self.about[rows])


class Sessions(NamedTuple):
    """The sessions of the histories: session s is `items[offsets[s]:offsets[s + 1]]`, part of one user's history."""

    offsets: np.ndarray  #: [S + 1] int64; includes every user's offset
    ids: np.ndarray  #: [S] external ids, int64 or str


class Types(NamedTuple):
    """What was done with the item at each event, such as viewed, put into the cart or bought."""

    numbers: np.ndarray  # [N] uint8, index of the name, from 1; 0 if not known; may be a memory map
    names: tuple[str, ...]  # sorted; each occurs
    asked: tuple[int, ...] | None = None  # numbers of the types that may be targets; None if all may


class UserColumns(NamedTuple):
    """What is known of the users besides their events: row u is user u."""

    about: pl.DataFrame  #: [U rows] the columns of the table of users, without ids
    chosen: tuple = ()  #: the `user_columns.Column`s that a model is shown

    def taken(self, rows: np.ndarray) -> "UserColumns":
        """Returns the columns of these users, in this order."""
        return self._replace(about=self.about[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """Histories stored back to back: user u's is `items[offsets[u]:offsets[u + 1]]`, oldest first."""

    items: np.ndarray  #: [N] int32, 1..V; may be a memory map
    offsets: np.ndarray  #: [U + 1] int64
    users: np.ndarray  #: [U] external ids, int64 or str; session ids in data without users
    catalogue: Catalogue
    name: str  #: file or generator, for messages
    times: np.ndarray | None = None  #: [N] int64 microseconds, non-decreasing within a history; may be a memory map
    relative: bool = False  #: whether times count from an unknown moment; otherwise from 1970, UTC
    weights: np.ndarray | None = None  #: [N] float32, such as ratings or seconds of play; may be a memory map
    types: Types | None = None  #: the types of the events, if known
    sessions: Sessions | None = None  #: the sessions within the histories, if there are any
    train_sessions: int | None = None  #: number of leading histories for training; the others are for testing
    digest: str | None = None  #: the fingerprint, if known
    user_columns: UserColumns | None = None  #: what is known of the users, if anything

    def columns_of(self, rows: np.ndarray) -> UserColumns | None:
        """Returns the columns of these users, in this order; None if nothing is known of them."""
        return None if self.user_columns is None else self.user_columns.taken(rows)


def by_session(interactions: Interactions) -> Interactions:
    """Returns the interactions with sessions as the users; unchanged if the histories have no sessions."""
    if interactions.sessions is None:
        return interactions
    offsets, ids = interactions.sessions
    training = interactions.train_sessions
    if training is not None:  # from a number of users to the number of their sessions
        training = int(np.searchsorted(offsets, interactions.offsets[training]))
    owner = np.searchsorted(interactions.offsets, offsets[:-1], side="right") - 1
    own = interactions.columns_of(np.minimum(owner, len(interactions.users) - 1))
    found = replace(interactions, offsets=offsets, users=ids, sessions=None, train_sessions=training, digest=None)
    return replace(found, user_columns=own)


def fingerprint(interactions: Interactions) -> str:
    """Returns the SHA-256 (hex) of items, offsets, ids, and of times, weights, types and sessions if present.

    Names, paths, and what is known of items and users are left out: the same histories from another file are the same
    data.
    """
    if interactions.digest:
        return interactions.digest
    digest = hashlib.sha256(b"jaxrec interactions 1")
    for array in (interactions.items, interactions.offsets, interactions.users, interactions.catalogue.ids):
        _update(digest, array)
    for name in ("times", "weights"):
        if (array := getattr(interactions, name)) is not None:
            digest.update(name.encode() + (b" relative" if name == "times" and interactions.relative else b""))
            _update(digest, array)
    if interactions.types is not None:
        digest.update(b"types")
        _update(digest, interactions.types.numbers)
        _update(digest, np.array(interactions.types.names, np.dtypes.StringDType()))
    if interactions.sessions is not None:
        digest.update(b"sessions")
        _update(digest, interactions.sessions.offsets)
        _update(digest, interactions.sessions.ids)
    if interactions.train_sessions is not None:
        digest.update(b"train sessions %d" % interactions.train_sessions)
    return digest.hexdigest()


def describe(interactions: Interactions) -> dict:
    """Returns the numbers of users, items and interactions, the quantiles of the history lengths, and the density."""
    lengths = np.diff(interactions.offsets)
    users, items, total = len(lengths), len(interactions.catalogue.ids), len(interactions.items)
    quantiles = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 0.95, 1]) if users else np.zeros(6)
    return {
        "users": users,
        "items": items,
        "interactions": total,
        "length": {
            "mean": total / users if users else 0.0,
            **dict(zip(("min", "25%", "50%", "75%", "95%", "max"), map(float, quantiles), strict=True)),
        },
        "density": total / (users * items) if users and items else 0.0,
    }


def from_sequences(histories: list[list], users: Sequence | None = None) -> Interactions:
    """Returns Interactions from Python lists of external ids, oldest first; users default to 1..U.

    >>> log = from_sequences([["a", "b", "c"], ["b", "c"]], users=["ann", "ben"])
    >>> log.items.tolist(), log.offsets.tolist()
    ([1, 2, 3, 2, 3], [0, 3, 5])
    >>> log.catalogue.ids.tolist(), log.users.tolist()
    (['a', 'b', 'c'], ['ann', 'ben'])
    """
    if users is None:
        users = range(1, len(histories) + 1)
    elif len(users) != len(histories):
        raise UserError(f"{len(histories)} histories but {len(users)} users: give one user for each history")
    elif len(set(map(str, users))) != len(users):
        raise UserError("two histories have the same user: join them into one")
    return assemble(
        pl.Series([str(user) for user in users], dtype=pl.String),
        pl.Series([str(item) for history in histories for item in history], dtype=pl.String),
        np.array([len(history) for history in histories], np.int64),
        "histories",
    )


def assemble(users: pl.Series, items: pl.Series, lengths: np.ndarray, name: str) -> Interactions:
    """Returns Interactions from string ids `users` [U] and `items` [N]; `lengths` [U]: the number of items per user."""
    ids, codes = number(items)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Interactions(items=codes, offsets=offsets, users=as_ids(users), catalogue=Catalogue(ids), name=name)


def as_ids(tokens: pl.Series) -> np.ndarray:
    """Returns ids as int64 if each equals the decimal form of an int64, otherwise as strings.

    A single "07", "+7" or number beyond int64 makes all of them strings, so that distinct ids stay distinct and print
    as they were read.
    """
    numbers = tokens.cast(pl.Int64, strict=False)
    if numbers.null_count() == 0 and (numbers.cast(pl.String) == tokens).all():
        return numbers.to_numpy().astype(np.int64)
    return to_array(tokens)


def to_array(ids: pl.Series) -> np.ndarray:
    """Returns ids as a NumPy array: int64, or variable-length strings."""
    return ids.to_numpy() if ids.dtype.is_integer() else np.array(ids.to_list(), np.dtypes.StringDType())


def number(tokens: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sorted distinct ids [V], and the number of each token among them, from 1, [N] int32."""
    distinct = tokens.unique()
    ids = as_ids(distinct)
    order = np.argsort(ids)
    numbers = np.empty(len(ids), np.int32)
    numbers[order] = np.arange(1, len(ids) + 1, dtype=np.int32)
    codes = tokens.cast(pl.Enum(distinct)).to_physical().to_numpy()
    return ids[order], numbers[codes]


def _update(digest, array: np.ndarray) -> None:
    if array.dtype.kind in "iu":
        _update_numbers(digest, b"int", array, "<i8")
    elif array.dtype.kind == "f":
        _update_numbers(digest, b"float", array, "<f4")
    else:  # the lengths distinguish ["ab", "c"] from ["a", "bc"]
        _update_numbers(digest, b"str", np.strings.str_len(array), "<i8")
        digest.update("".join(array.tolist()).encode())


def _update_numbers(digest, tag: bytes, array: np.ndarray, dtype: str, chunk: int = 1 << 22) -> None:
    digest.update(tag + len(array).to_bytes(8, "little"))
    for start in range(0, len(array), chunk):  # in chunks, so that a memory map is never loaded whole
        digest.update(np.ascontiguousarray(array[start : start + chunk], dtype))
        release(array)

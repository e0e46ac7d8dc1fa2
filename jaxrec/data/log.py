"""Builds Interactions from a log whose rows come in any order: numbers ids, parses times, sorts histories."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.data import event_types
from jaxrec.data.ids import Ids
from jaxrec.data.interactions import Catalogue, Interactions, Sessions
from jaxrec.data.ragged import distinct, stable_order
from jaxrec.data.text import EXAMPLES, BadRows
from jaxrec.data.times import Times
from jaxrec.system.errors import UserError


class Batch(NamedTuple):
    """Consecutive rows of a file."""

    frame: pl.DataFrame  #: columns named by `columns.ROLES`, as read: text, or the types of the file
    file: object  #: the file, for messages
    row: Callable[[int], tuple[str, str]]  #: index of a row -> (its place, as "line 7", and its text)
    why: Callable[[int], str | None] = lambda index: None  #: index of a row -> the reader's reason to reject it


class Log:
    """Collects batches of rows and turns them into histories.

    Args:
        columns: {role: column name} of the columns in every batch, for messages.
        bad: collects the rows that can't be used.
        ids: as for `Ids`.
        keep_na_ids: as for `Ids`.
        time_format: the strftime format of dates; None to detect it.
    """

    def __init__(
        self,
        columns: dict[str, str],
        bad: BadRows,
        ids: str = "",
        keep_na_ids: bool = False,
        time_format: str | None = None,
    ):
        self.columns, self.bad, self.rows = columns, bad, 0
        roles = [role for role in ("user", "item", "session") if role in columns]
        self.ids = {role: Ids(columns[role], ids, keep_na_ids) for role in roles}
        self.codes = {role: [] for role in self.ids}
        self.times = Times(columns["time"], time_format) if "time" in columns else None
        self.weights = []
        self.types = event_types.Column(columns["type"]) if "type" in columns else None

    def cleaned(self, batch: Batch) -> tuple[pl.DataFrame, list[tuple[pl.Series, str]]]:
        """Returns a batch in the form in which rows are kept, and (mask, reason) pairs for the rows that can't be used.

        Raises:
            UserError: if a column can't hold what it is read for.
        """
        frame, wrong = batch.frame, []
        for role, ids in self.ids.items():
            tokens, flaws = ids.clean(frame[role], batch.file, lambda index: batch.row(index)[0])
            frame = frame.with_columns(tokens.alias(role))
            wrong += flaws
        if self.times:
            self._check_precision(frame["time"], batch.file)
            times, why = self.times.parse(frame["time"])
            frame = frame.with_columns(times.alias("time"))
            wrong.append((times.is_null(), why))
        if "weight" in self.columns:
            weights = self._weights(frame["weight"], batch.file)
            frame = frame.with_columns(weights.alias("weight"))
            wrong.append((~weights.is_finite().fill_null(False), f"{self.columns['weight']} is not a finite number"))
        return frame, wrong

    def add(self, batch: Batch) -> None:
        """Adds a batch, without its bad rows."""
        frame, wrong = self.cleaned(batch)
        bad = np.any([mask.to_numpy() for mask, _ in wrong], axis=0)
        if bad.any():
            self._note(batch, np.flatnonzero(bad), wrong)
            frame = frame.filter(pl.Series(~bad))
        self.rows += len(frame)
        for role, ids in self.ids.items():
            self.codes[role].append(ids.number(frame[role], batch.file))
        if self.times:
            self.times.add(frame["time"])
        if "weight" in self.columns:
            self.weights.append(frame["weight"].to_numpy())
        if self.types:
            self.types.add(frame["type"], batch.file)

    def _check_precision(self, values: pl.Series, file) -> None:
        if values.dtype == pl.Float32 and (values.fill_nan(None) > 2**24).any():
            raise UserError(
                f"{file}: column {self.columns['time']} holds floats of 32 bits, which keep the times of today to "
                "within two minutes only: write them as integers, or take the order of the file, --time none"
            )

    def _weights(self, values: pl.Series, file) -> pl.Series:
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        if not (values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean, pl.Null)):
            raise UserError(f"{file}: column {self.columns['weight']} holds {values.dtype}: a weight is a number")
        return values.cast(pl.Float64, strict=False).cast(pl.Float32)

    def _note(self, batch: Batch, rows: np.ndarray, wrong: list[tuple[pl.Series, str]]) -> None:
        room = max(EXAMPLES - len(self.bad.examples), 0)
        for index in rows[:room].tolist():
            why = batch.why(index) or next(why for mask, why in wrong if mask[index])
            self.bad.add(batch.file, *batch.row(index), why)
        self.bad.add_number(len(rows[room:]))

    def interactions(self, name: str, relative: bool = False) -> tuple[Interactions, list[str]]:
        """Returns the Interactions of all rows, and notes about them for people.

        Users are sorted by id, each user's rows by time; rows of equal time keep their order. Without users,
        sessions take their place.

        Raises:
            UserError: for bad rows that may not be skipped, no rows, a single item, or ids that look like floats.
        """
        self.bad.close()
        if not self.rows and self.bad.count:
            raise UserError(f"{name}: all {self.bad.count:,} rows are bad, the first: {self.bad.examples[0]}")
        if not self.rows:
            raise UserError(f"{name}: no rows: put interactions there, one a row")
        notes = [note for ids in self.ids.values() for note in ids.notes()]
        user = "user" if "user" in self.ids else "session"
        items = self._take("item")
        if len(items[1]) < 2:
            raise UserError(f"{name}: {items[1][0]} is the only item: a recommender needs two or more")
        users = self._take(user)
        times = None
        if self.times:
            try:
                times, relative, note = self.times.close(relative)
            except ValueError as error:
                raise UserError(f"{name}: {error}") from None
            notes.append(note)
        order = _sorted(users[0], times)
        sessions = None
        counts = np.bincount(users[0], minlength=len(users[1]))
        offsets = np.append(0, np.cumsum(counts))
        if user == "user" and "session" in self.ids:
            codes, ids = self._take("session")
            codes = _by(order, codes)
            sessions = parts(offsets, codes, ids)
            if again := _taken_up(sessions.offsets[:-1], offsets, codes):
                notes.append(f"{self.columns['session']}: parted where another came between: {again:,}")
        weights = np.concatenate(self.weights) if self.weights else None
        self.weights = []
        types = self.types.close() if self.types else None
        return Interactions(
            items=_by(order, items[0]) + np.int32(1),
            offsets=offsets,
            users=users[1],
            catalogue=Catalogue(items[1]),
            name=name,
            times=None if times is None else _by(order, times),
            relative=relative and times is not None,
            weights=None if weights is None else _by(order, weights),
            types=types if order is None else event_types.taken(types, order),
            sessions=sessions,
        ), notes

    def _take(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Removes a role's ids; returns each row's index among the sorted ids [N] int32, and those ids."""
        sorted_ids, place = self.ids.pop(role).order()
        codes = self.codes.pop(role)
        rows = np.concatenate(codes)
        codes.clear()
        return np.take(place, rows, out=rows), sorted_ids


def parts(offsets: np.ndarray, session: np.ndarray, ids: np.ndarray) -> Sessions:
    """Returns the Sessions of the histories: one begins where `session` changes, and where a history begins.

    Args:
        offsets: [U + 1] of the histories.
        session: [N] index into `ids`.
        ids: the session ids.
    """
    begins = np.append(True, session[1:] != session[:-1])[: len(session)]
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    starts = np.flatnonzero(begins)
    return Sessions(np.append(starts, len(session)), ids[session[starts]])


def _taken_up(starts: np.ndarray, offsets: np.ndarray, session: np.ndarray) -> int:
    """Returns how many of the sessions beginning at `starts` continue an earlier session of the same user."""
    owner = np.searchsorted(offsets, starts, "right")
    return len(starts) - len(distinct(owner << 32 | session[starts]))


def _sorted(users: np.ndarray, times: np.ndarray | None) -> np.ndarray | None:
    """Returns the stable order of rows by user, then time; None if they are already in order."""
    same = users[1:] == users[:-1]
    rising = users[1:] >= users[:-1]
    if times is not None:
        rising &= ~same | (times[1:] >= times[:-1])
    if rising.all():
        return None
    del same, rising
    if times is None or (times[1:] >= times[:-1]).all():
        return stable_order(users)
    since = times - times.min()
    if not (since % 1_000_000).any():
        since //= 1_000_000
    order = stable_order(since)
    return order[stable_order(users[order])]


def _by(order: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    return values if order is None else values[order]

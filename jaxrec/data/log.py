"""Builds Interactions from a log whose rows come in any order: numbers ids, parses times, sorts histories."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.data import event_types
from jaxrec.data.files.text import EXAMPLES, BadRows, shown
from jaxrec.data.ids import Ids, otherwise
from jaxrec.data.interactions import Catalogue, Interactions, Sessions, Types
from jaxrec.data.ordering import NewestFirst
from jaxrec.data.storage.ragged import distinct, stable_order
from jaxrec.data.storage.spill import MEMORY, Store
from jaxrec.data.values import codes, joined, spellings
from jaxrec.data.values.nested import is_opaque
from jaxrec.data.values.times import COMMA, UNCOMMA, Times
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
        ids: as for `spellings.kind_of`.
        keep_na_ids: as for `Ids`.
        time_format: the strftime format of dates; None to detect it.
        store: where the rows are kept.
    """

    def __init__(
        self,
        columns: dict[str, str],
        bad: BadRows,
        ids: str = "",
        keep_na_ids: bool = False,
        time_format: str | None = None,
        store: Store = MEMORY,
    ):
        self.columns, self.bad, self.rows, self.store = columns, bad, 0, store
        roles, kinds = [role for role in spellings.ROLES if role in columns], spellings.kinds(ids)
        self.ids = {role: Ids(columns[role], kinds[role], keep_na_ids, otherwise(role, roles)) for role in roles}
        self.codes = {role: store.parts(role) for role in self.ids}
        self.times = Times(columns["time"], time_format, store.parts("time")) if "time" in columns else None
        self.weights = store.parts("weight")
        of_types = lambda: event_types.Column(columns["type"], store.parts("type"), keep_na_ids)
        self.types = of_types() if "type" in columns else None

    def cleaned(self, batch: Batch) -> tuple[pl.DataFrame, list[tuple[pl.Series, str]]]:
        """Returns a batch in the form in which rows are kept, and (mask, reason) pairs for the rows that can't be used.

        Raises:
            UserError: if a column's type doesn't fit its role.
        """
        frame, wrong = batch.frame, []
        for role, ids in self.ids.items():
            tokens, flaws = ids.clean(frame[role], batch.file, lambda index: batch.row(index)[0])
            frame = frame.with_columns(tokens.alias(role))
            wrong += flaws
        if self.times:
            values = frame["time"]
            self._check_time(values, batch.file)
            times, why = self.times.parse(values)
            frame = frame.with_columns(times.alias("time"))
            wrong += self.times.flaws(values, times, why)
        if "weight" in self.columns:
            weights, flaw = self._weights(frame["weight"], batch.file)
            frame = frame.with_columns(weights.alias("weight"))
            wrong.append(flaw)
        return frame, wrong

    def add(self, batch: Batch) -> None:
        """Adds a batch, without its bad rows."""
        frame, wrong = self.cleaned(batch)
        bad = np.any([mask.to_numpy() for mask, _ in wrong], axis=0)
        if bad.any():
            if self.bad.cure and self.times and self.times.mixed:
                skipped = f"--on-bad-row skip leaves out those in the other, {self.times.mixed:,} of the rows"
                self.bad.cure = f"Write every {self.columns['time']} in one form; {skipped}"
            self._note(batch, np.flatnonzero(bad), wrong)
            frame = frame.filter(pl.Series(~bad))
        self.rows += len(frame)
        for role, ids in self.ids.items():
            self.codes[role].add(ids.number(frame[role], batch.file))
        if self.times:
            place = lambda index: f"{batch.file}, {batch.row(int(np.flatnonzero(~bad)[index]))[0]}"
            self.times.add(frame["time"], place)
        if "weight" in self.columns:
            self.weights.add(frame["weight"].to_numpy())
        if self.types:
            self.types.add(frame["type"], batch.file)
        self._check_ids(str(batch.file))

    def _check_ids(self, name: str) -> None:
        """Checks that the tables of ids fit the store's memory."""
        what = " and ".join(f"{ids.count:,} {role}s" for role, ids in self.ids.items())
        self.store.check(name, sum(ids.size for ids in self.ids.values()), f"the ids of {what}")

    def _check_time(self, values: pl.Series, file) -> None:
        extended = is_opaque(values.dtype) and not values.dtype.is_nested()
        if values.dtype == pl.Duration or extended or (values.dtype == pl.Binary and codes.text_of(values) is None):
            what = "bytes that are not UTF-8" if values.dtype == pl.Binary else values.dtype
            period = " (a period of pandas by .dt.to_timestamp())" if extended else ""
            raise UserError(
                f"{file}: column {self.columns['time']} holds {what}: a time is a date or a number: write it as one"
                f"{period}, or take the order of the file, --time none"
            )
        if values.dtype == pl.Float32 and (values.fill_nan(None) > 2**24).any():
            raise UserError(
                f"{file}: column {self.columns['time']} holds floats of 32 bits, which hold today's times only to "
                "within two minutes: write them as integers, or take the order of the file, --time none"
            )

    def _check_joined(self, user: str) -> list[str]:
        """Checks that items aren't histories as text; returns a note if they may be. `user`: the role of the users."""
        ids, codes = self.ids["item"], zip(self.codes[user], self.codes["item"], strict=True)
        known = ids.words(), ids.count, self.rows, self.ids[user].count, codes
        found = None if ids.kind == "text" else joined.example(*known)
        if found and found[1]:
            raise UserError(joined.refusal(ids.file_of(found[0]), ids.name, found[0]))
        return [joined.note(ids.name, found[0])] if found else []

    def _weights(self, values: pl.Series, file) -> tuple[pl.Series, tuple[pl.Series, str]]:
        """Returns weights, and a (mask, reason) pair for values that aren't; true is 1 and false is 0, in any type."""
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        if not (values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean, pl.Null)):
            raise UserError(f"{file}: column {self.columns['weight']} holds {values.dtype}: a weight is a number")
        if values.dtype == pl.String:
            values = values.replace(["true", "True", "TRUE", "false", "False", "FALSE"], ["1"] * 3 + ["0"] * 3)
        weights = values.cast(pl.Float64, strict=False).cast(pl.Float32)
        bad = ~weights.is_finite().fill_null(False)
        comma = bad.any() and values.dtype == pl.String and values.filter(bad).str.contains(COMMA).any()
        cure = f"; if it has commas, {UNCOMMA}" if comma else ""
        return weights, (bad, f"{self.columns['weight']} is not a finite number, or beyond 3.4e38{cure}")

    def _note(self, batch: Batch, rows: np.ndarray, wrong: list[tuple[pl.Series, str]]) -> None:
        room = max(EXAMPLES - len(self.bad.examples), 0)
        for index in rows[:room].tolist():
            why = batch.why(index) or next(why for mask, why in wrong if mask[index])
            self.bad.add(batch.file, *batch.row(index), why)
        self.bad.add_number(len(rows[room:]))

    def interactions(self, name: str, relative: bool = False) -> tuple[Interactions, list[str]]:
        """Returns the Interactions of all rows, and notes about them for people.

        Users are sorted by id, each user's rows by time; rows of equal time keep their order. Without users,
        sessions take the place of users.

        Raises:
            UserError: for bad rows that may not be skipped, no rows, a single item, altered ids, or odd times.
        """
        self.bad.close(self.rows)
        if not self.rows and self.bad.count:
            raise UserError(f"{name}: all {self.bad.count:,} rows are bad, the first: {self.bad.examples[0]}")
        if not self.rows:
            raise UserError(f"{name}: no rows: put interactions there, one per row")
        notes = [note for ids in self.ids.values() for note in ids.notes()]
        user = "user" if "user" in self.ids else "session"
        notes += self._check_joined(user)
        item_ids, item_place = self.ids.pop("item").order()
        if len(item_ids) < 2:
            raise UserError(only_item(name, str(item_ids[0])))
        user_ids, user_place = self.ids.pop(user).order()
        made: dict[str, Callable] = {
            "item": partial(_placed, item_place + np.int32(1)),
            user: partial(_placed, user_place),
        }
        columns = dict(self.codes)
        if self.times:
            try:
                made["time"], relative, note = self.times.decide(relative)
            except ValueError as error:
                raise UserError(f"{name}: {error}") from None
            notes += [note, *self.times.notes()]
            columns["time"] = self.times.parts
        if "weight" in self.columns:
            made["weight"], columns["weight"] = _as_it_is, self.weights
        types = self.types.decide() if self.types else None
        notes += self.types.notes() if self.types else []
        if types and self.types:
            made["type"], columns["type"] = partial(_placed, types[0]), self.types.parts
        within = None
        if user == "user" and "session" in self.ids:
            session_ids, session_place = self.ids.pop("session").order()
            made["session"], within = partial(_placed, session_place), _Sessions(session_ids)
        rows = _Rows(self.store, [role for role in columns if role not in (user, "session")], len(user_ids), within)
        for block in self.store.deal(columns, user, len(user_ids), made, name):
            rows.add(user, *block)
            if within is not None:
                self.store.check(name, within.size, f"{len(within):,} sessions or more")
        notes += rows.newest_first.notes(self.columns.get("time"))
        if within is not None and within.again:
            notes.append(f"{self.columns['session']}: split where another came between: {within.again:,}")
        found = {role: column.whole() for role, column in rows.columns.items()}
        return Interactions(
            items=found["item"],
            offsets=np.append(0, np.cumsum(rows.lengths)),
            users=user_ids,
            catalogue=Catalogue(item_ids),
            name=name,
            times=found.get("time"),
            relative=relative and "time" in found,
            weights=found.get("weight"),
            types=Types(found["type"], types[1]) if types else None,
            sessions=None if within is None else within.joined(int(rows.lengths.sum())),
        ), notes


def only_item(where: object, id: str, of: str = "") -> str:
    """Returns the message for a log of one item. `of`: what it is the only item of, if that isn't clear."""
    told = f"{where}: {shown(id)} is the only item{of}: a recommender needs two or more"
    swallowed = "; its line ends are within quotes: if quotes are plain characters there, say --quote none"
    return told + swallowed * ("\n" in id)


class _Rows:
    """Sorts the rows of blocks of consecutive users, and collects them as columns."""

    def __init__(self, store: Store, roles: list[str], users: int, sessions: "_Sessions | None"):
        self.columns = {role: store.parts(f"sorted-{role}") for role in roles}
        self.lengths, self.sessions = np.zeros(users, np.int64), sessions
        self.newest_first = NewestFirst()

    def add(self, user: str, first: int, last: int, values: dict[str, np.ndarray]) -> None:
        """Adds the rows of users `first` to `last` - 1, {role: values}, in any order."""
        owner = values.pop(user)
        owner -= first
        order, lengths = _sorted(owner, values.get("time")), np.bincount(owner, minlength=last - first)
        self.lengths[first:last] = lengths
        if "time" in values:
            self.newest_first.add(owner, values["time"])
        if self.sessions is not None:
            self.sessions.add(self.lengths[first:last], _by(order, values.pop("session")))
        del owner
        for role, column in self.columns.items():
            ordered = _by(order, values.pop(role))
            if role == "time":
                self.newest_first.add_sorted(lengths, ordered)
            column.add(ordered)


class _Sessions:
    """Collects the sessions of histories, block by block."""

    def __init__(self, ids: np.ndarray):
        self.ids, self.again, self._found, self._rows = ids, 0, [], 0

    def __len__(self):
        return sum(len(starts) for starts, _ in self._found)

    @property
    def size(self) -> int:
        """Bytes that the sessions take in memory, without the text of their ids."""
        return 2 * sum(starts.nbytes + ids.nbytes for starts, ids in self._found)

    def add(self, lengths: np.ndarray, session: np.ndarray) -> None:
        """Adds the sessions of the next histories. `session`: [n] index into `ids`, row by row."""
        offsets = np.append(0, np.cumsum(lengths))
        found = parts(offsets, session, self.ids)
        self.again += _taken_up(found.offsets[:-1], offsets, session)
        self._found.append((found.offsets[:-1] + self._rows, found.ids))
        self._rows += len(session)

    def joined(self, rows: int) -> Sessions:
        starts, ids = zip(*self._found, strict=True)
        return Sessions(np.append(np.concatenate(starts), rows), np.concatenate(ids))


def _placed(place: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Returns place[codes], written over the codes if these have the same type and are writeable."""
    return np.take(place, codes, out=codes if codes.dtype == place.dtype and codes.flags.writeable else None)


def _as_it_is(values: np.ndarray) -> np.ndarray:
    return values


def parts(offsets: np.ndarray, session: np.ndarray, ids: np.ndarray) -> Sessions:
    """Returns the Sessions of histories: a session begins where `session` changes, and where a history begins.

    Args:
        offsets: [U + 1] of the histories.
        session: [N] index into `ids`.
        ids: the session ids.
    """
    begins = np.append(True, session[1:] != session[:-1])[: len(session)]
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    starts = np.flatnonzero(begins)
    return Sessions(np.append(starts, len(session)), ids[session[starts]])


def sessions_of(sessions: Sessions, rows: np.ndarray, offsets: np.ndarray) -> Sessions:
    """Returns the Sessions of some rows of a log. `offsets`: those of the histories that these rows form."""
    session = np.repeat(np.arange(len(sessions.ids)), np.diff(sessions.offsets))
    return rejoined(parts(offsets, session[rows], sessions.ids), offsets)


def rejoined(sessions: Sessions, offsets: np.ndarray) -> Sessions:
    """Joins consecutive sessions of a history that have the same id.

    There are such sessions once the rows between them have been removed.

    >>> rejoined(Sessions(np.array([0, 2, 3, 5]), np.array([7, 7, 7])), np.array([0, 3, 5])).offsets.tolist()
    [0, 3, 5]
    """
    starts, ids = sessions.offsets[:-1], sessions.ids
    begins = np.append(True, ids[1:] != ids[:-1])[: len(ids)] | np.isin(starts, offsets, kind="sort")
    return Sessions(np.append(starts[begins], sessions.offsets[-1]), ids[begins])


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

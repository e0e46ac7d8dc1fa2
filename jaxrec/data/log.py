"""An interaction log, row by row in any order -> Interactions: ids numbered, times understood, histories sorted."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.interactions import Catalogue, Interactions, Sessions, as_ids
from jaxrec.data.ragged import distinct, stable_order
from jaxrec.data.text import EXAMPLES, BadRows
from jaxrec.data.times import Times
from jaxrec.errors import UserError

TABLE = 1 << 26  # the numbers below it are looked up
ROLES = ("user", "item", "time", "weight", "session")


class Batch(NamedTuple):
    """Some rows of a file, in its order."""

    frame: pl.DataFrame  # the columns of ROLES that there are, as they were read; text, or what Parquet has
    file: object  # for messages
    row: Callable[[int], tuple[str, str]]  # the number of a row -> its place ("line 7") and its text
    why: Callable[[int], str | None] = lambda index: None  # what the reader knows to be wrong with a row


class Ids:
    """Tokens, numbered from 0 as they come: small whole numbers by a table, the others by the interning of polars."""

    def __init__(self, name: str):
        self.name, self.count = name, 0
        self._table = np.zeros(0, np.int32)  # one more than the code of each number; 0 is none yet
        self._type = pl.Categorical(pl.Categories.random())
        self._of_word = np.zeros(0, np.int32)  # the code of each word, in polars' own numbering
        self._numbers, self._words = [], []  # (codes, what has them), in the order of the codes

    def number(self, tokens: pl.Series) -> np.ndarray:
        """The codes of tokens, text or integers without nulls, [n] int32. A number and its text are one token."""
        numbers = _small_numbers(tokens)
        is_word = numbers.is_null().to_numpy()
        if not is_word.any():
            return self._code_numbers(numbers.to_numpy())
        codes = np.empty(len(tokens), np.int32)
        codes[is_word] = self._code_words(tokens.filter(pl.Series(is_word)).cast(pl.String))
        if not is_word.all():
            codes[~is_word] = self._code_numbers(numbers.drop_nulls().to_numpy())
        return codes

    def _code_numbers(self, numbers: np.ndarray) -> np.ndarray:
        most = int(numbers.max(initial=0))
        if most >= len(self._table):
            self._table = np.concatenate([self._table, np.zeros((1 << most.bit_length()) - len(self._table), np.int32)])
        codes = self._table[numbers]
        if (new := codes == 0).any():
            fresh = distinct(numbers[new])
            given = self._give(len(fresh))
            self._table[fresh] = given + 1
            self._numbers.append((given, fresh))
            codes = self._table[numbers]
        return codes - 1

    def _code_words(self, words: pl.Series) -> np.ndarray:
        coded = words.cast(self._type)
        self._alive = coded.clear()  # polars forgets its numbers with the last series that has them
        own = coded.unique(maintain_order=True)
        own = own.filter(own.to_physical() >= len(self._of_word))
        if len(own):
            place, given = own.to_physical().to_numpy(), self._give(len(own))
            self._of_word = np.concatenate(
                [self._of_word, np.zeros(int(place.max()) + 1 - len(self._of_word), np.int32)]
            )
            self._of_word[place] = given
            self._words.append((given, own.cast(pl.String)))
        return self._of_word[coded.to_physical().to_numpy()]

    def _give(self, number: int) -> np.ndarray:
        self.count += number
        return np.arange(self.count - number, self.count, dtype=np.int32)

    def words(self) -> pl.Series:
        """The tokens that are no small numbers."""
        return pl.concat([pl.Series([], dtype=pl.String), *(words for _, words in self._words)])

    def odd(self) -> list[str]:
        """The first token that is no number, where most are: for it all ids are text."""
        words = self.words()
        odd = words.filter(~words.str.contains(r"^-?\d+$"))
        return odd.head(1).to_list() if 0 < len(odd) < self.count // 2 else []

    def tokens(self) -> pl.Series:
        """The tokens by code, as text."""
        numbers = [(codes, pl.Series(numbers).cast(pl.String)) for codes, numbers in self._numbers]
        codes = np.concatenate([np.zeros(0, np.int32), *(codes for codes, _ in numbers + self._words)])
        tokens = [each for _, each in numbers + self._words]
        return pl.concat([pl.Series([], dtype=pl.String), *tokens]).gather(np.argsort(codes))

    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids in sorted order, and every code's place among them [count] int32."""
        if self._words:
            ids = as_ids(self.tokens())
        else:
            ids = np.concatenate([np.zeros(0, np.int64), *(numbers for _, numbers in self._numbers)])
        order = np.argsort(ids, kind="stable")
        place = np.empty(len(ids), np.int32)
        place[order] = np.arange(len(ids), dtype=np.int32)
        return ids[order], place


def _small_numbers(tokens: pl.Series) -> pl.Series:
    """Int64 where a token is a whole number below TABLE, written as it is printed; null elsewhere."""
    numbers = tokens.cast(pl.Int64, strict=False)
    fits = numbers.is_between(0, TABLE, closed="left")
    if tokens.dtype == pl.String:
        fits &= ~tokens.str.contains("^[-+]|^0.")
    return numbers if fits.all(ignore_nulls=False) else numbers.set(~fits.fill_null(False), None)


class Log:
    """Collects batches of rows; `interactions` makes histories of them.

    Args:
        columns: {role: name of the column, for messages}, of what every batch has.
        bad: takes the rows that can't be used.
    """

    def __init__(self, columns: dict[str, str], bad: BadRows):
        self.columns, self.bad, self.rows = columns, bad, 0
        self.ids = {role: Ids(columns[role]) for role in ("user", "item", "session") if role in columns}
        self.codes = {role: [] for role in self.ids}
        self.times = Times(columns["time"]) if "time" in columns else None
        self.weights = []

    def add(self, batch: Batch) -> None:
        """Keep a batch, less its bad rows."""
        frame, wrong = batch.frame, []
        for role in self.ids:
            frame = frame.with_columns(self._tokens(role, frame[role], batch.file))
            missing = frame[role].is_null()
            if frame[role].dtype == pl.String:
                missing |= frame[role] == ""
            wrong.append((missing.fill_null(True), f"{self.columns[role]} is empty"))
        if self.times:
            times, why = self.times.parse(frame["time"])
            frame = frame.with_columns(times.alias("time"))
            wrong.append((times.is_null(), why))
        if "weight" in self.columns:
            weights = self._weights(frame["weight"], batch.file)
            frame = frame.with_columns(weights.alias("weight"))
            wrong.append((~weights.is_finite().fill_null(False), f"{self.columns['weight']} is not a finite number"))
        bad = np.any([mask.to_numpy() for mask, _ in wrong], axis=0)
        if bad.any():
            self._note(batch, np.flatnonzero(bad), wrong)
            frame = frame.filter(pl.Series(~bad))
        self.rows += len(frame)
        for role, ids in self.ids.items():
            self.codes[role].append(ids.number(frame[role]))
        if self.times:
            self.times.add(frame["time"])
        if "weight" in self.columns:
            self.weights.append(frame["weight"].to_numpy())

    def _tokens(self, role: str, values: pl.Series, file) -> pl.Series:
        name = self.columns[role]
        if values.dtype.is_float() and values.count():
            raise _floats(file, name, values.drop_nulls()[0])
        if values.dtype.is_nested() or values.dtype.is_temporal() or values.dtype == pl.Boolean:
            raise UserError(f"{file}: column {name} holds {values.dtype}: an id is an integer or a string")
        try:
            return (values if values.dtype.is_integer() else values.cast(pl.String)).alias(role)
        except pl.exceptions.PolarsError:
            raise UserError(f"{file}: column {name} holds bytes that are not UTF-8: write it as text") from None

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
        """All rows as histories: users by their sorted ids, a user's rows by time, rows of one time as they came.

        A log without users has sessions in their place. Returns them, and what to say of them.

        Raises:
            UserError: bad rows that are not to be skipped, no rows, a lone item, ids that are floats.
        """
        self.bad.close()
        if not self.rows and self.bad.count:
            raise UserError(f"{name}: all {self.bad.count:,} rows are bad, the first: {self.bad.examples[0]}")
        if not self.rows:
            raise UserError(f"{name}: no rows: put interactions there, one a row")
        notes = [f"{ids.name}: ids are text, because of {each!r}" for ids in self.ids.values() for each in ids.odd()]
        user = "user" if "user" in self.ids else "session"
        items = self._take("item", name)
        if len(items[1]) < 2:
            raise UserError(f"{name}: {items[1][0]} is the only item: a recommender needs two or more")
        users = self._take(user, name)
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
            codes, ids = self._take("session", name)
            codes = _by(order, codes)
            sessions = parts(offsets, codes, ids)
            if again := _taken_up(sessions.offsets[:-1], offsets, codes):
                notes.append(f"{self.columns['session']}: parted where another came between: {again:,}")
        weights = np.concatenate(self.weights) if self.weights else None
        self.weights = []
        return Interactions(
            items=_by(order, items[0]) + np.int32(1),
            offsets=offsets,
            users=users[1],
            catalogue=Catalogue(items[1]),
            name=name,
            times=None if times is None else _by(order, times),
            relative=relative and times is not None,
            weights=None if weights is None else _by(order, weights),
            sessions=sessions,
        ), notes

    def _take(self, role: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Every row's place among the sorted ids [N] int32, and those ids."""
        ids = self.ids.pop(role)
        words = ids.words()
        if len(words) == ids.count and words.str.contains(r"^-?\d+\.\d*$").all():
            raise _floats(name, ids.name, words[0])
        sorted_ids, place = ids.order()
        codes = self.codes.pop(role)
        rows = np.concatenate(codes)
        codes.clear()
        return np.take(place, rows, out=rows), sorted_ids


def _floats(where, column: str, example) -> UserError:
    return UserError(
        f"{where}: column {column} holds floats ({example}): an id is an integer or a string; "
        "write it as integers (a pandas column with gaps: .astype('Int64'))"
    )


def parts(offsets: np.ndarray, session: np.ndarray, ids: np.ndarray) -> Sessions:
    """Sessions of histories [U + 1]: a new one wherever `session` [N], a number of ids, changes or a history begins."""
    begins = np.append(True, session[1:] != session[:-1])[: len(session)]
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    starts = np.flatnonzero(begins)
    return Sessions(np.append(starts, len(session)), ids[session[starts]])


def _taken_up(starts: np.ndarray, offsets: np.ndarray, session: np.ndarray) -> int:
    """How many of the parts that begin at `starts` carry on an earlier session of their user."""
    owner = np.searchsorted(offsets, starts, "right")
    return len(starts) - len(distinct(owner << 32 | session[starts]))


def _sorted(users: np.ndarray, times: np.ndarray | None) -> np.ndarray | None:
    """The stable order of rows by user, then time; None where they have it."""
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

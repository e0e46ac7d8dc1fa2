"""Filters the rows of a table by the text in any column while reading: `--only event_type=purchase,cart`."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.files.text import short, some
from jaxrec.data.log import Batch
from jaxrec.data.values import codes
from jaxrec.system.errors import UserError

SEEN = 1_000  # distinct values per column kept for messages


class Condition(NamedTuple):
    """A column, and the values that a row must or must not have there."""

    text: str  #: as the user wrote it
    column: str  #: name, or number from 1
    values: list[str]
    apart: bool  #: whether rows with these values are left out rather than kept
    numbers: dict[int, str]  #: {number: the first of the values that spells it}


class Only:
    """Conditions on the rows of a table; counts the rows that each one leaves out.

    Args:
        texts: COLUMN=VALUE[,VALUE ...] or COLUMN!=VALUE[,VALUE ...]; a value with commas is in double quotes.

    Raises:
        UserError: if a text has another form.
    """

    def __init__(self, texts: Sequence[str] = ()):
        self.conditions = [_condition(text) for text in texts]
        self.left_out = [0 for _ in self.conditions]
        self._called = {}  # column of a condition, as given -> its name
        self._found = [Counter() for _ in self.conditions]  # counts of the values

    def rows(
        self, file: Any, names: list[str], chosen: dict[str, int], batches: Callable[[dict[str, int]], Iterator[Batch]]
    ) -> Iterator[Batch]:
        """Yields the batches of the chosen columns, with only the rows that meet all conditions.

        Args:
            file: for messages.
            names: all column names.
            chosen: {role: index of the column}.
            batches: reads the given columns.

        Raises:
            UserError: if the column of a condition doesn't exist.
        """
        if not self.conditions:
            yield from batches(chosen)
            return
        role_of = {number: role for role, number in chosen.items()}
        at = [role_of.setdefault(self._number(file, names, each), f"only {each.column}") for each in self.conditions]
        for batch in batches({role: number for number, role in role_of.items()}):
            yield self._kept(batch, at, chosen)

    def _number(self, file, names: list[str], condition: Condition) -> int:
        """Returns the index of a condition's column; in later files, by the name it has in the first file."""
        called = self._called.get(condition.column)
        number = names.index(called) if called and names.count(called) == 1 else _number(file, names, condition)
        self._called[condition.column] = names[number]
        return number

    def _kept(self, batch: Batch, at: list[str], chosen: dict[str, int]) -> Batch:
        roles = [role for role in ("user", "item", "session") if role in chosen]
        broken = batch.frame.select(pl.any_horizontal(pl.col(roles).is_null())).to_series()  # bad rows, reported later
        keep = pl.Series([True]).new_from_index(0, len(broken))
        for number, (role, condition) in enumerate(zip(at, self.conditions, strict=True)):
            values = batch.frame[role]
            text = codes.text_of(values)
            if text is None:
                raise UserError(f"{batch.file}: --only {condition.text}: the column holds {values.dtype}, no text")
            if values.dtype.is_numeric():  # spell numbers as in the condition
                text = text.replace({str(number): value for number, value in condition.numbers.items()})
            text = text.fill_null("")
            self._count(number, text)
            has = text.is_in(condition.values)
            passes = (~has if condition.apart else has) | (broken & values.is_null())
            self.left_out[number] += int((keep & ~passes).sum())
            keep &= passes
        rows = keep.arg_true().to_list() if not keep.all() else range(len(keep))
        frame = batch.frame.select(list(chosen))
        return Batch(
            frame.filter(keep), batch.file, lambda index: batch.row(rows[index]), lambda index: batch.why(rows[index])
        )

    def _count(self, number: int, text: pl.Series) -> None:
        found, counts = self._found[number], text.value_counts(sort=True, name="count")
        condition = self.conditions[number]
        wanted = counts[:, 0].is_in(condition.values)
        if condition.numbers:
            wanted |= codes.numbers_of(counts[:, 0]).is_in([*condition.numbers]).fill_null(False)
        for value, count in counts.filter(wanted).iter_rows():
            found[value] += count
        for value, count in counts.filter(~wanted).head(SEEN).iter_rows():
            if value in found or len(found) < SEEN:
                found[value] += count

    def counts(self) -> list[tuple[int, dict[str, int]]]:
        """Returns, for each condition, the number of rows left out and {value: number of rows}."""
        return [(number, dict(found)) for number, found in zip(self.left_out, self._found, strict=True)]

    def add_counts(self, counts: Sequence[tuple[int, dict[str, int]]]) -> None:
        """Adds the counts from another `Only` with the same conditions."""
        for at, (number, found) in enumerate(counts):
            self.left_out[at] += number
            self._found[at].update(found)

    def close(self, name: str, rows: int) -> None:
        """Checks, after reading, that every value occurred, in one spelling, and that some rows are left.

        Raises:
            UserError: if not; names values that do occur.
        """
        for condition, found in zip(self.conditions, self._found, strict=True):
            for value in condition.values:
                if not found[value]:
                    there = [short(each) for each, _ in found.most_common(10) if each != value]
                    raise UserError(
                        f"{name}: --only {condition.text}: no row has {short(value)} in {condition.column}, which "
                        f"holds {some(there)}{' and others' * (len(found) > 11)}"
                    )
            self._check_spelling(name, condition, found)
        if any(self.left_out) and not rows:
            flags = " ".join(f"--only {each.text}" for each in self.conditions)
            raise UserError(f"{name}: {flags} leaves no row: none meets all of these")

    def _check_spelling(self, name: str, condition: Condition, found: Counter) -> None:
        """Checks that no value is a number that also occurs in a spelling that no condition names, such as 1.0."""
        said = {value for each in self.conditions if each.column == condition.column for value in each.values}
        others = pl.Series([value for value in found if value not in said], dtype=pl.String)
        for other, number in zip(others, codes.numbers_of(others), strict=True):
            if number in condition.numbers:
                leave = f", --only '{condition.column}!={other}' beside it leaves the other out"
                raise UserError(
                    f"{name}: --only {condition.text}: {condition.column} holds {short(other)} beside "
                    f"{short(condition.numbers[number])}, which may be the same: --only '{condition.text},{other}' "
                    f"names both{'' if condition.apart else leave}; or {codes.CURE}"
                )

    def steps(self) -> list[tuple[str, int]]:
        """Returns (condition, number of rows left out) pairs."""
        return [(f"only {each.text}", rows) for each, rows in zip(self.conditions, self.left_out, strict=True)]


def _condition(text: str) -> Condition:
    column, equals, values = text.partition("=")
    apart = column.endswith("!")
    column = column.removesuffix("!").strip()
    if not column or not equals:
        raise UserError(f"--only {text}: write COLUMN=VALUE, COLUMN=VALUE,VALUE or COLUMN!=VALUE")
    try:
        (row,) = csv.reader([values], strict=True) if values else [[""]]
    except (csv.Error, ValueError) as error:
        raise UserError(f"--only {text}: the quotes do not match ({error}): mend them") from None
    numbers = codes.numbers_of(pl.Series(row, dtype=pl.String)).to_list()
    first = {number: value for number, value in reversed([*zip(numbers, row, strict=True)]) if number is not None}
    return Condition(text, column, row, apart, first)


def _number(file, names: list[str], condition: Condition) -> int:
    column = condition.column
    if names.count(column) > 1:
        raise UserError(f"{file}: --only {condition.text}: two columns are called {column}: name it by its number")
    if column in names:
        return names.index(column)
    if (number := cols.number_of(column, names)) is not None:
        return number
    raise UserError(f"{file}: --only {condition.text}: no column {column}; the columns are {some(names, 30)}")

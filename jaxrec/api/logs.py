"""Reads raw logs, from files or memory, as a Log. Doesn't import JAX."""

import dataclasses
import datetime
import numbers
import os
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxrec.api.keywords import with_keywords
from jaxrec.data import counted, filters, prepared, sources, splits, stores, summary
from jaxrec.data.columns import ROLES
from jaxrec.data.formats import arrow
from jaxrec.data.interactions import Interactions, fingerprint
from jaxrec.data.storage import folders, spill
from jaxrec.data.storage.spill import Store
from jaxrec.system import amounts, console as consoles
from jaxrec.system.errors import UserError

READING = ("ids", "keep_na_ids", "time_format", "only")  # reading options stored in a prepared folder
FILTERS = tuple(field.name for field in dataclasses.fields(filters.Options))
DATES = ("since", "until")
COUNTS = ("k_core", "min_length", "max_length")
NUMBERS = ("min_rating", "sample", "session_gap")


class Log:
    """Interactions ready for training, with their provenance. Created by `prepare`; its repr is a summary.

    Attributes:
        interactions: the users' histories, with external ids.
        dataset: the data's name in workdirs: a path, a public data set's name, or a description.
        steps: counts after each filter.
        notes: notes from reading, a line each.
    """

    def __init__(
        self,
        interactions: Interactions,
        dataset: str,
        steps: Sequence[filters.Step] = (),
        notes: Sequence[str] = (),
    ):
        self.interactions, self.dataset = interactions, dataset
        self.steps, self.notes = list(steps), list(notes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the histories and ids, independent of the file format."""
        return fingerprint(self.interactions)

    @cached_property
    def facts(self) -> dict:
        """Counts, quantiles of the lengths, density, range of times, repeats and duplicates, as plain values."""
        return summary.facts(self.interactions)

    @cached_property
    def splits(self) -> dict[str, str]:
        """{name: description} of the splits that are possible for these interactions."""
        facts = {name: counted.described(self.interactions, name) for name in applicable(self.interactions)}
        return {name: splits.facts_in_words(told) for name, told in facts.items()}

    def show(self, console: Console | None = None) -> None:
        """Prints the summary: counts after each filter, lengths, times, repeats and splits."""
        steps = self.steps or filters.apply(self.interactions, filters.Options())[1]
        summary.show(self.facts, steps, self.splits, console or consoles.make())

    def __repr__(self) -> str:
        return consoles.as_text(self._show_all)

    def _repr_html_(self) -> str:
        return consoles.as_html(self._show_all)

    def _show_all(self, console: Console) -> None:
        for note in self.notes:
            console.print(consoles.printable(note), soft_wrap=True)
        self.show(console)


@with_keywords
@stores.putting
def prepare(
    data: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    type: str | None = None,
    session: str | None = None,
    format: str | None = None,
    items: Any = None,
    users: Any = None,
    ids: str = "",
    keep_na_ids: bool = False,
    time_format: str | None = None,
    separator: str | None = None,
    quote: str = '"',
    only: str | Sequence[str] = (),
    on_bad_row: str = "error",
    allow_large: bool = False,
    drop_duplicates: bool = False,
    since: str | datetime.date | np.datetime64 | None = None,
    until: str | datetime.date | np.datetime64 | None = None,
    min_rating: float | None = None,
    sample: float | None = None,
    collapse_repeats: bool = False,
    session_gap: float | None = None,
    max_length: int | None = None,
    min_length: int | None = None,
    k_core: int | None = None,
    output: str | os.PathLike | None = None,
    memory: str | int | None = None,
    plots: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
    stage: Callable[[str], None] = lambda name: None,
) -> Log:
    """Reads a log in any supported format, filters it, and reports on it.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"customer": [7, 7, 7, 8, 8, 8], "sku": list("abcabd"), "at": [1, 2, 3, 1, 2, 3]})
    >>> log = prepare(frame, user="customer", item="sku", time="at")
    >>> log.facts["users"], log.facts["items"], log.facts["interactions"]
    (2, 4, 6)

    The options not listed here are those of `jaxrec prepare`.

    Args:
        data: a path, a glob, the name of a public data set, or an in-memory table: polars, pandas, pyarrow, or any
            object with the Arrow stream interface.
        user: the users' column, by name or number from 1; "none" for none. Common names are recognised by default.
        item: the items' column, likewise.
        time: the times' column, likewise.
        weight: the weights' column, likewise.
        type: the column of event types, such as view and purchase. It is only read if named.
        session: the sessions' column, likewise.
        format: of the files; detected by default.
        items: a table of item attributes, such as titles and prices: a path or an in-memory table; "" for none.
        users: a table of user attributes, such as countries and ages, likewise.
        only: conditions on the rows, as "rating=5" or ["type=view,purchase", "shop!=test"].
        since: drops events before this date: text as "2017-10-01", a date, a datetime or a pandas Timestamp.
        until: drops events on or after this date, likewise.
        output: a folder to write, which trainings memory-map; by default the log is only in memory.
        memory: the memory to use, as "4GiB" or in bytes, for a log that is larger: its rows are sorted in files beside
            the output folder, with the same result. By default, all rows are in memory.
        plots: whether to plot lengths, popularity and times into the output folder.
        say: receives notes, a line each.
        progress: receives the number of rows read so far.
        stage: receives the name of the current stage.

    Raises:
        UserError: if the data can't be read; the message names the place and a cure.
    """
    given = dict(locals())
    given |= _plain(given)
    columns = {role: given[role] for role in ROLES}
    columns = {role: None if name is None else str(name) for role, name in columns.items()}
    options = filters.Options(**{name: given[name] for name in FILTERS})
    if on_bad_row not in ("error", "skip"):
        raise UserError(f"on_bad_row {on_bad_row!r}: choose one of error, skip")
    if plots and output is None:
        raise UserError("plots are drawn into the output folder: name one with output")
    filters.check(options)
    if output is not None:
        prepared.check(Path(output))
    budget = None if memory is None else _budget(memory, data, output)
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        say(line)

    reading = {
        name: given[name] for name in (*READING, "format", "separator", "quote", "allow_large", "items", "users")
    }
    reading |= {"columns": columns, "skip_bad_rows": on_bad_row == "skip", "say": note, "progress": progress}
    source = arrow.place("data", data)
    for name, table in (("items", items), ("users", users)):
        if table is not None:
            reading[name] = arrow.place(name, table)
    with folders.spilling(Path(output or "."), budget, stage) as store:
        interactions, before = sources.load_steps(source, reading | {"store": store})
        warned = {user for user, _ in _warn(interactions, note)}
        for line in summary.padding(interactions):
            note(line)
        stage("filtering")
        whole = interactions
        interactions, steps = filters.apply(interactions, options, store)
        _warn(interactions, note, warned)
        as_it_is = interactions is whole and not any(columns.values()) and _is_plain(given)
        log = Log(interactions, _dataset(source, as_it_is), before + steps[1:], notes)
        if output is not None:
            _save(log, Path(output), given, columns, options, stage, store)
            log.dataset = str(Path(output).resolve())
    return log


def _is_plain(given: dict) -> bool:
    """Returns whether `prepare` with these arguments reads the same as its source does by its name alone."""
    tables = given["items"] is None and given["users"] is None
    as_ever = given["quote"] == '"' and given["on_bad_row"] == "error"
    return tables and as_ever and not any(given[name] for name in (*READING, "format", "separator", "allow_large"))


def _plain(given: dict) -> dict[str, Any]:
    """Returns the dates, conditions and numbers among the arguments of `prepare`, in the form of its command's flags.

    Raises:
        UserError: if one has another type; the message says what to give.
    """
    found = {name: value for name in (*DATES, *COUNTS, *NUMBERS) if (value := given[name]) is not None}
    for name, value in found.items():
        if name in DATES:
            if isinstance(value, datetime.date):
                value = value.isoformat()
            found[name] = str(value) if isinstance(value, np.datetime64) else value
            if not isinstance(found[name], str):
                raise UserError(
                    f"{name} {value!r}: not a date: give 2014-04-01 or 2014-04-01T03:00:00 as text, or a date"
                )
        elif name in COUNTS:
            if not isinstance(value, numbers.Integral) or isinstance(value, bool):
                raise UserError(f"{name} is {value!r}, of the type {type(value).__name__}: give a whole number")
            found[name] = int(value)
        else:
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise UserError(f"{name} is {value!r}, of the type {type(value).__name__}: give a number")
            found[name] = float(value)
    only = [given["only"]] if isinstance(given["only"], str) else given["only"]
    if isinstance(only, dict) or not all(isinstance(each, str) for each in only):
        raise UserError(f"only is {only!r}: write conditions as text, only='rating=5', or as a list of texts")
    return found | {"only": list(only)}


def _budget(memory: str | int, data: Any, output: str | os.PathLike | None) -> int:
    """Returns `memory` in bytes, after checking that reading can keep to it."""
    if arrow.is_frame(data):
        raise UserError("memory is for logs in files: write the table as Parquet, or leave memory out")
    if output is None:
        raise UserError("memory needs an output folder, beside which the rows are sorted: name one with output")
    if (amount := amounts.parse(memory, "memory")) < spill.LEAST:
        raise UserError(f"--memory {memory}: at least {amounts.in_words(spill.LEAST)}, for ids and a block of rows")
    return amount


def _save(log: Log, output: Path, given: dict, columns: dict, options: filters.Options, stage, store: Store) -> None:
    """Writes the prepared folder of a log."""
    stage("counting")
    told, _ = log.facts, log.splits
    stage("writing")
    named = lambda table: arrow.name_of(table) if arrow.is_frame(table) else None if table is None else str(table)
    meta = prepared.meta_of(
        log.interactions.name,
        options,
        reading={name: given[name] for name in READING},
        columns=columns,
        tables={name: named(given[name]) for name in ("items", "users")},
        notes=log.notes,
        steps=log.steps,
        facts=told,
    )
    draw = lambda folder: summary.plot(log.interactions, folder / "plots.png", output.name)
    prepared.save(log.interactions, output, meta, draw if given["plots"] else lambda folder: None, store)


def as_log(data: Any, say: Callable[[str], None] = lambda line: None) -> Log:
    """Returns a Log for a Log, an in-memory table, or any value of `config.dataset`."""
    if isinstance(data, Log):
        return data
    if arrow.is_frame(data):
        return prepare(data, say=say)
    name = arrow.place("data", data)
    return Log(sources.load(name, {"say": say}), sources.locate(name))


def _dataset(source: Any, as_it_is: bool) -> str:
    """Returns the data's name for workdirs: where they are, or a description."""
    if arrow.is_frame(source):
        return f"a {arrow.name_of(source)}"
    return sources.locate(source) if as_it_is else f"{source}, prepared in memory"


def _warn(
    interactions: Interactions, note: Callable[[str], None], but: Collection[str] = ()
) -> list[tuple[str, float]]:
    """Notes each user with too many rows, except those noted before. Returns [(id, share)]."""
    found = summary.heavy(interactions)
    for user, share in found:
        if user not in but:
            note(summary.warning(user, share, len(interactions.users)))
    return found


def applicable(interactions: Interactions) -> dict[str, Callable[[Interactions], splits.Split]]:
    """Returns the splits that are possible for these interactions: {name: function of the interactions}."""
    found: dict[str, Callable] = {"last-item": splits.last_item}
    dated = interactions.times is not None and not interactions.relative
    if interactions.train_sessions is not None or dated:
        found["sessions"] = splits.sessions
    return found | ({"by-time": splits.by_time} if dated else {})

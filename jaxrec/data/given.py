"""What a reader of a log is given: its files, and all that the person said of how to read them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jaxrec.data.log import Batch, Log
from jaxrec.data.oddities import Oddities
from jaxrec.data.only import Only
from jaxrec.data.text import BadRows, File


@dataclass(frozen=True, kw_only=True)
class Input:
    """The files of a log, and how they are to be read; see `reading.read`."""

    name: str  # as the person wrote it
    files: list[File]  # in the order of their names
    columns: dict[str, str]  # {role: column} as the person said; "" where a role is left out
    bad: BadRows
    odd: Oddities
    say: Callable[[str], None]
    progress: Callable[[int], None]
    format: str | None = None  # as the person said
    items: Any = None  # the table of items, as the person said: a path or a frame
    ids: str = ""
    keep_na_ids: bool = False
    time_format: str | None = None
    only: Only = field(default_factory=Only)
    separator: str | None = None  # of delimited text, as the person said
    quote: str = '"'  # "" where quotes are plain characters

    def log(self, columns: dict[str, str]) -> Log:
        """A log of these columns, {role: name}."""
        return Log(columns, self.bad, self.ids, self.keep_na_ids, self.time_format)

    def collect(
        self,
        log: Log,
        file: Any,
        names: list[str],
        chosen: dict[str, int],
        batches: Callable[[dict[str, int]], Iterator[Batch]],
    ) -> None:
        """Put the rows of a file into a log, those that are asked for alone.

        Args:
            names: of all columns.
            chosen: {role: number of its column}.
            batches: the function that reads such columns.
        """
        for batch in self.only.rows(file, names, chosen, batches):
            log.add(batch)
            self.progress(log.rows)

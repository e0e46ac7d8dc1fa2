"""The input of log readers: files and reading options."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.text import BadRows, File
from jaxrec.data.formats.only import Only
from jaxrec.data.log import Batch, Log
from jaxrec.data.storage.spill import MEMORY, Store


@dataclass(frozen=True, kw_only=True)
class Input:
    """The files of a log, and how to read them; see `reading.read`."""

    name: str  #: the path as the person wrote it
    files: list[File]  #: sorted by name
    columns: dict[str, str]  #: {role: column} as given; "" leaves a role out
    bad: BadRows
    odd: Oddities
    say: Callable[[str], None]
    progress: Callable[[int], None]
    format: str | None = None  #: as given
    items: Any = None  #: the table of items as given: a path or a frame
    users: Any = None  #: the table of users, likewise
    ids: str = ""
    keep_na_ids: bool = False
    time_format: str | None = None
    only: Only = field(default_factory=Only)
    separator: str | None = None  #: of delimited text, as given
    quote: str = '"'  #: "" if quotes are plain characters
    store: Store = MEMORY  #: where the rows are kept

    def log(self, columns: dict[str, str]) -> Log:
        """Returns a Log of these columns, {role: name}."""
        return Log(columns, self.bad, self.ids, self.keep_na_ids, self.time_format, self.store)

    def collect(
        self,
        log: Log,
        file: Any,
        names: list[str],
        chosen: dict[str, int],
        batches: Callable[[dict[str, int]], Iterator[Batch]],
    ) -> None:
        """Adds to a log the rows of a file that satisfy `only`.

        Args:
            log: the log.
            file: for messages.
            names: all column names of the file.
            chosen: {role: index of the column}.
            batches: reads the chosen columns.
        """
        for batch in self.only.rows(file, names, chosen, batches):
            log.add(batch)
            self.progress(log.rows)

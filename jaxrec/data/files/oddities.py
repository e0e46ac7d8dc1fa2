"""Harmless oddities of text files that are worth a note: repeated headers, quoted fields that span lines."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from jaxrec.data.files import text
from jaxrec.data.files.text import File
from jaxrec.system.errors import UserError


class Oddities:
    """Counts oddities per file; reading a file again restarts its counts."""

    def __init__(self):
        self._headers, self._spans = Counter(), Counter()  # {file: count}
        self._first = {}  # {(file, kind): line of the first}

    def begin(self, file: File | str) -> None:
        """Resets the counts of a file."""
        self._headers[file] = self._spans[file] = 0

    def headers(self, file: Any, number: int, place: Callable[[int], str]) -> None:
        """Records `number` rows that repeat the header. `place`: index among them -> place, such as "line 7".

        Raises:
            UserError: after a million repetitions.
        """
        if not self._headers[file]:
            self._first[file, "header"] = place(0)
        self._headers[file] += number
        if (over := self._headers[file] - text.BAD) > 0:
            cure = "remove it from the file"
            raise UserError(f"{file}, {place(number - over)}: the header again, over {text.BAD:,} times: {cure}")

    def spans(self, file: File, line: int, number: int) -> None:
        """Records `number` fields that span lines, in the row that begins at `line`."""
        if number and not self._spans[file]:
            self._first[file, "span"] = line
        self._spans[file] += number

    def notes(self) -> list[str]:
        """Returns the notes, one line per file and kind."""
        headers = [
            f"{file}: the header comes again and is left out: {_times(number)}, first in {self._first[file, 'header']}"
            for file, number in self._headers.items()
            if number
        ]
        spans = [
            f"{file}: quoted fields that span several lines: {number:,}, first from line "
            f"{self._first[file, 'span']:,}; if quotes are plain characters there, rows were swallowed: "
            "say --quote none"
            for file, number in self._spans.items()
            if number
        ]
        return headers + spans


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"

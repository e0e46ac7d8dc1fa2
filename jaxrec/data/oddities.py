"""Harmless oddities of text files that are worth a note: repeated headers, quoted fields that span lines."""

from collections import Counter

from jaxrec.data import text
from jaxrec.data.text import File
from jaxrec.system.errors import UserError


class Oddities:
    """Counts oddities per file; reading a file again restarts its counts."""

    def __init__(self):
        self._headers, self._spans = Counter(), Counter()  # {file: count}
        self._first = {}  # {(file, kind): line of the first}

    def begin(self, file: File) -> None:
        """Resets the counts of a file."""
        self._headers[file] = self._spans[file] = 0

    def header(self, file: File, line: int) -> None:
        """Records a line that repeats the header.

        Raises:
            UserError: after a million of them.
        """
        if not self._headers[file]:
            self._first[file, "header"] = line
        self._headers[file] += 1
        if self._headers[file] > text.BAD:
            raise UserError(f"{file}, line {line}: the header again, over {text.BAD:,} times: leave it out of the file")

    def spans(self, file: File, line: int, number: int) -> None:
        """Records `number` fields that span lines, in the row that begins at `line`."""
        if number and not self._spans[file]:
            self._first[file, "span"] = line
        self._spans[file] += number

    def notes(self) -> list[str]:
        """Returns notes for people, a line per file and kind."""
        headers = [
            f"{file}: the header comes again and is left out: {_times(number)}, first in line "
            f"{self._first[file, 'header']:,}"
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

"""What is no fault of a file, but worth a word: headers that come again, quoted fields that span lines."""

from collections import Counter

from jaxrec.data import text
from jaxrec.data.text import File
from jaxrec.system.errors import UserError


class Oddities:
    """Counts them by file; what is read again is counted anew."""

    def __init__(self):
        self._headers, self._spans = Counter(), Counter()  # {file: how many}
        self._first = {}  # {(file, of which): the line of the first}

    def begin(self, file: File) -> None:
        """A file is read from its beginning."""
        self._headers[file] = self._spans[file] = 0

    def header(self, file: File, line: int) -> None:
        """A line is the header again.

        Raises:
            UserError: for the millionth time.
        """
        if not self._headers[file]:
            self._first[file, "header"] = line
        self._headers[file] += 1
        if self._headers[file] > text.BAD:
            raise UserError(f"{file}, line {line}: the header again, over {text.BAD:,} times: leave it out of the file")

    def spans(self, file: File, line: int, number: int) -> None:
        """So many fields of the row that begins at a line go on over several lines."""
        if number and not self._spans[file]:
            self._first[file, "span"] = line
        self._spans[file] += number

    def notes(self) -> list[str]:
        """What to say of them, a line a file."""
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

"""What is no fault of a file, but worth a word: headers that come again, quoted fields that span lines."""

from jaxrec.data.text import File


class Oddities:
    """Collects them by file; what is read again is counted anew."""

    def __init__(self):
        self._headers, self._spans = {}, {}  # {file: numbers of lines}

    def begin(self, file: File) -> None:
        """A file is read from its beginning."""
        self._headers[file], self._spans[file] = [], []

    def header(self, file: File, line: int) -> None:
        """A line is the header again."""
        self._headers[file].append(line)

    def spans(self, file: File, line: int, number: int) -> None:
        """So many fields of the row that begins at a line go on over several lines."""
        self._spans[file] += [line] * number

    def notes(self) -> list[str]:
        """What to say of them, a line a file."""
        headers = [
            f"{file}: the header comes again and is left out: {_times(lines)}, first in line {lines[0]:,}"
            for file, lines in self._headers.items()
            if lines
        ]
        spans = [
            f"{file}: quoted fields that span several lines: {len(lines):,}, first from line {lines[0]:,}; if quotes "
            "are plain characters there, rows were swallowed: say --quote none"
            for file, lines in self._spans.items()
            if lines
        ]
        return headers + spans


def _times(lines: list[int]) -> str:
    return "once" if len(lines) == 1 else f"{len(lines):,} times"

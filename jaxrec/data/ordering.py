"""Sorts the files of a log, by their names or by split, and detects rows that are newest first."""

import re
from collections.abc import Callable, Iterable

import numpy as np

from jaxrec.data.files.text import File, some
from jaxrec.data.values.dates import ENDINGS, NAMES
from jaxrec.system.errors import UserError

NUMBERS = re.compile("([0-9]+)")  # numbers in file names
#: the splits of a data set, in the order of their events -> the words that name them
SPLITS = {"train": "train|training", "validation": "valid|validation|val|dev", "test": "test|testing"}
WORD = {name: re.compile(f"(?<![a-z])({words})(?![a-z])", re.IGNORECASE) for name, words in SPLITS.items()}
#: dates in names that do not begin with the year (31-12-2019, 31122019), and words for months
DAY = re.compile(r"(?<!\d)(?<!\d\d\d\d[-_.])(?:(\d\d?)([-_.])(\d\d?)\2|(\d\d)(\d\d))((?:19|20)\d\d)(?!\d)")
MONTH = re.compile(rf"(?<![a-z])({'|'.join(NAMES)})(?:{'|'.join(ENDINGS)})?(?![a-z])", re.IGNORECASE)
#: months, weeks and quarters before their year: 12-2019, W51-2019, Q4_2019
PART = re.compile(r"(?<![\dA-Za-z])(?<!\d[-_.])(?:[QW]|KW)?(\d\d?)[-_.]((?:19|20)\d\d)(?![-_.]?\d)", re.IGNORECASE)
YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKDAY = re.compile(rf"(?<![a-z])({'|'.join(DAYS)})(?:s|rs?|(?:s|nes|rs|ur)?day)?(?![a-z])", re.IGNORECASE)
READINGS = ((True, 0), (False, 0), (True, 6))  # whether dates have the day first, and a week's first day in DAYS


def ordered(files: Iterable[File], say: Callable[[str], None]) -> list[File]:
    """Returns the shards of a log, sorted by name; if the names say several splits, by split first.

    Files whose names say no split are sorted with the training files. In a log without times, this is the order of the
    events.
    """
    split = {file: _split(file) for file in files}
    found = [name for name in SPLITS if name in split.values()]
    if len(found) < 2:
        return sorted(split, key=_by_name)
    say(f"files in the order of the splits in their names: {some(found)}")
    rank = {"": 0} | {name: place for place, name in enumerate(SPLITS)}
    return sorted(split, key=lambda file: (rank[split[file]], _by_name(file)))


def check_dates(files: list[File]) -> None:
    """Checks that files are in the order of the dates or weekdays in their names, if all names have some.

    Raises:
        UserError: if they may be in another order.
    """
    if len(files) < 2 or len({_split(file) for file in files}) > 1:
        return
    for day_first, first in READINGS:
        keys = {file: _by_date(file, day_first, first) for file in files}
        in_order = sorted(files, key=lambda file: keys[file] or [])
        if all(keys.values()) and in_order != files:
            raise UserError(
                f"{files[0]}: no column is read as the time, and the order of the names ({some(_names(files))}) may "
                f"not be that of their dates ({some(_names(in_order))}): rename them like "
                "2019-12-31, put each in a folder date=2019-12-31, or take the order of the names with --time none (to "
                "prepare.py)"
            )


def _names(files: list[File]) -> list[str]:
    return [file.below for file in files]


def _by_date(file: File, day_first: bool, first: int) -> list[tuple] | None:
    """Sort key of a file by the dates and weekdays in its path; None if there are none, or one is not valid so.

    Args:
        file: the file.
        day_first: whether dates have the day before the month.
        first: the first day of a week, by its place in DAYS.
    """
    parts = [*file.path.parts, *file.member.split("/")]
    dates = [_date(part, day_first) for part in parts]
    days = lambda found: str((DAYS.index(found[1].lower()) - first) % 7)
    names = [_numbered(WEEKDAY.sub(days, part)) for part in parts]
    is_dated = any(dates) or any(map(WEEKDAY.search, parts))
    return None if None in dates or not is_dated else [*zip(dates, names, strict=True)]


def _date(part: str, day_first: bool) -> tuple[int, ...] | None:
    """Returns (year, month, day), 0 for what is not given; () without a date, None if it is not valid in this order."""
    if found := DAY.search(part):
        one, two = int(found[1] or found[4]), int(found[3] or found[5])
        day, month = (one, two) if day_first else (two, one)
        return (int(found[6]), month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None
    if found := MONTH.search(part):
        year = YEAR.search(part)
        return int(year[0]) if year else 0, NAMES.index(found[1].lower()) + 1, 0
    if found := PART.search(part):
        return int(found[2]), int(found[1]), 0
    return ()


def _split(file: File) -> str:
    """Returns the split that a file's name says, or else that of the nearest folder; "" if none does."""
    for part in (file.name, *reversed(file.folders)):
        if len(found := [name for name, word in WORD.items() if word.search(part)]) == 1:
            return found[0]
    return ""


def _by_name(file: File) -> tuple:
    """Sort key of a file: the parts of its path, with numbers in them compared by value (2 before 10)."""
    parts = [*file.path.parts, *file.member.split("/")]
    return [_numbered(part) for part in parts], parts


def _numbered(part: str) -> list:
    return [
        (len(each.lstrip("0")), each.lstrip("0")) if at % 2 else each for at, each in enumerate(NUMBERS.split(part))
    ]


class NewestFirst:
    """Detects whether a log is newest first, so that rows with the same time may be in the wrong order.

    It is if times fall from row to row and hardly ever rise, in all rows or where a user's rows follow each other.
    """

    def __init__(self):
        self._falls, self._rises, self._tied = np.zeros(2, np.int64), np.zeros(2, np.int64), 0

    def add(self, users: np.ndarray, times: np.ndarray) -> None:
        """Adds the rows of some users, in the order of the file."""
        of_one = users[1:] == users[:-1]
        for counts, found in ((self._falls, times[1:] < times[:-1]), (self._rises, times[1:] > times[:-1])):
            counts += np.count_nonzero(found), np.count_nonzero(found & of_one)

    def add_sorted(self, lengths: np.ndarray, times: np.ndarray) -> None:
        """Adds the times of the same rows by user, then time. lengths: rows of each user."""
        tied, ends = times[1:] == times[:-1], np.cumsum(lengths)
        ends = ends[(ends > 0) & (ends < len(times))]
        self._tied += np.count_nonzero(tied) - np.count_nonzero(tied[np.unique(ends) - 1])

    def notes(self, column: str | None) -> list[str]:
        """Returns a note if rows may be in the wrong order."""
        chance = np.array([0, 1])  # if users are mixed, few rows follow one of the same user
        if not (self._tied and (self._falls > 20 * (self._rises + chance)).any()):
            return []
        return [
            f"{column}: the rows are newest first, and {self._tied:,} have the same time as their user's row before: "
            "these keep the order of the file; if they are newest first too, reverse each file"
        ]

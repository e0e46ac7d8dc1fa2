"""The order of a log's files: by their names, and those of a data set's splits as they were split."""

import re
from collections.abc import Callable, Iterable

from jaxrec.data.text import File, some

NUMBERS = re.compile("([0-9]+)")  # numbers in file names
#: the splits of a data set in the order of their events -> the words that name them
SPLITS = {"train": "train|training", "validation": "valid|validation|val|dev", "test": "test|testing"}
WORD = {name: re.compile(f"(?<![a-z])({words})(?![a-z])", re.IGNORECASE) for name, words in SPLITS.items()}


def ordered(files: Iterable[File], say: Callable[[str], None]) -> list[File]:
    """Returns the shards of a log in the order of their names; if these name several splits, in the order of those.

    Files that name no split come with those of the training. Without times this order is that of the events.
    """
    split = {file: _split(file) for file in files}
    found = [name for name in SPLITS if name in split.values()]
    if len(found) < 2:
        return sorted(split, key=_by_name)
    say(f"files in the order of the splits that their names say: {some(found)}")
    rank = {"": 0} | {name: place for place, name in enumerate(SPLITS)}
    return sorted(split, key=lambda file: (rank[split[file]], _by_name(file)))


def _split(file: File) -> str:
    """Returns the split that a file's name, or the nearest of its folders' names, says; "" if none does."""
    for part in (file.name, *reversed(file.folders)):
        if len(found := [name for name, word in WORD.items() if word.search(part)]) == 1:
            return found[0]
    return ""


def _by_name(file: File) -> tuple:
    """Sort key of a file: the parts of its path, with numbers in them compared by value (2 before 10)."""
    parts = [*file.path.parts, *file.member.split("/")]
    numbered = [
        [(len(each.lstrip("0")), each.lstrip("0")) if at % 2 else each for at, each in enumerate(NUMBERS.split(part))]
        for part in parts
    ]
    return numbered, parts

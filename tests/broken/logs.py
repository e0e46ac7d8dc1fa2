"""Logs as people keep them, and what a kind of broken file is."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FIELDS = ("user_id", "item_id", "rating", "timestamp")
MIDNIGHT = 1_396_310_400  # 2014-04-01


class Format(NamedTuple):
    """One way to write a log. `separator`: None for JSON lines. `within`: the member of a zip."""

    name: str
    separator: str | None = ","
    header: str = ""
    within: str = ""

    def line(self, row):
        return (
            self.separator.join(row)
            if self.separator
            else json.dumps(dict(zip(FIELDS, map(_plain, row), strict=False)))
        )

    @property
    def flags(self):
        """What names the weights, where the format does not."""
        generic = self.name.partition(".")[2] != "inter" and (self.header or not self.separator)
        return ("--weight", "rating") if generic else ()

    def place(self, index):
        return f"line {index + 1 + bool(self.header)}"

    def write(self, folder, rows):
        """The path to name as the input, and the file as messages name it."""
        return self.write_lines(folder, [self.line(row) for row in rows])

    def write_lines(self, folder, lines):
        data = "".join(f"{line}\n" for line in ([self.header] if self.header else []) + lines).encode()
        path = put(folder / self.name, pack(self.within, data) if self.within else data)
        return path, f"{path}/{self.within}" if self.within else str(path)


def _plain(text):
    try:
        return json.loads(text) if text not in ("NaN", "Infinity") else text
    except ValueError:
        return text


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def pack(name, data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return file.getvalue()


CSV = Format("log.csv", ",", ",".join(FIELDS))
TSV = Format("log.tsv", "\t", "\t".join(FIELDS))
SEMICOLON = Format("log.txt", ";", ";".join(FIELDS))
INTER = Format("log.inter", "\t", "\t".join(f"{name}:token" for name in FIELDS))
DELIMITED = [
    CSV,
    TSV,
    INTER,
    CSV._replace(name="log.csv.gz"),
    Format("ratings.dat", "::"),
    Format("u.data", "\t"),
    Format("log.zip", ",", "userId,movieId,rating,timestamp", "ml/ratings.csv"),
    Format("ratings_Beauty.csv", ","),
]
JSONL = Format("log.jsonl", None)
FORMATS = [*DELIMITED, JSONL]


def log(chance, number=40):
    """Rows of a user, an item, a rating, a time: all text."""
    return [
        [f"A{chance.randrange(8)}", f"B{chance.randrange(20):09}", f"{chance.randrange(2, 11) / 2}", str(MIDNIGHT + at)]
        for at in range(number)
    ]


class Broken(NamedTuple):
    good: Path  # prepares
    path: Path  # does not
    cure: str  # a part of the message
    named: str = ""  # what the message names, if not the path
    flags: tuple = ()
    both: tuple = ()  # flags that the good one has too


FILES: dict[str, Callable] = {}  #: kind -> the function that makes one: (folder, random.Random, number) -> Broken


def kind(name):
    """Enters a function into FILES."""
    return lambda make: FILES.setdefault(name, make)

"""Broken input of every kind: a message that names the file, the line and the cure, and nothing is left behind."""

import csv
import datetime
import gzip
import io
import json
import os
import random
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from jaxrec import cli
from jaxrec.data import prepared

LEAST, LONGEST = 5, 1_500  # files of a kind; characters of a message
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


# --- rows ---


def field(at, *values):
    return lambda row, chance: [*row[:at], chance.choice(values), *row[at + 1 :]]


NO_TIMES = ("yesterday", "n/a", "12:30", "-", "1.2.3", "2014-13-01", "0x10", "1 2")
#: kind -> (its formats, row -> broken row, a part of the message)
ROWS = {
    "a time that is none": (FORMATS, field(3, *NO_TIMES), "is no time"),
    "a negative time": (FORMATS, field(3, "-1", "-1400000000", "-0.5"), "is no time"),
    "a time without end": (FORMATS, field(3, "NaN", "Infinity", "1e400", "-inf"), "is no time"),
    "a date among numbers": (FORMATS, field(3, "2014-04-01", "2014-04-01T03:00:00Z"), "is no time"),
    "no time": (FORMATS, field(3, ""), "is no time"),
    "a rating that is none": (FORMATS, field(2, "good", "3*", "--", ""), "not a finite number"),
    "a rating without end": (FORMATS, field(2, "NaN", "Infinity", "1e400"), "not a finite number"),
    "no user": (FORMATS, field(0, ""), "is empty"),
    "no item": (FORMATS, field(1, ""), "is empty"),
    "too many fields": (
        DELIMITED,
        lambda row, chance: row + ["x"] * chance.randint(1, 3),
        "where the first line has 4",
    ),
    "too few fields": (DELIMITED, lambda row, chance: row[: chance.randint(1, 3)], "where the first line has 4"),
    "another separator": (DELIMITED, lambda row, chance: ["|".join(row)], "1 field where the first line has 4"),
    "a quote that never ends": ([CSV, TSV, SEMICOLON], lambda row, _: ['"' + row[0], *row[1:]], "mend the quotes"),
    "text after a quote": ([CSV, TSV, SEMICOLON], lambda row, _: [row[0], f'"{row[1]}"x', *row[2:]], "mend the quotes"),
    "a null": ([JSONL], field(0, "null"), "is empty"),
    "an object as an id": ([JSONL], field(1, '{"a": 1}', "[1]", "[]"), "item_id"),
    "a number among dates": ([CSV, JSONL], None, "as other rows have"),
    "a line of JSON that is cut": ([JSONL], None, "not JSON"),
    "a line of JSON that is no object": ([JSONL], None, "not a JSON object"),
    "a key that is missing": ([JSONL], None, "is"),
}


def broken_rows(kind, folder, chance, number):
    """A good log, the same with 1 to 9 bad rows, the numbers of these."""
    formats, spoil, cure = ROWS[kind]
    made, rows = formats[number % len(formats)], log(chance)
    bad = sorted(chance.sample(range(1, len(rows)), chance.choice([1, 1, 2, 9])))
    if kind == "a number among dates":
        for row in rows:
            row[3] = f"2014-04-01T00:{int(row[3]) % 3600 // 60:02}:{int(row[3]) % 60:02}Z"
        spoil = field(3, "1400000000", "5")
    lines = [made.line(row) for row in rows]
    for at in bad:
        if spoil:
            lines[at] = made.line(spoil(rows[at], chance))
        elif kind.endswith("cut"):
            lines[at] = lines[at][: -chance.randint(1, 40)]
        elif kind.endswith("missing"):
            lines[at] = lines[at].replace(chance.choice(FIELDS), "other")
        else:
            lines[at] = chance.choice(["3", "null", '"text"', "[1, 2]"])
    good, _ = made.write(folder / "good", rows)
    path, named = made.write_lines(folder / "broken", lines)
    return Broken(good, path, cure, named), rows, bad, [made.place(at) for at in bad]


# --- files ---

FILES: dict[str, Callable] = {}


def kind(name):
    return lambda make: FILES.setdefault(name, make)


def spoiled(folder, chance, number, change, cure, line=None, formats=FORMATS, **more):
    """A log whose lines `change` breaks: (lines, format) -> lines."""
    made = formats[number % len(formats)]
    rows = log(chance)
    good, _ = made.write(folder / "good", rows)
    path, named = made.write_lines(folder / "broken", change([made.line(row) for row in rows], made))
    return Broken(good, path, cure, f"{named}, line {line}" if line else named, **more)


def damaged(folder, chance, number, change, cure, formats=FORMATS):
    """A log whose bytes `change` breaks: (bytes) -> bytes."""
    made = formats[number % len(formats)]
    good, _ = made.write(folder / "good", log(chance, 400))
    path = folder / "broken" / made.name
    path.parent.mkdir()
    path.write_bytes(change(good.read_bytes()))
    return Broken(good, path, cure)


@kind("no column of items")
def _(folder, chance, number):
    made = [CSV, TSV, SEMICOLON, INTER, JSONL][number % 5]
    good, _ = made.write(folder / "good", rows := log(chance))
    hidden = made._replace(header=made.header.replace("item_id", "thing"))
    lines = [hidden.line(row).replace("item_id", "thing") for row in rows]
    return Broken(good, hidden.write_lines(folder / "broken", lines)[0], "--item COLUMN")


@kind("no header")
def _(folder, chance, number):
    made = [CSV, TSV, SEMICOLON][number % 3]
    good, _ = made.write(folder / "good", rows := log(chance))
    rows = [[*row[:2], "fine", row[3]] for row in rows]
    return Broken(good, made._replace(header="").write(folder / "broken", rows)[0], "--user COLUMN")


@kind("no such column")
def _(folder, chance, number):
    role, given = [("user", "users"), ("item", "9"), ("time", "0"), ("weight", "stars"), ("session", "visit")][
        number % 5
    ]
    good, _ = CSV.write(folder, log(chance))
    return Broken(good, good, "the columns are user_id, item_id, rating, timestamp", flags=(f"--{role}", given))


@kind("one column for two things")
def _(folder, chance, number):
    good, _ = CSV.write(folder, log(chance))
    role = ["item", "time", "weight", "session", "item"][number % 5]
    return Broken(good, good, "one column cannot be two", flags=("--user", "user_id", f"--{role}", "user_id"))


@kind("columns of a format that knows them")
def _(folder, chance, number):
    good, _ = Format("u.data", "\t").write(folder, log(chance))
    role = ["user", "item", "time", "weight", "session"][number % 5]
    return Broken(good, good, f"leave out --{role}", flags=(f"--{role}", "1"))


@kind("no such format")
def _(folder, chance, number):
    good, _ = CSV.write(folder, log(chance))
    name = ["excel", "Table", "csv", "recbole2", "tables"][number % 5]
    return Broken(good, good, "choose one of", repr(name), ("--format", name))


@kind("not UTF-8")
def _(folder, chance, number):
    at = chance.randrange(1, 20)
    made = DELIMITED[number % len(DELIMITED)]
    broken = spoiled(folder, chance, number, lambda lines, _: lines, "iconv -f latin1 -t", formats=DELIMITED)
    lines = [made.header] * bool(made.header) + [made.line(row) for row in log(chance)]
    data = [line.encode() for line in lines]
    data[at] = b"caf\xe9" + data[at]
    packed = b"\n".join(data)
    put(broken.path, pack(made.within, packed) if made.within else packed)
    return broken._replace(named=f"{broken.named}, line {at + 1}")


@kind("UTF-16")
def _(folder, chance, number):
    change = lambda data: data.decode().encode("utf-16")
    return damaged(
        folder, chance, number, change, "iconv -f utf-16 -t", [CSV, TSV, INTER, JSONL, Format("u.data", "\t")]
    )


@kind("UTF-16 without a mark")
def _(folder, chance, number):
    change = lambda data: data.decode().encode("utf-16-le")
    return damaged(folder, chance, number, change, "zero byte", [CSV, TSV, INTER, JSONL, Format("u.data", "\t")])


@kind("a zero byte")
def _(folder, chance, number):
    at = chance.randrange(1, 30)
    change = lambda lines, made: [*lines[:at], "\0" + lines[at][1:], *lines[at + 1 :]]
    made = FORMATS[number % len(FORMATS)]
    return spoiled(folder, chance, number, change, "zero byte", at + 1 + bool(made.header))


@kind("times of two units")
def _(folder, chance, number):
    factor = 10 ** chance.choice([3, 6, 9])
    change = lambda lines, _: [
        line.replace(str(MIDNIGHT), str(MIDNIGHT * factor)) if at == 0 else line for at, line in enumerate(lines)
    ]
    return spoiled(folder, chance, number, change, "write all in one unit", formats=FORMATS)._replace(named="time")


@kind("floats as ids")
def _(folder, chance, number):
    change = lambda lines, _: [line.replace("A", "1").replace("B0", "2.0") for line in lines]
    made = [TSV, SEMICOLON, INTER, CSV, Format("u.data", "\t")]
    broken = spoiled(folder, chance, number, change, "an id is an integer or a string", formats=made)
    return broken


@kind("an empty file")
def _(folder, chance, number):
    data = [b"", b"\xef\xbb\xbf", b"\n", b"\n\r\n  \n"][number % 4]
    name = [*(made.name for made in FORMATS if not made.within), "sequences.txt", "pairs.txt"][number % 10]
    good, _ = CSV.write(folder / "good", log(chance))
    return Broken(good, put(folder / "broken" / name, data), "put ")


@kind("a header alone")
def _(folder, chance, number):
    formats = [CSV, TSV, SEMICOLON, INTER, DELIMITED[3]]
    return spoiled(folder, chance, number, lambda lines, _: [], "no rows", formats=formats)


@kind("a lone item")
def _(folder, chance, number):
    change = lambda lines, made: [made.line([row[0], "B000000001", *row[2:]]) for row in log(chance)]
    return spoiled(folder, chance, number, change, "the only item")


@kind("bad rows alone")
def _(folder, chance, number):
    change = lambda lines, made: [made.line([row[0], "", *row[2:]]) for row in log(chance)]
    flags = ("--on-bad-row", "skip")
    return spoiled(
        folder,
        chance,
        number,
        change,
        "rows are bad, the first",
        flags=flags,
        formats=[CSV, TSV, INTER, JSONL, SEMICOLON],
    )


@kind("one list of JSON")
def _(folder, chance, number):
    good, _ = JSONL.write(folder / "good", rows := log(chance))
    text = json.dumps([dict(zip(FIELDS, row, strict=True)) for row in rows], indent=[None, 2, None, 0, 1][number % 5])
    return Broken(good, put(folder / "broken" / "log.json", text), "an object a line")


@kind("gzip that is cut")
def _(folder, chance, number):
    formats = [made._replace(name=f"{made.name}.gz") for made in (CSV, TSV, JSONL, INTER, Format("u.data", "\t"))]
    return damaged(
        folder, chance, number, lambda data: data[: -chance.randint(1, 300)], "fetch the file again", formats
    )


@kind("gzip that is damaged")
def _(folder, chance, number):
    formats = [made._replace(name=f"{made.name}.gz") for made in (CSV, TSV, JSONL, INTER, Format("u.data", "\t"))]
    change = lambda data: data[: (at := len(data) // 2)] + bytes(64) + data[at + 64 :]
    return damaged(folder, chance, number, change, "fetch the file again", formats)


@kind("not gzip, though called so")
def _(folder, chance, number):
    made = [CSV, TSV, JSONL, INTER, Format("u.data", "\t")][number % 5]
    broken = spoiled(folder, chance, number, lambda lines, _: lines, "not gzip", formats=[made])
    return broken._replace(path=broken.path.rename(f"{broken.path}.gz"))


ZIP = [Format("log.zip", ",", CSV.header, name) for name in ("a/log.csv", "ratings.csv", "log.csv")]


@kind("a zip that is cut")
def _(folder, chance, number):
    change = lambda data: data[: -chance.randint(25, 1_000)]
    return damaged(folder, chance, number, change, "", ZIP)


@kind("a zip that is damaged")
def _(folder, chance, number):
    at = [400, 800, -75, -77, -79][number % 5]  # in the data, or in the list of the members at the end
    change = lambda data: data[:at] + bytes(16) + data[at:][16:]
    return damaged(folder, chance, number, change, "fetch", ZIP)


@kind("a zip of something else")
def _(folder, chance, number):
    good, _ = ZIP[0].write(folder / "good", log(chance))
    name, data = [("readme.md", "hello"), ("a/b.png", b"\x89PNG\r\n\x1a\n\0\0"), ("[Content_Types].xml", "<x/>")][
        number % 3
    ]
    return Broken(good, put(folder / "broken" / "log.zip", pack(name, data)), "")


@kind("an empty zip")
def _(folder, chance, number):
    good, _ = ZIP[0].write(folder / "good", log(chance))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in range(number % 3):
            archive.mkdir(f"{name}")
    return Broken(good, put(folder / "broken" / "log.zip", file.getvalue()), "put interactions there")


@kind("no table at all")
def _(folder, chance, number):
    name, data = [
        ("log.csv", "<!DOCTYPE html>\n<html><body>Moved</body></html>\n"),
        ("log.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("log.parquet", "<!DOCTYPE html>\n<html></html>\n"),
        ("log.txt", "Dear reader,\n\nhere is nothing.\n"),
        ("log.bin", bytes(range(256))),
    ][number % 5]
    good, _ = CSV.write(folder / "good", log(chance))
    return Broken(good, put(folder / "broken" / name, data), "")


# --- Parquet and Arrow ---


def frame(chance, number=40):
    user, item, weight, time = zip(*log(chance, number), strict=True)
    columns = user, [int(each[1:]) for each in item], map(float, weight), map(int, time)
    return pl.DataFrame(dict(zip(FIELDS, map(list, columns), strict=True)))


COLUMNAR = {"log.parquet": pl.DataFrame.write_parquet, "log.arrow": pl.DataFrame.write_ipc}


def columns_spoiled(folder, chance, number, change, cure, **more):
    name = sorted(COLUMNAR)[number % 2]
    good, path = put(folder / "good" / name, ""), put(folder / "broken" / name, "")
    COLUMNAR[name](data := frame(chance), good)
    COLUMNAR[name](change(data), path)
    return Broken(good, path, cure, **more)


@kind("Parquet or Arrow that is cut")
def _(folder, chance, number):
    broken = columns_spoiled(folder, chance, number, lambda data: data, "fetch or write it again")
    broken.path.write_bytes(broken.path.read_bytes()[: -chance.randint(1, 400)])
    return broken


@kind("Parquet that is damaged")
def _(folder, chance, number):
    broken = columns_spoiled(folder, chance, 1, lambda data: data, "fetch or write it again")
    data = broken.path.read_bytes()
    at = [8, 30, len(data) - 200, 4, len(data) - 40][number % 5]
    broken.path.write_bytes(data[:at] + bytes([255]) * 24 + data[at + 24 :])
    return broken


@kind("Parquet or Arrow with floats as ids")
def _(folder, chance, number):
    floats = pl.col("item_id").cast([pl.Float64, pl.Float32][number // 2 % 2])
    return columns_spoiled(folder, chance, number, lambda data: data.with_columns(floats), "astype('Int64')")


@kind("Parquet or Arrow with a column of another type")
def _(folder, chance, number):
    column = [
        pl.concat_list("item_id").alias("item_id"),
        pl.struct("item_id").alias("item_id"),
        pl.from_epoch("timestamp").alias("user_id"),
        (pl.col("rating") > 3).alias("item_id"),
        pl.from_epoch("timestamp").dt.date().alias("item_id"),
    ][number % 5]
    return columns_spoiled(
        folder, chance, number, lambda data: data.with_columns(column), "an id is an integer or a str"
    )


@kind("Parquet or Arrow with weights of another type")
def _(folder, chance, number):
    column = [
        pl.concat_list("rating"),
        pl.struct("rating"),
        pl.from_epoch("timestamp"),
        pl.lit(b"3.5"),
        pl.lit(1e300),  # beyond what is kept of it
    ][number % 5].alias("rating")
    cure = "is not a finite number" if number == 4 else "a weight is a number"
    return columns_spoiled(folder, chance, number, lambda data: data.with_columns(column), cure)


@kind("Parquet or Arrow with ids of bytes that are no text")
def _(folder, chance, number):
    column = pl.when(pl.int_range(pl.len()) != 3).then(pl.col("user_id").cast(pl.Binary)).otherwise(pl.lit(b"\xff"))
    change = lambda data: data.with_columns(column.alias("user_id"))
    return columns_spoiled(folder, chance, number, change, "user_id holds bytes that are not UTF-8: write it as text")


@kind("Parquet or Arrow with nulls")
def _(folder, chance, number):
    name = FIELDS[number % 4]
    at = chance.randrange(1, 40)
    null = pl.when(pl.int_range(pl.len()) != at).then(name).alias(name)
    broken = columns_spoiled(folder, chance, number, lambda data: data.with_columns(null), name)
    return broken._replace(named=f"{broken.path}, row {at + 1}")


@kind("Parquet or Arrow without the column")
def _(folder, chance, number):
    return columns_spoiled(folder, chance, number, lambda data: data.drop(FIELDS[number % 2]), "COLUMN")


@kind("Parquet or Arrow without rows")
def _(folder, chance, number):
    return columns_spoiled(folder, chance, number, lambda data: data.clear(), "no rows")


# --- lines of histories ---


def histories(chance, number=12):
    return [f"u{user} " + " ".join(str(chance.randrange(30)) for _ in range(6)) for user in range(number)]


def lines_spoiled(folder, chance, lines, cure, line, name="sequences.txt"):
    good = put(folder / "good" / name, "\n".join(histories(chance)) + "\n")
    path = put(folder / "broken" / name, "\n".join(lines) + "\n")
    return Broken(good, path, cure, f"{path}, line {line}")


@kind("a user without an item")
def _(folder, chance, number):
    at = chance.randrange(12)
    lines = histories(chance)
    lines[at] = chance.choice(["u77", "u77 ", "\tu77", "u77,5,6"])
    return lines_spoiled(
        folder, chance, lines, "a user without an item", at + 1, ["sequences.txt", "log.txt"][number % 2]
    )


@kind("a user twice")
def _(folder, chance, number):
    at = chance.randrange(3, 12)
    lines = histories(chance)
    lines[at] = "u2 " + lines[at].partition(" ")[2]
    return lines_spoiled(folder, chance, lines, "user u2 has line 3 already", at + 1)


@kind("a blank line within")
def _(folder, chance, number):
    at = chance.randrange(12)
    lines = histories(chance)
    lines.insert(at, ["", " ", "\t"][number % 3])
    return lines_spoiled(folder, chance, lines, "a blank line before the end", at + 1)


@kind("three tokens in a pair")
def _(folder, chance, number):
    pairs = [f"{user} {chance.randrange(30)}" for user in range(12) for _ in range(4)]
    at = chance.randrange(2, 48)
    lines = list(pairs)
    lines[at] += " 5"
    broken = lines_spoiled(folder, chance, lines, f"mend line {at + 1}", 2, "pairs.txt")
    put(broken.good, "\n".join(pairs) + "\n")
    return broken


def beside(folder, chance, change):
    """sequences.txt with interactions.csv beside it, whose lines `change` breaks in place."""
    lines = histories(chance)
    rows = [f"{user},{item}" for user, *items in map(str.split, lines) for item in items]
    rows = ["user_id,item_id,timestamp", *(f"{row},{MIDNIGHT + at}" for at, row in enumerate(rows))]
    for name in ("good", "broken"):
        put(folder / name / "sequences.txt", "\n".join(lines) + "\n")
        put(folder / name / "interactions.csv", "\n".join(rows) + "\n")
        change(rows)
    return folder / "good", folder / "broken"


@kind("interactions.csv with another row")
def _(folder, chance, number):
    at = chance.randrange(1, 72)
    column = number % 2

    def change(rows):
        fields = rows[at].split(",")
        fields[column] = "other"
        rows[at] = ",".join(fields)

    good, broken = beside(folder, chance, change)
    return Broken(good, broken, "the two hold the same rows", f"{broken / 'interactions.csv'}, line {at + 1}")


@kind("interactions.csv with a row less or more")
def _(folder, chance, number):
    change = (lambda rows: rows.pop(chance.randrange(1, 72))) if number % 2 else (lambda rows: rows.append(rows[-1]))
    good, broken = beside(folder, chance, change)
    return Broken(good, broken, "make them the same", str(broken / "interactions.csv"))


@kind("interactions.csv with a time that falls")
def _(folder, chance, number):
    at = chance.choice([at for at in range(2, 72) if at % 6 != 1])
    good, broken = beside(folder, chance, lambda rows: rows.insert(at, rows.pop(at).replace("139631", "139630")))
    return Broken(good, broken, "sort by user and time", f"{broken / 'interactions.csv'}, line {at + 1}")


@kind("interactions.csv with a bad row")
def _(folder, chance, number):
    at = chance.randrange(1, 72)
    good, broken = beside(folder, chance, lambda rows: rows.insert(at, rows.pop(at).replace("1396", "soon")))
    return Broken(good, broken, "timestamp is no time", f"{broken / 'interactions.csv'}, line {at + 1}")


@kind("stats.json that is broken")
def _(folder, chance, number):
    text = [
        "{",
        '{"train_sessions": 12}',
        '{"train_sessions": 0}',
        '{"train_sessions": "4"}',
        '{"train_sessions": 2.5}',
    ]
    good, broken = beside(folder, chance, lambda rows: None)
    put(good / "stats.json", '{"train_sessions": 11}')
    return Broken(good, broken, "", str(put(broken / "stats.json", text[number % 5])))


@kind("items.csv that is broken")
def _(folder, chance, number):
    text, cure = [
        ("", "empty"),
        ("name,year\nOne,1999\n", "no column item_id"),
        ("item_id,title\n1,One\n1,Uno\n", "line 3"),
        ("item_id,title\n1,One, two\n", "line 2"),
        ('item_id,title\n1,"One\n', "mend the quotes"),
    ][number % 5]
    good, broken = beside(folder, chance, lambda rows: None)
    put(good / "items.csv", "item_id,title\n1,One\n")
    return Broken(good, broken, cure, str(put(broken / "items.csv", text)))


# --- folders and places ---


@kind("a folder of two kinds")
def _(folder, chance, number):
    good, _ = CSV.write(folder / "good", log(chance))
    TSV.write(folder / "broken", log(chance))
    one, _ = [CSV, JSONL, CSV._replace(name="b.csv.gz")][number % 3].write(folder / "broken", log(chance))
    return Broken(good.parent, one.parent, "lie together")


@kind("two .inter files")
def _(folder, chance, number):
    good, _ = INTER.write(folder / "good", log(chance))
    for name in ("a.inter", "b.inter"):
        INTER._replace(name=name).write(folder / "broken", log(chance))
    return Broken(good.parent, folder / "broken", "name the one to read")


@kind("shards that differ")
def _(folder, chance, number):
    for name in ("good/a.csv", "good/b.csv", "broken/a.csv"):
        CSV._replace(name=name).write(folder, log(chance))
    header = "user_id,item_id,rating,what"
    _, named = CSV._replace(name="broken/b.csv", header=header).write(folder, log(chance))
    return Broken(folder / "good", folder / "broken", "shards have one header", named)


@kind("a folder without data")
def _(folder, chance, number):
    good, _ = CSV.write(folder / "good", log(chance))
    place = folder / "broken"
    place.mkdir()
    if number % 3 == 1:
        put(place / "notes.md", "hello")
    if number % 3 == 2:
        CSV.write(place / "within", log(chance))
        return Broken(good.parent, place, f"did you mean {place / 'within'}?")
    return Broken(good.parent, place, "" if number % 3 else "name another folder")


@kind("a folder called like a file")
def _(folder, chance, number):
    good, _ = CSV.write(folder / "good", log(chance))
    place = folder / "broken" / ["log.csv", "log.parquet", "sequences.txt", "log.zip", "log.inter"][number % 5]
    place.mkdir(parents=True)
    return Broken(good, place, "no file is in this folder")


@kind("no such file")
def _(folder, chance, number):
    good, _ = CSV.write(folder, log(chance))
    name, cure = [
        ("lgo.csv", "log.csv"),
        ("zzz", "name a folder or a file"),
        ("*.parquet", "name a folder or a file"),
        ("no/where", "name a folder or a file"),
        ("log", "log.csv"),
    ][number % 5]
    return Broken(good, folder / name, cure)


@kind("a link to nowhere")
def _(folder, chance, number):
    good, _ = CSV.write(folder / "good", log(chance))
    link = folder / "log.csv"
    link.symlink_to(folder / "nowhere.csv")
    return Broken(good, link, "a link to nowhere")


@kind("a file that may not be read")
def _(folder, chance, number):
    good, _ = CSV.write(folder / "good", log(chance))
    path, _ = FORMATS[number].write(folder / "broken", log(chance))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    return Broken(good, path, "permission")


@kind("a prepared folder that is not whole")
def _(folder, chance, number):
    made, _ = CSV.write(folder / "made", log(chance))
    for name in ("good", "broken"):
        assert cli.main(["prepare", "--input", str(made), "--output", str(folder / name)]) == 0
    victim = (
        folder / "broken" / ["items.npy", "offsets.npy", "users.parquet", "catalogue.parquet", "times.npy"][number % 5]
    )
    victim.write_bytes(victim.read_bytes()[: -chance.randint(1, 60)]) if number % 2 else victim.unlink()
    return Broken(folder / "good", folder / "broken", "prepare it again")


@kind("filters that leave nothing")
def _(folder, chance, number):
    good, _ = CSV.write(folder, log(chance))
    flags = [
        ("--k-core", "99"),
        ("--since", "2030-01-01"),
        ("--until", "1999-01-01"),
        ("--min-rating", "6"),
        ("--max-length", "1"),
    ]
    return Broken(good, good, flags[number % 5][0], flags=flags[number % 5])


@kind("filters that are none")
def _(folder, chance, number):
    good, _ = CSV.write(folder, log(chance))
    flags = [
        ("--k-core", "0"),
        ("--since", "soon"),
        ("--sample", "1.5"),
        ("--session-gap", "-1"),
        ("--min-length", "-2"),
    ]
    return Broken(good, good, flags[number % 5][0], flags[number % 5][0], flags[number % 5])


@kind("filters without times or ratings")
def _(folder, chance, number):
    good = put(folder / "sequences.txt", "\n".join(histories(chance)) + "\n")
    flags = [("--since", "2014-01-01"), ("--until", "2014-01-01"), ("--min-rating", "3"), ("--session-gap", "30")]
    return Broken(good, good, flags[number % 4][0], flags=flags[number % 4])


# --- the tests ---


def cases(kinds, count):
    return [pytest.param(name, number, id=f"{name}-{number}") for name in kinds for number in range(count(name))]


@pytest.fixture
def run(tmp_path, capsys):
    """`run(path, *flags)`: the exit status, the messages, and what lies where the output should."""
    place = tmp_path / "outputs"
    place.mkdir()

    def prepare(path, *flags):
        capsys.readouterr()
        status = cli.main(["prepare", "--input", str(path), "--output", str(place / "new"), *flags])
        said = capsys.readouterr()
        return status, said.out if status == 0 else said.err, sorted(place.rglob("*"))

    return prepare


@pytest.fixture
def refuse(run, tmp_path, tabulate):
    """Prepares what a kind made: the broken one is refused, without a trace, and the good one is not."""

    def judge(name, broken):
        status, said, left = run(broken.path, *broken.both, *broken.flags)
        assert status == 2, said
        assert not left
        assert said.startswith("jaxrec prepare: ") and (broken.named or str(broken.path)) in said
        assert broken.cure in said
        assert "Traceback" not in said and len(said) < LONGEST
        assert not any(word in said.lower() for word in INTERNAL)
        status, complaint, _ = run(broken.good, *broken.both)
        assert status == 0, complaint
        tabulate(name, said.removeprefix("jaxrec prepare: ").replace(f"{tmp_path}{os.sep}", "").partition("\n")[0])
        return said

    return judge


INTERNAL = ("polars", "errno", "nonetype", "dtype", "object has no")  # nothing that a person could mend by


@pytest.mark.parametrize(("name", "number"), cases(ROWS, lambda name: max(LEAST, len(ROWS[name][0]))))
def test_bad_rows_are_named_or_skipped(name, number, tmp_path, refuse, run):
    broken, rows, bad, places = broken_rows(name, tmp_path, random.Random(f"{name} {number}"), number)
    said = refuse(name, broken)
    lines = said.splitlines()
    for line, place in zip(lines, places[:5], strict=False):
        assert f"{broken.named}, {place}: " in line and broken.cure in line
    assert len(lines) == min(len(bad), 5) + 1 + (len(bad) > 1)
    assert (f"({len(bad)} such rows in all)" in lines) == (len(bad) > 1)
    assert "--on-bad-row skip" in lines[-1]
    status, said, _ = run(broken.path, "--on-bad-row", "skip")
    assert status == 0 and f"{len(bad)} bad row" in said
    kept = [row for at, row in enumerate(rows) if at not in bad]
    assert Counter(rows_of(tmp_path / "outputs" / "new")) == Counter(map(expected, kept))


@pytest.mark.parametrize(("name", "number"), cases(FILES, lambda name: LEAST))
def test_a_broken_file_is_named_with_its_cure(name, number, tmp_path, refuse):
    refuse(name, FILES[name](tmp_path, random.Random(f"{name} {number}"), number))


def test_these_are_two_hundred_files_and_more():
    assert sum(max(LEAST, len(formats)) for formats, *_ in ROWS.values()) + LEAST * len(FILES) >= 200


ODD = [
    "2147483648",
    "9223372036854775808",
    "007",
    "a b",
    'say "x"',
    "1,5",
    "ü,ß",
    "日本",
    "nan",
    "-0",
    "1e5",
    "0x1",
    "null",
]


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl", "log.parquet", "log.arrow", "log.csv.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_is_odd_but_right_is_kept_as_it_is(name, mark, end, tmp_path, run):
    """Ids of any kind, users of one row, rows twice, marks of byte order and line ends of other systems."""
    rows = [[user, item, "3.5", str(MIDNIGHT + at)] for at, (user, item) in enumerate(zip(ODD, ODD[::-1], strict=True))]
    rows += [rows[0], rows[0], ["2147483648", "007", "1.0", str(MIDNIGHT - 1)]]
    path = put(tmp_path / name, "")
    if name in COLUMNAR:
        COLUMNAR[name](pl.DataFrame(rows, FIELDS, orient="row").cast({"rating": float, "timestamp": int}), path)
    else:
        text = io.StringIO()
        if "json" in name:
            text.writelines(json.dumps(dict(zip(FIELDS, row, strict=True))) + end for row in rows)
        else:
            csv.writer(text, delimiter="\t" if "tsv" in name else ",", lineterminator=end).writerows([FIELDS, *rows])
        put(path, mark + text.getvalue())
    status, said, _ = run(path)
    assert status == 0, said
    assert Counter(rows_of(tmp_path / "outputs" / "new")) == Counter(map(expected, rows))


def test_integers_stay_integers_up_to_63_bits(tmp_path, run):
    ids = [0, -7, 2**31, 2**63 - 1, -(2**63)]
    for number, (last, kind) in enumerate([(ids[-1], np.int64), (2**63, np.dtypes.StringDType())]):
        wanted = [*ids[:-1], last]
        path = put(tmp_path / f"{number}.csv", "user,item\n" + "".join(f"{each},{each}\n" for each in wanted))
        status, said, _ = run(path)
        assert status == 0, said
        data = prepared.load(tmp_path / "outputs" / "new")
        assert data.catalogue.ids.dtype == data.users.dtype == kind
        assert {*map(str, data.users.tolist())} == {*map(str, wanted)}


SCRAPS = [b'"', b"\n", b"\r", b"\0", b",", b"\t", b"{", b"[", b" ", b"\xff", b"1e999", b"'", b"::", b"-", b"9" * 30]


@pytest.mark.parametrize("made", FORMATS, ids=lambda made: made.name)
def test_damage_of_any_sort_is_never_a_traceback(made, tmp_path, run):
    """Bytes put in, left out, flipped: a message and nothing else, or data, for what is left may well be right."""
    for number in range(12):
        chance = random.Random(f"{made.name} {number}")
        path, _ = made.write(tmp_path / str(number), log(chance))
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 2, 5, 30])):
            at = chance.randrange(len(data))
            data[at : at + chance.choice([0, 0, 1, 5, 100])] = chance.choice([*SCRAPS, bytes([data[at] ^ 4])])
        path.write_bytes(data)
        status, said, left = run(path)
        if status == 0:
            shutil.rmtree(tmp_path / "outputs" / "new")
        else:
            assert status == 2 and str(path) in said and len(said) < LONGEST and not left


def rows_of(folder):
    """The rows of a prepared folder."""
    data = prepared.load(folder)
    users = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
    ids = [data.users.tolist()[user] for user in users], [data.catalogue.ids.tolist()[item - 1] for item in data.items]
    return zip(*ids, data.weights.tolist(), data.times.tolist(), strict=True)


def expected(row):
    user, item, weight, time = row
    dated = datetime.datetime.fromisoformat(time).timestamp() if "T" in time else int(time)
    return user, item, float(weight), int(dated) * 1_000_000

"""Odd input that is right: every kind, made to order, with the rows that are in it."""

import csv
import io
import json
from collections.abc import Callable
from typing import NamedTuple

import polars as pl
from broken.logs import MIDNIGHT

NAMES = ["user", "item", "time"]


class Odd(NamedTuple):
    """An input that is read."""

    path: object  # to name as the input
    rows: list  # (user, item, seconds or None), ids as text, a user's in their order
    flags: tuple = ()
    said: str = ""  # a part of what is printed


ODD: dict[str, Callable] = {}  #: kind -> the function that makes one: (folder, random.Random, number) -> Odd


def odd(name):
    """Enters a function into ODD."""
    return lambda make: ODD.setdefault(name, make)


def events(chance, number=30, users="A{}", items="B{}"):
    """Rows of a user, an item, a time that rises."""
    return [
        (users.format(chance.randrange(1, 7)), items.format(chance.randrange(1, 15)), MIDNIGHT + at)
        for at in range(number)
    ]


def numbers(chance, number=30):
    return events(chance, number, "{}", "{}")


def text(rows, separator=",", header=NAMES, end="\n", quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([*([header] if header else []), *rows])
    return out.getvalue()


def frame(rows, names=NAMES):
    return pl.DataFrame(list(rows), names, orient="row")


def lines(rows, names=NAMES):
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


def histories(rows):
    """{user: rows}, in the order of the first."""
    found = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found

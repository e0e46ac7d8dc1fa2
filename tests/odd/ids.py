"""Odd ids that are right."""

import polars as pl
from broken.logs import MIDNIGHT, put

from odd.logs import Odd, events, frame, lines, numbers, odd, text


@odd("ids at the ends of 64 bits")
def _(folder, chance, number):
    ends = [2**63 - 1, -(2**63), 2**53, 2**53 + 1, 2**31, -1, 0, 2**32]
    rows = [(str(chance.choice(ends)), str(chance.choice(ends)), MIDNIGHT + at) for at in range(20)]
    return Odd(put(folder / "log.csv", text(rows)), rows)


@odd("ids that begin with zeros")
def _(folder, chance, number):
    rows = events(chance, users="00{}", items="0{}")
    return Odd(put(folder / "log.csv", text(rows)), rows)


@odd("ids in any script")
def _(folder, chance, number):
    users, items = ["ü{}", "日本{}", "مرحبا{}", "👩‍🚀{}", "e\u0301{}"], ["ß{}", "é{}", "ﬁ{}", "И{}", "\u200d{}"]
    rows = events(chance, users=users[number % 5], items=items[chance.randrange(5)])
    return Odd(put(folder / "log.csv", text(rows)), rows)


@odd("ids that are styles, options or paths")
def _(folder, chance, number):
    users, items = ["[red]{}", "[/]{}", "--user {}", "../{}", "$HOME{}"], ["{}[x]", "%00{}", "`{}`", "=1+{}", "\\{}"]
    rows = events(chance, users=users[number % 5], items=items[chance.randrange(5)])
    return Odd(put(folder / "log.csv", text(rows)), rows)


@odd("ids that only differ in case, form or spaces within")
def _(folder, chance, number):
    ids = ["a", "A", "é", "e\u0301", "x y", "x  y", "ss", "ß", "ﬁ", "fi"]
    rows = [(chance.choice(ids), chance.choice(ids), MIDNIGHT + at) for at in range(30)]
    name, write = [("log.csv", text), ("log.jsonl", lines)][number % 2]
    return Odd(put(folder / name, write(rows)), rows)


@odd("ids that read as floats, asked to be integers")
def _(folder, chance, number):
    rows = numbers(chance)
    written = [
        (f"{user}.0" if chance.random() < 0.5 else user, f"{item}.{'0' * (number % 3)}", time)
        for user, item, time in rows
    ]
    return Odd(put(folder / "log.csv", text(written)), rows, ("--ids", "integer"))


@odd("ids that read as floats, asked to stay")
def _(folder, chance, number):
    rows = [
        (f"{user}.0" if chance.random() < 0.5 else user, chance.choice([item, f"{item}.0", f"{item}e1"]), time)
        for user, item, time in numbers(chance)
    ]
    name, write = [("log.csv", text), ("log.jsonl", lines)][number % 2]
    return Odd(put(folder / name, write(rows)), rows, ("--ids", "text"))


@odd("a column of floats that are integers")
def _(folder, chance, number):
    rows = numbers(chance)
    floats = frame(rows).with_columns(pl.col("user", "item").cast([pl.Float64, pl.Float32][number % 2]))
    path = folder / ["log.parquet", "log.arrow"][number // 2 % 2]
    folder.mkdir(exist_ok=True)
    (floats.write_parquet if path.suffix == ".parquet" else floats.write_ipc)(path)
    return Odd(path, rows, said="integer")


@odd("words for a missing value, kept")
def _(folder, chance, number):
    words = ["NA", "N/A", "NaN", "NULL", "null", "None", "\\N", "nan"]
    rows = [(chance.choice(["u", *words]), chance.choice(["i", *words]), MIDNIGHT + at) for at in range(30)]
    name, write = [("log.csv", text), ("log.jsonl", lines)][number % 2]
    return Odd(put(folder / name, write(rows)), rows, ("--keep-na-ids",))


@odd("words for a missing value, skipped")
def _(folder, chance, number):
    rows = events(chance)
    word = ["NA", "N/A", "NaN", "NULL", "null", "None", "\\N"][number % 7]
    written = [*rows, (word, "B1", MIDNIGHT), ("A1", word, MIDNIGHT)]
    return Odd(put(folder / "log.csv", text(written)), rows, ("--on-bad-row", "skip"), "2 bad rows")

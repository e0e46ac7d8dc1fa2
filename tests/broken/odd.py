"""Odd input that is right: every kind, made to order, with the rows that are in it."""

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from broken.logs import MIDNIGHT, put

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


# --- text


@odd("a separator of its own")
def _(folder, chance, number):
    rows, separator = events(chance), [",", ";", "\t", "|"][number % 4]
    return Odd(put(folder / f"log.{['csv', 'txt', 'data'][number % 3]}", text(rows, separator)), rows)


@odd("line ends of other systems")
def _(folder, chance, number):
    rows = events(chance)
    data = text(rows, end=["\r\n", "\r"][number % 2])
    return Odd(put(folder / "log.csv", data if number % 3 else data.rstrip("\r\n")), rows)


@odd("a mark of byte order")
def _(folder, chance, number):
    rows = events(chance)
    return Odd(put(folder / "log.csv", "\ufeff" + text(rows, [",", ";", "\t"][number % 3])), rows)


@odd("everything in quotes")
def _(folder, chance, number):
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(rows, [",", ";", "\t"][number % 3], quoting=csv.QUOTE_ALL)), rows)


@odd("separators and quotes within quotes")
def _(folder, chance, number):
    separator = [",", ";", "\t"][number % 3]
    rows = events(chance, users="A{}" + separator, items='say "{}"' + separator)
    return Odd(put(folder / "log.csv", text(rows, separator)), rows)


@odd("columns that are not needed")
def _(folder, chance, number):
    rows, extra = events(chance), number % 5 + 1
    names = [*(f"extra_{at}" for at in range(extra)), *NAMES, "comment"]
    wide = [(*["x"] * extra, *row, chance.choice(["", "a b", "1,5", 'q "q" q'])) for row in rows]
    return Odd(put(folder / "log.csv", text(wide, header=names)), rows)


@odd("names of columns as people write them")
def _(folder, chance, number):
    rows = events(chance)
    names = [
        ["User ID", "Item ID", "Timestamp"],
        ["USERID", "ITEMID", "TS"],
        ["customer_id", "product_id", "created_at"],
        ["visitorid", "itemid", "timestamp"],
        ["Customer", "SKU", "event_time"],
        ["reviewerID", "asin", "unixReviewTime"],
        ["user-id", "item-id", "event_timestamp"],
        ["uid", "iid", "time"],
        ["customer id", "article id", "eventdate"],
        ["user_id:token", "item_id:token", "timestamp:float"],
    ][number % 10]
    return Odd(put(folder / "log.csv", text(rows, header=names)), rows)


@odd("a line that names the separator")
def _(folder, chance, number):
    rows, separator = events(chance), [";", ",", "|", "\t"][number % 4]
    return Odd(put(folder / "log.csv", f"sep={separator}\n" + text(rows, separator)), rows)


@odd("a header that comes again")
def _(folder, chance, number):
    rows = events(chance)
    parts = sorted(chance.sample(range(1, len(rows)), number % 3 + 1))
    written = text(rows).splitlines(keepends=True)
    for at in reversed(parts):
        written.insert(at + 1, written[0])
    return Odd(put(folder / "log.csv", "".join(written)), rows, said="header")


@odd("a header behind a mark of comment")
def _(folder, chance, number):
    rows, mark = events(chance), ["//", "#", "# "][number % 3]
    header = [f"{mark}userID", "itemID", "timestamp"]
    return Odd(put(folder / "log.csv", text(rows, [",", "\t"][number % 2], header)), rows)


@odd("no header, columns by number")
def _(folder, chance, number):
    rows = events(chance)
    data = put(folder / "log.csv", text([("x", *row[::-1]) for row in rows], [",", ";", "\t"][number % 3], None))
    return Odd(data, rows, ("--format", "table", "--user", "4", "--item", "3", "--time", "2"))


@odd("quotes that are plain characters")
def _(folder, chance, number):
    rows = [(user, f'"{item}' if at % 3 else f'{item}"', time) for at, (user, item, time) in enumerate(events(chance))]
    separator = ["\t", ","][number % 2]
    data = "".join(separator.join(map(str, row)) + "\n" for row in [NAMES, *rows])
    return Odd(put(folder / "log.tsv", data), rows, ("--quote", "none"))


@odd("a separator that is named")
def _(folder, chance, number):
    separator, flag = [("\t", "tab"), (" ", " "), ("|", "|"), ("::", "::"), ("~", "~")][number % 5]
    rows = events(chance)
    data = "".join(separator.join(map(str, row)) + "\n" for row in [NAMES, *rows])
    return Odd(put(folder / "log.txt", data), rows, ("--separator", flag, "--format", "table"))


@odd("blank lines at the end")
def _(folder, chance, number):
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(rows) + "\n" * (number + 1)), rows)


@odd("separators after the last field")
def _(folder, chance, number):
    rows = events(chance)
    data = "".join(f"{line}{',' * (number % 3 + 1)}\n" for line in text(rows).splitlines())
    return Odd(put(folder / "log.csv", data), rows)


@odd("users and items alone")
def _(folder, chance, number):
    rows = [(user, item, None) for user, item, _ in events(chance)]
    if number % 2:
        return Odd(put(folder / "pairs.txt", "".join(f"{user} {item}\n" for user, item, _ in rows)), rows)
    return Odd(put(folder / "log.csv", text([row[:2] for row in rows], header=NAMES[:2])), rows)


@odd("a history a line")
def _(folder, chance, number):
    rows = [(user, item, None) for user, item, _ in events(chance)]
    gap = [" ", "\t", "  "][number % 3]
    data = "".join(gap.join([user, *(item for _, item, _ in own)]) + "\n" for user, own in histories(rows).items())
    return Odd(put(folder / "sequences.txt", data), rows)


# --- ids


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


# --- times


def dated(rows, form):
    return [
        (user, item, datetime.datetime.fromtimestamp(time, datetime.UTC).strftime(form)) for user, item, time in rows
    ]


@odd("dates in many forms")
def _(folder, chance, number):
    forms = [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%dT%H:%M:%S+00:00",
        "%Y-%m-%d %H:%M:%S UTC",
        "%Y/%m/%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S.000",
    ]
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(dated(rows, forms[number % 6]))), rows)


@odd("dates of a form that is named")
def _(folder, chance, number):
    form = ["%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y%m%d %H%M%S"][number % 4]
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(dated(rows, form))), rows, ("--time-format", form))


@odd("times in other units")
def _(folder, chance, number):
    rows, factor = events(chance), [1, 1_000, 1_000_000, 1_000_000_000][number % 4]
    return Odd(put(folder / "log.csv", text([(u, i, t * factor) for u, i, t in rows])), rows)


@odd("times that are not wanted")
def _(folder, chance, number):
    rows = [(user, item, None) for user, item, _ in events(chance)]
    names = ["user", "item", ["when", "moment", "day_of_event"][number % 3]]
    written = [(user, item, MIDNIGHT - at) for at, (user, item, _) in enumerate(rows)]
    return Odd(put(folder / "log.csv", text(written, header=names)), rows, ("--time", "none"))


@odd("times out of order")
def _(folder, chance, number):
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(chance.sample(rows, len(rows)))), rows)


# --- rows


@odd("rows of one kind alone")
def _(folder, chance, number):
    kinds = [chance.choice(["view", "cart", "purchase"]) for _ in range(60)]
    rows = events(chance, 60)
    written = [(*row, kind) for row, kind in zip(rows, kinds, strict=True)]
    flag, wanted = [
        ("event_type=view,purchase", {"view", "purchase"}),
        ("event_type!=cart", {"view", "purchase"}),
        ("event_type=view", {"view"}),
    ][number % 3]
    kept = [row for row, kind in zip(rows, kinds, strict=True) if kind in wanted]
    names = [*NAMES, "event_type"]
    name, write = [("log.csv", text), ("log.jsonl", lambda rows, header: lines(rows, header))][number % 2]
    return Odd(put(folder / name, write(written, header=names)), kept, ("--only", flag))


@odd("rows that come twice")
def _(folder, chance, number):
    rows = events(chance)
    again = chance.sample(rows, number % 5 + 1)
    return Odd(put(folder / "log.csv", text([*rows, *again])), rows, ("--drop-duplicates",))


# --- files


@odd("compressed text")
def _(folder, chance, number):
    rows = events(chance)
    suffix, pack = [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)][number % 3]
    path = folder / f"log.csv{suffix}"
    folder.mkdir(exist_ok=True)
    path.write_bytes(pack(text(rows).encode()))
    return Odd(path, rows)


@odd("a member of a zip")
def _(folder, chance, number):
    rows = events(chance)
    folder.mkdir(exist_ok=True)
    name, data = [("a/log.csv", text(rows)), ("log.jsonl", lines(rows)), ("x/y/log.tsv", text(rows, "\t"))][number % 3]
    with zipfile.ZipFile(folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._log.csv", b"\0")
        archive.writestr(name, data)
    return Odd(folder / "log.zip", rows)


@odd("shards of any name")
def _(folder, chance, number):
    rows = events(chance)
    name = ["part-{:05}", "part-{:05}-abc-c000.csv", "{}.txt", "{}.csv.gz", "log.{}"][number % 5]
    for at in range(3):
        put(folder / "log" / name.format(at), text(rows[at * 10 : at * 10 + 10]))
    put(folder / "log" / "_SUCCESS", "")
    flags = ("--format", "table") if number % 2 else ()
    return Odd(folder / "log" if number < 5 else folder / "log" / "*", rows, flags)


@odd("Parquet of any name")
def _(folder, chance, number):
    rows = events(chance)
    name = ["part-{}.snappy.parquet", "part-{}.parquet.snappy", "part-{}", "{}.pq", "{}.parquet"][number % 5]
    (folder / "log").mkdir(parents=True)
    for at in range(2):
        frame(rows[at * 15 : at * 15 + 15]).write_parquet(folder / "log" / name.format(at))
    return Odd(folder / "log", rows)


@odd("folders of days")
def _(folder, chance, number):
    rows = events(chance)
    for at in range(3):
        place = folder / "log" / ["2020-01-0{}", "day=2020-01-0{}", "2020/01/0{}"][number % 3].format(at + 1)
        put(place / "events.csv", text(rows[at * 10 : at * 10 + 10]))
    glob = folder / "log" / ("*/*/*/*.csv" if number % 3 == 2 else "*/*.csv")
    return Odd(folder / "log" if number % 2 else glob, rows)


@odd("a key of the folders as a column")
def _(folder, chance, number):
    rows = [(f"2020-01-0{at // 10 + 1}", item, time) for at, (_, item, time) in enumerate(events(chance))]
    for day, own in histories(rows).items():
        data = frame([row[1:] for row in own], NAMES[1:])
        place = folder / "log" / f"day={day}"
        place.mkdir(parents=True)
        data.write_parquet(place / "0.parquet") if number % 2 else data.write_csv(place / "0.csv")
    return Odd(folder / "log", rows, ("--user", "day"))


@odd("a path of odd characters")
def _(folder, chance, number):
    rows = events(chance)
    name = ["a[b]", "a*b", "a b", "[red]x[/]", "ü日本", "👩‍🚀", "a\\b", "{a,b}", "a?b", "~x"][number % 10]
    return Odd(put(folder / name / f"{name}.csv", text(rows)), rows)


# --- lists


@odd("lists in Parquet")
def _(folder, chance, number):
    rows = events(chance)
    own = histories(rows)
    columns = {"user": list(own), "item": [[row[1] for row in each] for each in own.values()]}
    if number % 2:
        columns["time"] = [[row[2] for row in each] for each in own.values()]
    folder.mkdir(exist_ok=True)
    path = folder / ["log.parquet", "log.arrow"][number // 2 % 2]
    data = pl.DataFrame(columns)
    (data.write_parquet if path.suffix == ".parquet" else data.write_ipc)(path)
    return Odd(path, rows if number % 2 else [(*row[:2], None) for row in rows])


@odd("lists in JSON")
def _(folder, chance, number):
    own = histories(events(chance))
    data = "".join(json.dumps({"user": user, "item": [row[1] for row in each]}) + "\n" for user, each in own.items())
    return Odd(put(folder / "log.jsonl", data), [(*row[:2], None) for each in own.values() for row in each])


@odd("lists of RecBole")
def _(folder, chance, number):
    own = {user: each for user, each in histories(events(chance, 40)).items() if len(each) > 1}
    header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    data = "".join(f"{user}\t{' '.join(row[1] for row in each[:-1])}\t{each[-1][1]}\n" for user, each in own.items())
    return Odd(put(folder / "log.inter", header + data), [(*row[:2], None) for each in own.values() for row in each])


@odd("sessions of events in JSON")
def _(folder, chance, number):
    rows = events(chance, items="{}")
    data = "".join(
        json.dumps(
            {"session": user, "events": [{"aid": int(item), "ts": time, "type": "clicks"} for _, item, time in own]}
        )
        + "\n"
        for user, own in histories(rows).items()
    )
    return Odd(
        put(folder / "log.jsonl", data), rows, ("--user", "session", "--item", "events.aid", "--time", "events.ts")
    )


@odd("sessions of events in Parquet")
def _(folder, chance, number):
    rows = events(chance, items="{}")
    own = histories(rows)
    nested = [[{"aid": int(item), "ts": time} for _, item, time in each] for each in own.values()]
    folder.mkdir(exist_ok=True)
    pl.DataFrame({"session": list(own), "events": nested}).write_parquet(folder / "log.parquet")
    return Odd(folder / "log.parquet", rows, ("--user", "session", "--item", "events.aid", "--time", "events.ts"))


@odd("shards whose columns stand in another order")
def _(folder, chance, number):
    rows = events(chance)
    name = ["csv", "jsonl"][number % 2]
    for at in range(3):
        order = chance.sample(range(3), 3) if at else [0, 1, 2]
        extra = [("item_id", "B99"), ("timestamp", MIDNIGHT + 999)][
            : at * (number // 2 % 2)
        ]  # known names, not the log's
        part = [
            (*(row[each] for each in order), *(value for _, value in extra)) for row in rows[at * 10 : at * 10 + 10]
        ]
        names = [*(NAMES[each] for each in order), *(each for each, _ in extra)]
        put(folder / "log" / f"{at}.{name}", text(part, header=names) if name == "csv" else lines(part, names))
    flags = ("--user", "1", "--item", "2", "--time", "3")
    return Odd(folder / "log", rows, flags if number % 3 == 0 else ())


@odd("shards whose names have numbers")
def _(folder, chance, number):
    rows = [(user, item, None) for user, item, _ in events(chance)]
    name = ["part-{}.csv", "{}.csv", "day={}/log.csv", "2020-{}/1.csv", "log_{}_of_30.csv"][number % 5]
    written = [row[:2] for row in rows]
    parts = {name.format(at + 1): text([row], header=NAMES[:2]) for at, row in enumerate(written)}
    if number > 4:
        folder.mkdir()
        with zipfile.ZipFile(folder / "log.zip", "w") as archive:
            for part, data in parts.items():
                archive.writestr(part, data)
        return Odd(folder / "log.zip", rows)
    for part, data in parts.items():
        put(folder / "log" / part, data)
    return Odd(folder / "log", rows)


@odd("shards of Amazon with the items first in some")
def _(folder, chance, number):
    rows = events(chance, users="A{}X", items="B00000000{:X}")
    for at in range(3):
        part = [(user, item, 5.0, time) for user, item, time in rows[at * 10 : at * 10 + 10]]
        turned = [(item, user, *rest) for user, item, *rest in part]
        put(folder / "log" / f"ratings_{at}.csv", text(turned if (number >> at) % 2 else part, header=None))
    return Odd(folder / "log", rows)

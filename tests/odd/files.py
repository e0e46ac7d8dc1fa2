"""Files as people have them: compressed, in folders, of any name."""

import bz2
import gzip
import lzma
import zipfile

from broken.logs import put

from odd.logs import NAMES, Odd, events, frame, histories, lines, odd, text


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

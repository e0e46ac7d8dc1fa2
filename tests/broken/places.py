"""Broken folders, paths and filters."""

import json
import os

import pytest

from broken.histories import histories
from broken.logs import CSV, FORMATS, INTER, JSONL, MIDNIGHT, TSV, Broken, kind, log, put
from jaxrec import cli


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
        put(place / "within" / "sequences.txt", "1 2 3\n")
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
    path, _ = FORMATS[number % len(FORMATS)].write(folder / "broken", log(chance))
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


@kind("several files of lines")
def _(folder, chance, number):
    separator = " \t"[number % 2]
    lines = [line.replace(" ", separator) + "\n" for line in histories(chance)]
    for at in range(2):
        put(folder / "broken" / f"{at}.txt", "".join(lines[at::2]))
    return Broken(put(folder / "good.txt", "".join(lines)), folder / "broken" / "*", "join them, as with cat")


@kind("times in a later shard alone")
def _(folder, chance, number):
    rows = log(chance)
    known, start = number % 2, [MIDNIGHT, MIDNIGHT * 1000][number // 2 % 2]
    for name in ("good/0.csv", "good/1.csv", "broken/0.csv"):
        put(folder / name, "user,item\n" + "".join(f"{row[0]},{row[1]}\n" for row in rows))
    header = f"user,item,{'time' if known else 'when'}\n"
    later = "".join(f"{row[0]},{row[1]},{start - at}\n" for at, row in enumerate(rows))
    named = put(folder / "broken" / "1.csv", header + later)
    return Broken(folder / "good", folder / "broken", "--time none", str(named))


@kind("times of records beside the item's")
def _(folder, chance, number):
    start = [MIDNIGHT, MIDNIGHT * 1000, "2020-01-0"][number % 3]
    time = lambda at: f"{start}{9 - at % 9}" if isinstance(start, str) else start - at
    rows = [
        {"who": {"user": row[0]}, "what": {"item": row[1]}, "event": {"moment": time(at)}}
        for at, row in enumerate(log(chance))
    ]
    broken = put(folder / "broken.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    good = put(folder / "good.jsonl", "".join(f"{json.dumps(row | {'event': {}})}\n" for row in rows))
    return Broken(good, broken, "--time event.moment", both=("--user", "who.user", "--item", "what.item"))

"""Histories in lists, and shards that differ."""

import json
import zipfile

import polars as pl
from broken.logs import MIDNIGHT, put

from odd.logs import NAMES, Odd, events, histories, lines, odd, text


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

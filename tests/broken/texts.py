"""Broken logs of text, and archives of them."""

import io
import json
import zipfile

from broken.logs import (
    CSV,
    DELIMITED,
    FIELDS,
    FORMATS,
    INTER,
    JSONL,
    MIDNIGHT,
    SEMICOLON,
    TSV,
    Broken,
    Format,
    kind,
    log,
    pack,
    put,
)


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
    broken = spoiled(folder, chance, number, change, "the only item")
    return broken._replace(named=str(broken.path))  # of a zip too it is the whole


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


@kind("a comment above a header")
def _(folder, chance, number):
    comment = [f"{mark} a log{number % 3 * ', long'}" for mark in ("#", "//", "%", "##")][number % 4]
    made, rows = [CSV, TSV, SEMICOLON, CSV._replace(name="log.csv.gz")][number % 4], log(chance)
    good, _ = made.write(folder / "good", rows)
    path, _ = made._replace(header=f"{comment}\n{made.header}").write(folder / "broken", rows)
    return Broken(good, path, "remove", f"{path}, line 1")


@kind("lists of RecBole in a table")
def _(folder, chance, number):
    separator, name = [("\t", "log.tsv"), (",", "log.csv")][number % 2]
    columns = ["user_id:token", ["item_id_list:token_seq", "item_id:token_seq"][number // 2 % 2], "when:token"]
    rows = [[row[0], f"{row[1]} {row[1][::-1]}", "x"] for row in log(chance)]
    path = put(folder / "broken" / name, "".join(separator.join(row) + "\n" for row in [columns, *rows]))
    good = put(folder / "good" / "log.inter", "".join("\t".join(row) + "\n" for row in [columns, *rows]))
    return Broken(good, path, "with --format recbole")


@kind("files joined, the columns of the second in another order")
def _(folder, chance, number):
    mark = [",", "\t", ";"][number % 3]
    names = ["user_id", "item_id", "rating"][: 2 + number % 2]
    rows = [row[: len(names)] for row in log(chance)]
    turned, cut = chance.sample(range(1, len(names)), len(names) - 1), chance.randrange(1, len(rows))
    order = [*turned, 0]
    lines = [mark.join(names), *(mark.join(row) for row in rows)]
    joined = lines[: cut + 1] + [mark.join(values[at] for at in order) for values in [names, *rows[cut:]]]
    good, path = (folder / name / "log.csv" for name in ("good", "broken"))
    for file, text in ((good, lines), (path, joined)):
        put(file, "".join(f"{line}\n" for line in text))
    return Broken(good, path, "Split the file there", f"{path}, line {cut + 2}")


@kind("times in columns of years, months and days")
def _(folder, chance, number):
    names = chance.sample(["year", "Month", "day"], 2 + number % 2)
    parts = {"year": (2014, 2025), "Month": (1, 13), "day": (1, 29)}
    rows = [[*row[:2], *(str(chance.randrange(*parts[name])) for name in names)] for row in log(chance)]
    good, path = (folder / name / "log.csv" for name in ("good", "broken"))
    put(good, "".join(",".join(row[:2]) + "\n" for row in [FIELDS, *rows]))
    put(path, "".join(",".join(row) + "\n" for row in [[*FIELDS[:2], *names], *rows]))
    return Broken(good, path, "--time none")

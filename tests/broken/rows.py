"""Logs with bad rows."""

from broken.logs import CSV, DELIMITED, FIELDS, FORMATS, JSONL, SEMICOLON, TSV, Broken, log


def field(at, *values):
    return lambda row, chance: [*row[:at], chance.choice(values), *row[at + 1 :]]


MISSING = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None", r"\N", "<NA>")
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
    "a word for a missing user": (FORMATS, field(0, *MISSING), "--keep-na-ids"),
    "a word for a missing item": (FORMATS, field(1, *MISSING), "--keep-na-ids"),
    "a date that could be two": (FORMATS, field(3, "01/02/2014", "1/2/2014 03:04"), "--time-format"),
    "half a character": ([JSONL], None, "half a character"),
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
        elif kind.startswith("half"):
            lines[at] = lines[at].replace('"A', chance.choice([r'"\ud83dA', r'"A\udc00', r'"\ude00\ud83d']))
        elif kind.endswith("missing"):
            lines[at] = lines[at].replace(chance.choice(FIELDS), "other")
        else:
            lines[at] = chance.choice(["3", "null", '"text"', "[1, 2]"])
    good, _ = made.write(folder / "good", rows)
    path, named = made.write_lines(folder / "broken", lines)
    return Broken(good, path, cure, named, both=made.flags), rows, bad, [made.place(at) for at in bad]

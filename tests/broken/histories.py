"""Broken lines of histories, and files beside them."""

from broken.logs import MIDNIGHT, Broken, kind, put


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


@kind("a header above lines")
def _(folder, chance, number):
    width = [2, 3, 4, 7][number % 4]
    lines = [" ".join(line.split()[:width]) for line in histories(chance)]
    names = ["viewer", "film", "when", "where", "why", "how", "what"][:width]
    separator = "\t "[number // 4 % 2]
    lines = [separator.join(line.split(" ")) for line in lines]
    cure = f"`--format table --user viewer --item film{' --weight when' * (width > 2)}`"
    if number % 3 == 0:  # of histories that differ in length
        names, cure = names[:2], "remove it, or say --format sequences"
        lines.append(f"u99{separator}{separator.join('123456789')}")
    broken = lines_spoiled(folder, chance, [separator.join(names), *lines], cure, 1, "log.txt")
    put(broken.good, "\n".join(lines) + "\n")
    return broken


@kind("a comment above lines")
def _(folder, chance, number):
    mark = ["#", "//", "%", "%%"][number % 4]
    lines = [f"{mark} a file of {number}", *histories(chance)]
    return lines_spoiled(folder, chance, lines, "remove it, or say --format sequences", 1, "log.txt")


@kind("a table whose dates could be two days, as lines")
def _(folder, chance, number):
    form = ["{:02}/{:02}/2020", "{}.{}.2020", "{:02}-{:02}-20 10:11", "2020{:02}{:02}"][number % 4]
    lines = [f"{user}\t{chance.randrange(30)}\t{form.format(1 + user % 9, 1 + user)}" for user in range(12)]
    return lines_spoiled(folder, chance, lines, "`--format table --user 1 --item 2 --time 3`", 1, "log.txt")


@kind("a user beside a list")
def _(folder, chance, number):
    mark, name = ",;|"[number % 3], ["log", "log.txt", "log.dat.gz"][number // 3 % 3]
    lines = [f"u{at}\t{mark.join('123456'[: 1 + (at + number) % 5])}" for at in range(12)]
    return lines_spoiled(folder, chance, lines, f"put spaces for the {mark!r}", 1, name)

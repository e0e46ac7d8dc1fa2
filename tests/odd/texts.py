"""Odd text that is right: separators, quotes, headers."""

import csv

from broken.logs import put

from odd.logs import NAMES, Odd, events, histories, odd, text


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

"""Rows of which some are wanted."""

from broken.logs import put

from odd.logs import NAMES, Odd, events, lines, odd, text


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

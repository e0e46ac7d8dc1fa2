"""A reader of your own: a web server's access log, in which `GET /item/ID` means that a user views an item.

python prepare.py --input access.log --format examples.own_reader:READER --output visits
"""

import polars as pl

from jaxrec.data.files.text import pieces
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import Batch
from jaxrec.data.reader import ROWS, ReaderEntry, described, finished

#: 10.0.0.1 - alice [02/Jan/2024:10:00:00 +0000] "GET /item/42 HTTP/1.1" 200 512
LINE = r'^\S+ \S+ (?<user>\S+) \[(?<time>[^\]]+)\] "GET /item/(?<item>\S+) [^"]*" 200'
ROLES = ["user", "item", "time"]


def read(given: Input) -> Interactions:
    log = given.log({role: role for role in ROLES})
    for file in given.files:

        def batches(chosen, file=file):
            """Yields the lines that are views, and drops all others."""
            for piece in pieces(file):
                lines = pl.DataFrame({"line": piece.lines()}).with_row_index("number", piece.first)
                views = lines.with_columns(pl.col("line").str.extract_groups(LINE).alias("view")).unnest("view")
                views = views.filter(pl.col("item").is_not_null())
                frame = views.select(pl.col(ROLES[at]).alias(role) for role, at in chosen.items())
                row = lambda index, views=views: (f"line {views['number'][index]}", views["line"][index])
                yield Batch(frame.with_columns(_time(frame)) if "time" in frame else frame, file, row)

        given.collect(log, file, ROLES, {role: ROLES.index(role) for role in ROLES}, batches)
    return described(given, finished(given, log))


def _time(frame):
    return frame["time"].str.to_datetime("%d/%b/%Y:%H:%M:%S %z", strict=False).dt.replace_time_zone(None)


READER = ReaderEntry(name="access-log", read=read, takes=ROWS - {"quote", "time_format"})

"""The formats in which people store a log: each writes the same rows."""

import csv
import gzip
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from hypothesis import strategies as st

from jaxrec.data import prepared
from jaxrec.data.interactions import from_sequences

START = 1_396_321_200
HEADER = ["user_id", "item_id", "timestamp", "rating"]
IDS = {  # kind -> users, items
    "integers": (st.integers(1, 12).map(str), st.integers(1, 12).map(str)),
    "strings": (st.sampled_from(["a", "é", "07", "U-9", "_"]), st.sampled_from(["x", "10", "9", "ß", "I-1"])),
    "amazon": (
        st.sampled_from("ABC").map(lambda c: f"A2SUAM1J3GNN3{c}"),
        st.sampled_from("XYZ0").map("B00MEYMH6{}".format),
    ),
}


kinds = st.sampled_from(["integers", "strings"])


@st.composite
def logs(draw, kind=kinds):
    """Rows of (user, item, time, rating), sorted by user id and then by time; at least two items."""
    users, items = IDS[draw(kind)]
    rows = draw(
        st.lists(st.tuples(users, items, st.integers(START, START + 4), st.integers(1, 5)), min_size=2, max_size=12)
    )
    if len({row[1] for row in rows}) == 1:
        rows = [(*rows[0][:1], draw(items.filter(lambda item: item != rows[0][1])), *rows[0][2:]), *rows[1:]]
    whole = all(row[0].isdecimal() and not row[0].startswith("0") for row in rows)
    return sorted(rows, key=lambda row: (int(row[0]) if whole else row[0], row[2]))


def data_of(rows, carries="tw"):
    """The Interactions with these rows, with times and weights where a format carries them."""
    histories = {}
    for user, item, *_ in rows:
        histories.setdefault(user, []).append(item)
    data = from_sequences(list(histories.values()), users=list(histories))
    times, weights = (np.array(column) for column in list(zip(*rows, strict=True))[2:])
    return replace(
        data,
        times=times * 1_000_000 if "t" in carries else None,
        weights=weights.astype(np.float32) if "w" in carries else None,
    )


def put(path: Path, text: str, encoding="utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(encoding)) if path.suffix == ".gz" else text.encode(encoding))
    return path


def delimited(rows, separator=",", header=HEADER, **options):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n", **options).writerows(
        [*([header] if header else []), *rows]
    )
    return out.getvalue()


def table(name, separator=",", end="\n", mark="", **options):
    return lambda folder, rows: put(folder / name, mark + delimited(rows, separator, **options).replace("\n", end))


def pairs(folder, rows):
    return put(folder / "pairs.txt", "".join(f"{user} {item}\n" for user, item, *_ in rows))


def frame(rows):
    """The rows as a table, in which missing ids and times are null."""
    ids, times = pl.col("user_id", "item_id"), pl.col("timestamp")
    missing = pl.when(ids != "").then(ids), pl.when(times >= 0).then(times)
    return pl.DataFrame(rows, HEADER, orient="row").with_columns(*missing)


def parquet(folder, rows):
    whole = all(cell.isdecimal() and str(int(cell)) == cell for row in rows for cell in row[:2] if cell)
    path = folder / "log.parquet"
    frame(rows).with_columns(pl.col("user_id", "item_id").cast(pl.Int32 if whole else pl.Categorical)).write_parquet(
        path
    )
    return path


def arrow(folder, rows):
    frame(rows).with_columns(pl.from_epoch("timestamp")).write_ipc(folder / "log.arrow")
    return folder / "log.arrow"


def json_lines(name, write=json.dumps, header=HEADER):
    return lambda folder, rows: put(
        folder / name, "".join(write(dict(zip(header, row, strict=True))) + "\n" for row in rows)
    )


def prepared_folder(folder, rows):
    prepared.save(data_of(rows), folder / "prepared", {})
    return folder / "prepared"


def sequences(folder, rows):
    histories = {}
    for user, item, *_ in rows:
        histories.setdefault(user, []).append(item)
    put(folder / "sequences.txt", "".join(f"{user} {' '.join(items)}\n" for user, items in histories.items()))
    put(folder / "interactions.csv", delimited(rows))
    return folder


def recbole(folder, rows):
    header = ["user_id:token", "item_id:token", "timestamp:float", "rating:float"]
    put(folder / "a.item", "item_id:token\ttitle:token_seq\n")
    put(folder / "a.inter", delimited([(*row[:2], f"{row[2]}.0", row[3]) for row in rows], "\t", header))
    return folder


RATING = [0, 1, 3, 2]  # the order of MovieLens: user, item, rating, time
ITEM_FIRST = [1, 0, 3, 2]


def ordered(rows, order):
    return [[row[at] for at in order] for row in rows]


def ratings_dat(folder, rows):
    put(folder / "users.dat", "1::F::1::10::48067\n")
    put(folder / "movies.dat", "1::Amélie (2001)::Comedy|Romance\n", "latin-1")
    put(folder / "ratings.dat", "".join("::".join(map(str, row)) + "\n" for row in ordered(rows, RATING)))
    return folder


def ratings_csv(folder, rows):
    put(folder / "movies.csv", 'movieId,title,genres\n1,"Shawshank, The (1994)",Drama\n')
    put(folder / "tags.csv", "userId,movieId,tag,timestamp\n1,1,fun,1\n")
    put(folder / "ratings.csv", delimited(ordered(rows, RATING), header=["userId", "movieId", "rating", "timestamp"]))
    return folder


def u_data(folder, rows):
    put(folder / "u.item", "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1" + "|0" * 15 + "\n", "latin-1")
    put(folder / "u.user", "1|24|M|technician|85711\n")
    put(folder / "u.data", delimited(ordered(rows, RATING), "\t", header=None))
    return folder


def zipped(write):
    def zip_of(folder, rows):
        inside = write(folder / "in", rows)
        with zipfile.ZipFile(folder / "ml.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in inside.iterdir():
                archive.write(file, f"ml/{file.name}")
            archive.writestr("__MACOSX/ml/._ratings.csv", b"\0")
        return folder / "ml.zip"

    return zip_of


def shards(folder, rows, glob=False):
    third = -(-len(rows) // 3)
    for number in range(3):
        header = HEADER if number != 1 else HEADER[::-1]  # shards may differ in the order of columns
        part = rows[number * third : (number + 1) * third]
        put(
            folder / f"part-{number}.csv",
            delimited(part if number != 1 else [row[::-1] for row in part], header=header),
        )
    put(folder / "_SUCCESS", "")
    put(folder / "items.csv", "item_id,title\n1,One\n")
    return folder / "part-*.csv" if glob else folder


def amazon(order, name="ratings_Beauty.csv"):
    return lambda folder, rows: put(
        folder / name, delimited([[*r[:2], f"{r[2]}.0", r[3]] for r in ordered(rows, order)], header=None)
    )


REVIEW = ["reviewerID", "asin", "unixReviewTime", "overall"]


class Way(NamedTuple):
    """A way of writing a log."""

    name: str
    format: str
    write: object
    kinds: tuple = ("integers", "strings")
    carries: str = "tw"
    sorts: bool = True  # whether reading it sorts the rows by time
    rating: str = "rating"  # the column of the weights

    @property
    def columns(self):
        """The columns that must be named to read everything."""
        return {"weight": self.rating} if self.format == "table" else {}

    @property
    def unnamed(self):
        """What is read if no column is named."""
        return self.carries.replace("w", "") if self.format == "table" else self.carries


QUOTED = {"quoting": csv.QUOTE_ALL}
WAYS = [
    Way("prepared", "prepared", prepared_folder, sorts=False),
    Way("sequences", "sequences", sequences, sorts=False),
    Way("pairs", "sequences", pairs, carries="", sorts=False),
    Way("comma", "table", table("a.csv")),
    Way("semicolon", "table", table("a.csv", ";")),
    Way("tab", "table", table("a.tsv", "\t")),
    Way("bar", "table", table("a.txt", "|")),
    Way("CRLF", "table", table("a.csv", end="\r\n")),
    Way("mark", "table", table("a.csv", mark="\ufeff")),
    Way("quoted", "table", table("a.csv", end="\r\n", mark="\ufeff", **QUOTED)),
    Way("gz", "table", table("a.csv.gz")),
    Way("quoted gz", "table", table("a.tsv.gz", "\t", **QUOTED)),
    Way("recbole", "recbole", recbole),
    Way("ratings.dat", "movielens", ratings_dat, ("integers",)),
    Way("ratings.dat zip", "movielens", zipped(ratings_dat), ("integers",)),
    Way("ratings.csv", "movielens", ratings_csv, ("integers",)),
    Way("ratings.csv zip", "movielens", zipped(ratings_csv), ("integers",)),
    Way("u.data", "movielens", u_data, ("integers",)),
    Way("u.data zip", "movielens", zipped(u_data), ("integers",)),
    Way("amazon 2014", "amazon", amazon(RATING), ("amazon",)),
    Way("amazon 2018", "amazon", amazon(ITEM_FIRST, "Beauty.csv.gz"), ("amazon",)),
    Way("amazon JSON", "table", json_lines("reviews.json.gz", header=REVIEW), ("amazon", "strings"), rating="overall"),
    Way("amazon literals", "table", json_lines("reviews.json", repr, REVIEW), ("amazon", "strings"), rating="overall"),
    Way("JSON lines", "table", json_lines("a.jsonl")),
    Way("parquet", "table", parquet),
    Way("arrow", "table", arrow),
    Way("shards", "table", shards),
    Way("glob", "table", lambda folder, rows: shards(folder, rows, glob=True)),
]


def shuffled(rows, order):
    """The rows in another order, except that rows of the same user and time keep theirs."""
    places = list(range(len(rows)))
    order.shuffle(places)
    groups = {}
    for place, row in zip(places, rows, strict=True):
        groups.setdefault((row[0], row[2]), []).append(place)
    groups = {key: iter(sorted(where)) for key, where in groups.items()}
    found = [None] * len(rows)
    for row in rows:
        found[next(groups[row[0], row[2]])] = row
    return found

"""Folders with the files of one small log, in every kind of file, and the rows that are read from them."""

import io
from pathlib import Path

import polars as pl

from jaxrec.data.reading import read

HEADER = "user,item,time\n"


def parquet(text: str) -> bytes:
    pl.read_csv(io.StringIO(text)).write_parquet(out := io.BytesIO())
    return out.getvalue()


def arrow(text: str) -> bytes:
    pl.read_csv(io.StringIO(text)).write_ipc(out := io.BytesIO())
    return out.getvalue()


def lines(text: str) -> bytes:
    return pl.read_csv(io.StringIO(text)).write_ndjson().encode()


def tree(folder: Path, files: dict) -> Path:
    """Writes files to a folder: {name: rows below HEADER, or any bytes}."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else (HEADER + content).encode())
    return folder


def rows(path, *options, **more) -> list[tuple]:
    """(user, item) of all rows."""
    data = read(path, *options, **more)
    items = [str(data.catalogue.ids[item - 1]) for item in data.items]
    return [
        (str(user), items[at])
        for user, start, end in zip(data.users, data.offsets, data.offsets[1:], strict=False)
        for at in range(start, end)
    ]


LOG = [("1", "5"), ("1", "6"), ("1", "7"), ("2", "5")]
ONE, TWO = "1,5,100\n1,6,101\n", "1,7,102\n2,5,103\n"
KINDS = {"csv": lambda text: text.encode(), "parquet": parquet, "arrow": arrow, "jsonl": lines}

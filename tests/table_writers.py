"""Writers of tables in every format that can be read."""

import datetime
import gzip

import polars as pl

FRAME = pl.DataFrame(
    {
        "sku": [1, 3, 4],
        "title": ["One", "1984", "Four, or more"],
        "price": [9.5, None, 100.25],
        "in_stock": [True, False, None],
        "year": [1994, None, 2001],
        "since": [datetime.date(2020, 1, 2), None, datetime.date(1999, 12, 31)],
        "category": ["a|b", "a", "b"],
    }
)


WRITERS = {
    "items.csv": lambda frame, path: frame.write_csv(path),
    "items.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode())),
    "items.tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "excel.csv": lambda frame, path: path.write_text("sep=;\n" + frame.write_csv(separator=";"), encoding="utf-8-sig"),
    "items.parquet": lambda frame, path: frame.write_parquet(path),
    "items.arrow": lambda frame, path: frame.write_ipc(path),
    "items.jsonl": lambda frame, path: frame.drop("since").write_ndjson(path),
}

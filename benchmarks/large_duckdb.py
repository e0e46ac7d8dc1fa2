"""Sorts a log by user and time into Parquet with DuckDB, as a peer of `benchmarks.large`. Needs duckdb only."""

import sys

import duckdb

source, output, memory = sys.argv[1:]
connection = duckdb.connect()
connection.execute(
    f"SET memory_limit = '{memory}'; SET temp_directory = '{output}.tmp'; SET preserve_insertion_order = false"
)
read = "read_parquet" if source.endswith(".parquet") else "read_csv"
connection.execute(
    f"COPY (SELECT * FROM {read}('{source}') ORDER BY user_id, timestamp) TO '{output}' (FORMAT parquet)"
)

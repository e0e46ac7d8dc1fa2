"""Peak memory and time of preparing a log larger than memory, next to preparing without a limit, and DuckDB's sort.

    python -m benchmarks.large --millions 30 --memory 1GiB [--formats parquet,csv] [--plain] [--polars]
        [--duckdb PYTHON]

The log is random: users and items have skewed popularity, rows are in the order of time, so that users are interleaved,
and there is one user per hundred rows. PYTHON is an interpreter with duckdb, which sorts the same file by user and time
into Parquet with as much memory. Polars' streaming engine, which takes no limit of memory, sorts it likewise. The disk
needs room for 10 GB per 100 million rows.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import plots, record
from benchmarks.prepare import measured
from jaxrec.data import prepared

ITEMS, LENGTH = 1_000_000, 100
CHUNK = 5_000_000  # rows
HERE = Path(__file__).parent
SORT = """
import sys
import polars as pl
source, target = sys.argv[1:]
frame = pl.scan_csv(source) if source.endswith(".csv") else pl.scan_parquet(source)
frame.sort("user_id", "timestamp", maintain_order=True).sink_parquet(target, engine="streaming")
"""
WAYS = {"memory": ("-", "prepare --memory"), "duckdb": (":", "DuckDB sorts alone"), "polars": ("-.", "polars, too")}


def chunks(rows, seed=0):
    """The log as frames of CHUNK rows, in the order of time."""
    random, users = np.random.default_rng(seed), max(rows // LENGTH, 2)
    for first in range(0, rows, CHUNK):
        number = min(CHUNK, rows - first)
        yield pl.DataFrame(
            {
                "user_id": (users * random.random(number) ** 2).astype(np.int64) * 7 + 3,
                "item_id": (ITEMS ** random.random(number)).astype(np.int64),
                "timestamp": 1_500_000_000 + (first + np.arange(number)) // 4 + random.integers(0, 600, number),
            }
        )


def write(path, rows):
    """Writes a log of `rows` rows as one file, and returns its path."""
    if path.suffix == ".csv":
        with path.open("wb") as file:
            for at, frame in enumerate(chunks(rows)):
                frame.write_csv(file, include_header=not at)
        return path
    parts = path.with_suffix(".parts")
    parts.mkdir()
    for at, frame in enumerate(chunks(rows)):
        frame.write_parquet(parts / f"{at:05}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(path)
    for each in parts.iterdir():
        each.unlink()
    parts.rmdir()
    return path


def run(command):
    """Runs a command, and returns its seconds and peak memory, rounded as in the result."""
    seconds, peak = measured(command)
    found = {"seconds": round(seconds, 1), "peak_gib": round(peak, 2)}
    print(command[-1], found, flush=True)
    return found


def compare(folder, kind, rows, memory, plain, duckdb, polars):
    """Measures the costs with one format."""
    path = write(folder / f"log.{kind}", rows)
    ours = lambda output, *flags: [sys.executable, "prepare.py", "--input", str(path), "--output", str(output), *flags]
    found = {"file_gib": round(path.stat().st_size / 2**30, 2)}
    found["memory"] = run(ours(folder / "parted", "--memory", memory))
    one = prepared.load(folder / "parted")
    found |= {"users": len(one.users), "items": len(one.catalogue.ids)}
    if plain:
        found["plain"] = run(ours(folder / "whole"))
        found["same"] = one.digest == prepared.load(folder / "whole").digest
    if duckdb:
        found["duckdb"] = run(
            [duckdb, str(HERE / "large_duckdb.py"), str(path), str(folder / "sorted.parquet"), memory]
        )
    if polars:
        found["polars"] = run([sys.executable, "-c", SORT, str(path), str(folder / "sorted-too.parquet")])
    path.unlink()
    return found


def plot(_, path):
    """Draws minutes and peak memory over the rows, from all results of this kind."""
    results = [json.loads(each.read_text()) for each in sorted(path.parent.glob("large*.json"))]
    results = sorted((each for each in results if each["kind"] == "large"), key=lambda each: each["rows"])
    rows = [each["rows"] for each in results]
    figure, panels = plots.panels(2, width=3.8)
    shown = {"seconds": (60, "minutes"), "peak_gib": (1, "GiB at most")}
    for axes, (number, (unit, name)) in zip(panels, shown.items(), strict=True):
        for kind in results[0]["formats"]:
            costs = dict(zip(rows, (each["formats"][kind] for each in results), strict=True))
            for way, (style, name_of) in WAYS.items():
                if there := {each: cost[way][number] / unit for each, cost in costs.items() if way in cost}:
                    plots.line(axes, there, there.values(), f"{kind}, {name_of}", style)
        if number == "peak_gib":
            limits = [float(each["memory"].removesuffix("GiB")) for each in results]
            axes.plot(rows, limits, "--", color="grey", label="--memory")
        plots.over(axes, rows, "million rows", 1e6)
        axes.set(ylabel=name)
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=30, help="millions of rows")
    parser.add_argument("--memory", default="1GiB", help="limit, as for prepare")
    parser.add_argument("--formats", default="parquet,csv")
    parser.add_argument("--plain", action="store_true", help="also prepare without --memory, and compare")
    parser.add_argument("--duckdb", metavar="PYTHON", help="an interpreter with duckdb")
    parser.add_argument("--polars", action="store_true", help="also sort with polars' streaming engine")
    parser.add_argument("--folder", help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--name", default="large", help="name of the result")
    flags = parser.parse_args()
    rows, found = int(flags.millions * 1e6), {}
    for kind in flags.formats.split(","):
        with tempfile.TemporaryDirectory(dir=flags.folder) as name:
            found[kind] = compare(Path(name), kind, rows, flags.memory, flags.plain, flags.duckdb, flags.polars)
    command = (
        f"python -m benchmarks.large --millions {flags.millions:g} --memory {flags.memory} --formats {flags.formats}"
    )
    command += " --plain" * flags.plain + " --polars" * flags.polars + " --duckdb PYTHON" * bool(flags.duckdb)
    command += f" --name {flags.name}" * (flags.name != "large")
    result = {"kind": "large", "seeds": 1, "rows": rows, "memory": flags.memory, "formats": found}
    record.write(flags.name, result, command)
    plot(None, record.place("large", "png"))

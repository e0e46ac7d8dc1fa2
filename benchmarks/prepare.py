"""Time and peak memory of preparing a large log, next to a plain pandas script in the same run.

    python -m benchmarks.prepare --millions 20 --pandas PYTHON    CSV and Parquet, both programs by turns
    python -m benchmarks.prepare --millions 100 --shards 20       Parquet shards, ours alone; and loading the folder

The log is from the generator, in the order of time, so that users are interleaved. PYTHON is an interpreter with pandas
and pyarrow.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks import record
from jaxrec.data import prepared, synthetic

ROOT = Path(__file__).parents[1]
LENGTH = 16.4  # at most the mean length of the generator's histories


def shards(folder, millions, number):
    """Writes the log as Parquet, in shards by time; each holds the rows of all users in its span of time."""
    whole = folder / "users.parquet"
    synthetic.write(synthetic.world(items=100_000), whole, int(millions * 1e6 / LENGTH))
    scan = pl.scan_parquet(whole)
    rows = int(millions * 1e6)
    at = scan.select("time").collect()["time"].sort()
    cuts = [at[min(rows, len(at)) * k // number] for k in range(number)] + [at[min(rows, len(at)) - 1]]
    del at
    log = folder / "log"
    log.mkdir()
    for k in range(number):
        last = pl.col("time") <= cuts[-1] if k == number - 1 else pl.col("time") < cuts[k + 1]
        part = scan.filter((pl.col("time") >= cuts[k]) & last).collect()
        part.sort("time", maintain_order=True).write_parquet(log / f"part-{k:03}.parquet")
    whole.unlink()
    return log


def measured(command):
    """Runs a command that must succeed, and returns its seconds and its peak resident memory in GiB."""
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return time.monotonic() - begun, usage.ru_maxrss / 2**20


def ours(source, output):
    return [sys.executable, "prepare.py", "--input", str(source), "--output", str(output)]


def by_turns(folder, log, pandas, rounds):
    """Runs both programs on CSV and on Parquet, in turns, and returns medians."""
    one, text = folder / "log.parquet", folder / "log.csv"
    frame = pl.scan_parquet(log / "*.parquet")
    frame.sink_parquet(one)
    frame.sink_csv(text)
    rows = frame.select(pl.len()).collect().item()
    found = {}
    for source in (text, one):
        runs = {"jaxrec": [], "pandas": []}
        for number in range(rounds):
            output = folder / f"out-{source.suffix[1:]}-{number}"
            runs["jaxrec"].append(measured(ours(source, output)))
            shutil.rmtree(output)
            runs["pandas"].append(measured([pandas, "benchmarks/prepare_pandas.py", str(source), str(output)]))
            shutil.rmtree(output)
        found[source.suffix[1:]] = {
            name: {
                "seconds": round(statistics.median(seconds for seconds, _ in each), 2),
                "range": [round(min(each)[0], 2), round(max(each)[0], 2)],
                "peak_gib": round(max(peak for _, peak in each), 2),
            }
            for name, each in runs.items()
        }
        print(source.suffix, found[source.suffix[1:]], flush=True)
    return {"rows": rows, "rounds": rounds, "formats": found}


def at_scale(folder, log):
    """Runs ours on the shards, and times how long the folder takes to load."""
    rows = pl.scan_parquet(log / "*.parquet").select(pl.len()).collect().item()
    seconds, peak = measured(ours(log, folder / "out"))
    loads = []
    for _ in range(5):
        begun = time.monotonic()
        data = prepared.load(folder / "out")
        loads.append(time.monotonic() - begun)
    return {
        "rows": rows,
        "users": len(data.users),
        "shards": len(list(log.iterdir())),
        "seconds": round(seconds, 1),
        "peak_gib": round(peak, 2),
        "load_seconds": round(statistics.median(loads), 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=20, help="millions of rows")
    parser.add_argument("--pandas", metavar="PYTHON", help="an interpreter with pandas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=1)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        log = shards(Path(name), flags.millions, flags.shards)
        found = by_turns(Path(name), log, flags.pandas, flags.rounds) if flags.pandas else at_scale(Path(name), log)
    print(found)
    kind = "prepare" if flags.pandas else "prepare_scale"
    command = f"python -m benchmarks.prepare --millions {flags.millions:g} --shards {flags.shards}"
    command += f" --rounds {flags.rounds} --pandas PYTHON" if flags.pandas else ""
    record.write(kind, {"kind": kind, "seeds": 1} | found, command)

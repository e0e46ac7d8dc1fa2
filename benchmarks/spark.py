"""Compares Spark with `prepare.py` on the same Parquet file and machine: the same folder, and how long each takes.

    python -m benchmarks.spark [--millions 1,3,10] [--memory 4GiB]

The logs are those of `benchmarks.large`, filtered with `--k-core 3`. Spark runs on the cores of this machine. The
checksums of all arrays and the fingerprints must be equal. Needs PySpark and Java.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import large, plots, record
from benchmarks.prepare import measured


def compare(folder, rows, memory):
    """Returns the seconds of both on a log of `rows` rows, and whether they wrote the same."""
    path = large.write(folder / "log.parquet", rows)
    given = ["--input", str(path), "--k-core", "3"]
    one, other = folder / "one", folder / "other"
    commands = {
        "prepare": [sys.executable, "prepare.py", *given, "--memory", memory, "--output", str(one)],
        "spark": [sys.executable, "-m", "jaxrec.data.spark", *given, "--output", str(other)],
    }
    found = {name: round(measured(command)[0], 1) for name, command in commands.items()}
    metas = [json.loads((each / "meta.json").read_text()) for each in (one, other)]
    same = all(metas[0][key] == metas[1][key] for key in ("fingerprint", "files", "facts", "steps"))
    found |= {"same": same, "interactions": metas[0]["interactions"]}
    print(rows, found, flush=True)
    return found


def plot(result, path):
    """Draws the seconds over the number of rows."""
    figure, (axes,) = plots.panels()
    for name, label in (("prepare", f"prepare --memory {result['memory']}"), ("spark", "Spark, local")):
        plots.line(axes, map(int, result["rows"]), [row[name] for row in result["rows"].values()], label)
    plots.over(axes, list(map(int, result["rows"])), "million rows", 1e6)
    axes.set(ylabel="seconds", ylim=(0, None))
    plots.save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", default="1,3,10", help="millions of rows")
    parser.add_argument("--memory", default="4GiB", help="limit of prepare")
    flags = parser.parse_args()
    import pyspark

    rows = {}
    for millions in map(float, flags.millions.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows[str(int(millions * 1e6))] = compare(Path(folder), int(millions * 1e6), flags.memory)
    result = {"kind": "spark", "pyspark": pyspark.__version__, "memory": flags.memory, "rows": rows}
    record.write("spark", result)
    plot(result, record.place("spark", "png"))
    if not all(row["same"] for row in rows.values()):
        sys.exit("Spark and prepare wrote different folders")


if __name__ == "__main__":
    main()

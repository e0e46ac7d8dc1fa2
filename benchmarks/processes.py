"""Compares 2 and 4 processes with one that has as many devices: three epochs of a small SASRec on ml-100k.

    python -m benchmarks.processes [2 4]

The result is how far apart losses, validations, test and the last checkpoint are.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks import jobs, plots, record

KEYS = {
    "dataset": "ml-100k",
    "model.dim": 16,
    "model.layers": 1,
    "length": 50,
    "row": 50,
    "epochs": 3,
    "eval_every": 1,
    "patience": 0,
    "optim.learning_rate": 0.01,
    "optim.eps": 1e-4,  # with a smaller one, Adam turns rounding into steps of the size of the learning rate
}


def plot(result, path):
    """Draws how far losses, metrics and params are from those of one process, by the number of processes."""
    figure, (axes,) = plots.panels()
    for key in ("loss", "valid", "test", "params"):
        plots.line(axes, result["rows"], [row["apart"][key] for row in result["rows"].values()], key)
    plots.bar(axes, 1e-5)
    axes.set(ylim=(-2e-7, 1.1e-5), xlabel="processes", ylabel="apart from one process")
    plots.save(figure, path)


def main(numbers):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            places = Path(folder) / f"{number}-together", Path(folder) / f"{number}-alone"
            seconds = []
            for place, (processes, devices) in zip(places, ((number, 1), (1, number)), strict=True):
                begun = time.monotonic()
                argv = ["train", "--config", "sasrec_ml1m", "--workdir", place, *jobs.keys(KEYS)]
                jobs.run(argv, processes, devices)
                seconds.append(round(time.monotonic() - begun, 1))
            found[str(number)] = {
                "apart": jobs.apart(*places),
                "losses": [row["loss"] for row in jobs.rows(places[0])],
                "valid": jobs.rows(places[0])[-1]["valid"],
                "seconds": dict(zip(("several", "one"), seconds, strict=True)),
            }
            print(number, found[str(number)], flush=True)
    return {"kind": "processes", "keys": KEYS, "rows": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, default=[2, 4], help="of processes, each compared with one")
    found = main(parser.parse_args().numbers)
    record.write("processes", found)
    plot(found, record.place("processes", "png"))

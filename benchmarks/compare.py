"""Which model is better on these data? `jaxrec.compare`, with its result and plot kept among the benchmarks'.

    python -m benchmarks.compare --dataset ml-1m-sasrec --models gru4rec,sasrec,bert4rec,caser --seeds 3
    python -m benchmarks.compare --dataset ml-1m-sasrec --models sasrec --vary positions=from_start,from_end,relative

Each model is trained by its recipe for ML-1M, with the length of histories that the data call for, chosen on validation
and tested once a seed. Trainings lie under --runs and are gone on with, or taken as they are, when they exist.
"""

import argparse
import functools
from pathlib import Path

from benchmarks import record
from jaxrec.api.comparing import RECIPES, compare
from jaxrec.commands.flags import assigned

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = functools.partial(str.split, sep=",")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", type=listed, default=list(RECIPES))
    parser.add_argument("--baselines", type=listed, default=["popularity", "transitions"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="where trainings lie (default: runs/compare/NAME)")
    parser.add_argument("--vary", metavar="KEY=VALUE,VALUE", help="train each model with each value")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every configuration")
    parser.add_argument("--name", help="of the result (default: of the data, and the key that varies)")
    flags = parser.parse_args()
    name = flags.name or "_".join([Path(flags.dataset).name, *(flags.vary or "").split("=")[:1]]).strip("_")
    vary = {key: text.split(",") for key, text in assigned("--vary", [flags.vary] if flags.vary else []).items()}
    found = compare(
        flags.dataset,
        flags.models,
        seeds=flags.seeds,
        baselines=flags.baselines,
        vary=vary,
        workdir=flags.runs or Path("runs/compare") / name,
        **assigned("--set", flags.set),
    )
    found.show()
    found.plot(record.place(f"compare_{name}", "png"))
    record.write(f"compare_{name}", found.result | {"data": Path(flags.dataset).name})

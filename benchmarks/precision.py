"""Does a recipe lose anything in bfloat16? The same training in both precisions, seed by seed, on the same test users.

    python -m benchmarks.precision --recipes sasrec_softmax_beauty gru4rec_beauty
    python -m benchmarks.precision --recipes sasrec_softmax_ml1m --seeds 3 --set history=windows --set length=50
    python -m benchmarks.precision --recipes default --dataset beauty-5core --seeds 3

Trainings are stored under --runs, and are resumed, or reused when complete; each run adds to the result. Ranks are by
full ranking in the precision of the training, and the difference is paired by user. This measures what is learned, not
time: a CPU computes bfloat16 products with float32 ones.
"""

import argparse
import json
from pathlib import Path

from benchmarks import record
from benchmarks.levers import ranks, summary, train
from jaxrec.api.logs import as_log
from jaxrec.config import recipes
from jaxrec.evaluation.comparison import paired

PRECISIONS = ("float32", "bfloat16")


def measure(recipe, dataset, changes, seeds, runs):
    """Returns the test metrics in each precision, and what bfloat16 gains."""
    log = as_log(dataset or recipes.read(recipe, {}).values["dataset"])
    made = {
        name: [train(log, recipe, changes | {"precision": name}, runs, name, seed) for seed in range(seeds)]
        for name in PRECISIONS
    }
    asked = {name: ranks(log, found, "test") for name, found in made.items()}
    rows = {name: summary(found) for name, found in asked.items()}
    gain = paired(asked["bfloat16"], asked["float32"])
    stamp = {"machine": record.machine(), "commit": record.commit()}
    return {"data": Path(log.dataset).name, "seeds": seeds, **rows, "gain": gain, **stamp}


def main(flags):
    """Runs the trainings that are missing, and writes the difference of each recipe as soon as it is known."""
    for recipe in flags.recipes:
        path = record.place("precision", "json")
        kept = json.loads(path.read_text())["recipes"] if path.exists() else {}
        on = [f"dataset={Path(flags.dataset).name}"] if flags.dataset else []
        name = " ".join([recipe, *on, *flags.set])
        runs = flags.runs / name.replace(" dataset=", "-").replace(" ", ",")
        changes = dict(each.split("=", 1) for each in flags.set)
        found = {name: measure(recipe, flags.dataset, changes, flags.seeds, runs)}
        record.write("precision", {"kind": "precision", "recipes": kept | found})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", required=True, metavar="NAME", help="recipes in configs/")
    parser.add_argument("--dataset", help="for recipes that name none, as default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes of the recipes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/precision"), help="folder of the trainings")
    main(parser.parse_args())

"""Which model is better on a data set? Runs `jaxrec.compare`, and stores its result and plot in results/.

    python -m benchmarks.compare --dataset ml-1m-sasrec --models gru4rec,sasrec,bert4rec,caser --seeds 3
    python -m benchmarks.compare --dataset ml-1m-sasrec --models sasrec --vary positions=from_start,from_end,relative

Each model is trained with its recipe for ML-1M and a history length that suits the data. Its checkpoint is chosen on
validation, and tested once per seed. Trainings are stored under --runs, and are resumed, or reused when complete. (The
command `jaxrec compare` trains models with `default` instead, whose keys follow from the log.)
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import record
from jaxrec.api.comparing import Comparison, compare
from jaxrec.api.logs import as_log
from jaxrec.commands.flags import assigned
from jaxrec.data.interactions import Interactions

RECIPES = {
    "gru4rec": "gru4rec_ml1m",
    "sasrec": "sasrec_softmax_ml1m",
    "bert4rec": "bert4rec_ml1m",
    "caser": "caser_ml1m",
    "two-tower": "two_tower_ml1m",
}


def length_of(interactions: Interactions) -> int:
    """Returns 200 if a quarter of the histories have more than 50 items, otherwise 50."""
    return 200 if np.quantile(np.diff(interactions.offsets), 0.75) > 50 else 50


def by_model(result: dict, models: Sequence[str]) -> dict:
    """Returns the result of a comparison of recipes, with its rows named after their models.

    >>> rows = {"popularity": 1, "sasrec_softmax_ml1m newest": 2}
    >>> by_model({"rows": rows, "paired": None}, ["sasrec"])["rows"]
    {'popularity': 1, 'sasrec newest': 2}
    """
    models_of = {RECIPES[model]: model for model in models if model in RECIPES}

    def own(label: str) -> str:
        recipe, space, value = label.partition(" ")
        return models_of.get(recipe, recipe) + space + value

    rows = {own(label): row for label, row in result["rows"].items()}
    paired = result["paired"]
    if paired:
        paired = paired | {side: own(paired[side]) for side in ("first", "second")}
    return result | {"rows": rows, "paired": paired}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = functools.partial(str.split, sep=",")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", type=listed, default=list(RECIPES))
    parser.add_argument("--baselines", type=listed, default=["popularity", "transitions"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="folder of the trainings (default: runs/compare/NAME)")
    parser.add_argument("--vary", metavar="KEY=VALUE,VALUE", help="train each model with each value")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every configuration")
    parser.add_argument("--name", help="name of the result (default: that of the data, and of the key that varies)")
    flags = parser.parse_args()
    name = flags.name or "_".join([Path(flags.dataset).name, *(flags.vary or "").split("=")[:1]]).strip("_")
    vary = {key: text.split(",") for key, text in assigned("--vary", [flags.vary] if flags.vary else []).items()}
    log = as_log(flags.dataset, print)
    length = length_of(log.interactions)
    found = compare(
        log,
        [str(RECIPES.get(model, model)) for model in flags.models],
        seeds=flags.seeds,
        baselines=flags.baselines,
        vary=vary,
        workdir=flags.runs or Path("runs/compare") / name,
        **{"length": length, "row": length} | assigned("--set", flags.set),
    )
    found = Comparison(by_model(found.result, flags.models))
    found.show()
    found.plot(record.place(f"compare_{name}", "png"))
    record.write(f"compare_{name}", found.result | {"data": Path(flags.dataset).name})

"""The metrics of trained workdirs next to published ones; or the floors of data sets, which simple baselines reach.

    python -m benchmarks.quality --name sasrec_ml1m --workdirs runs/a --protocol uniform-100 --published .8245 .5905
    python -m benchmarks.quality --name floors --floors ml-1m beauty-5core sports-5core beauty-bert4rec

Several workdirs must be seeds of one configuration: their mean is reported. With --more, the seeds that the result
already has are kept as well. With --plot, the curves of the first workdir are stored as results/NAME.png.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from benchmarks import record
from jaxrec.config.parsing import from_dict, to_dict
from jaxrec.data import sources, splits
from jaxrec.evaluation import evaluator
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.training import metric_writer
from jaxrec.training.workdirs import workdir

MEASURES = {False: ("hr@10", "ndcg@10"), True: ("recall@20", "mrr@20")}  # by whether the protocol is `sessions`


def trained(paths, protocol, published, note, before=None):
    """Returns the test metrics of the workdirs' best checkpoints and their mean, with the runs of an earlier result."""
    runs = list(before["runs"]) if before else []
    for path in map(Path, paths):
        stored = workdir.read(path)
        kept = stored.config
        result = evaluator.workdir_answers(path, protocol=protocol).result()
        rows = metric_writer.read_rows(path / "metrics.jsonl")
        if not rows:
            raise SystemExit(f"{path}: no epoch of it is complete: train on before measuring it")
        done = json.loads((path / workdir.DONE).read_text()) if (path / workdir.DONE).exists() else None
        best = result["step"] * rows[-1]["epoch"] / rows[-1]["step"]  # or the last, if there was no validation
        minutes = round(done["seconds"] / 60, 1) if done else None
        runs.append(
            {"seed": stored.config.seed, "epochs": rows[-1]["epoch"], "best_epoch": best, "complete": done is not None}
            | {"training_minutes": minutes, "validations": validations(rows)}
            | result
        )
    made = to_dict(kept) | {"dataset": Path(kept.dataset).name}
    now = lambda training: to_dict(from_dict(training | {"seed": 0}))  # with the keys that were added since
    if before and now(before["training"]) != now(made):
        raise SystemExit("the configuration of these workdirs is not that of the result: leave --more out")
    if len({run["seed"] for run in runs}) < len(runs):
        raise SystemExit("two runs have the same seed: leave one of them, or --more, out")
    mean = {name: float(np.mean([run["metrics"][name] for run in runs])) for name in runs[0]["metrics"]}
    config = {key: getattr(stored.config.model, key) for key in ("name", "dim", "layers")} | {
        "loss": stored.config.loss.name
    }
    return {
        "kind": "quality",
        "data": Path(stored.config.dataset).name,
        "config": config,
        "training": made,
        "protocol": protocol,
        "published": published and dict(zip(MEASURES[protocol == "sessions"], published, strict=True)),
        "mean": mean,
        "seeds": len(runs),
        "note": note,
        "runs": runs,
    }


def validations(rows):
    """NDCG@10 of each validation, by epoch. rows: those of metrics.jsonl."""
    return {f"{row['epoch']:g}": row["valid"]["ndcg@10"] for row in rows if "valid" in row}


def floors(names, published):
    """Evaluates popularity and transitions on the test split of these data sets, under full ranking."""
    rows = {}
    for name in names:
        split = splits.last_item(sources.load(name))
        for baseline in COUNTED:
            result = evaluator.baseline_answers(baseline, split, "full", "test", jax.local_devices()).result()
            rows[f"{name} {baseline}"] = {"expected": published.get(f"{name} {baseline}")} | result
    return {"kind": "floors", "seeds": 1, "rows": rows}


FLOORS = {
    "ml-1m popularity": [0.0369, 0.0180],
    "ml-1m transitions": [0.2144, 0.1259],
    "beauty-5core popularity": [0.0115, 0.0055],
    "beauty-5core transitions": [0.0668, 0.0439],
    "sports-5core popularity": [0.0091, 0.0052],
    "sports-5core transitions": [0.0368, 0.0234],
    "beauty-bert4rec popularity": [0.0078, 0.0035],
    "beauty-bert4rec transitions": [0.0424, 0.0287],
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the result")
    parser.add_argument("--workdirs", nargs="+", help="of trainings: seeds of one configuration")
    parser.add_argument("--floors", nargs="+", metavar="DATASET")
    parser.add_argument("--protocol", default="full")
    parser.add_argument(
        "--published", nargs=2, type=float, metavar="VALUE", help="HR@10 and NDCG@10, or Recall@20 and MRR@20"
    )
    parser.add_argument("--note", default="", help="what a reader must know about this number")
    parser.add_argument("--more", action="store_true", help="keep the seeds that the result already has")
    parser.add_argument("--plot", action="store_true", help="draw the curves of the training")
    flags = parser.parse_args()
    if flags.plot:
        rows = metric_writer.read_rows(Path(flags.workdirs[0]) / "metrics.jsonl")
        metric_writer.plot(rows, record.place(flags.name, "png"), flags.name)
    if flags.floors:
        record.write(flags.name, floors(flags.floors, FLOORS))
    else:
        before = json.loads(record.place(flags.name, "json").read_text()) if flags.more else None
        record.write(flags.name, trained(flags.workdirs, flags.protocol, flags.published, flags.note, before))

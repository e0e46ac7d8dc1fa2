"""What does each kind of context gain? Compares a recipe shown ids only with the same recipe shown more.

    python -m benchmarks.context --dataset rsc15-100k --arms gap,calendar,time,asked --seeds 3
    python -m benchmarks.context --dataset ml-100k --arms gap,weights --seeds 3
    python -m benchmarks.context --dataset 30music-sample10 --set split=by-time --arms played,loss --seeds 3

Both are the recipe `default` for that log, with a fixed number of epochs, and answer the same questions. Trainings are
stored under --runs, and are resumed, or reused when complete; each run adds to the result. The gains are those on the
test, over all seeds, with paired intervals; the checkpoint is chosen by NDCG@10. A model that sees the query time is
evaluated once more with the times of the targets as query times, in a row of its own. For 30Music, the log says how
long a track was played; `benchmarks.plays` derives the type of an event from that.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np

import jaxrec
from benchmarks import plays, plots
from benchmarks.gains import SECTIONS
from benchmarks.levers import baskets_of, keep, ranks, summary, train
from jaxrec.api.logs import as_log
from jaxrec.evaluation import next_basket
from jaxrec.evaluation.comparison import bootstrap, paired

EPOCHS = {"ml-100k": 30, "rsc15-100k": 8, "30music-sample10": 8, "beauty-5core": 24, "ml-1m": 10}
NONE = {"features": "", "id_dropout": 0.0}  # the recipe would choose both by itself
AT_20 = "recall@20", "mrr@20"
TIMES, ASKED = "gap,hour,weekday,month", "asked_gap,asked_hour,asked_weekday,asked_month"
#: {arm: what it changes}
ARMS = {
    "gap": {"context": "gap"},
    "calendar": {"context": "hour,weekday,month"},
    "weights": {"context": "weight"},
    "sessions": {"context": "session"},
    "switch": {"context": "switch"},
    "baskets": {"baskets": True},
    "time": {"context": TIMES},
    "loss": {"loss.weight": "log"},
    "types": {"context": "type"},
    "played": {"context": "weight,type"},
    "asked": {"context": f"{TIMES},{ASKED}"},
    "bias": {"model.time_bias": True},
    "intervals": {"model.time_intervals": 256},
    "features": {"id_dropout": 0.1, "features": True},
    "users": {"user_features": True},
    "together": {"context": True, "id_dropout": 0.1, "features": True, "user_features": True},
}
#: {key that is True in an arm: {data: the columns that it has for the key}}; data without columns goes without the key
COLUMNS = {
    "context": {
        "ml-100k": f"{TIMES},{ASKED},weight",
        "rsc15-100k": f"{TIMES},{ASKED}",
        "30music-sample10": f"{TIMES},{ASKED},weight,type,session",
        "ml-1m": "weight",
        "beauty-5core": "gap",
    },
    "features": {"ml-100k": "genres,year", "ml-1m": "genres,year", "beauty-5core": "attribute_ids"},
    "user_features": {"ml-1m": "gender,age,occupation"},
}


def main(flags):
    """Runs the trainings that are missing, and writes what each arm gains."""
    data = Path(flags.dataset).name
    log = played(Path(flags.dataset)) if data == "30music-sample10" else as_log(flags.dataset)
    name = f"{data}, {flags.set['split']}" if "split" in flags.set else data
    base = {"epochs": EPOCHS[data], "patience": 0, "optim.schedule": "cosine", "eval_every": 2} | NONE | flags.set
    runs, seeds = flags.runs / name.replace(", ", "-"), range(flags.seeds)
    plain = [train(log, "default", base, runs, "base", seed) for seed in seeds]
    of_base = {part: ranks(log, plain, part) for part in ("valid", "test")}
    whose = {part: baskets_of(log, plain, part) for part in of_base}
    described = {
        "recipe": "default",
        "changes": base,
        **{part: summed(found, whose[part]) for part, found in of_base.items()},
    }
    for arm in flags.arms:
        changes = of_data(ARMS[arm], data)
        changed = [train(log, "default", base | changes, runs, arm, seed) for seed in seeds]
        for told in (False, True)[: 1 + ("asked_" in changes.get("context", ""))]:
            row = {"changes": changes, "seeds": flags.seeds} | ({"query_time": True} if told else {})
            for part in ("valid", "test"):
                found = ranks(log, changed, part, told)
                gain = paired(found, of_base[part], source=whose[part])
                row[part] = summed(found, whose[part]) | {"gain": gain}
                row[part]["gain_at_20"] = gained_at_20(found, of_base[part], whose[part])
            keep("context", name, described, f"{arm}, with query time" if told else arm, row)


def plot(result, path):
    """Draws what each kind of context gains on each data set, with its interval; one figure per section."""
    for section, arms in SECTIONS.items():
        rows = [
            (name, arm, found["arms"][arm])
            for name, found in result["data"].items()
            for arm in arms
            if arm in found["arms"]
        ]
        figure, (axes,) = plots.panels(width=6.4, height=0.9 + 0.3 * len(rows))
        for place, (_, _, row) in enumerate(rows):
            gain = row["test"]["gain"]
            at = row["test"]["ndcg@10"] - gain["ndcg@10"]
            low, mean, high = (100 * each / at for each in (gain["ci95"][0], gain["ndcg@10"], gain["ci95"][1]))
            axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color="C0", markersize=4, capsize=3)
        axes.axvline(0, color="grey", linewidth=1)
        axes.set_yticks(range(len(rows)), [f"{name}: {arm}" for name, arm, _ in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="gain of NDCG@10 on the test, %, with 95% intervals")
        plots.save(figure, path.with_name(f"{path.stem}_{section}.png"))


def played(folder):
    """Returns the log of 30Music with a type for each event, by how long its track was played."""
    columns = {"user": "user_id", "item": "item_id", "time": "timestamp", "session": "session_id"}
    return jaxrec.prepare(plays.typed(folder), **columns, weight="playtime", type="done")


def at_20(ranks, source):
    """Returns recall@20 and the reciprocal rank@20 of each question, averaged over seeds. [S, Q] -> [2, Q]

    source: as for `comparison.gains`: unless it is None, each basket is one question.
    """
    if source is not None:
        found = [next_basket.values(one, source) for one in ranks]
        return np.stack([[of[name] for name in AT_20] for of in found]).mean(0)
    hits = ranks <= 20
    return np.stack([hits, hits / ranks]).mean(1)


def summed(ranks, source):
    """Metrics at 10 and at 20, means over seeds."""
    return summary(ranks, source) | dict(zip(AT_20, at_20(ranks, source).mean(1).tolist(), strict=True))


def gained_at_20(ranks, base, source):
    """The gains of the metrics at 20, with 95% intervals over questions."""
    gains = at_20(ranks, source) - at_20(base, source)
    pairs = zip(AT_20, gains.mean(1).tolist(), bootstrap(gains), strict=True)
    return {name: {"mean": mean, "ci95": interval} for name, mean, interval in pairs}


def of_data(changes, name):
    """Returns an arm's changes with the columns of a data set, without the kinds of context that it lacks."""
    columns = {key: COLUMNS[key].get(name, "") for key, value in changes.items() if value is True and key in COLUMNS}
    kept = {key: value for key, value in {**changes, **columns}.items() if value != ""}
    return kept if kept.get("features") else {key: value for key, value in kept.items() if key != "id_dropout"}


def assignments(text):
    """Parses `model.dim=64,length=20` as {"model.dim": 64, "length": 20}."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {key: json.loads(value) if value[:1].isdigit() else value for key, _, value in pairs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument(
        "--arms", type=functools.partial(str.split, sep=","), required=True, help="names of arms that suit the data"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", type=assignments, default={}, help="keys of the recipe, such as epochs=4,model.dim=32")
    parser.add_argument("--runs", type=Path, default=Path("runs/context"), help="folder of the trainings")
    main(parser.parse_args())

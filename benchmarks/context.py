"""What does each kind of context bring? A recipe that sees ids alone, and the same shown more, on the same questions.

    python -m benchmarks.context --dataset rsc15-100k
    python -m benchmarks.context --dataset ml-100k --arms gap,weights --seeds 3

Both are the recipe `default` for that log, of a fixed number of epochs. Trainings lie under --runs and are gone on
with, or taken as they are; each run adds to the result. The gain is that of the metric by which the checkpoint is
chosen, on the test, over all seeds, with a paired interval. What is shown the time of asking is also told when the
targets were, in a row of its own.
"""

import argparse
import functools
import json
from pathlib import Path

from benchmarks.levers import keep, ranks, summary, train
from jaxrec.api.logs import as_log
from jaxrec.evaluation.comparison import paired

EPOCHS = {"ml-100k": 30, "rsc15-100k": 8, "30music-sample10": 8, "beauty-5core": 24, "ml-1m": 10}
NONE = {"features": "", "id_dropout": 0.0}  # the recipe takes them by itself
#: {arm: what it changes}
ARMS = {
    "gap": {"context": "gap"},
    "calendar": {"context": "hour,weekday,month"},
    "weights": {"context": "weight"},
    "sessions": {"context": "session"},
    "time": {"context": "gap,hour,weekday,month"},
    "loss": {"loss.weight": "log"},
    "all": {"context": "gap,hour,weekday,month,weight"},
    "asked": {"context": "gap,hour,weekday,month,asked_gap,asked_hour,asked_weekday,asked_month"},
    "bias": {"model.time_bias": True},
    "intervals": {"model.time_intervals": 256},
    "features": {"id_dropout": 0.1, "features": True},
    "users": {"user_features": True},
    "together": {"context": "gap,hour,weekday,month", "id_dropout": 0.1, "features": True, "user_features": True},
}
#: {what is True in an arm: {data: its columns}}; data that has none goes without
COLUMNS = {
    "features": {"ml-100k": "genres,year", "ml-1m": "genres,year", "beauty-5core": "attribute_ids"},
    "user_features": {"ml-1m": "gender,age,occupation"},
}
#: {data: what of its context it has}; other data has all
CONTEXT = {"beauty-5core": ""}


def main(flags):
    """Train what is lacking, and write what each arm gains."""
    log, name = as_log(flags.dataset), Path(flags.dataset).name
    base = {"epochs": EPOCHS[name], "patience": 0, "optim.schedule": "cosine", "eval_every": 2} | NONE | flags.set
    runs, seeds = flags.runs / name, range(flags.seeds)
    plain = [train(log, "default", base, runs, "base", seed) for seed in seeds]
    of_base = {part: ranks(log, plain, part) for part in ("valid", "test")}
    described = {"recipe": "default", "changes": base, **{part: summary(found) for part, found in of_base.items()}}
    for arm in flags.arms:
        changes = of_data(ARMS[arm], name)
        changed = [train(log, "default", base | changes, runs, arm, seed) for seed in seeds]
        for told in (False, True)[: 1 + ("asked_" in changes.get("context", ""))]:
            row = {"changes": changes, "seeds": flags.seeds} | ({"query_time": True} if told else {})
            for part in ("valid", "test"):
                found = ranks(log, changed, part, told)
                row[part] = summary(found) | {"gain": paired(found, of_base[part])}
            keep("context", name, described, f"{arm}, with query time" if told else arm, row)


def of_data(changes, name):
    """An arm's changes as they are for that data, without what it does not have."""
    columns = {key: COLUMNS[key].get(name, "") for key, value in changes.items() if value is True and key in COLUMNS}
    context = {"context": CONTEXT[name]} if "context" in changes and name in CONTEXT else {}
    return {key: value for key, value in {**changes, **columns, **context}.items() if value != ""}


def assignments(text):
    """`model.dim=64,length=20` as {"model.dim": 64, "length": 20}."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {key: json.loads(value) if value[:1].isdigit() else value for key, _, value in pairs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--arms", type=functools.partial(str.split, sep=","), default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", type=assignments, default={}, help="keys of the recipe, as epochs=4,model.dim=32")
    parser.add_argument("--runs", type=Path, default=Path("runs/context"), help="where trainings lie")
    main(parser.parse_args())

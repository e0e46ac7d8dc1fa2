"""How fast do models go stale on these data? `jaxrec.backtest`, with its result and plot kept among the benchmarks'.

    python -m benchmarks.backtest --dataset ml-100k --train-days 84 --test-days 14 --folds 8 --set epochs=12
    python -m benchmarks.backtest --dataset 30music-sample10 --models default --train-days 56 --test-days 28 \\
        --targets last

Before each test the models are trained on the days before it alone, and asked in it and in all later ones. Trainings
lie under --runs and are resumed, or reused when complete.
"""

import argparse
import functools
from pathlib import Path

from benchmarks import record
from jaxrec.api.backtest import backtest
from jaxrec.commands.flags import assigned

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = functools.partial(str.split, sep=",")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", type=listed, default=["default", "gru4rec"])
    parser.add_argument("--baselines", type=listed, default=["popularity", "transitions"])
    parser.add_argument("--train-days", default="28")
    parser.add_argument("--test-days", type=float, default=7)
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--retrain-every", default="1")
    parser.add_argument("--targets", default="all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every configuration")
    parser.add_argument("--continue", dest="continued", action="append", metavar="KEY=VALUE", help="of continued ones")
    parser.add_argument("--runs", type=Path, help="where trainings lie (default: runs/backtest/NAME)")
    parser.add_argument("--name", help="of the result (default: of the data)")
    flags = parser.parse_args()
    name = flags.name or Path(flags.dataset).name
    given = ("train_days", "test_days", "folds", "retrain_every", "targets", "seeds")
    options = {key: getattr(flags, key) for key in given}
    changes = assigned("--set", flags.set)
    continued = assigned("--continue", flags.continued) if flags.continued else None
    found = backtest(
        flags.dataset,
        flags.models,
        baselines=flags.baselines,
        continued=continued,
        workdir=flags.runs or Path("runs/backtest") / name,
        **options,
        **changes,
    )
    found.show()
    found.plot(record.place(f"backtest_{name}", "png"))
    record.write(f"backtest_{name}", found.result | {"data": name, "keys": changes, "continued": continued})

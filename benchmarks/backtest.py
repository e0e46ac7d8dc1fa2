"""How fast do models go stale on a data set? Runs `jaxrec.backtest`, and stores its result and plot in results/.

    python -m benchmarks.backtest --dataset ml-100k --train-days 84 --test-days 14 --folds 8 --set epochs=12
    python -m benchmarks.backtest --dataset 30music-sample10 --models default --train-days 56 --test-days 28 \\
        --targets last

Before each test the models are trained on the days before it only, and are evaluated in that test and in all later
ones. Trainings are stored under --runs, and are resumed, or reused when complete.
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
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every configuration")
    parser.add_argument(
        "--continue",
        dest="continued",
        action="append",
        metavar="KEY=VALUE",
        help="also continue each training from the window before, with this key",
    )
    parser.add_argument("--runs", type=Path, help="folder of the trainings (default: runs/backtest/NAME)")
    parser.add_argument("--name", help="name of the result (default: that of the data)")
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

"""The command `backtest`: rolling tests by the dates of a log."""

import argparse
from collections.abc import Mapping

from jaxrec.api import backtest as backtests
from jaxrec.commands.flags import assigned
from jaxrec.system.files import write_json

FLAGS = (
    "train_days",
    "test_days",
    "folds",
    "retrain_every",
    "baselines",
    "targets",
    "valid_fraction",
    "seeds",
    "workdir",
)


def backtest(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Runs or resumes the backtest, prints its tables, and optionally writes JSON."""
    options = {name: getattr(arguments, name) for name in FLAGS}
    options |= assigned("--set", arguments.set, but=(*FLAGS, *backtests.OWN, "data", "models", "continued"))
    if arguments.continued:
        options["continued"] = assigned("--continue", arguments.continued, but=backtests.OWN)
    found = backtests.backtest(arguments.dataset, arguments.models, **options)
    found.show()
    if arguments.json:
        write_json(arguments.json, found.result)
    return 0

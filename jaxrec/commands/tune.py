"""The command tune: the recipe that suits a log, within a time."""

import argparse
from collections.abc import Mapping

from jaxrec.api import tuning
from jaxrec.commands.flags import assigned


def tune(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Search, print the table, and leave the best workdir ready."""
    changes = assigned("--set", arguments.set, but=("dataset", "data", "minutes", "workdir"))
    tuning.tune(arguments.dataset, arguments.minutes, arguments.workdir, **changes).show()
    return 0

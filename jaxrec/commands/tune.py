"""The command `tune`: searches for the best configuration for a log within a time budget."""

import argparse
from collections.abc import Mapping

from jaxrec.api import tuning
from jaxrec.commands.flags import assigned
from jaxrec.kernels import processes


def tune(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Searches, prints the table, and links the best workdir."""
    changes = assigned("--set", arguments.set, but=("dataset", "data", "minutes", "workdir"))
    found = tuning.tune(arguments.dataset, arguments.minutes, arguments.workdir, **changes)
    if processes.leads():
        found.show()
    return 0

"""The command `compare`: models and baselines on the same questions, in one table."""

import argparse
from collections.abc import Mapping

from jaxrec.api import comparing
from jaxrec.commands.flags import assigned
from jaxrec.system.files import write_json


def compare(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Runs or resumes the trainings, prints the table, and optionally writes JSON."""
    vary = assigned("--vary", [arguments.vary] if arguments.vary else [])
    options = {"seeds": arguments.seeds, "baselines": arguments.baselines, "workdir": arguments.workdir}
    options |= {"vary": {key: values.split(",") for key, values in vary.items()}}
    options |= assigned("--set", arguments.set, but=("dataset", "seed", *options))
    found = comparing.compare(arguments.dataset, arguments.models, **options)
    found.show()
    if arguments.json:
        write_json(arguments.json, found.result)
    return 0

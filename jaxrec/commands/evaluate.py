"""The command `evaluate`: a checkpoint, a baseline or external scores, on held-out items."""

import argparse
from collections.abc import Mapping

from jaxrec.api import evaluating
from jaxrec.kernels import processes
from jaxrec.system.errors import UserError
from jaxrec.system.files import replacing, write_json


def evaluate(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Evaluates a checkpoint, a baseline or scores, prints tables, and optionally writes JSON and ranks."""
    options = {"protocol": arguments.protocol, "split": arguments.split, "beyond_accuracy": arguments.beyond_accuracy}
    if arguments.ranks and arguments.ranks.suffix != ".parquet":
        raise UserError(f"--ranks {arguments.ranks}: Parquet is written: give a name that ends in .parquet")
    if not (arguments.workdir or arguments.baseline or arguments.scores):
        raise UserError("name what to evaluate: --workdir, --baseline or --scores")
    if processes.several() and (arguments.scores or arguments.baseline):
        which = "--scores" if arguments.scores else "--baseline"
        raise UserError(f"{which} is the work of one process: leave --coordinator and --distributed out")
    if arguments.query_time and (arguments.scores or arguments.baseline):
        raise UserError("--query-time goes with --workdir: baselines and scores are told no times, leave it out")
    if arguments.scores:
        if arguments.baseline:
            raise UserError("--baseline is not a training to test scores against: leave it out, or name a --workdir")
        options |= {"workdir": arguments.workdir, "checkpoint": arguments.checkpoint}
        options |= {"split_by": arguments.split_by, "test_quantile": arguments.test_quantile}
        options["target_types"] = arguments.target_types
        found = evaluating.judge(arguments.scores, arguments.dataset, **options)
    elif arguments.baseline:
        _check_baseline(arguments)
        by = arguments.split_by or "last-item"
        options |= {"by": by, "q": arguments.test_quantile, "target_types": arguments.target_types}
        found = evaluating.baseline(arguments.baseline, arguments.dataset, **options)
    else:
        own = {"--split-by": arguments.split_by, "--test-quantile": arguments.test_quantile}
        for flag, value in {**own, "--target-types": arguments.target_types or None}.items():
            if value is not None:
                raise UserError(f"{flag} goes with --baseline: a workdir keeps the split of its training, leave it out")
        options |= {"checkpoint": arguments.checkpoint, "query_time": arguments.query_time}
        found = evaluating.evaluate(arguments.workdir, arguments.dataset, **options)
    if not processes.leads():
        return 0
    found.show()
    if arguments.json:
        write_json(arguments.json, found.result)
    if arguments.ranks:
        with replacing(arguments.ranks) as temporary, open(temporary, "wb") as file:
            found.ranks.write_parquet(file)
    return 0


def _check_baseline(arguments):
    """Checks that the other flags fit --baseline."""
    if not arguments.dataset:
        raise UserError("--baseline goes with --dataset: name the data to count on")
    if arguments.checkpoint:
        raise UserError("--checkpoint goes with --workdir: a baseline has no checkpoints, leave it out")

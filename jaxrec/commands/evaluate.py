"""The command evaluate: a checkpoint or a baseline, on the held-out items."""

from jaxrec.api import evaluating
from jaxrec.system.errors import UserError
from jaxrec.system.files import write_json


def evaluate(arguments, _overrides):
    """Evaluate a workdir's checkpoint or a baseline; print a table, and write JSON where asked."""
    options = {"protocol": arguments.protocol, "split": arguments.split}
    if arguments.baseline:
        _check_baseline(arguments)
        by = arguments.split_by or "last-item"
        found = evaluating.baseline(arguments.baseline, arguments.dataset, **options, by=by, q=arguments.test_quantile)
    else:
        for flag, value in {"--split-by": arguments.split_by, "--test-quantile": arguments.test_quantile}.items():
            if value is not None:
                raise UserError(f"{flag} goes with --baseline: a workdir keeps the split of its training, leave it out")
        options["checkpoint"] = arguments.checkpoint
        found = evaluating.evaluate(arguments.workdir, arguments.dataset, **options)
    found.show()
    if arguments.json:
        write_json(arguments.json, found.result)
    return 0


def _check_baseline(arguments):
    """That the flags beside --baseline go with it."""
    if not arguments.dataset:
        raise UserError("--baseline goes with --dataset: name the data to count on")
    if arguments.checkpoint:
        raise UserError("--checkpoint goes with --workdir: a baseline has no checkpoints, leave it out")

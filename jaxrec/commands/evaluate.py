"""The command evaluate: a checkpoint or a baseline, on the held-out items."""

from jaxrec.data import sources, splits
from jaxrec.evaluation import protocols, results
from jaxrec.evaluation.baselines import BASELINES
from jaxrec.evaluation.evaluator import baseline_result, test_of
from jaxrec.evaluation.protocols import default_protocol
from jaxrec.kernels import placement as dev
from jaxrec.models.entry import build
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError
from jaxrec.system.files import write_json
from jaxrec.training import workdir


def evaluate(arguments, _overrides):
    """Evaluate a workdir's checkpoint or a baseline; print a table, and write JSON where asked."""
    devices = dev.local()
    if arguments.baseline:
        if arguments.baseline not in BASELINES:
            raise UserError(f"no baseline {arguments.baseline!r}: choose one of {', '.join(BASELINES)}")
        if not arguments.dataset:
            raise UserError("--baseline goes with --dataset: name the data to count on")
        if arguments.checkpoint:
            raise UserError("--checkpoint goes with --workdir: a baseline has no checkpoints, leave it out")
        by, q = arguments.split_by or "last-item", arguments.split_q
        if q is not None and by == "last-item":
            raise UserError(f"--split-q {q} goes with --split-by sessions or by-time: the last item needs none")
        if q is not None and not 0 < q < 1:
            raise UserError(f"--split-q {q}: a share, above 0 and below 1")
        valid = 0.1 if arguments.split == "valid" else 0.0  # else all training sessions are counted
        say = lambda line: print(consoles.printable(line))
        interactions = sources.load(arguments.dataset, {"say": say})
        split = splits.split(interactions, by, 0.9 if q is None else q, valid)
        protocol = protocols.named(arguments.protocol or default_protocol(by))
        result = baseline_result(arguments.baseline, split, protocol, arguments.split, devices)
        title = f"{arguments.baseline} on {arguments.dataset}"
    else:
        for flag, value in {"--split-by": arguments.split_by, "--split-q": arguments.split_q}.items():
            if value is not None:
                raise UserError(f"{flag} goes with --baseline: a workdir keeps the split of its training, leave it out")
        stored = workdir.read(arguments.workdir)
        if not arguments.dataset and sources.missing(stored.config.dataset):
            raise UserError(
                f"the data of {arguments.workdir}, {stored.config.dataset}, are gone: name them with --dataset"
            )
        interactions = sources.load(arguments.dataset or stored.config.dataset)
        workdir.check_data(arguments.workdir, stored, interactions)
        config = stored.config
        split = splits.split(interactions, config.split, config.test_quantile, config.valid_fraction)
        model = build(config, len(split.interactions.catalogue.ids), len(split.interactions.users))
        result = test_of(
            arguments.workdir,
            model,
            config,
            split,
            devices,
            arguments.checkpoint or "best",
            protocols.named(arguments.protocol or default_protocol(config.split)),
            arguments.split,
        )
        title = f"{arguments.workdir}, checkpoint {result['step']}"
        if arguments.checkpoint in (None, "best") and not len(split.valid.source):
            title += " (nothing validated: the latest)"
    results.show(result, title)
    if arguments.json:
        write_json(arguments.json, result)
    return 0

"""Real targets per second of the real training path, and the seconds of a full-ranking evaluation.

    python -m benchmarks.rate --config sasrec_ml1m --epochs 6 [--set optim.sparse=True --name sasrec_ml1m_sparse]
    python -m benchmarks.rate --config sasrec_ml1m bert4rec_ml1m --precision float32 bfloat16 --within 300

The rate is that of `fit`, with its plan, calls and reading of metrics, but without the first epoch, which compiles, and
without evaluations. The evaluation is timed after its first run: it encodes every history and ranks its target against
the whole catalogue. With --precision, each configuration is measured in each precision, and a result's name ends in it.
"""

import argparse
import itertools
import math
import statistics
import tempfile
import time
from pathlib import Path

import jax

from benchmarks import record
from jaxrec.config import recipes
from jaxrec.data.sources import cache
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.kernels import compiler
from jaxrec.training import assembly, fit


def measure(name, epochs, changes):
    """Measures the rates of all epochs but the first, and the seconds that evaluations of the test questions take."""
    config, _ = recipes.load(name, changes | {"epochs": str(epochs), "eval_every": str(epochs)})
    setup = assembly.assemble(config)
    questions = setup.split.test
    evaluator = Evaluator(setup.model, config, setup.split, questions, setup.devices)
    seconds = []

    def validate(params):
        for _ in range(4):
            begun = time.monotonic()
            found = metrics(evaluator.ranks(params))
            seconds.append(time.monotonic() - begun)
        return found

    with tempfile.TemporaryDirectory() as folder:
        rates = fit.fit(setup, Path(folder), validate)["rates"][1:]
    return {
        "kind": "rate",
        "config": name,
        "changes": changes,
        "data": Path(config.dataset).name,
        "targets_per_second": statistics.median(rates),
        "rates": rates,
        "evaluation": {
            "questions": len(questions.source),
            "first_seconds": seconds[0],
            "seconds": statistics.median(seconds[1:]),
        },
    }


def parser():
    """The parser of the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=["sasrec_ml1m"])
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=[None])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--within", type=float, default=math.inf, help="seconds after which no measurement begins")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for each configuration")
    parser.add_argument("--name", help="name of the result (default: that of the configuration)")
    return parser


def main(flags):
    begun = time.monotonic()
    changes = dict(each.split("=", 1) for each in flags.set)
    if jax.default_backend() != "cpu":
        compiler.keep_programs(cache())
    for config, precision in itertools.product(flags.config, flags.precision):
        if time.monotonic() > begun + flags.within:
            print(f"{config} {precision or ''} is left out: no time is left for it")
            continue
        own, ending = ({"precision": precision}, f"_{precision}") if precision else ({}, "")
        record.write(f"rate_{flags.name or config}{ending}", measure(config, flags.epochs, changes | own))


if __name__ == "__main__":
    main(parser().parse_args())

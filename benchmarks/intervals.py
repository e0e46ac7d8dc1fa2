"""How much cheaper is the bootstrap by counts of distinct ranks than drawing every question, and how close are they?

    python -m benchmarks.intervals --dataset diginetica

The ranks are those of `transitions` on the test sessions.
"""

import argparse
import time

import jax
import numpy as np

from benchmarks import record
from jaxrec.data import sources, splits
from jaxrec.evaluation import ranker
from jaxrec.evaluation.baselines import BASELINES
from jaxrec.evaluation.metrics import NAMES, intervals, metrics

SHOWN = ("recall@20", "mrr@20", "mrr")


def one_by_one(ranks, seed=0, resamples=1000):
    """The percentile bootstrap by its definition: it draws questions with replacement, one resample at a time."""
    rng, total = np.random.default_rng(seed), len(ranks)
    distinct, place = np.unique(ranks, return_inverse=True)
    table = np.array([list(metrics([rank]).values()) for rank in distinct])
    means = [
        np.bincount(place[rng.integers(0, total, total)], minlength=len(distinct)) @ table / total
        for _ in range(resamples)
    ]
    return dict(zip(NAMES, np.quantile(means, [0.025, 0.975], axis=0).T.tolist(), strict=True))


def timed(function, ranks, times):
    """Returns (the result, the least CPU seconds of `times` runs)."""
    seconds = []
    for _ in range(times):
        begun = time.process_time()
        found = function(ranks)
        seconds.append(time.process_time() - begun)
    return found, min(seconds)


def main(dataset):
    split, counted = splits.sessions(sources.load(dataset), valid=0.0), BASELINES["transitions"]
    layouts = ranker.lay_out(split, split.test, "sessions", devices=jax.local_devices()[:1])
    learnt = counted.fit(split)
    ranks = ranker.run(layouts, counted.scorer, learnt, counted.queries(learnt, split, split.test))
    (ours, seconds), (theirs, plain) = timed(intervals, ranks, 5), timed(one_by_one, ranks, 2)
    return {
        "kind": "intervals",
        "data": dataset,
        "questions": len(ranks),
        "distinct_ranks": len(np.unique(ranks)),
        "cpu_seconds": {"by counts": seconds, "one by one": plain},
        "ratio": plain / seconds,
        "ci95": {name: {"by counts": ours[name], "one by one": theirs[name]} for name in SHOWN},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="diginetica")
    result = main(parser.parse_args().dataset)
    print(result)
    record.write("intervals", result)

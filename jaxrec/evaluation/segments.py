"""The questions of an evaluation one by one, and their metrics by segment: who is served well, and what is found."""

from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import splits
from jaxrec.data.splits import Questions, Split
from jaxrec.evaluation.metrics import MISS, intervals, metrics

DAY = 86_400_000_000  # microseconds
PARTS = 4  # of a quantity: quartiles of the questions
COLD = "whether the target is cold: events in training"
BY = {  # the columns that have segments, for people
    "history_length": "history length",
    "activity": "activity: events a day",
    "target_count": "the target's popularity: events in training",
}


def frame(split: Split, questions: Questions, ranks: np.ndarray) -> pl.DataFrame:
    """A row a question, in their order.

    Args:
        ranks: [Q] from 1; MISS of a target that a list lacks.

    Returns:
        The columns user and target, external ids; rank, from 1, null for a miss; history_length, the items that are
        given; target_count, the target's occurrences in training; and where one question is asked of each user and
        times are known activity, the history's events by the days from its first to its last, one at least.
    """
    data, length = split.interactions, questions.stop - questions.start
    columns = {
        "user": _ids(data.users)[questions.source],
        "target": _ids(data.catalogue.ids)[questions.target - 1],
        "rank": pl.Series(ranks, dtype=pl.Int32).replace({MISS: None}),
        "history_length": pl.Series(length, dtype=pl.Int64),
        "target_count": pl.Series(splits.training_counts(split)[questions.target - 1], dtype=pl.Int64),
    }
    if data.times is not None and splits.one_a_user(questions):
        span = np.asarray(data.times[questions.stop - 1]) - np.asarray(data.times[questions.start])
        columns["activity"] = pl.Series(length / np.maximum(span / DAY, 1), dtype=pl.Float64)
    return pl.DataFrame(columns)


def segments(asked: pl.DataFrame) -> list[dict[str, Any]]:
    """The metrics of questions by history length, activity, the target's popularity, and whether it is cold.

    Args:
        asked: by `frame`.

    Returns:
        [{"by", "low", "high", "users", "metrics", "ci95"}]: who has low to high of that. Bounds are quartiles of the
        questions, where they differ: a value is in one segment alone. Of popularity cold targets are left out; they
        and the others are a pair of segments of their own, where there are any.
    """
    ranks, found = asked["rank"].fill_null(MISS).to_numpy(), []
    cold = asked["target_count"].to_numpy() == 0
    for column, name in BY.items():
        if column in asked.columns:
            some = ~cold if column == "target_count" else np.ones(len(cold), bool)
            found += _parts(name, asked[column].to_numpy()[some], ranks[some])
    if cold.any():
        counts = asked["target_count"].to_numpy()
        found += [_segment(COLD, counts[some], ranks[some]) for some in (cold, ~cold) if some.any()]
    return found


def _parts(name, values, ranks):
    if not len(values):
        return []
    ends = np.unique(np.quantile(values, np.arange(1, PARTS) / PARTS, method="inverted_cdf"))
    part = np.searchsorted(ends, values)
    return [_segment(name, values[part == each], ranks[part == each]) for each in np.unique(part)]


def _segment(name, values, ranks):
    bounds = {"by": name, "low": values.min().item(), "high": values.max().item()}
    return bounds | {"users": len(ranks), "metrics": metrics(ranks), "ci95": intervals(ranks)}


def _ids(ids):
    return pl.Series(ids if ids.dtype.kind == "i" else ids.tolist())

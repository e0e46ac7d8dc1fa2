"""Tables of an evaluation's questions, and metrics by segments of them."""

from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import splits
from jaxrec.data.splits import Questions, Split
from jaxrec.evaluation.metrics import MISS, intervals, metrics

DAY = 86_400_000_000  # microseconds
PARTS = 4  # segments per quantity: quartiles of the questions
COLD = "whether the target is cold: events in training"
BY = {  # columns with segments -> their names for people
    "history_length": "history length",
    "activity": "activity: events a day",
    "target_count": "the target's popularity: events in training",
}


def frame(split: Split, questions: Questions, ranks: np.ndarray) -> pl.DataFrame:
    """Returns a table with a row per question.

    Args:
        split: the split.
        questions: the questions.
        ranks: [Q] from 1; MISS if a list lacks the target.

    Returns:
        The columns user and target, external ids; rank, from 1, null for a miss; history_length; target_count, the
        target's training interactions; and if users have single questions and times are known, activity, the history's
        events per day from the first to the last, over at least one day.
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
    """Returns the metrics of segments by history length, activity, target popularity, and cold targets.

    Args:
        asked: as from `frame`.

    Returns:
        [{"by", "low", "high", "users", "metrics", "ci95"}], with `low` and `high` of the segment's values. Bounds are
        quartiles of the questions, as far as they are distinct. Popularity excludes cold targets; if there are any,
        cold and other targets are two further segments.
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

"""Tables of an evaluation's questions, and metrics by segments of them."""

from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import splits
from jaxrec.data.attributes import topics
from jaxrec.data.splits import Questions, Split
from jaxrec.evaluation.metrics import MISS, intervals, metrics

DAY = 86_400_000_000  # microseconds
PARTS = 4  # segments per quantity: quartiles of the questions
COLD = "whether the target is cold: events in training"
YES_OR_NO = {  # boolean columns with segments -> their names for people
    "switches_topic": "whether the target switches topic: 1 where it shares none with the last item",
    "begins_session": "whether the target begins a session: 1 where it does",
}
BY = {  # columns with segments -> their names for people
    "history_length": "history length",
    "activity": "activity: events a day",
    "target_count": "the target's popularity: events in training",
}


def frame(split: Split, questions: Questions, ranks: np.ndarray, topic: str = "") -> pl.DataFrame:
    """Returns a table with a row per question.

    Args:
        split: the split.
        questions: the questions.
        ranks: [Q] from 1; MISS if a list lacks the target.
        topic: item column of topics, see `topics.column`.

    Returns:
        The columns user and target, external ids; rank, from 1, null for a miss; history_length; target_count, the
        target's training interactions; and if users have single questions and times are known, activity, the history's
        events per day from the first to the last, over at least one day. If known, switches_topic, whether the target
        shares no topic with the last item of the history (null if one of them has none), and begins_session, whether
        the target is the first event of a session.
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
    if (known := topics.values(data.catalogue, topic)) is not None:
        last = np.asarray(data.items[questions.stop - 1])
        found = topics.compared(known, last, questions.target)
        columns["switches_topic"] = pl.Series(found == topics.OTHER).set(pl.Series(found == 0), None)
    if data.sessions is not None:
        columns["begins_session"] = pl.Series(np.isin(questions.stop, data.sessions.offsets))
    return pl.DataFrame(columns)


def segments(asked: pl.DataFrame) -> list[dict[str, Any]]:
    """Returns the metrics of segments by history length, activity, target popularity, cold targets, and switches.

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
    for column, name in YES_OR_NO.items():
        if column in asked.columns and not (values := asked[column]).is_null().all():
            parts = [values.eq_missing(answer).to_numpy() for answer in (False, True)]
            found += [_segment(name, some[some] * at, ranks[some]) for at, some in enumerate(parts) if some.any()]
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

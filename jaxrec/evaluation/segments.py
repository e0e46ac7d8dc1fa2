"""Tables of an evaluation's questions, and metrics by segments of them."""

from typing import Any

import numpy as np
import polars as pl

from jaxrec.data import splits
from jaxrec.data.attributes import topics
from jaxrec.data.splits import Questions, Split
from jaxrec.evaluation import next_basket
from jaxrec.evaluation.metrics import MISS

DAY = 86_400_000_000  # microseconds
PARTS = 4  # segments per quantity: quartiles of the questions
COLD = "whether the target is cold: events in training"
YES_OR_NO = {  # boolean columns with segments -> their displayed names
    "switches_topic": "whether the target switches topic: 1 where it shares none with the last item",
    "begins_session": "whether the target begins a session: 1 where it does",
}
BY = {  # columns with segments -> their displayed names
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
        The columns user and target (external ids), rank (from 1, null for a miss), history_length, and target_count
        (the target's number of training interactions). If each user has one question and times are known, also
        activity: the history's events per day from the first to the last, over at least one day. If known, also
        switches_topic: whether the target shares no topic with the last item of the history (null if one of them has
        none), and begins_session: whether the target is the first event of a session.
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


def segments(asked: pl.DataFrame, source: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Returns the metrics of segments by history length, activity, target popularity, cold targets, and switches.

    Args:
        asked: as from `frame`.
        source: [Q] the users, if a user's targets are one basket; the part of a basket in a segment then counts as a
            basket. None if each target is a question of its own.

    Returns:
        [{"by", "low", "high", "users", "metrics", "ci95"}], and for baskets "targets" too. `low` and `high` are the
        smallest and largest value in the segment. Bounds are quartiles of the questions, as far as they are distinct.
        Popularity excludes cold targets; if there are any, cold and other targets are two further segments.
    """
    ranks = asked["rank"].fill_null(MISS).to_numpy()

    def segment(name, values, some):
        bounds = {"by": name, "low": values[some].min().item(), "high": values[some].max().item()}
        asked = ranks[some], None if source is None else source[some]
        return bounds | next_basket.counted(*asked) | next_basket.measured(*asked)

    return [segment(*part) for part in _parts(asked) if part[-1].any()]


def _parts(asked):
    """Yields the segments: the name of the quantity, its values [Q], and which questions are in the segment [Q]."""
    counts = asked["target_count"].to_numpy()
    cold = counts == 0
    for column, name in BY.items():
        if column in asked.columns:
            some = ~cold if column == "target_count" else np.ones(len(cold), bool)
            values = asked[column].to_numpy()
            yield from ((name, values, part) for part in _quarters(values, some))
    if cold.any():
        yield from ((COLD, counts, some) for some in (cold, ~cold))
    for column, name in YES_OR_NO.items():
        if column in asked.columns and not (values := asked[column]).is_null().all():
            for answer in (False, True):
                some = values.eq_missing(answer).to_numpy()
                yield name, some.astype(np.int64) * answer, some


def _quarters(values, some):
    """Yields, for each quarter of some questions by their values, which questions are in it. [Q] bool"""
    if not some.any():
        return
    ends = np.unique(np.quantile(values[some], np.arange(1, PARTS) / PARTS, method="inverted_cdf"))
    part = np.searchsorted(ends, values)
    yield from (some & (part == each) for each in np.unique(part[some]))


def _ids(ids):
    return pl.Series(ids if ids.dtype.kind == "i" else ids.tolist())

"""What is asked of an evaluation goes together, or is refused before anything is read."""

from types import SimpleNamespace

import numpy as np
import pytest
from made_logs import made_log

import jaxrec
from jaxrec.api import evaluating
from jaxrec.system.errors import UserError

OF_BASELINES = [{"split_by": "last-item"}, {"test_quantile": 0.5}, {"target_types": "buy"}]


@pytest.mark.parametrize("options", OF_BASELINES, ids=str)
def test_a_workdir_keeps_its_split(options):
    with pytest.raises(UserError, match="are for baselines: a workdir keeps the split of its training"):
        jaxrec.evaluate("runs/none", **options)
    with pytest.raises(UserError, match="go without --workdir, whose split is that of its training"):
        jaxrec.judge("none.npz", workdir="runs/none", **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"checkpoint": "best"}, "a baseline has no checkpoints"),
        ({"query_time": True}, "query_time is for models that are shown the time of asking"),
        ({}, "popularity: name the data to count on"),
    ],
)
def test_a_baseline_has_nothing_of_a_training(options, said):
    with pytest.raises(UserError, match=said):
        jaxrec.evaluate("popularity", **options)


def test_scores_are_judged_on_data_or_a_training():
    with pytest.raises(UserError, match="--scores goes with --dataset, or --workdir: name the data"):
        jaxrec.judge("none.npz")
    with pytest.raises(UserError, match="--checkpoint goes with --workdir: leave it out"):
        jaxrec.judge("none.npz", "synthetic:users=9", checkpoint=3)


def test_a_recommender_without_a_workdir_has_none_to_evaluate():
    with pytest.raises(UserError, match="this Recommender has no workdir: load one"):
        evaluating._of(SimpleNamespace(path=None))


def test_a_tenth_of_the_time_is_the_test_by_default():
    default, tenth, half = (evaluating._split(made_log(), None, "test", "by-time", q, "")[1] for q in (None, 0.9, 0.5))
    assert default.test.target.tolist() == tenth.test.target.tolist() != half.test.target.tolist()


def test_sessions_are_left_to_validation_only_where_that_is_asked():
    test, valid = (evaluating._split(made_log(), None, part, "sessions", None, "")[1] for part in ("test", "valid"))
    assert not len(test.valid.target) and len(valid.valid.target)
    assert np.sum(valid.stop - valid.start) < np.sum(test.stop - test.start)
    assert valid.test.target.tolist() == test.test.target.tolist()


def test_the_protocol_is_that_of_the_split_unless_one_is_named():
    named = lambda protocol, by: evaluating._split(made_log(), protocol, "test", by, None, "")[2]
    assert [named(None, by) for by in ("last-item", "by-time", "sessions")] == ["full", "full", "sessions"]
    assert named("uniform-100", "last-item") == "uniform-100"

"""What an evaluation writes and shows."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import cold_targets, last_item
from jaxrec.evaluation import results
from jaxrec.evaluation.metrics import KS
from jaxrec.system.files import write_json


def test_events_are_shown_as_recall_and_mrr_at_20():
    result = results.result("sessions", "test", np.array([1, 10, 30]), cold=0, seconds=1.0)
    text = io.StringIO()
    results.show(result, "transitions on toys", Console(file=text, width=100))
    shown = [line.split() for line in text.getvalue().replace("│", " ").splitlines()]
    rows = [line[0] for line in shown if line and line[0].startswith(("Recall", "MRR"))]
    assert rows == ["Recall@20", "MRR@20", *(f"Recall@{k}" for k in KS if k != 20), "MRR"]
    assert ["Recall@20", "0.6667"] in [line[:2] for line in shown]
    assert ["MRR@20", f"{1.1 / 3:.4f}"] in [line[:2] for line in shown]
    assert "3 events" in text.getvalue() and "users" not in text.getvalue()


def test_a_result_is_written_whole_and_shown(tmp_path):
    split = last_item(from_sequences([[1, 2, 3, 9], [2, 1, 3, 8], [3, 2, 1, 2]]))
    cold = cold_targets(split, split.test)
    assert cold == 2  # 9 and 8
    ranks = np.array([1, 10, 300], np.int32)
    result = results.result("full", "test", ranks, cold=cold, seconds=1.5, step=7, coverage=0.25)
    assert list(result) == [
        "protocol",
        "split",
        "users",
        "metrics",
        "ci95",
        "repeats",
        "cold_targets",
        "step",
        "seconds",
    ]
    path = tmp_path / "new" / "result.json"
    write_json(path, result)
    assert json.loads(path.read_text()) == result and [p.name for p in path.parent.iterdir()] == ["result.json"]
    assert result["users"] == 3 and result["metrics"]["hr@10"] == pytest.approx(2 / 3)
    assert result["metrics"]["coverage@10"] == 0.25 and "coverage@10" not in result["ci95"]
    text = io.StringIO()
    results.show(result, "popularity on toys", Console(file=text, width=100))
    shown = text.getvalue()
    assert "popularity on toys" in shown and "0.6667" in shown and "2 targets never occur in training" in shown


def test_both_measures_are_shown_seen_kept_first():
    full, kept = np.array([1, 1, 2]), np.array([1, 4, 30])
    result = results.result(
        "full", "test", full, cold=0, seconds=1.0, repeats=3, coverage=0.5, also={"full, seen kept": (kept, 0.25)}
    )
    assert result["protocol"] == "full" and result["metrics"]["hr@1"] == pytest.approx(2 / 3)
    assert result["also"]["full, seen kept"]["metrics"]["hr@1"] == pytest.approx(1 / 3)
    assert result["also"]["full, seen kept"]["metrics"]["coverage@10"] == 0.25 and result["repeats"] == 3
    assert list(results.by_measure(result)) == ["full, seen kept", "full"]
    text = io.StringIO()
    results.show(result, "w, checkpoint 7", Console(file=text, width=120))
    shown = text.getvalue()
    titles = [line.strip() for line in shown.splitlines() if "w, checkpoint 7" in line]
    assert titles == ["w, checkpoint 7: full, seen kept", "w, checkpoint 7: full"]
    assert "all 3 targets repeat an item of the history" in shown


def test_of_a_sample_it_is_said_what_repeats_mean():
    text = io.StringIO()
    result = results.result("uniform-100", "test", np.array([1, 2]), cold=0, seconds=1.0, repeats=1)
    results.show(result, "popularity", Console(file=text, width=200))
    assert (
        "1 of 2 targets repeats an item of the history, but uniform-100 never samples the history's" in text.getvalue()
    )

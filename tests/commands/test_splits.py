"""The commands with splits by session and by time, from data with times to a result."""

import json
from dataclasses import replace

import numpy as np
import pytest

import jaxrec
from jaxrec import cli
from jaxrec.data import interactions, sources, splits
from jaxrec.data.interactions import Catalogue

SMALL = [
    "--config.model.dim=8",
    "--config.model.layers=1",
    "--config.batch=8",
    "--config.epochs=2",
    "--config.eval_every=1",
]
TRAINS, TESTS, ITEMS = 50, 12, 30


def timed():
    """Sessions one after another, 50 to train on; items from 31 on occur only in the test."""
    random = np.random.default_rng(0)
    lists = [random.integers(1, ITEMS + 1 + 5 * (s >= TRAINS), random.integers(2, 12)) for s in range(TRAINS + TESTS)]
    data = interactions.from_sequences([items.tolist() for items in lists])
    return replace(data, times=np.arange(len(data.items)) * 1_000_000, train_sessions=TRAINS, name="clicks")


@pytest.fixture
def clicks(tmp_path, monkeypatch):
    """The name of a data set that is read as `timed`."""
    (tmp_path / "clicks").mkdir()
    monkeypatch.setattr(sources, "load", lambda name, reading=None: timed())
    return str(tmp_path / "clicks")


def trained(path, clicks, *more):
    argv = ["train", "--config", "quickstart", "--workdir", str(path), f"--config.dataset={clicks}", *SMALL, *more]
    assert cli.main(argv) == 0
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def evaluated(tmp_path, *argv):
    file = tmp_path / "result.json"
    assert cli.main(["evaluate", *argv, "--json", str(file)]) == 0
    return json.loads(file.read_text())


@pytest.mark.slow
def test_without_validation_the_latest_of_all_sessions_is_tested(clicks, tmp_path, capsys):
    path = tmp_path / "run"
    rows = trained(path, clicks, "--config.split=sessions", "--config.valid_fraction=0")
    split = splits.sessions(timed(), valid=0)
    events = len(split.test.target)
    shown = capsys.readouterr().out
    assert f", {ITEMS} items, split sessions: " in shown
    assert f"sequences; 0 validation and {events} test questions" in shown
    assert "epoch 2/2  loss" in shown and "no validation: gru4rec is tested by its latest checkpoint" in shown
    assert f"every next item of the test sessions, whole catalogue, {events} events:" in shown
    assert all(word in shown for word in ("Recall@20", "MRR@20", "transitions"))
    assert [row["epoch"] for row in rows] == [1, 2] and not any("valid" in row for row in rows)
    assert rows[-1]["targets"] == (np.diff(split.interactions.offsets)[:TRAINS] - 1).sum()
    done = json.loads((path / "done.json").read_text())
    assert done["best"] is None and done["step"] == rows[-1]["step"]

    ids = Catalogue.load(path / "catalogue.parquet").ids
    assert ids.tolist() == split.interactions.catalogue.ids.tolist() == list(range(1, ITEMS + 1))
    assert jaxrec.load(path).recommend([1, 2, ITEMS + 1]).unknown == [ITEMS + 1]
    result = evaluated(tmp_path, "--workdir", str(path))
    assert (result["protocol"], result["users"], result["step"]) == ("sessions", events, rows[-1]["step"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "coverage@10" in result["metrics"] and "(no validation: the latest checkpoint)" in shown
    assert cli.main(["evaluate", "--workdir", str(path), "--split", "valid"]) == 2
    assert "clicks: nothing to rank" in capsys.readouterr().err
    argv = ["train", "--config", "quickstart", "--workdir", str(path), f"--config.dataset={clicks}", *SMALL]
    assert cli.main([*argv, "--config.split=sessions", "--config.valid_fraction=0"]) == 0
    assert "complete" in capsys.readouterr().out
    assert cli.main([*argv, "--config.split=sessions"]) == 2
    assert "config.valid_fraction: 0.0 -> 0.1" in capsys.readouterr().err


@pytest.mark.slow
def test_session_parallel_training_from_data_to_recommendations(clicks, tmp_path, capsys):
    """With a smaller version of the shipped recipe; the items that the model scores best after a session come first."""
    path = tmp_path / "run"
    small = ["--config.model.dim=8", "--config.batch=4", "--config.epochs=2", "--config.loss.negatives=20"]
    argv = ["train", "--config", "gru4rec_rsc15", "--workdir", str(path), f"--config.dataset={clicks}", *small]
    assert cli.main(argv) == 0
    shown = capsys.readouterr().out
    assert "steps of 4 lanes, " in shown and "Recall@20" in shown
    result = evaluated(tmp_path, "--workdir", str(path))
    assert result["users"] == len(splits.sessions(timed(), valid=0).test.target)
    recommender = jaxrec.load(path)
    (best, score), *_ = recommender.recommend([3, 1, 2], exclude_seen=False)
    table, bias = recommender._model.output_embedding(recommender.engine.params)
    scores = recommender.engine.hidden([[3, 1, 2]])[0] @ table.T + bias
    assert bias.any() and best == int(scores.argmax()) + 1 and score == pytest.approx(float(scores.max()), rel=1e-5)


BY_TIME = pytest.param("by-time", "full", "ndcg@10", marks=pytest.mark.slow)


@pytest.mark.parametrize(("by", "protocol", "metric"), [("sessions", "sessions", "mrr@20"), BY_TIME])
def test_the_validation_is_by_the_splits_own_protocol(clicks, tmp_path, by, protocol, metric):
    path = tmp_path / "run"
    share = ["--config.valid_fraction=0.3"] * (by == "sessions")
    rows = trained(path, clicks, f"--config.split={by}", "--config.test_quantile=0.6", *share)
    split = splits.split(timed(), by, 0.6, 0.3)
    best = max(rows, key=lambda row: row["valid"][metric])
    tested = json.loads((path / "done.json").read_text())["test"]
    assert (tested["protocol"], tested["step"]) == (protocol, best["step"])
    assert tested["users"] == len(split.test.target) > 1
    result = evaluated(tmp_path, "--workdir", str(path), "--split", "valid")
    assert (result["protocol"], result["step"]) == (protocol, best["step"])
    assert result["users"] == len(split.valid.target) > 1
    for name, value in best["valid"].items():
        assert result["metrics"][name] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("baseline", ["popularity", "transitions"])
def test_baselines_go_through_every_split(clicks, tmp_path, baseline):
    for by, protocol in {"last-item": "full", "sessions": "sessions", "by-time": "full"}.items():
        argv = ["--baseline", baseline, "--dataset", clicks, "--split-by", by]
        result = evaluated(tmp_path, *argv, *(["--split-q", "0.6"] if by == "by-time" else []))
        assert result["protocol"] == protocol
        assert result["users"] == len(splits.split(timed(), by, 0.6 if by == "by-time" else 0.9).test.target)


def test_a_split_that_leaves_nothing_to_ask_is_told_before_training(clicks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "load", lambda name, reading=None: replace(timed(), train_sessions=TRAINS + TESTS))
    path = tmp_path / "run"
    argv = ["train", "--config", "quickstart", "--workdir", str(path), f"--config.dataset={clicks}", *SMALL]
    assert cli.main([*argv, "--config.split=sessions"]) == 2
    assert "clicks: nothing to rank" in capsys.readouterr().err
    assert not path.exists()

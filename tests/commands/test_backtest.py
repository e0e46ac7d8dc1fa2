"""The command backtest: what it prints and writes, and its messages for mistakes."""

import json

import numpy as np
import polars as pl
import pytest

from jaxrec import cli


@pytest.fixture
def log(tmp_path):
    """A log of thirty days."""
    random = np.random.default_rng(0)
    at = 1_700_000_000 + random.integers(0, 30 * 86_400, 400)
    values = {"user": random.integers(0, 20, 400), "item": random.integers(0, 30, 400), "time": at}
    pl.DataFrame(values).write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_it_prints_tables_and_writes_json(log, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    argv = ["backtest", "--dataset", str(log), "--models", "none", "--baselines", "popularity", "--train-days", "all"]
    argv += ["--test-days", "5", "--folds", "4", "--retrain-every", "10d", "--targets", "last"]
    assert cli.main([*argv, "--workdir", str(tmp_path / "runs"), "--json", str(tmp_path / "a.json")]) == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["retrain_every"] == 2 and result["train_days"] == "all" and len(result["tests"]) == 4
    assert sorted({each["trained"] for each in result["rows"]["popularity"]["cells"]}) == [0, 2]
    assert all(each["questions"] <= 20 for each in result["tests"])
    said = capsys.readouterr().out
    assert "4 tests of 5 days" in said and "never again" in said and result["tests"][3]["since"][:10] in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--folds", "9"], "--folds 4, or --train-days"),
        (["--folds", "0"], "--folds 0: a whole number, at least 1"),
        (["--seeds", "0"], "--seeds 0: a whole number, at least 1"),
        (["--test-days", "-1"], "--test-days -1.0: a number of days above 0"),
        (["--train-days", "some"], "--train-days some: a number of days above 0"),
        (["--retrain-every", "3d"], "tests have 2 days: give 2d, or a multiple of it"),
        (["--retrain-every", "0"], "--retrain-every 0: a number of tests, at least 1"),
        (["--targets", "first"], "--targets first: choose one of all, last"),
        (["--valid-fraction", "1"], "--valid-fraction 1.0: a share"),
        (["--baselines", "luck"], "no baseline 'luck'"),
        (["--models", "nowhere"], "no configuration 'nowhere'"),
        (["--models", "nowhere:MODEL"], "no model at 'nowhere:MODEL'"),
        (["--models", "sasrec", "--set", "epohcs=3"], "did you mean config.epochs?"),
        (
            ["--continue", "seen=keep"],
            "--continue seen: continued trainings can't have their own value of this key: set it",
        ),
        (["--continue", "target_types=view"], "set it for all trainings by --set"),
        (["--continue", "init_from=runs/a"], "can't have their own value of this key: leave it out"),
        (["--set", "split=by-time"], "not a key that can be set here for every configuration"),
        (["--set", "folds=3"], "not a key that can be set here"),
        (["--models", "caser_ml1m,default"], "seen differs (caser_ml1m exclude, default keep)"),
        (["--train-days", "0.001"], "nobody has two events to train on"),
        (["--test-days", "0.0001", "--train-days", "2"], "no questions from"),
        (["--train-days", "2", "--valid-fraction", "0.001"], "there is no event for validation"),
    ],
)
def test_mistakes_are_messages_and_leave_no_folder(argv, said, log, tmp_path, capsys):
    given = ["backtest", "--dataset", str(log), "--workdir", str(tmp_path / "runs"), "--train-days", "20"]
    assert cli.main([*given, "--test-days", "2", "--folds", "4", *argv]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("column", "said"), [("time", "count from an unknown moment"), ("other", "has no times")])
def test_a_log_without_dates_is_told_the_cure(column, said, tmp_path, capsys):
    pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 2, 1], column: [1, 2, 3, 4]}).write_csv(tmp_path / "log.csv")
    assert cli.main(["backtest", "--dataset", str(tmp_path / "log.csv")]) == 2
    error = capsys.readouterr().err
    assert said in error and "jaxrec prepare --time COLUMN" in error

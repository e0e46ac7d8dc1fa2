"""Models on the same questions, in one table."""

import json
import time

import numpy as np
import pytest
from made_logs import COLUMNS, made_log, made_rows

import jaxrec
from jaxrec import cli
from jaxrec.api import comparing


def test_models_are_compared_on_the_same_questions(tmp_path, capsys):
    jaxrec.prepare(made_rows(), output=tmp_path / "log", **COLUMNS)
    small = {"epochs": 1, "batch": 16, "model.dim": 8, "model.layers": 1}
    argv = ["compare", "--dataset", str(tmp_path / "log"), "--models", "two-tower", "--vary", "seen=exclude,keep"]
    argv += ["--workdir", str(tmp_path / "runs"), "--json", str(tmp_path / "r.json")]
    argv += [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    assert cli.main(argv) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["rows"]) == {"popularity", "transitions", "two-tower exclude", "two-tower keep"}
    assert result["paired"]["p"] == 1 and result["paired"]["ndcg@10"] == 0  # they train alike
    assert "two-tower exclude" in capsys.readouterr().out
    begun = time.monotonic()
    again = jaxrec.compare(
        made_log(), ["two-tower"], vary={"seen": ["exclude", "keep"]}, workdir=tmp_path / "runs", **small
    )
    assert {name: row["metrics"] for name, row in again.rows.items()} == {
        name: row["metrics"] for name, row in result["rows"].items()
    }
    assert time.monotonic() - begun < 60 and "two-tower keep" in repr(again)
    again.plot(tmp_path / "a.png")
    for argv, said in (
        (["--models", "nowhere"], "no configuration 'nowhere'"),
        (["--baselines", "luck"], "no baseline 'luck'"),
        (["--seeds", "0"], "at least 1"),
        (["--set", "seeds=3"], "no key"),
        (["--set", "epochs"], "write it as KEY=VALUE"),
    ):
        assert cli.main(["compare", "--dataset", str(tmp_path / "log"), "--workdir", str(tmp_path / "x"), *argv]) == 2
        assert said in capsys.readouterr().err


def test_statistics_of_comparisons():
    random = np.random.default_rng(0)
    ranks = random.integers(1, 100, (2, 400))
    row = comparing.row_of(ranks)
    assert row["metrics"]["hr@10"] == pytest.approx((ranks <= 10).mean())
    assert row["metrics"]["mrr"] == pytest.approx((1 / ranks).mean())
    assert all(low <= row["metrics"][name] <= high for name, (low, high) in row["ci95"].items())
    same, better = comparing.paired(ranks, ranks, 99), comparing.paired(np.maximum(ranks // 4, 1), ranks, 999)
    assert same["p"] == 1 and better["p"] < 0.01 and better["ci95"][0] > 0

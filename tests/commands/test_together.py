"""Commands run by several processes do what a single one does. Only the first process has the workdir."""

import json

import polars as pl
import pytest

from benchmarks import jobs

DATA = "synthetic:users=333,items=120"
SMALL = {"dataset": DATA, "model.dim": 8, "model.layers": 1, "length": 12, "row": 12, "epochs": 2, "batch": 32}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("together") / "w"
    argv = ["train", "--config", "sasrec_ml1m", "--workdir", str(workdir), *jobs.keys(SMALL)]
    jobs.run([*argv, "--config.eval_every=1"], 1)
    return workdir


def together(argv, number, tmp_path, devices=1, status=0):
    """What the processes print; the last one does not see the workdir."""
    found = jobs.ends(jobs.start(argv, number, devices, ["--workdir", tmp_path / "elsewhere"], cwd=tmp_path))
    assert [each for each, _ in found] == [status] * number, found
    assert not (tmp_path / "elsewhere").exists()
    gloo = lambda line: line.startswith("[Gloo]")
    return ["\n".join(line for line in said.splitlines() if not gloo(line)) for _, said in found]


def test_every_user_is_evaluated_once(trained, tmp_path):
    argv = ["evaluate", "--workdir", str(trained), "--beyond-accuracy"]
    outputs = lambda where: ["--json", str(where / "e.json"), "--ranks", str(where / "r.parquet")]
    (tmp_path / "one").mkdir()
    jobs.run([*argv, *outputs(tmp_path / "one")], 1)
    said = together([*argv, *outputs(tmp_path)], 3, tmp_path)
    assert "HR@10" in said[0] and not any(said[1:])
    ours, theirs = (json.loads((each / "e.json").read_text()) for each in (tmp_path, tmp_path / "one"))
    assert ours["users"] == theirs["users"] and ours["step"] == theirs["step"]
    assert ours["metrics"] == pytest.approx(theirs["metrics"], abs=1e-6)
    assert ours["beyond_accuracy"].keys() == theirs["beyond_accuracy"].keys()
    ours, theirs = (pl.read_parquet(each / "r.parquet") for each in (tmp_path, tmp_path / "one"))
    assert ours.equals(theirs)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_recommendations_are_the_same_file(trained, kind, tmp_path):
    argv = ["recommend", "--workdir", str(trained), "--users", "all", "--k", "7"]
    jobs.run([*argv, "--output", tmp_path / f"one.{kind}"], 1)
    said = together([*argv, "--output", tmp_path / f"all.{kind}"], 3, tmp_path)
    assert "333 users" in said[0] and not any(said[1:])
    assert (tmp_path / f"all.{kind}").read_bytes() == (tmp_path / f"one.{kind}").read_bytes()


def test_processes_that_are_asked_for_different_things_are_refused(trained, tmp_path):
    argv = ["recommend", "--workdir", str(trained), "--users", "all", "--output", tmp_path / "out.csv"]
    found = jobs.ends(jobs.start(argv, 2, 1, ["--k", "3"], cwd=tmp_path))
    assert [status for status, _ in found] == [2, 2], found
    assert "process 1 differs from process 0 in --k: '3', not '10'" in found[1][1]
    assert not (tmp_path / "out.csv").exists()


def test_what_the_first_one_lacks_all_say(tmp_path):
    found = jobs.ends(jobs.start(["evaluate", "--workdir", tmp_path / "nowhere"], 2, cwd=tmp_path))
    assert [status for status, _ in found] == [2, 2], found
    assert all("nowhere is not a workdir" in said for _, said in found), found


def test_a_search_trains_every_trial_by_all_processes(tmp_path):
    argv = ["tune", "--dataset", DATA, "--minutes", "2", "--set", "model.dim=8", "--workdir", str(tmp_path / "tune")]
    said = together(argv, 2, tmp_path)
    assert "recipes in" in said[0] and not said[1]
    kept = json.loads((tmp_path / "tune" / "tune.json").read_text())
    assert kept["seconds"] < 120 + kept["least"] and kept["trials"][0]["score"] > 0
    assert (tmp_path / "tune" / "best").exists()

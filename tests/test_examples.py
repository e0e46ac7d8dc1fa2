"""The files in examples/ work as they say: a model, a loss and a reader of your own, one file each."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxrec import cli
from jaxrec.data import prepared

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = [
    "--config.dataset=synthetic:users=60,items=100",
    *("--config.model.dim=8", "--config.model.layers=1", "--config.batch=16", "--config.epochs=2"),
    *("--config.eval_every=1", "--config.optim.schedule=constant"),
    *("--config.length=12", "--config.row=12"),
]


@pytest.mark.parametrize("name", ["own_model", "own_loss", "own_reader"])
def test_each_is_one_short_file(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        ("quickstart", "model", "examples.own_model:MODEL"),
        pytest.param("sasrec_ml1m", "loss", "examples.own_loss:LOSS", marks=pytest.mark.slow),
    ],
)
def test_an_outsider_is_trained_resumed_evaluated_and_asked(config, key, value, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    argv = [
        "train",
        "--config",
        config,
        f"--config.{key}.name={value}",
        *SMALL,
        "--config.length=12",
        "--config.row=12",
    ]
    assert cli.main([*argv, "--workdir", str(whole)]) == 0
    assert cli.main([*argv, "--workdir", str(cut), "--config.epochs=1"]) == 0
    assert cli.main([*argv, "--workdir", str(cut)]) == 0
    of = lambda path: [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert of(cut) == of(whole) and np.isfinite(of(whole)).all()
    assert cli.main(["evaluate", "--workdir", str(whole), "--json", str(tmp_path / "result.json")]) == 0
    assert json.loads((whole / "config.json").read_text())["config"][key]["name"] == value
    import jaxrec

    recommender = jaxrec.load(whole)
    some = recommender.catalogue.ids[:3].tolist()
    assert len(recommender.recommend(some, k=5)) == 5


def test_a_key_of_an_outsider_is_checked_as_any(tmp_path, capsys):
    argv = ["train", "--config", "quickstart", "--config.model.name=examples.own_model:MODEL", *SMALL]
    assert cli.main([*argv, "--workdir", str(tmp_path / "a"), "--config.model.half_life=-1"]) == 2
    assert "config.model.half_life is -1.0: it must be above 0" in capsys.readouterr().err
    assert cli.main([*argv, "--workdir", str(tmp_path / "a"), "--config.model.window=3"]) == 2
    assert "config.model.window is for caser: leave it out for decayed-mean" in capsys.readouterr().err


def test_a_log_of_an_outsiders_format_is_prepared(tmp_path):
    log = tmp_path / "access.log"
    view = '10.0.0.1 - {} [0{}/Jan/2024:10:00:00 +0000] "GET /item/{} HTTP/1.1" 200 512\n'
    rows = [(user, day, item) for user in ("ann", "bob") for day, item in ((3, "c"), (1, "a"), (2, "b"))]
    log.write_text("".join(view.format(*row) for row in rows) + '10.0.0.1 - ann [x] "GET /help HTTP/1.1" 200 1\n')
    argv = ["prepare", "--input", str(log), "--format", "examples.own_reader:READER", "--output", str(tmp_path / "out")]
    assert cli.main(argv) == 0
    data = prepared.load(tmp_path / "out")
    assert data.users.tolist() == ["ann", "bob"] and data.catalogue.ids[data.items - 1].tolist() == ["a", "b", "c"] * 2
    gaps = np.diff(data.times[:3]).tolist()
    assert gaps[0] == gaps[1] > 0

"""Models are compared on the same questions, in one table."""

import json

import numpy as np
import polars as pl
import pytest
from made_logs import COLUMNS, made_log, made_rows

import jaxrec
from jaxrec import cli
from jaxrec.api import comparing, fitting
from jaxrec.config import recipes
from jaxrec.evaluation.protocols import FULL, KEPT
from jaxrec.evaluation.results import by_measure
from jaxrec.training.workdirs import workdir as workdirs

SMALL = {"epochs": 1, "batch": 16, "model.dim": 8, "model.layers": 1}


@pytest.mark.slow
def test_models_are_compared_on_the_same_questions(tmp_path, capsys):
    jaxrec.prepare(made_rows(), output=tmp_path / "log", **COLUMNS)
    argv = ["compare", "--dataset", str(tmp_path / "log"), "--models", "two-tower", "--json", str(tmp_path / "r.json")]
    argv += ["--workdir", str(tmp_path / "runs")]
    argv += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    assert cli.main(argv) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["rows"]) == {"popularity", "transitions", "two-tower"} and result["paired"] is None
    assert "two-tower" in capsys.readouterr().out
    test = json.loads((tmp_path / "runs" / "two-tower-0" / "done.json").read_text())["test"]["also"][KEPT]["metrics"]
    assert result["protocol"] == KEPT  # as `default` keeps the items of these histories
    row = result["rows"]["two-tower"]
    assert row["metrics"] == pytest.approx({name: test[name] for name in row["metrics"]})
    assert row["epochs"] == row["best_epoch"] == 1 and row["parameters"] > 50 * 8
    log = jaxrec.api.logs.as_log(tmp_path / "log")
    by_default, _ = fitting.configuration("default", SMALL | {"model.name": "two-tower"}, log)
    assert workdirs.read(tmp_path / "runs" / "two-tower-0").config == by_default
    again = jaxrec.compare(made_log(), ["two-tower"], workdir=tmp_path / "runs", **SMALL)
    assert again.rows["two-tower"]["seeds"] == row["seeds"] and "two-tower" in again._repr_html_() + repr(again)
    again.plot(tmp_path / "a.png")


def test_baskets_are_compared_by_their_users(tmp_path):
    """They are measured as by `evaluate`."""
    rows = pl.DataFrame({"user": np.arange(96) // 8, "item": np.arange(96) % 7, "time": np.arange(96) // 2})
    log = jaxrec.prepare(rows, user="user", item="item", time="time")
    keys = {"baselines": ["popularity", "transitions"], "split": "last-basket", "workdir": tmp_path / "runs"}
    compared = jaxrec.compare(log, [], **keys)
    for name, row in compared.rows.items():
        found = by_measure(jaxrec.evaluate(name, log, split_by="last-basket").result)[compared.result["protocol"]]
        assert row["metrics"] == pytest.approx({each: found["metrics"][each] for each in row["metrics"]})


@pytest.fixture
def untrained(monkeypatch):
    """Replaces trainings by ones of one epoch in which a model ranks all its targets the same."""
    ranks = {"sasrec": 5, "gru4rec": 1, "two-tower": 2}
    tested = lambda config, split, protocol: (np.full(len(split.test.target), ranks[config.model.name]), {"epochs": 1})
    monkeypatch.setattr(fitting, "train", lambda config, *rest: config)
    monkeypatch.setattr(comparing, "_tested", tested)


def test_the_best_come_first_and_the_best_two_are_paired(untrained, tmp_path):
    found = jaxrec.compare(made_log(), ["sasrec", "gru4rec", "two-tower"], baselines=[], workdir=tmp_path)
    assert [*found.rows] == ["gru4rec", "two-tower", "sasrec"]
    assert (found.result["paired"]["first"], found.result["paired"]["second"]) == ("gru4rec", "two-tower")


@pytest.mark.parametrize(("seen", "protocol"), [(["keep"], KEPT), (["exclude", "keep"], FULL), (["exclude"], FULL)])
def test_seen_items_are_ranked_where_all_models_keep_them(untrained, tmp_path, seen, protocol):
    found = jaxrec.compare(made_log(), ["sasrec"], vary={"seen": seen}, baselines=[], workdir=tmp_path)
    assert found.result["protocol"] == protocol


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--models", "nowhere"], "no configuration 'nowhere'"),
        (["--baselines", "luck"], "no baseline 'luck'"),
        (["--seeds", "0"], "at least 1"),
        (["--set", "seeds=3"], "not a key that can be set here"),
        (["--set", "epochs"], "write it as KEY=VALUE"),
        (["--vary", "seed"], "write it as KEY=VALUE"),
        (["--models", "sasrec,gru4rec_rsc15"], "split the data in different ways"),
    ],
)
def test_mistakes_are_messages(argv, said, tmp_path, capsys):
    made_rows().rename({"customer": "user", "at": "time"}).write_csv(tmp_path / "log.csv")
    given = ["compare", "--dataset", str(tmp_path / "log.csv"), "--workdir", str(tmp_path / "runs")]
    assert cli.main([*given, *argv]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": "sasrec"}, r"models is 'sasrec': give a list of names"),
        ({"models": [None]}, r"models is \[None\]: give a list of names"),
        (
            {"models": ["sasrec_ml1m", "mine/sasrec_ml1m.py"]},
            r"mine/sasrec_ml1m.py would both be called sasrec_ml1m: rename",
        ),
        ({"baselines": "popularity"}, r"baselines is 'popularity': give a list of names"),
        ({"baselines": None}, r"baselines is None: give a list of names, as \['popularity'\], or \[\] for none"),
        ({"seeds": "2"}, r"--seeds 2: a whole number"),
        ({"seeds": 0}, r"--seeds 0: a whole number"),
        ({"seed": 5}, r"seed can't be set here: seeds is the number of trainings"),
        ({"vary": {"model.dropout": 0.3}}, r"vary model.dropout is 0.3: give a list of its values"),
        ({"vary": {"model.norm": "post"}}, r"vary model.norm is 'post': give a list of its values"),
    ],
)
def test_mistakes_from_python_are_messages(options, said, tmp_path):
    with pytest.raises(jaxrec.UserError, match=said):
        jaxrec.compare(made_log(), **{"models": ["sasrec"], "workdir": tmp_path / "runs", **options})
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_row_is_what_an_evaluation_of_its_workdir_is(tmp_path):
    """Also for trainings that hold out different items, and for models that are shown different columns."""
    skus, customers = [f"i{v:02}" for v in range(50)], list(range(1, 41))
    items = pl.DataFrame({"sku": skus, "kind": [f"k{v % 5}" for v in range(50)]})
    users = pl.DataFrame({"customer": customers, "gender": ["FM"[v % 2] for v in customers]})
    log = jaxrec.prepare(made_rows(), items=items, users=users, **COLUMNS)
    for name, asked in {
        "cold": {"models": ["two-tower"], "seeds": 2, "cold_items": 0.2},
        "users": {"models": ["sasrec"], "vary": {"user_features": ["", "gender"]}},
    }.items():
        found = jaxrec.compare(log, **asked, workdir=tmp_path / name, **SMALL)
        for label, row in found.rows.items():
            for seed, metrics in enumerate(row["seeds"] if label not in ("popularity", "transitions") else []):
                path = tmp_path / name / f"{label.replace(' ', '-')}-{seed}"
                own = jaxrec.evaluate(path, log, protocol=found.result["protocol"]).metrics
                assert metrics == pytest.approx({key: own[key] for key in metrics})
    assert len(jaxrec.compare(log, [], baselines=["popularity"]).rows["popularity"]["seeds"]) == 1


@pytest.mark.slow
def test_variants_are_compared_in_pairs(tmp_path):
    found = jaxrec.compare(
        made_log(), ["two-tower"], vary={"seen": ["exclude", "keep"]}, seeds=2, **SMALL, workdir=tmp_path
    )
    assert found.rows.keys() == {"popularity", "transitions", "two-tower exclude", "two-tower keep"}
    assert found.result["paired"]["p"] == 1 and found.result["paired"]["ndcg@10"] == 0  # they train alike
    assert len(found.rows["two-tower keep"]["seeds"]) == 2 and found.result["protocol"] == FULL


def test_a_model_is_trained_by_default_and_a_configuration_is_taken_as_it_is():
    found = comparing.planned([*comparing.KINDS, "default", "caser_ml1m", "configs/a.py", "my.pooling:MODEL"])
    for name in (*comparing.KINDS, "my.pooling:MODEL"):
        assert found[name] == ("default", {"model.name": name})
    assert found["caser_ml1m"] == ("caser_ml1m", {}) and found["a"] == ("configs/a.py", {})
    assert found["default"] == ("default", {})
    varied = comparing.variants(["caser", "caser_ml1m"], {"seen": ["keep"]})
    assert varied["caser_ml1m keep"] == ("caser_ml1m", {"seen": "keep"})
    assert varied["caser keep"] == ("default", {"model.name": "caser", "seen": "keep"})


def test_rows_of_the_benchmark_have_the_names_of_models():
    bench = pytest.importorskip("benchmarks.compare")
    for recipe in bench.RECIPES.values():
        assert recipes.find(recipe).stem == recipe
    rows = {"transitions": 0, "caser_ml1m windows": 1, "gru4rec_ml1m windows": 2}
    paired = {"first": "gru4rec_ml1m windows", "second": "caser_ml1m windows", "p": 1}
    found = bench.by_model({"rows": rows, "paired": paired, "seeds": 1}, ["caser", "gru4rec"])
    assert found["rows"] == {"transitions": 0, "caser windows": 1, "gru4rec windows": 2} and found["seeds"] == 1
    assert found["paired"] == {"first": "gru4rec windows", "second": "caser windows", "p": 1}

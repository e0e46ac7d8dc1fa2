"""The Python API does the same as the commands."""

import json
import os
import runpy
import subprocess
import sys
import threading
import tomllib
import types
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
from made_logs import COLUMNS, made_log, made_rows

import jaxrec
from jaxrec import cli
from jaxrec.api import fitting
from jaxrec.config import parsing as configs, recipes
from jaxrec.evaluation.protocols import KEPT
from jaxrec.training.workdirs import workdir

ROOT = Path(__file__).parents[1]
SMALL = {"epochs": 2, "batch": 16, "eval_every": 1, "model": {"dim": 8, "layers": 1}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(Recommender trained on a table in memory, in a thread and a new folder; its Log; the callbacks' arguments)."""
    told, log = {"rows": [], "checkpoints": []}, made_log()
    folder = tmp_path_factory.mktemp("trained")

    def run():
        note = lambda step, path: told["checkpoints"].append((step, (path / "params").is_dir()))
        with chdir(folder):
            told["rec"] = jaxrec.fit(log, on_evaluate=told["rows"].append, on_checkpoint=note, **SMALL)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return told.pop("rec"), log, told


def test_a_training_is_that_of_the_command(trained, tmp_path):
    """The same recipe on the same data gives the same bits from Python and from the command line."""
    rec, _, told = trained
    assert rec.config.length == 24 and rec.config.loss.name == "softmax"  # as `auto` resolves them
    made_rows().write_csv(tmp_path / "log.csv")
    jaxrec.prepare(tmp_path / "log.csv", output=tmp_path / "log", **COLUMNS)
    flags = {"dataset": tmp_path / "log", "epochs": 2, "batch": 16, "model.dim": 8, "model.layers": 1}
    argv = ["train", "--config", "default", "--workdir", str(tmp_path / "run")]
    assert cli.main([*argv, *(f"--config.{key}={value}" for key, value in flags.items())]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    timeless = lambda rows: [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    assert timeless(rows) == timeless(told["rows"]) == timeless(rec.training.rows)
    done = json.loads((tmp_path / "run" / "done.json").read_text())["test"]
    assert done["metrics"] == rec.training.scores["sasrec"]["metrics"]


@pytest.mark.slow
def test_real_data_in_ten_lines(real_data, tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    frame = pandas.read_csv(real_data("ml-100k") / "interactions.csv.gz")
    log = jaxrec.prepare(frame, weight="rating")
    rec = jaxrec.fit(log, epochs=5, model={"dim": 32})
    found = rec.evaluate()
    losses = [row["loss"] for row in rec.training.rows]
    assert losses == sorted(losses, reverse=True) and found.metrics == rec.training.scores["sasrec"]["metrics"]
    assert len(rec.recommend([168, 172], k=10)) == 10
    assert len(rec.recommend_users([1, 2, 3], k=5)) == 15


def test_callbacks_are_told_of_evaluations_and_whole_checkpoints(trained):
    _, _, told = trained
    assert [row["epoch"] for row in told["rows"]] == [1, 2]
    assert all({"loss", "valid", "step"} <= row.keys() for row in told["rows"])
    assert told["checkpoints"] == [(row["step"], True) for row in told["rows"]]


def test_a_recommender_evaluates_itself_and_hands_out_its_vectors(trained):
    rec, log, _ = trained
    found = rec.evaluate()
    assert found.metrics == rec.training.scores["sasrec"]["metrics"]
    assert found.beside.keys() == {"popularity", "transitions"}
    assert jaxrec.evaluate(rec, split="valid").metrics == pytest.approx(
        {**jaxrec.evaluate(rec.path, log, split="valid").metrics}
    )
    items, users = rec.item_vectors(), rec.user_vectors()
    assert items["id"].to_list() == rec.catalogue.ids.tolist() and users["id"].to_list() == list(range(1, 41))
    own = log.interactions
    history = own.catalogue.ids[own.items[own.offsets[3] : own.offsets[4]] - 1].tolist()
    best = rec.recommend(history, k=1, exclude_seen=False)[0]
    scores = items["vector"].to_numpy() @ users["vector"].to_numpy()[3]
    scores = scores + (items["bias"].to_numpy() if "bias" in items.columns else 0)
    assert items["id"][int(scores.argmax())] == best[0] and scores.max() == pytest.approx(best[1], rel=1e-4)
    for shown in (found, rec, rec.training):
        assert "sasrec" in repr(shown) and "sasrec" in shown._repr_html_()
    assert "data:image/png;base64" in rec._repr_html_() and rec.training._repr_png_().startswith(b"\x89PNG")


def test_a_model_below_what_only_counts_says_so(trained):
    training = trained[0].training
    training = replace(training, config=replace(training.config, seen="exclude"))

    def beside(counted, valid):
        rows = [{"valid": {"ndcg@10": value}} for value in valid]
        own = training.scores["sasrec"]
        others = {"transitions": counted, "popularity": 0.0}
        scores = {name: own | {"metrics": own["metrics"] | {"ndcg@10": value}} for name, value in others.items()}
        return replace(training, rows=rows, scores={"sasrec": own} | scores)

    own = training.scores["sasrec"]["metrics"]["ndcg@10"]
    assert beside(own, [0.1]).warning() is None and not beside(own, [0.1]).below
    late, early = beside(own + 0.1, [0.1, 0.2]), beside(own + 0.1, [0.2, 0.1])
    assert late.below == {"transitions": own + 0.1}
    assert f"is worse than transitions ({own + 0.1:.4f}): it was still improving" in late.warning()
    # if seen items may be recommended, the metric that keeps them is the one that selects the checkpoint
    kept = lambda value: whole | {"also": {KEPT: whole | {"metrics": whole["metrics"] | {"ndcg@10": value}}}}
    whole = training.scores["sasrec"]
    keeping = replace(training, config=replace(training.config, seen="keep"))
    assert not replace(keeping, scores={"sasrec": kept(0.3), "transitions": kept(0.2)}).below
    assert replace(keeping, scores={"sasrec": kept(0.2), "transitions": kept(0.3)}).below == {"transitions": 0.3}
    assert "jaxrec tune" in early.warning() and "WARNING: sasrec (ndcg@10" in repr(early)


def test_only_a_workdir_that_is_named_is_resumed(trained, tmp_path, monkeypatch):
    rec, log, _ = trained
    again = jaxrec.fit(log, workdir=rec.path, **SMALL)
    assert not again.training.trained and again.step == rec.step
    with pytest.raises(jaxrec.UserError, match=r"config.model.dim: 8 -> 16"):
        jaxrec.fit(log, workdir=rec.path, **(SMALL | {"model": {"dim": 16, "layers": 1}}))
    with pytest.raises(jaxrec.UserError, match="data: 40 users"):
        jaxrec.fit(made_log(seed=1), workdir=rec.path, **SMALL)
    monkeypatch.chdir(tmp_path)
    folders = [fitting.fresh("sasrec") for _ in range(3)]
    assert [str(path) for path in folders] == ["runs/sasrec-1", "runs/sasrec-2", "runs/sasrec-3"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"epohcs": 3}, "did you mean config.epochs?"),
        ({"dataset": "x"}, "dataset is not a key here"),
        ({"model": "gru4rec"}, "config.model is 'gru4rec': it is a group of keys"),
        ({"config": 3}, "config is a int"),
        ({"config": "nowhere"}, "no configuration 'nowhere'"),
        ({"config": {"seed": 0}}, "is missing"),
    ],
)
def test_a_mistake_leaves_no_folder(keys, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(jaxrec.UserError) as refused:
        jaxrec.fit(made_log(), **keys)
    assert said in str(refused.value) and not list(tmp_path.iterdir())


def test_a_configuration_is_a_name_a_file_a_dict_or_a_configdict():
    log = made_log()
    named, name = fitting.configuration("sasrec_ml1m", SMALL, log)
    path = recipes.find("sasrec_ml1m")
    config_dict = runpy.run_path(str(path))["get_config"]()
    ways = [str(path), path, config_dict, config_dict.to_dict(), recipes.load("sasrec_ml1m", {})[0]]
    assert name == "sasrec_ml1m" and named.dataset == "a polars DataFrame"
    for way in ways:
        assert fitting.configuration(way, SMALL, log)[0] == named


def test_a_training_that_begins_with_another_has_its_configuration(tmp_path):
    path = tmp_path / "old"
    there = recipes.load("bert4rec_ml1m", {"model.dim": 8, "context": "gap"})[0]
    workdir.claim(path, there, (log := made_log()).interactions, "a log", log.interactions.catalogue)
    now, _ = fitting.configuration(None, {"init_from": str(path), "epochs": 2}, log)
    changed = {"init_from": str(path), "epochs": 2, "dataset": now.dataset}
    assert configs.to_dict(now) == configs.to_dict(there) | changed
    assert fitting.configuration("sasrec_ml1m", {"init_from": str(path)}, log)[0].model.name == "sasrec"


def test_evaluate_refuses_what_does_not_fit(trained):
    rec, log, _ = trained
    cases = [
        (("nowhere",), {}, "is not a workdir"),
        (("popularity",), {}, "name the data to count on"),
        (("popularity", log), {"checkpoint": 3}, "a baseline has no checkpoints"),
        ((rec.path, log), {"split_by": "sessions"}, "for baselines"),
        ((rec.path,), {}, "were a polars DataFrame in memory: give them again with --dataset, or from Python as data="),
        ((rec.path, made_log(seed=1)), {}, "was trained on other data"),
        ((rec,), {"split": "train"}, "choose one of test, valid"),
        ((rec.path, log), {"checkpoint": 0}, "has no checkpoint '0'"),
        ((5, log), {}, "a path is expected, and this is of type int"),
        (("popularity", log), {"target_types": ["buy"]}, "types of events are one text, .* not of type list"),
    ]
    for arguments, options, said in cases:
        with pytest.raises(jaxrec.UserError, match=said):
            jaxrec.evaluate(*arguments, **options)
    with pytest.raises(jaxrec.UserError) as refused:
        jaxrec.evaluate(rec.path)
    assert not hasattr(refused.value, "__notes__")  # the message itself names the keyword


def test_a_recommender_refuses_what_it_cannot_evaluate(trained):
    rec, log, _ = trained
    loaded = jaxrec.load(rec.path)
    for baselines, said in (
        (["nope"], "no baseline 'nope': choose"),
        ("popularity", "give a list of names"),
        (None, "give"),
    ):
        with pytest.raises(jaxrec.UserError, match=said):
            rec.evaluate(log, baselines=baselines)
    for call in (loaded.evaluate, loaded.recommend_users, loaded.user_vectors):
        with pytest.raises(jaxrec.UserError, match="were a polars DataFrame in memory: give them again with"):
            call()
    with pytest.raises(jaxrec.UserError, match="data is of the type int: give a path, or a table in memory"):
        loaded.recommend_users(data=5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"test_quantile": 0.5}, "last-item needs none"),
        ({"split_by": "by-time", "test_quantile": 1.5}, "above 0 and below 1"),
        ({"split_by": "by-time", "test_quantile": "0.9"}, "it must be a number"),
        ({"split_by": "nope"}, "no split 'nope'"),
    ],
)
def test_a_baseline_refuses_what_its_split_does_not_take(options, said):
    with pytest.raises(jaxrec.UserError, match=said):
        jaxrec.evaluate("popularity", "synthetic:users=9", **options)


class Recorder(types.ModuleType):
    """Stands in for an experiment tracker: records every call."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs)) or self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize(("library", "metric"), [("mlflow", "valid/hr_at_10"), ("wandb", "valid/hr@10")])
def test_the_adapters_pass_on_what_callbacks_are_told(trained, library, metric, monkeypatch):
    rec, log, told = trained
    stub = Recorder(library)
    monkeypatch.setitem(sys.modules, library, stub)
    main = runpy.run_path(str(ROOT / "examples" / f"{library}_callbacks.py"))["main"]

    def fit(data, on_evaluate, on_checkpoint, **keys):
        assert (data, keys) == (log, {"epochs": 2})
        on_evaluate(told["rows"][0])
        on_checkpoint(7, Path("checkpoints/7"))
        return rec

    monkeypatch.setattr(jaxrec, "fit", fit, raising=False)
    assert main(log, epochs=2) is rec
    logged = [args[0] | kwargs for name, args, kwargs in stub.calls if name in ("log_metrics", "log")]
    assert logged[0][metric] == told["rows"][0]["valid"]["hr@10"] and logged[0]["step"] == told["rows"][0]["step"]
    assert any(name in ("log_artifacts", "log_artifact") for name, _, _ in stub.calls)


def test_importing_is_quick_and_starts_nothing():
    code = (
        "import sys, jaxrec\n"
        "assert not {'jax', 'polars', 'numpy', 'rich', 'matplotlib'} & sys.modules.keys()\n"
        "jaxrec.prepare; assert 'jax' not in sys.modules\n"
        "jaxrec.fit; assert 'jax' in sys.modules\n"
        "for name in ('compare', 'evaluate', 'load', 'register', 'tune'): assert callable(getattr(jaxrec, name))\n"
        "assert not hasattr(jaxrec, 'nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert len((ROOT / "jaxrec" / "__init__.py").read_text().splitlines()) <= 40


def test_the_version_is_one(capsys):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"jaxrec {jaxrec.__version__}\n" and jaxrec.__version__ == version


def test_the_configurations_are_listed_with_what_they_are_for(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["configs"]) == 0
    said = capsys.readouterr().out
    assert all(path.stem in said for path in recipes.shipped()) and "HR@10 .3111" in said
    for command in ("train", "compare", "tune", "export", "configs"):
        with pytest.raises(SystemExit, match="0"):
            cli.main([command, "--help"])
    assert "jaxrec keys" in capsys.readouterr().out


def test_the_package_is_a_program():
    done = subprocess.run([sys.executable, "-m", "jaxrec", "--version"], capture_output=True, text=True)
    assert done.stdout == f"jaxrec {jaxrec.__version__}\n" and not done.returncode

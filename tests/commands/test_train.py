"""The commands, from a file of sequences to a result, on any number of devices."""

import json
import shutil

import jax
import numpy as np
import pytest
from some import some

import jaxrec
from jaxrec import cli
from jaxrec.config import parsing as configs
from jaxrec.data import sources, splits
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation import evaluator
from jaxrec.models.entry import build
from jaxrec.training.workdirs import workdir

SMALL = [
    "--config.model.dim=8",
    "--config.model.layers=1",
    "--config.batch=8",
    "--config.epochs=2",
    "--config.eval_every=1",
]


#: a name of all printable ASCII, an emoji and right-to-left text
EVERY = "".join(char for char in map(chr, range(32, 127)) if char != "/") + "🙂 שלום"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir trained on 8 devices, on a file with external ids."""
    folder = tmp_path_factory.mktemp("data") / EVERY
    folder.mkdir()
    random = np.random.default_rng(0)
    lines = [
        f"u{u} " + " ".join(f"i{v:03}" for v in random.permutation(150)[: random.integers(3, 20)]) for u in range(40)
    ]
    data = folder / "sequences.txt"
    data.write_text("\n".join(lines) + "\n")
    path = folder / f"run {EVERY}"
    argv = ["train", "--config", "quickstart", "--workdir", str(path), f"--config.dataset={data}", *SMALL]
    assert cli.main(argv) == 0
    return path, data


def evaluated(path, *more):
    file = path / "result.json"
    assert cli.main(["evaluate", "--workdir", str(path), "--json", str(file), *more]) == 0
    return json.loads(file.read_text())


def test_the_result_is_as_promised(trained):
    path, _ = trained
    result = evaluated(path)
    assert (result["protocol"], result["split"], result["users"]) == ("full", "test", 40)
    names = {f"{kind}@{k}" for kind in ("hr", "ndcg") for k in (1, 5, 10, 20, 50, 100, 200)}
    assert set(result["metrics"]) == names | {"mrr", "recall@20", "mrr@20", "coverage@10"}
    assert all(low <= result["metrics"][name] <= high for name, (low, high) in result["ci95"].items())
    assert {"step", "seconds"} <= set(result) and result["metrics"]["hr@200"] == 1


def test_validation_is_what_training_saw(trained):
    """The best checkpoint has the score that chose it when it is evaluated on the validation split."""
    path, _ = trained
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["valid"]["ndcg@10"])
    result = evaluated(path, "--split", "valid")
    assert result["step"] == best["step"]
    for name, value in best["valid"].items():
        assert result["metrics"][name] == pytest.approx(value, abs=1e-12)
    latest = evaluated(path, "--checkpoint", "latest")
    assert latest["step"] == rows[-1]["step"] == evaluated(path, "--checkpoint", str(latest["step"]))["step"]


@pytest.mark.parametrize("protocol", some(["full", "uniform-100", "popularity-100"], "full", "uniform-100"))
def test_any_number_of_devices_restores_it(trained, protocol):
    path, data = trained
    stored = workdir.read(path)
    split = splits.last_item(sources.load(str(data)))
    model = build(stored.config, len(split.interactions.catalogue.ids), len(split.interactions.users))
    one, eight = (
        evaluator.test_of(path, model, stored.config, split, jax.devices()[:n], protocol=protocol)["metrics"]
        for n in (1, 8)
    )
    assert one == pytest.approx(eight, abs=1e-12)
    assert evaluated(path, "--protocol", protocol)["metrics"] == pytest.approx(eight, abs=1e-12)


@pytest.mark.slow
def test_a_user_who_never_trained_is_judged_as_a_new_one(trained):
    """A user of three items trains on one, which has no target: the initial vector must not affect the answer."""
    path, _ = trained
    random = np.random.default_rng(1)
    histories = [random.permutation(40)[: 3 + 9 * (u % 2)] + 1 for u in range(40)]
    split = splits.last_item(from_sequences([history.tolist() for history in histories]))
    values = configs.to_dict(workdir.read(path).config)
    values["model"] = {"name": "caser", "dim": 8, "layers": 1, "dropout": 0.1, "users": True}
    config = configs.from_dict(values)
    model = build(config, len(split.interactions.catalogue.ids), 40)
    params = model.init(jax.random.key(0))
    judge = evaluator.Evaluator(model, config, split, split.test, jax.devices()[:1])
    ranks = judge.ranks(params)
    blank = judge.ranks(params | {"users": params["users"].at[::2].set(0)})
    np.testing.assert_array_equal(ranks, blank)
    assert (ranks != judge.ranks(params | {"users": 0 * params["users"]}))[1::2].any()


def test_a_metric_that_no_validation_has_is_refused_at_once(trained, tmp_path, capsys):
    flags = [f"--config.dataset={trained[1]}", "--config.select_by=ndgc@10", *SMALL]
    assert cli.main(["train", "--config", "quickstart", "--workdir", str(tmp_path / "a"), *flags]) == 2
    assert "config.select_by is 'ndgc@10': choose one of hr@1, " in capsys.readouterr().err
    assert not (tmp_path / "a" / workdir.CONFIG).exists()


@pytest.mark.slow
def test_a_workdir_whose_checkpoints_were_removed_trains_anew(trained, tmp_path, capsys):
    path, data = trained
    copy = shutil.copytree(path, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints")
    argv = ["train", "--config", "quickstart", "--workdir", str(copy), f"--config.dataset={data}", *SMALL]
    assert cli.main(argv) == 0
    assert "held-out last item" in capsys.readouterr().out


@pytest.mark.parametrize("baseline", ["popularity", "transitions"])
def test_baselines_go_through_the_same_protocols(trained, baseline, tmp_path):
    _, data = trained
    for protocol in ("full", "uniform-100"):
        file = tmp_path / f"{protocol}.json"
        argv = ["evaluate", "--baseline", baseline, "--dataset", str(data), "--protocol", protocol, "--json", str(file)]
        assert cli.main(argv) == 0
        result = json.loads(file.read_text())
        assert result["protocol"] == protocol and result["users"] == 40 and result["step"] is None


def test_other_data_are_refused(trained, tmp_path, capsys):
    path, data = trained
    other = tmp_path / "sequences.txt"
    other.write_text(data.read_text().replace("i001", "i999"))
    assert cli.main(["evaluate", "--workdir", str(path), "--dataset", str(other)]) == 2
    assert "was trained on other data" in capsys.readouterr().err
    moved = tmp_path / "moved" / "sequences.txt"
    moved.parent.mkdir()
    moved.write_bytes(data.read_bytes())
    assert cli.main(["evaluate", "--workdir", str(path), "--dataset", str(moved)]) == 0


@pytest.mark.slow
def test_where_targets_repeat_both_measures_choose_are_kept_and_serve_as_the_key_says(tmp_path, capsys):
    """30 users pick among 4 items of their own, and training has seen=keep: validation chooses by the measure that
    leaves nothing out, done.json has both of the test, and seen items are recommended unless the query forbids it."""
    random, data, path = np.random.default_rng(0), tmp_path / "sequences.txt", tmp_path / "w"
    own = [random.choice(60, 4, replace=False) for _ in range(30)]
    data.write_text("".join(f"u{u} " + " ".join(f"i{v}" for v in random.choice(own[u], 12)) + "\n" for u in range(30)))
    argv = ["train", "--config", "quickstart", "--workdir", str(path), f"--config.dataset={data}", *SMALL]
    assert cli.main([*argv, "--config.seen=keep", "--config.select_by=hr@1", "--config.optim.learning_rate=0.05"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "targets repeat an item of the history" in said and "validation full, seen kept: hr@10" in said
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["valid"]["hr@1"])
    found = evaluated(path, "--split", "valid")
    assert found["protocol"] == "full" and found["step"] == best["step"] and found["repeats"] > 20
    for name, value in best["valid"].items():
        assert found["also"]["full, seen kept"]["metrics"][name] == pytest.approx(value, abs=1e-12)
        assert found["metrics"][name] == pytest.approx(best["also"]["full"][name], abs=1e-12)
    assert found["metrics"]["mrr"] > found["also"]["full, seen kept"]["metrics"]["mrr"]
    asked = evaluated(path, "--protocol", "full-seen-kept")
    assert asked["protocol"] == "full, seen kept" and list(asked["also"]) == ["full"]
    done = json.loads((path / "done.json").read_text())
    assert done["select_by"] == "hr@1" and done["test"]["metrics"] == asked["also"]["full"]["metrics"]
    assert done["test"]["also"]["full, seen kept"]["metrics"] == asked["metrics"]
    recommender, history = jaxrec.load(path), [f"i{v}" for v in own[0]]
    assert recommender.recommend(history, 60) == recommender.recommend(history, 60, exclude_seen=False)
    assert not {id for id, _ in recommender.recommend(history, 60, exclude_seen=True)} & set(history)
    for name in ("popularity", "transitions"):
        file = tmp_path / "baseline.json"
        assert cli.main(["evaluate", "--baseline", name, "--dataset", str(data), "--json", str(file)]) == 0
        result = json.loads(file.read_text())
        assert result["metrics"]["mrr"] > result["also"]["full, seen kept"]["metrics"]["mrr"]

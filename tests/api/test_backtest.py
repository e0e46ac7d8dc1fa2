"""A backtest finds what a made-up log holds, equals questions asked by hand, and resumes where it was cut off."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import jaxrec
from jaxrec import cli
from jaxrec.api import backtest as backtests
from jaxrec.config import registry
from jaxrec.data import folds
from jaxrec.data.folds import DAY
from jaxrec.data.interactions import from_sequences
from jaxrec.training import assembly

SMALL = {"epochs": 2, "batch": 16, "model": {"dim": 8, "layers": 1}}
WINDOWS = {"train_days": 9.8, "test_days": 5, "folds": 4}


def cycles(users=12, items=10, hours=720, new_from=240):
    """Thirty days in which item v + 1 follows item v; from the tenth day on, "new" comes between 0 and 1."""
    rows = []
    for user in range(users):
        item = user % items
        for hour in range(user % 4, hours, 5):
            rows.append((user, str(item), hour))
            is_new = item == "new"
            item = "new" if item == 0 and hour >= new_from - 5 else 1 if is_new else (item + 1) % items
    at = [1_700_000_000 + 3600 * hour for *_, hour in rows]
    return pl.DataFrame({"user": [each for each, *_ in rows], "item": [each for _, each, _ in rows], "time": at})


def random_log(users=30, rows=900, days=30):
    """Random events; half of the users appear only in the second half."""
    random = np.random.default_rng(0)
    user = random.integers(0, users, rows)
    at = np.where(user % 2, days / 2, 0) + random.random(rows) * np.where(user % 2, days / 2, days)
    at = np.append(at, [0, days])
    values = {"user": [*user, 0, 0], "item": random.integers(0, 40, rows + 2), "time": 1_700_000_000 + 86_400 * at}
    return pl.DataFrame(values | {"time": (1_700_000_000 + 86_400 * at).astype(int)})


def test_a_perfect_log_gives_the_metrics_that_it_was_made_for(tmp_path):
    found = jaxrec.backtest(cycles(), [], baselines=["transitions"], **WINDOWS, workdir=tmp_path / "a")
    rows = found.rows["transitions"]
    cells = {(each["trained"], each["asked"]): each for each in rows["cells"]}
    for trained in (0, 2, 3):  # before "new" appears, and where the whole window has it
        for asked in range(trained, 4):
            cell = cells[trained, asked]
            assert {cell["answered"][name] for name in ("hr@1", "ndcg@10", "mrr")} == {1.0}
            share = cell["unanswered"] / cell["questions"]
            assert cell["metrics"]["ndcg@10"] == pytest.approx(1 - share) == cell["metrics"]["mrr"]
            assert (share > 0.05) == (trained == 0)
    assert rows["policies"][0]["difference"]["ndcg@10"] == 0 > rows["policies"][-1]["difference"]["ndcg@10"]
    tests = found.result["tests"]
    assert [each["new_items"] for each in tests] == [1, 0, 0, 0] and tests[1]["since"] == tests[0]["until"]
    assert sum(each["events"] for each in tests) == sum(each["questions"] for each in tests) == 12 * 20 * 24 / 5
    assert "new items" in repr(found) and "transitions" in found._repr_html_()
    assert found._repr_png_().startswith(b"\x89PNG")
    again = jaxrec.backtest(cycles(), [], baselines=["transitions"], **WINDOWS, workdir=tmp_path / "a")
    assert again.result == found.result
    with pytest.raises(jaxrec.UserError, match=r"holds another backtest: targets all -> last: name another"):
        jaxrec.backtest(cycles(), [], baselines=[], **WINDOWS, targets="last", workdir=tmp_path / "a")


@pytest.mark.slow
def test_baselines_that_need_a_library_are_asked_too(tmp_path):
    pytest.importorskip("implicit")
    others = ["item-knn", "als", "bpr"]
    found = jaxrec.backtest(
        random_log(), [], baselines=others, train_days="all", test_days=5, folds=3, workdir=tmp_path
    )
    cell = {name: found.rows[name]["cells"][0] for name in others}
    assert cell["bpr"]["unanswered"] > cell["als"]["unanswered"] == cell["item-knn"]["unanswered"]
    assert all(each["answered"]["hr@20"] > 0.3 for each in cell.values())


@pytest.mark.slow
@pytest.mark.parametrize("seen", ["exclude", "keep"])
def test_it_is_what_asking_by_hand_gives_killed_or_not(tmp_path, monkeypatch, seen):
    frame, options = random_log(), {**WINDOWS, "folds": 2, **SMALL, "seen": seen}
    whole, fitted = backtests._Run._fitted, []

    def cut(self, *args):
        fitted.append(args)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return whole(self, *args)

    monkeypatch.setattr(backtests._Run, "_fitted", cut)
    with pytest.raises(KeyboardInterrupt):
        jaxrec.backtest(frame, ["two-tower"], **options, workdir=tmp_path / "a")
    monkeypatch.setattr(backtests._Run, "_fitted", whole)
    found = jaxrec.backtest(frame, ["two-tower"], **options, workdir=tmp_path / "a")
    monkeypatch.setattr(assembly, "call", None)  # nothing is trained again
    again = jaxrec.backtest(frame, ["two-tower"], **options, workdir=tmp_path / "a")
    assert again.result == found.result
    for test, told in enumerate(found.result["tests"]):
        check(found, frame, test, told, seen)


def check(found, frame, test, told, seen):
    """Compares a test with its newest model, asked event by event through `recommend`."""
    rec = jaxrec.load(found.path / f"fold-{test}" / "two-tower-0")
    rows = frame.sort("user", "time", maintain_order=True).rows()
    moment = lambda name: np.datetime64(told[name]).astype("datetime64[s]").astype(int)
    known, ranks, questions = set(rec.catalogue.ids.tolist()), [], 0
    assert known <= {item for _, item, at in rows if moment("window_since") <= at < moment("since")}
    asked = [index for index, (*_, at) in enumerate(rows) if moment("since") <= at < moment("until")]
    for index in asked:
        user, target, _ = rows[index]
        history = [item for own, item, _ in rows[:index] if own == user]
        questions += bool(history)
        if history and target in known and known & set(history):
            best = [item for item, _ in rec.recommend(history, k=len(known), exclude_seen=False)]
            left = [item for item in best if seen == "keep" or item == target or item not in history]
            ranks.append(1 + left.index(target))
    cell = found.newest("two-tower", test)
    assert (cell["questions"], cell["unanswered"]) == (questions, questions - len(ranks))
    assert cell["answered"]["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), rel=1e-6)
    assert cell["metrics"]["hr@10"] == pytest.approx((np.array(ranks) <= 10).sum() / questions)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*registry.names("model"), "examples.own_model:MODEL", "caser_ml1m"])
def test_every_model_is_backtested(name, tmp_path):
    keys = {**SMALL, "epochs": 1} | ({"row": 0, "length": 8} if name == "caser_ml1m" else {})
    found = jaxrec.backtest(
        random_log(),
        [name],
        baselines=[],
        train_days=15,
        test_days=5,
        folds=2,
        retrain_every=2,
        workdir=tmp_path,
        **keys,
    )
    (row,) = found.rows.values()
    assert [each["age_days"] for each in row["cells"]] == [0, 5] and row["parameters"] > 8 * 30
    assert all(np.isfinite(each["metrics"]["ndcg@10"]) and each["answered"]["hr@50"] == 1 for each in row["cells"])
    assert [each["trainings"] for each in row["policies"]] == [1]
    found.plot(tmp_path / "a.png")


@pytest.mark.slow
def test_a_window_that_prepare_writes_opens_its_workdir(tmp_path, capsys):
    found = jaxrec.backtest(random_log(), ["two-tower"], **{**WINDOWS, "folds": 1}, **SMALL, workdir=tmp_path / "a")
    told = {name: found.result["tests"][0][key] for name, key in {"since": "window_since", "until": "since"}.items()}
    jaxrec.prepare(random_log(), **told, output=tmp_path / "window")
    argv = ["evaluate", "--workdir", str(tmp_path / "a" / "fold-0" / "two-tower-0"), "--split", "valid"]
    assert cli.main([*argv, "--dataset", str(tmp_path / "window"), "--json", str(tmp_path / "a.json")]) == 0
    kept = [json.loads(line) for line in (tmp_path / "a/fold-0/two-tower-0/metrics.jsonl").read_text().splitlines()]
    best = max(row["valid"]["ndcg@10"] for row in kept)
    result = json.loads((tmp_path / "a.json").read_text())
    values = [each["metrics"]["ndcg@10"] for each in (result, *result.get("also", {}).values())]
    assert any(value == pytest.approx(best) for value in values)


@pytest.mark.slow
def test_a_continued_training_begins_where_the_one_before_ended(tmp_path):
    options = {**WINDOWS, "folds": 3, **SMALL, "valid_fraction": 0.0, "baselines": []}
    found = jaxrec.backtest(cycles(), ["two-tower"], **options, continued={"epochs": 1}, workdir=tmp_path)
    anew, continued = (found.rows[name] for name in ("two-tower", "two-tower, continued"))
    first = lambda rows: [cell for cell in rows["cells"] if cell["trained"] == 0]
    assert first(anew) == first(continued) and (anew["epochs"], continued["epochs"]) == (2, 1)
    fresh = np.mean([found.newest("two-tower", test)["metrics"]["mrr"] for test in (1, 2)])
    assert continued["beside"]["fresh"]["mrr"] == pytest.approx(fresh) and "beside" not in anew
    assert "two-tower, continued, in its 2 tests: " in repr(found)
    for fold in (1, 2):
        before = tmp_path / f"fold-{fold - 1}" / ("two-tower-0" if fold == 1 else "two-tower,-continued-0")
        config = json.loads((tmp_path / f"fold-{fold}" / "two-tower,-continued-0" / "config.json").read_text())
        assert config["config"]["init_from"] == str(before)
    with pytest.raises(jaxrec.UserError, match="seed can't be set here"):
        jaxrec.backtest(cycles(), ["two-tower"], **options, continued={"seed": 1}, workdir=tmp_path)


def test_a_model_with_the_name_of_a_continued_one_is_refused(tmp_path):
    names = {"one": "sasrec", "one, continued": "gru4rec"}
    for name, model in names.items():
        (tmp_path / f"{name}.py").write_text(
            f"from jaxrec.config.recipes import load\n\nget = lambda: load({model!r})\n"
        )
    files = [str(tmp_path / f"{name}.py") for name in names]
    with pytest.raises(jaxrec.UserError, match="has this name when it is continued: give another name"):
        jaxrec.backtest(cycles(), files, **WINDOWS, continued={"epochs": 1}, workdir=tmp_path / "b")


def test_only_windows_that_are_trained_on_need_events():
    """In the second week everyone has one event, which is a question, but is not enough to train on."""
    days = np.array([0, 1, 2, 3, 10, 21 - 1 / 86_400])
    log = replace(from_sequences([[1, 2, 1, 2, 1, 2]] * 2), times=np.tile((days * DAY).astype(np.int64), 2), name="log")
    plan = folds.plan(log, 7, 7, 2)
    of = SimpleNamespace(interactions=log), plan, folds.asked(log, plan)
    backtests._check_plan(*of, every=2, valid=0)
    with pytest.raises(jaxrec.UserError, match="nobody has two events to train on"):
        backtests._check_plan(*of, every=1, valid=0)

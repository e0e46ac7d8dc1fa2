"""Laws of the measures beyond accuracy: each equals its definition, whatever made the lists."""

import itertools
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from rich.console import Console
from some import some

import jaxrec
from jaxrec import cli
from jaxrec.data import splits
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation import beyond
from jaxrec.evaluation.metrics import MISS, at_most, metrics
from jaxrec.system.errors import UserError

item = st.integers(0, 6)
logs = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=2, max_size=8)


def lists_of(data, questions, k=3):
    """Lists of distinct items, with zeros at their ends."""
    found = np.zeros((questions, k), np.int32)
    for row in found:
        own = data.draw(st.lists(st.integers(1, 6), max_size=k, unique=True))
        row[: len(own)] = own
    return found


@given(logs, st.data())
def test_each_measure_is_its_definition(histories, data):
    split = splits.last_item(from_sequences([[1, 2, 3, 4, 5, 6], *histories]))
    catalogue, questions = len(split.interactions.catalogue.ids), data.draw(st.integers(1, 5))
    items = lists_of(data, questions)
    ranks = np.array(data.draw(st.lists(st.integers(1, 6), min_size=questions, max_size=questions)))
    trains = [
        {*split.interactions.items[start:stop].tolist()} for start, stop in zip(split.start, split.stop, strict=True)
    ]
    users = sum(map(bool, trains))
    who = {each: {u for u, own in enumerate(trains) if each in own} for each in range(1, catalogue + 1)}
    bits = lambda each: np.log2(users / max(len(who[each]), 1))

    def apart(one, other):
        return 1 - len(who[one] & who[other]) / max(np.sqrt(len(who[one]) * len(who[other])), 1)

    real = [[each for each in own if each] for own in items.tolist()]
    pairs = [list(itertools.combinations(own, 2)) for own in real]
    shown = np.bincount(items.ravel(), minlength=catalogue + 1)[1:]
    wanted = {
        "coverage@3": len({*itertools.chain(*real)}) / catalogue,
        "map@3": np.mean([1 / rank if rank <= 3 else 0 for rank in ranks]),
    }
    if any(real):
        unequal = np.abs(shown[:, None] - shown[None]).sum() / (2 * catalogue * shown.sum())
        wanted |= {"gini@3": unequal, "novelty@3": np.mean([np.mean([*map(bits, own)]) for own in real if own])}
    if any(pairs):
        wanted["diversity@3"] = np.mean([np.mean([apart(*pair) for pair in own]) for own in pairs if own])
    found = beyond.measures(items, ranks, split)
    assert found["metrics"] == pytest.approx(wanted) and found["k"] == 3
    assert found["diversity_lists"] == sum(map(bool, pairs))
    assert all(low <= found["metrics"][name] <= high for name, (low, high) in found["ci95"].items())


def test_of_many_lists_diversity_is_of_a_sample(monkeypatch):
    split = splits.last_item(from_sequences([[1, 2, 3, 4, 5, 6]] * 20))
    items = np.tile(np.array([[1, 2, 3]], np.int32), (20, 1))
    items[:, 2] = 5  # nobody trained on it
    whole = beyond.measures(items, np.ones(20), split)
    monkeypatch.setattr(beyond, "PAIRS", 3 * 6)
    monkeypatch.setattr(beyond, "ITEMS_AT_ONCE", 7)
    found = beyond.measures(items, np.ones(20), split)
    assert whole["diversity_lists"] == 20 and found["diversity_lists"] == 6
    assert found["metrics"] == pytest.approx(whole["metrics"])
    assert found["metrics"]["diversity@3"] == pytest.approx(2 / 3)


def test_everyone_is_measured_alike(trained):
    """A workdir, its vectors and its lists give the same measures, and the printed metrics follow from the ranks."""
    told = {"beyond_accuracy": 5}
    own = jaxrec.evaluate(trained / "run", **told)
    by_vectors = jaxrec.judge(trained / "vectors", trained / "log.csv", **told)
    by_lists = jaxrec.judge(trained / "lists.csv", trained / "log.csv", **told)
    assert {*own.result["beyond_accuracy"]["metrics"]} >= {"coverage@5", "gini@5", "novelty@5", "diversity@5", "map@5"}
    for found in (by_vectors, by_lists):
        for name in ("metrics", "ci95"):
            theirs, wanted = (each.result["beyond_accuracy"][name] for each in (found, own))
            assert theirs.keys() == wanted.keys()
            assert all(theirs[each] == pytest.approx(wanted[each], abs=1e-6) for each in wanted)
    assert by_vectors.ranks.equals(own.ranks)
    near = own.ranks.with_columns(pl.when(pl.col("rank") <= 20).then("rank"))
    assert by_lists.ranks.equals(near) and near["rank"].null_count()
    parts = [found.result["beyond_accuracy"]["segments"] for found in (own, by_lists)]
    for whole, part in zip(*parts, strict=True):
        assert part["metrics"] == pytest.approx(at_most(20, whole["metrics"])) and part["users"] == whole["users"]
    rec = jaxrec.load(trained / "run").evaluate(baselines=(), beyond_accuracy=True)
    assert rec.result["beyond_accuracy"]["k"] == 10
    assert rec.result["beyond_accuracy"]["metrics"]["coverage@10"] == rec.metrics["coverage@10"]


@pytest.fixture(scope="module")
def clicks(trained):
    """The path of a log with times that can be split by session."""
    random, path = np.random.default_rng(2), trained / "clicks.csv"
    rows = [
        f"s{each},i{item},{1_600_000_000 + 3600 * each + at}"
        for each in range(50)
        for at, item in enumerate(random.integers(30, size=random.integers(2, 7)))
    ]
    path.write_text("user,item,time\n" + "\n".join(rows) + "\n")
    return path


CASES = {
    "a workdir": ["--workdir", "run"],
    "a workdir by draws": ["--workdir", "run", "--protocol", "uniform-100"],
    "a baseline": ["--baseline", "transitions", "--dataset", "log.csv"],
    "a baseline by session": ["--baseline", "popularity", "--dataset", "clicks.csv", "--split-by", "sessions"],
    "lists": ["--scores", "lists.csv", "--dataset", "log.csv"],
    "vectors against a workdir": ["--scores", "vectors", "--workdir", "run", "--protocol", "full-seen-kept"],
}


@pytest.mark.parametrize("case", some(CASES, "a workdir by draws", "a baseline by session", "lists"))
def test_the_printed_metrics_are_those_of_the_ranks_that_are_written(trained, clicks, case, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    files = ["--ranks", str(tmp_path / "new" / "ranks.parquet"), "--json", str(tmp_path / "found.json")]
    assert cli.main(["evaluate", *CASES[case], *files]) == 0
    found, frame = (
        json.loads((tmp_path / "found.json").read_text()),
        pl.read_parquet(tmp_path / "new" / "ranks.parquet"),
    )
    again = metrics(frame["rank"].fill_null(MISS).to_numpy())
    printed = {name: value for name, value in found["metrics"].items() if not name.startswith("coverage")}
    assert len(frame) == found["users"] and printed
    assert printed == pytest.approx({name: again[name] for name in printed}, abs=1e-12)
    log = pl.read_csv(trained / "log.csv")
    if "session" not in case:
        last = log.group_by("user").agg(pl.col("item").last().alias("last"), pl.len().alias("n"))
        both = frame.join(last, on="user")
        assert len(both) == len(frame) and (both["target"] == both["last"]).all()
        assert (both["history_length"] == both["n"] - 1).all()
        train = log.group_by("user", maintain_order=True).head(7)["item"].value_counts(name="times")
        counts = frame.join(train, left_on="target", right_on="item", how="left")["times"].fill_null(0)
        assert (frame["target_count"] == counts).all()
    assert "beyond_accuracy" not in found


def test_segments_are_who_has_so_much_and_share_out_everyone():
    random = np.random.default_rng(0)
    lengths = [3, *random.integers(3, 30, 200)]
    rows = [
        {"user": f"u{u}", "item": int(random.integers(900) ** 2 / 900), "time": f"2020-01-{1 + at % 28:02} 0{u % 9}:00"}
        for u, n in enumerate(lengths)
        for at in range(n)
    ]
    found = jaxrec.evaluate("popularity", pl.DataFrame(rows), beyond_accuracy=True)
    frame, parts = found.ranks, found.result["beyond_accuracy"]["segments"]
    columns = {"history length": "history_length", "activity": "activity", "the target's popularity": "target_count"}
    columns |= {"whether the target is cold": "target_count"}
    seen = dict.fromkeys(columns, 0)
    for part in parts:
        by = part["by"].partition(":")[0]
        those = frame.filter(pl.col(columns[by]).is_between(part["low"], part["high"]))
        assert len(those) == part["users"] and {part["low"], part["high"]} <= {*those[columns[by]]}
        assert part["metrics"] == pytest.approx(metrics(those["rank"].to_numpy()))
        assert part["ci95"]["hr@10"][0] <= part["metrics"]["hr@10"] <= part["ci95"]["hr@10"][1]
        seen[by] += part["users"]
    cold = (frame["target_count"] == 0).sum()
    assert cold == found.result["cold_targets"] > 0
    asked = len(frame)
    assert seen == dict(zip(columns, [asked, asked, asked - cold, asked], strict=True))
    assert [part["users"] for part in parts if part["by"].startswith("history")] == pytest.approx([50] * 4, abs=20)
    text = repr(found)
    assert "novelty@10, bits" in text and "by history length" in text and f"{cold:,}" in text


def test_what_cannot_be_known_is_left_out():
    """Without times there is no activity, without cold targets no segment for them; equal users are one segment."""
    log = jaxrec.prepare(pl.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3, 3, 2, 1]}), time="none")
    found = jaxrec.evaluate("popularity", log, beyond_accuracy=1)
    parts, told = found.result["beyond_accuracy"]["segments"], found.result["beyond_accuracy"]
    assert [(part["by"], part["low"], part["high"]) for part in parts] == [
        ("history length", 2, 2),
        ("the target's popularity: events in training", 1, 1),
    ]
    assert told["diversity_lists"] == 0 and "diversity@1" not in told["metrics"] and "activity" not in found.ranks
    lists = pl.DataFrame({"user": [1, 2], "item": [3, 3], "rank": [1, 1]})
    judged = jaxrec.judge(lists, log, beyond_accuracy=1)
    assert judged.result["beyond_accuracy"]["metrics"]["gini@1"] == pytest.approx(2 / 3)
    assert "HR@1" in repr(judged) and judged.ranks["rank"].to_list() == [1, None]
    only = jaxrec.judge(pl.DataFrame({"user": [1, 2], "item": [3, 9], "rank": [1, 1]}), log, beyond_accuracy=1)
    assert only.result["beyond_accuracy"]["metrics"]["gini@1"] == pytest.approx(2 / 3)  # 9 is not an item of the data


def test_events_of_sessions_have_segments_too(clicks):
    found = jaxrec.evaluate("transitions", clicks, split_by="sessions", beyond_accuracy=True)
    lengths = found.ranks["history_length"]
    assert found.result["protocol"] == "sessions" and lengths.min() == 1 and "activity" not in found.ranks
    assert {part["by"].partition(":")[0] for part in found.result["beyond_accuracy"]["segments"]} == {
        "history length",
        "the target's popularity",
    }
    console = Console(width=120, record=True, file=None)
    with console.capture() as text:
        found.show(console)
    assert "Recall@20" in text.get() and "events" in text.get()


def test_what_does_not_go_together_is_refused(trained, capsys):
    run, lists = str(trained / "run"), str(trained / "lists.csv")
    cases = [
        (
            ["--workdir", run, "--beyond-accuracy", "--protocol", "uniform-100"],
            "use --protocol full, or write the ranks by --ranks",
        ),
        (["--workdir", run, "--beyond-accuracy", "0"], "beyond_accuracy: k is 0: ask for at least one item"),
        (["--workdir", run, "--beyond-accuracy", "99999"], "--beyond-accuracy 99999: the catalogue has"),
        (["--workdir", run, "--scores", lists, "--beyond-accuracy", "21"], "the lists have 20 items: ask for 20"),
        (["--workdir", run, "--ranks", "ranks.csv"], "give a name that ends in .parquet"),
    ]
    for flags, said in cases:
        assert cli.main(["evaluate", *flags]) == 2
        assert said in capsys.readouterr().err, flags
    with pytest.raises(UserError, match="give how many items"):
        jaxrec.evaluate(run, beyond_accuracy="ten")

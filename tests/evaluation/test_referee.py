"""Laws of the referee: a model's exported scores are judged as the model is, and each trap gets a warning."""

import json
from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
import recommenders
from some import some
from workdirs import write_workdir

import jaxrec
from jaxrec import cli
from jaxrec.data import splits
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation import referee
from jaxrec.evaluation.scores import Lists, Vectors, load
from jaxrec.system.errors import UserError

USERS, ITEMS, LENGTH, K = 300, 120, 12, 10


def known_to(k, metrics):
    return {name: value for name, value in metrics.items() if float(name.partition("@")[2] or "inf") <= k}


@pytest.mark.parametrize("protocol", some(["full", "full-seen-kept", "uniform-100"], "full"))
def test_vectors_are_judged_as_the_model_that_hands_them_out(trained, protocol):
    wanted = jaxrec.evaluate(trained / "run", protocol=protocol)
    found = jaxrec.judge(trained / "vectors", workdir=trained / "run", protocol=protocol)
    assert found.metrics == pytest.approx(wanted.metrics, abs=1e-12)
    assert found.ci95["ndcg@10"] == pytest.approx(wanted.ci95["ndcg@10"], abs=1e-12)
    assert found.result["paired"]["ndcg@10"] == 0 and found.result["paired"]["p"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", recommenders.MODELS)
def test_every_models_vectors_are_judged_as_the_model(trained, model, tmp_path):
    write_workdir(tmp_path / "run", trained / "log.csv", model)
    argv = ["vectors", "--workdir", str(tmp_path / "run"), "--split", "test", "--output", str(tmp_path / "vectors")]
    assert cli.main(argv) == 0
    wanted = jaxrec.evaluate(tmp_path / "run").metrics
    found = jaxrec.judge(tmp_path / "vectors", trained / "log.csv").metrics
    assert found == pytest.approx(wanted, abs=1e-6)


def test_an_archive_in_any_order_is_judged_as_the_folder(trained, tmp_path):
    items, users = (pl.read_parquet(trained / "vectors" / f"{name}.parquet") for name in ("items", "users"))
    items, users = items.sample(fraction=1, shuffle=True, seed=1), users.sample(fraction=1, shuffle=True, seed=2)
    arrays = {name: frame["vector"].to_numpy() for name, frame in {"items": items, "users": users}.items()}
    arrays |= {"item_ids": np.array(items["id"].to_list()), "user_ids": np.array(users["id"].to_list())}
    arrays |= {"bias": items["bias"].to_numpy() if "bias" in items.columns else np.zeros(len(items))}
    np.savez(tmp_path / "scores.npz", **arrays)
    wanted = jaxrec.judge(trained / "vectors", trained / "log.csv").metrics
    assert jaxrec.judge(tmp_path / "scores.npz", trained / "log.csv").metrics == pytest.approx(wanted, abs=1e-12)
    assert jaxrec.judge(arrays, trained / "log.csv").metrics == pytest.approx(wanted, abs=1e-12)


def test_lists_are_judged_as_the_model_as_far_as_they_reach(trained, tmp_path, capsys):
    argv = ["evaluate", "--dataset", str(trained / "log.csv"), "--json", str(tmp_path / "found.json")]
    assert cli.main([*argv, "--scores", str(trained / "lists.csv")]) == 0
    found, wanted = json.loads((tmp_path / "found.json").read_text()), jaxrec.evaluate(trained / "run")
    assert found["metrics"] == pytest.approx(known_to(20, wanted.metrics), abs=1e-12)
    assert found["metrics"].keys() == found["ci95"].keys() | {"coverage@10"} and "hr@20" in found["metrics"]
    assert found["k"] == 20 and found["paired"] is None and found["data"]["name"] is None
    said = capsys.readouterr().out
    assert (
        "the lists have 20 items: no metric beyond that is known" in said and "chosen by looking at the test?" in said
    )
    against = jaxrec.judge(trained / "lists.csv", workdir=trained / "run").result["paired"]
    assert against["second"] == str(trained / "run") and against["ndcg@10"] == 0
    frame = pl.read_csv(trained / "lists.csv").sample(fraction=1, shuffle=True, seed=3)
    for columns in (["user", "item", "rank"], ["user", "item", "score"]):
        assert jaxrec.judge(frame.select(columns), trained / "log.csv").metrics == pytest.approx(found["metrics"])
    frame.write_parquet(tmp_path / "lists.parquet")
    assert jaxrec.judge(tmp_path / "lists.parquet", trained / "log.csv").metrics == pytest.approx(found["metrics"])


@pytest.fixture(scope="module")
def world():
    """A split of a log where an item often decides the next two, and some items are far more popular than others."""
    random, share = np.random.default_rng(0), 1 / np.arange(5, ITEMS + 5)
    histories = []
    for _ in range(USERS):
        own = [int(random.choice(ITEMS, p=share / share.sum()))]
        while len(own) < LENGTH:
            step = random.choice([7, 14, 0], p=[0.3, 0.2, 0.5])
            item = (own[-1] + step) % ITEMS if step else int(random.choice(ITEMS, p=share / share.sum()))
            own += [item] * (item not in own)
        histories.append([f"i{item:03}" for item in own])
    return splits.last_item(from_sequences(histories))


def queries(split, back=0):
    """The scores of all items, a row per user, after an input that ends `back` items before the history does.

    The last item of the input scores high, as in many models, and so do the items that it decides.
    """
    last = split.interactions.items[split.test.stop - 1 - back] - 1
    found, users = np.random.default_rng(1).random((USERS, ITEMS), np.float32), np.arange(USERS)
    for step, score in ((7, 1.0), (14, 0.9), (21, 0.8), (28, 0.7), (0, 0.9)):
        found[users, (last + step) % ITEMS] += score
    return found


def vectors(split, users, items=None, bias=None):
    ids, items = split.interactions.catalogue.ids.tolist(), np.eye(ITEMS, dtype=np.float32) if items is None else items
    return Vectors("v", users, pl.Series(map(str, split.interactions.users)), items, pl.Series(ids[: len(items)]), bias)


def best(split, scores, stop, k=K):
    """Lists of the best items, without those of the history up to `stop`."""
    scores, inter = scores.copy(), split.interactions
    for user, (start, end) in enumerate(zip(split.test.start, stop, strict=True)):
        scores[user, inter.items[start:end] - 1] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :k]
    users = pl.Series(map(str, np.repeat(inter.users, k)))
    return Lists(
        "l", users, pl.Series(inter.catalogue.ids[top.ravel()].tolist()), np.tile(np.arange(1.0, k + 1), USERS)
    )


def judged(scores, split, protocol="full"):
    return referee.judge(scores, split, protocol, "test", jax.devices()[:1]).result


def traps(scores, split, **options):
    return [each["trap"] for each in judged(scores, split, **options)["warnings"]]


def clean(split):
    return best(split, queries(split), split.test.stop)


def rows(lists, keep, **columns):
    """The lists of these rows, with some columns changed."""
    kept = Lists(lists.name, lists.users.filter(keep), lists.items.filter(keep), lists.order[keep.to_numpy()])
    return kept._replace(**columns)


def test_clean_scores_give_no_warning(world):
    assert traps(clean(world), world) == [] and traps(vectors(world, queries(world)), world) == []
    found = judged(clean(world), world)
    assert 0.3 < found["metrics"]["hr@10"] < 0.8 and len(found["questions"]) == 5


def without_filter(split):
    scores = queries(split)
    items = split.interactions.items[split.test.stop[:, None] - np.arange(2, 7)]
    scores[np.arange(USERS)[:, None], items - 1] += 0.9
    return best(split, scores, split.test.start)


def in_another_order(split):
    """Lists from a log where the last two items of every user are swapped."""
    items, at = split.interactions.items.copy(), split.test.stop
    items[at], items[at - 1] = items[at - 1].copy(), items[at].copy()
    other = splits.last_item(replace(split.interactions, items=items))
    scores = queries(other)
    scores[np.arange(USERS), other.test.target - 1] += 0.3
    return best(other, scores, other.test.stop)


SHOWN = {  # a trap -> lists that fall into it
    "seen items": without_filter,
    "missing validation item": lambda split: best(split, queries(split, 1), split.test.stop - 1),
    "wrong order": in_another_order,
    "below popularity": lambda split: best(
        split, -np.tile(splits.training_counts(split), (USERS, 1)).astype(float), split.test.stop
    ),
    "missing users": lambda split: rows(clean(split), clean(split).users.cast(pl.Int64) > 30),
    "unequal lists": lambda split: rows(clean(split), pl.Series(np.arange(USERS * K) % 97 != 5)),
    "unknown items": lambda split: clean(split)._replace(
        items=clean(split).items.replace({split.interactions.catalogue.ids.tolist()[3]: "gone"})
    ),
    "unknown users": lambda split: clean(split)._replace(users=clean(split).users.replace({"7": "nobody"})),
    "repeated items": lambda split: Lists(
        "l",
        pl.concat([clean(split).users, clean(split).users[:5]]),
        pl.concat([clean(split).items, clean(split).items[:5]]),
        np.append(clean(split).order, np.arange(11.0, 16)),
    ),
    "ties": lambda split: clean(split)._replace(order=np.ceil(clean(split).order / 2)),
}


@pytest.mark.parametrize("trap", SHOWN)
def test_lists_show_a_trap(world, trap):
    assert trap in traps(SHOWN[trap](world), world)


def test_seen_items_are_no_trap_where_they_are_kept(world):
    assert "seen items" not in traps(without_filter(world), world, protocol="full, seen kept")


@pytest.mark.parametrize("share", [0.005, 0.2])
def test_lists_that_lack_the_targets_seen_before_say_so(world, share):
    items, again = world.interactions.items.copy(), np.arange(USERS) < share * USERS
    items[world.test.stop[again]] = items[world.test.start[again]]
    split = splits.last_item(replace(world.interactions, items=items))
    lists = best(split, queries(split), split.test.stop)
    found = {each["trap"]: each for each in judged(lists, split)["warnings"]}
    assert found.keys() & {"seen targets"} == ({"seen targets"} if share > 0.01 else set())
    assert share < 0.01 or found["seen targets"]["targets"] == again.sum()
    assert "seen targets" not in traps(lists, split, protocol="full, seen kept")
    first = np.flatnonzero(lists.order == 1)[again]
    ids = pl.Series(split.interactions.catalogue.ids[split.test.target[again] - 1].tolist())
    with_targets = lists._replace(items=lists.items.clone().scatter(first, ids))
    assert "seen targets" not in traps(with_targets, split), "a filter that spares the targets"
    assert "seen targets" not in traps(vectors(split, queries(split)), split)


VECTORS = {
    "ties": lambda split: vectors(split, np.round(queries(split) * 4)),
    "missing validation item": lambda split: vectors(split, queries(split, 1)),
    "below popularity": lambda split: vectors(
        split, -np.tile(splits.training_counts(split), (USERS, 1)).astype(np.float32)
    ),
    "missing users": lambda split: vectors(split, queries(split))._replace(
        users=queries(split)[20:], user_ids=pl.Series(map(str, split.interactions.users[20:]))
    ),
    "missing items": lambda split: vectors(split, queries(split), np.eye(ITEMS, dtype=np.float32)[:-3]),
    "unknown items": lambda split: vectors(split, queries(split))._replace(
        item_ids=pl.Series(["gone", *split.interactions.catalogue.ids.tolist()[1:]])
    ),
    "target in the input": lambda split: vectors(split, queries(split, -1)),
}


def of_taste(split, histories, length):
    """Vectors of a model that scores what goes with any item of its input high, and the items of the input higher."""
    found = np.random.default_rng(1).random((USERS, ITEMS), np.float32)
    for row, history in zip(found, histories, strict=True):
        row[(history[:length, None] - 1 + [7, 14]) % ITEMS] += 0.2
        row[history[:length] - 1] += 0.6
    return vectors(split, found)


def test_vectors_of_a_model_that_saw_the_target_among_the_history_say_so(world):
    histories, random = world.interactions.items.reshape(USERS, LENGTH), np.random.default_rng(3)
    shuffled = random.permuted(histories, axis=1)
    for other in (shuffled, histories[:, ::-1], np.sort(histories, axis=1)):
        assert traps(of_taste(world, other, LENGTH - 1), world) == ["wrong order"]
    assert traps(of_taste(world, histories, LENGTH), world) == ["wrong order"], "trained on the test"
    assert traps(of_taste(world, histories, LENGTH - 1), world) == []


@pytest.mark.parametrize("seed", range(8))
def test_what_ranks_as_popularity_does_saw_no_other_order(world, seed):
    counts, random = splits.training_counts(world).astype(np.float32), np.random.default_rng(seed)
    scores = counts + seed * random.random((USERS, ITEMS), np.float32)
    assert "wrong order" not in traps(vectors(world, scores), world)


@pytest.mark.parametrize("trap", VECTORS)
def test_vectors_show_a_trap(world, trap):
    assert trap in traps(VECTORS[trap](world), world)


def test_a_missing_user_is_last_and_a_missing_item_is_never_recommended(world):
    scores = vectors(world, np.ones((USERS, ITEMS), np.float32), np.eye(ITEMS, dtype=np.float32)[:1])
    found = judged(scores._replace(users=scores.users[1:], user_ids=scores.user_ids[1:]), world)
    hits = world.test.target[1:] == 1  # the only item with a vector
    assert found["metrics"]["hr@1"] == pytest.approx(hits.sum() / USERS)


def test_ranks_of_lists_are_places_and_ties_count_against_them():
    split = splits.last_item(from_sequences([[1, 2, 3, 4], [2, 3, 4, 1], [3, 4, 1, 2]], users=["a", "b", "c"]))
    frame = {"user": list("aaabbb"), "item": [4, 5, 1, 3, 1, 2], "score": [0.5, 0.5, 0.9, 3.0, 2.0, 1.0]}
    found = judged(load(pl.DataFrame(frame)), split)
    assert [found["metrics"][f"hr@{k}"] for k in (1,)] == [0] and found["k"] == 3 and "hr@5" not in found["metrics"]
    again = judged(load(pl.DataFrame(frame | {"score": [0.95, 0.5, 0.9, 3.0, 2.0, 1.0]})), split)
    assert again["metrics"]["hr@1"] == pytest.approx(1 / 3)


def test_what_is_no_file_of_scores_is_refused(trained, tmp_path, capsys):
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    (tmp_path / "empty").mkdir()
    pl.read_csv(trained / "lists.csv").filter(pl.col("rank") <= 5).write_csv(tmp_path / "five.csv")
    run, lists = str(trained / "run"), str(trained / "lists.csv")
    cases = [
        (["--scores", "nowhere.npz", "--dataset", run], "no such file of scores"),
        (["--scores", str(tmp_path / "bad.npz"), "--workdir", run], r"not a readable \.npz"),
        (["--scores", str(tmp_path / "empty"), "--workdir", run], "which jaxrec vectors writes"),
        (["--scores", lists], "name the data"),
        (["--scores", lists, "--baseline", "popularity"], "not a training to test scores against"),
        (["--scores", lists, "--workdir", run, "--protocol", "uniform-100"], "give vectors, from which every score"),
        (["--scores", lists, "--workdir", run, "--split-by", "last-item"], "go without --workdir"),
        (
            ["--scores", str(tmp_path / "five.csv"), "--workdir", run],
            "the lists have 5 items, but the paired test is of NDCG@10",
        ),
        ([], "name what to evaluate: --workdir, --baseline or --scores"),
    ]
    for flags, said in cases:
        assert cli.main(["evaluate", *flags]) == 2
        assert said.replace("\\", "") in capsys.readouterr().err, flags


def test_events_of_sessions_are_not_told_apart_by_a_user(trained):
    split = splits.sessions(replace(from_sequences([[1, 2, 3]] * 4), train_sessions=2), valid=0)
    scores = load({"users": np.ones((4, 1)), "user_ids": range(1, 5), "items": np.ones((3, 1)), "item_ids": [1, 2, 3]})
    with pytest.raises(UserError, match="this split asks after every event"):
        judged(scores, split, "sessions")
    log = from_sequences([[1, 2, 3, 1]] * 4)
    split = splits.LAST_BASKET.split(replace(log, times=np.tile([0, 1, 2, 2], 4)), 0.9, 0.1)
    with pytest.raises(UserError, match="this split asks for all items of a basket: split the data by last-item"):
        judged(scores, split, "full")
    argv = ["recommend", "--workdir", str(trained / "run"), "--histories", "x.csv", "--output", "out.csv"]
    assert cli.main([*argv, "--split", "test"]) == 2


def test_lists_of_ten_are_enough_for_the_paired_test(world):
    rival = "all first", lambda: np.ones(USERS, np.int32)
    found = referee.judge(clean(world), world, "full", "test", jax.devices()[:1], rival).result
    assert found["k"] == K == 10 and found["paired"]["ndcg@10"] < 0


def test_what_ranks_nearly_as_popularity_does_is_not_below_it(world):
    counts = np.tile(splits.training_counts(world), (USERS, 1)).astype(float)
    lists = best(world, counts, world.test.stop)
    targets = pl.Series(world.interactions.catalogue.ids[world.test.target - 1].tolist())
    hit = lists.users.filter(lists.items == targets.gather(np.repeat(np.arange(USERS), K)))
    assert len(hit) > 20
    for lost, wanted in ((5, False), (len(hit), True)):
        fewer = rows(lists, ~lists.users.is_in(hit[:lost].to_list()))
        assert ("below popularity" in traps(fewer, world)) == wanted


def test_who_has_no_list_lacks_no_target(world):
    items, again = world.interactions.items.copy(), np.arange(USERS) < 0.2 * USERS
    items[world.test.stop[again]] = items[world.test.start[again]]
    split = splits.last_item(replace(world.interactions, items=items))
    lists = best(split, queries(split), split.test.stop)
    some = rows(lists, ~lists.users.is_in(list(map(str, split.interactions.users[:9]))))
    found = {each["trap"]: each for each in judged(some, split)["warnings"]}
    assert found["seen targets"]["targets"] == again.sum() - 9 and found["missing users"]["number"] == 9

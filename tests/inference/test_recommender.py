"""A trained workdir in Python: external ids in and out, exactly the best items, unknown ids reported."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

import jaxrec
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels import ranking
from jaxrec.system.errors import UserError
from jaxrec.training import fit, setup as setups, wording
from jaxrec.training.workdirs import checkpoint, workdir

ITEMS = [f"tt{i:03}" for i in range(1, 31)]
CONFIG = {
    "dataset": "histories",
    "seed": 0,
    "epochs": 1,
    "batch": 16,
    "length": 6,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.1},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-2},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    random = np.random.default_rng(0)
    data = interactions.from_sequences([random.choice(ITEMS, 8).tolist() for _ in range(50)] + [ITEMS])
    path = tmp_path_factory.mktemp("w")
    config = configs.from_dict(CONFIG)
    workdir.claim(path, config, data, "histories")
    setup = setups.setup(config, splits.last_item(data), jax.devices()[:1])
    fit.fit(setup, path, lambda params: dict.fromkeys(wording.CHECKED, 0.5))
    return path


@pytest.fixture(scope="module")
def recommender(path):
    return jaxrec.load(path)


def brute(recommender, history, k, seen, candidates=None):
    """The model scores every item from the newest items, and sorts them; among ties, the earlier item comes first."""
    numbers = [ITEMS.index(id) + 1 for id in history]
    hidden = recommender.engine.hidden([numbers])
    scores = np.asarray(
        ranking.dot.at((recommender.engine.params["items"], None), hidden[0], np.arange(1, len(ITEMS) + 1))
    )
    left = [id for id in (candidates or ITEMS) if not (seen and id in history)]
    return sorted(left, key=lambda id: (-scores[ITEMS.index(id)], ITEMS.index(id)))[:k]


histories = st.lists(st.sampled_from(ITEMS), min_size=1, max_size=12)


@settings(max_examples=15)
@given(st.lists(histories, min_size=1, max_size=5), st.sampled_from([1, 5, 30]), st.booleans())
def test_recommends_the_best_items_of_the_catalogue(recommender, batch, k, exclude_seen):
    ranked = recommender.recommend_batch(batch, k, exclude_seen)
    for history, pairs in zip(batch, ranked, strict=True):
        assert [id for id, _ in pairs] == brute(recommender, history, k, exclude_seen)
        assert [score for _, score in pairs] == sorted((score for _, score in pairs), reverse=True)
        assert pairs.unknown == []
        alone = recommender.recommend(history, k, exclude_seen)
        assert [id for id, _ in alone] == [id for id, _ in pairs]
        np.testing.assert_allclose([s for _, s in alone], [s for _, s in pairs], rtol=0, atol=1e-5)


@settings(max_examples=10)
@given(histories, st.lists(st.sampled_from(ITEMS), min_size=1, max_size=8, unique=True), st.booleans())
def test_candidates_alone_are_ranked(recommender, history, candidates, exclude_seen):
    got = recommender.recommend(history, 5, exclude_seen, candidates)
    assert [id for id, _ in got] == brute(recommender, history, 5, exclude_seen, candidates)


def test_unknown_ids_are_reported(recommender):
    got = recommender.recommend(["tt001", "nobody", "tt002"], 3, candidates=["tt005", "stranger"])
    assert got.unknown == ["nobody", "stranger"] and [id for id, _ in got] == ["tt005"]
    known = recommender.recommend(["tt001", "tt002"], 3)
    assert list(recommender.recommend(["tt001", "nobody", "tt002"], 3)) == list(known)


@pytest.mark.parametrize(("history", "said"), [([], "it is empty"), (["nobody"], "nobody"), ([7], "none of its ids")])
def test_a_history_of_nothing_known_is_an_error(recommender, history, said):
    for call in (
        lambda: recommender.recommend(history, strict=True),
        lambda: recommender.recommend_batch([history], strict=True),
        lambda: recommender.influence(history, ["tt001"]),
    ):
        with pytest.raises(UserError, match=said):
            call()


COUNTS = np.array([5, 9, 0, 9, 7] + [1] * 25)
BY_COUNT = [ITEMS[v] for v in np.argsort(-COUNTS, kind="stable")]


@pytest.fixture(scope="module")
def counted(recommender):
    """The recommender, with counts and columns beside its items."""
    about = pl.DataFrame({"year": [1990 + v % 3 for v in range(30)], "in_stock": [v % 2 == 0 for v in range(30)]})
    catalogue = recommender.catalogue._replace(about=about).counted(COUNTS)
    model, engine = recommender._model, recommender.engine
    return Recommender(recommender.config, model, engine.params, catalogue, recommender.step, recommender.path)


nothing = st.lists(st.sampled_from(["nobody", 7, None, 2.5, True, b"tt001", "TT001"]), max_size=3)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.booleans(), histories, nothing), max_size=5),
    st.none() | st.lists(st.sampled_from([*ITEMS, "stranger"]), max_size=12),
    st.lists(st.sampled_from([*ITEMS, "other"]), max_size=12),
    st.sampled_from([{}, {"in_stock": True}, {"year": {"below": 1992}, "in_stock": [True, False]}]),
    st.sampled_from([1, 4, 40]),
)
def test_a_history_of_nothing_known_is_answered_by_what_is_popular(counted, batch, candidates, block, where, k):
    given_ = [known if is_known else unknown for is_known, known, unknown in batch]
    got = counted.recommend_batch(given_, k, candidates=candidates, block=block, where=where)
    fits = lambda v: (v % 2 == 0 or where.get("in_stock") is not True) and ("year" not in where or v % 3 < 2)
    allowed = {id for v, id in enumerate(ITEMS) if fits(v)} - set(block)
    kept = [id for id in BY_COUNT if id in allowed and (candidates is None or id in candidates)]
    for (is_known, known, unknown), ranked in zip(batch, got, strict=True):
        assert ranked.fallback is not is_known
        if is_known:
            alone = counted.recommend(known, k, candidates=candidates, block=block, where=where, strict=True)
            assert [id for id, _ in alone] == [id for id, _ in ranked] and not alone.fallback
            continue
        assert list(ranked) == [(id, COUNTS[ITEMS.index(id)] / COUNTS.sum()) for id in kept[:k]]
        assert ranked.unknown[: len(unknown)] == unknown


def test_without_counts_nothing_is_popular(path):
    old = jaxrec.load(path)
    old.catalogue = old.catalogue._replace(about=None)
    got = old.recommend([])
    assert got == [] and got.fallback and not old.recommend(["tt001"]).fallback


@pytest.mark.parametrize(
    ("k", "said"),
    [
        (0, "k is 0: ask for at least one item"),
        pytest.param(-(10**5000), "k is an integer of many digits: ask for at least one item", id="digits"),
        (np.int64(-3), "k is -3: ask for at least one item"),
        (True, "k is True: give how many items you want, an integer"),
        (np.True_, "an integer"),
        (5.0, r"k is 5\.0: give how many items you want, an integer"),
        ("5", "k is '5': give how many"),
        (None, "k is None: give how many"),
        ([5], r"k is \[5\]: give how many"),
    ],
)
def test_k_is_checked(recommender, k, said):
    for call in (lambda: recommender.recommend(["tt001"], k), lambda: recommender.similar("tt001", k)):
        with pytest.raises(UserError, match=said):
            call()


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint32, np.array])
def test_k_is_an_integer_of_any_kind(recommender, kind):
    assert recommender.recommend(["tt001"], kind(3)) == recommender.recommend(["tt001"], 3)
    assert recommender.similar("tt001", kind(3)) == recommender.similar("tt001", 3)


WAYS = {
    "tuple": tuple,
    "arrow": lambda ids: pl.Series(ids).to_arrow(),
    "array": np.array,
    "objects": lambda ids: np.array(ids, object),
    "strings": lambda ids: np.array(ids, np.dtypes.StringDType()),
    "polars": pl.Series,
    "generator": iter,
    "numpy texts": lambda ids: [np.str_(id) for id in ids],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_ids_come_in_any_list(counted, way):
    history, chosen = ["tt004", "nobody", "tt002"], ["tt001", "tt009", "tt012"]
    want = counted.recommend(history, 2, candidates=chosen, block=["tt009"])
    assert counted.recommend(way(history), 2, candidates=way(chosen), block=way(["tt009"])) == want
    batch = counted.recommend_batch(iter([way(history), way(history)]), 2, candidates=way(chosen), block=way(["tt009"]))
    assert [[id for id, _ in ranked] for ranked in batch] == [[id for id, _ in want]] * 2
    assert (counted.influence(way(history), way(chosen)) == counted.influence(history, chosen)).all()


def test_threads_share_a_recommender(path, recommender):
    asked = [ITEMS[: 1 + n % 9] for n in range(24)]
    fresh = jaxrec.load(path)  # nothing is compiled yet
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda history: fresh.recommend(history, 4, where={}), asked))
    for history, ranked in zip(asked, got, strict=True):
        assert [id for id, _ in ranked] == [id for id, _ in recommender.recommend(history, 4)]


def test_no_histories_give_no_answers(recommender):
    assert recommender.recommend_batch([]) == []


def test_a_history_of_everything_leaves_nothing(recommender):
    assert recommender.recommend(ITEMS, 5) == []


def test_similar_is_the_cosine_of_embeddings(recommender):
    table = np.asarray(recommender.engine.params["items"])
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosine = unit @ unit[4]
    cosine[4] = -np.inf
    got = recommender.similar("tt005", 7)
    assert [id for id, _ in got] == [ITEMS[v] for v in np.argsort(-cosine, kind="stable")[:7]]
    np.testing.assert_allclose([score for _, score in got], np.sort(cosine)[::-1][:7], atol=1e-6)
    with pytest.raises(UserError, match="'nobody' is not in the catalogue"):
        recommender.similar("nobody")


def test_integers_come_back_as_integers(path, tmp_path):
    data = interactions.from_sequences([[5, 7, 11, 13], [7, 5, 13, 11]])
    config = configs.from_dict(CONFIG)
    workdir.claim(tmp_path, config, data, "histories")
    setup = setups.setup(config, splits.last_item(data), jax.devices()[:1])
    state = setups.initial(setup)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    checkpoints.close()
    rec = jaxrec.load(tmp_path, checkpoint=1)
    got = rec.recommend([np.int64(5), 7])
    assert {id for id, _ in got} == {11, 13} and all(type(id) is int for id, _ in got)
    for same in (["5", 7.0], np.array([5, 7], np.uint8), np.array([5.0, 7.0]), [np.str_("5"), "7"]):
        assert rec.recommend(same) == got
    other = ["05", "5.0", "+5", " 5", "\u0665", True, 5.5, float("nan"), 2**70, "9" * 5000, None]
    assert rec.recommend([*other, 5, 7]).unknown == other


def test_another_checkpoint_shares_the_programs(path, recommender):
    before = recommender.recommend(["tt001", "tt002"])
    programs = set(recommender.engine._compiled)
    other = recommender.renewed("latest")
    assert other.step == recommender.step and other.recommend(["tt001", "tt002"]) == before
    changed = recommender.engine.renewed(jax.tree.map(lambda x: -x, recommender.engine.params))
    assert (changed.scores(np.ones(8), [1, 2]) == -recommender.engine.scores(np.ones(8), [1, 2])).all()
    assert set(changed._compiled) == programs
    with pytest.raises(UserError, match="has no checkpoint '99'"):
        recommender.renewed("99")


@pytest.mark.parametrize("kind", [int, str, np.int64, np.str_, np.uint8])
def test_a_step_is_an_integer_or_its_text(path, recommender, kind):
    assert jaxrec.load(path, checkpoint=kind(recommender.step)).step == recommender.step
    assert recommender.renewed(kind(recommender.step)).step == recommender.step


@pytest.mark.parametrize(
    "checkpoint",
    [True, 4.0, None, -1, 10**30, pytest.param(10**5000, id="digits"), "", "newest", "1.0", "²", "٣", "01", "9" * 5000],
)
def test_what_is_no_checkpoint_is_said(path, checkpoint):
    with pytest.raises(UserError, match=r"checkpoint is .*give 'best', 'latest' or a step|has no checkpoint"):
        jaxrec.load(path, checkpoint=checkpoint)


def test_a_workdir_without_training_is_a_message(tmp_path):
    with pytest.raises(UserError, match="not a workdir"):
        jaxrec.load(tmp_path)


def test_one_text_is_no_history(recommender):
    with pytest.raises(UserError, match="a history is a list of ids, and this is one text"):
        recommender.recommend("i001")


def test_a_table_is_no_history(recommender):
    frame = pl.DataFrame({"item": ["tt001"]})
    for table in (frame, frame.to_pandas(), frame.to_arrow()):
        with pytest.raises(UserError, match="history is a table: give its column of ids, as frame"):
            recommender.recommend(table)


@pytest.mark.parametrize("value", ["no", 0, []], ids=str)
def test_what_is_neither_true_nor_false_is_no_flag(recommender, value):
    with pytest.raises(UserError, match=r"exclude_seen is .*: give True or False"):
        recommender.recommend(["tt001"], exclude_seen=value)
    with pytest.raises(UserError, match=r"exclude_seen is .*: give True or False"):
        recommender.asked(10, value)


@pytest.mark.parametrize("given", [{"histories": {("tt001",)}}, {"histories": [["tt001"]], "users": {7}}], ids=str)
def test_a_set_is_no_list_whose_order_counts(recommender, given):
    with pytest.raises(UserError, match="a list of ids is expected"):
        recommender.recommend_batch(**given)


def test_ids_of_any_number_of_digits_are_unknown_or_named(recommender):
    large = 10**5000
    assert recommender.recommend([large, "tt001"], 3).unknown == [large]
    for call in (lambda: recommender.similar(large), lambda: recommender.recommend([large], strict=True)):
        with pytest.raises(UserError, match="an integer of many digits"):
            call()


def test_the_training_says_whether_what_was_seen_is_left_out(path, recommender):
    """A query without `exclude_seen` follows the key `seen`; one with it does not."""
    keeps = copy.copy(recommender)
    keeps.config = dataclasses.replace(recommender.config, seen="keep")
    history = ITEMS[:4]
    for rec, left_out in ((recommender, True), (keeps, False)):
        assert rec.recommend(history, 9) == rec.recommend(history, 9, exclude_seen=left_out)
        assert rec.recommend_batch([history], 9) == rec.recommend_batch([history], 9, exclude_seen=left_out)
        assert rec.recommend(history, 9) != rec.recommend(history, 9, exclude_seen=not left_out)


def test_a_user_is_named_only_to_a_model_that_has_vectors_of_users(recommender):
    with pytest.raises(UserError, match="user: sasrec has no user vectors: leave it out"):
        recommender.recommend(ITEMS[:3], user=3)

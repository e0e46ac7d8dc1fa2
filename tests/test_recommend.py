"""A trained workdir from Python: external ids in and out, exactly the best, unknown ids reported."""

import copy
import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxrec
from jaxrec import checkpoint, fit, ranking, workdir
from jaxrec import config as configs
from jaxrec.data import interactions, splits
from jaxrec.errors import UserError

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
    "optim": {"name": "adam", "rate": 1e-2},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    random = np.random.default_rng(0)
    data = interactions.from_sequences([random.choice(ITEMS, 8).tolist() for _ in range(50)] + [ITEMS])
    path = tmp_path_factory.mktemp("w")
    config = configs.from_dict(CONFIG)
    workdir.claim(path, config, data, "histories")
    setup = fit.setup(config, splits.last_item(data), jax.devices()[:1])
    fit.fit(setup, path, lambda params: dict.fromkeys(fit.CHECKED, 0.5))
    return path


@pytest.fixture(scope="module")
def recommender(path):
    return jaxrec.load(path)


def brute(recommender, history, k, seen, candidates=None):
    """Every item scored by the model on the newest items, sorted; ties to the earlier."""
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
    with pytest.raises(UserError, match=said):
        recommender.recommend(history)


def test_k_is_checked(recommender):
    for call in (lambda: recommender.recommend(["tt001"], 0), lambda: recommender.similar("tt001", 0)):
        with pytest.raises(UserError, match="at least one"):
            call()


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
    setup = fit.setup(config, splits.last_item(data), jax.devices()[:1])
    state = fit.initial(setup)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    checkpoints.close()
    got = jaxrec.load(tmp_path).recommend([np.int64(5), 7])
    assert {id for id, _ in got} == {11, 13} and all(type(id) is int for id, _ in got)


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


def test_a_workdir_without_training_is_a_message(tmp_path):
    with pytest.raises(UserError, match="not a workdir"):
        jaxrec.load(tmp_path)


def test_one_text_is_no_history(recommender):
    with pytest.raises(UserError, match="a history is a list of ids, and this is one text"):
        recommender.recommend("i001")


def test_the_training_says_whether_what_was_seen_is_left_out(path, recommender):
    """A query that doesn't say follows the key `seen`; one that says does not."""
    keeps = copy.copy(recommender)
    keeps.config = dataclasses.replace(recommender.config, seen="keep")
    history = ITEMS[:4]
    for rec, left_out in ((recommender, True), (keeps, False)):
        assert rec.recommend(history, 9) == rec.recommend(history, 9, exclude_seen=left_out)
        assert rec.recommend_batch([history], 9) == rec.recommend_batch([history], 9, exclude_seen=left_out)
        assert rec.recommend(history, 9) != rec.recommend(history, 9, exclude_seen=not left_out)


def test_a_user_is_named_only_to_a_model_that_has_vectors_of_users(recommender):
    with pytest.raises(UserError, match="user: sasrec has no vectors of users: leave it out"):
        recommender.recommend(ITEMS[:3], user=3)

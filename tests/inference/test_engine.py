"""The engine gives the same answers in any batch and bucket, under filters, and from a state."""

import copy
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recommenders
from hypothesis import given, settings, strategies as st
from some import some

from jaxrec.batches.objectives import MASK
from jaxrec.batches.stream import Stream
from jaxrec.data import splits
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.inference import candidates
from jaxrec.inference.queries import Query
from jaxrec.inference.stock import NewItem
from jaxrec.system.errors import UserError

ITEMS, LENGTH = 60, 20
IDS = [f"i{v}" for v in range(ITEMS)]
QUICK = ("sasrec", "caser")  # testing the other models takes minutes
made = cache(recommenders.recommender)


@cache
def encoder(name):
    """Encodes [T] items to [T, D], by `encode` on one row with all slots."""
    model = made(name).engine.model

    @jax.jit
    def encode(params, items, segments):
        slots, zeros = jnp.arange(LENGTH, dtype=jnp.int32), jnp.zeros(LENGTH, jnp.int32)
        stream = Stream(*(x[None] for x in (items, zeros, segments, slots * segments, zeros - 1)))
        return model.head(params, model.encode(params, stream)[0])[0]

    return encode


def encoded(rec, history):
    """The hidden vector after a history of ids."""
    mask = [MASK] * (rec.config.objective == "cloze")
    newest = [IDS.index(id) + 1 for id in history if id in IDS][-(LENGTH - len(mask)) :] + mask
    items, segments = np.zeros((2, LENGTH), np.int32)
    items[: len(newest)], segments[: len(newest)] = newest, 1
    return np.asarray(encoder(rec.config.model.name)(rec.engine.params, items, segments))[len(newest) - 1]


def brute(rec, query, hidden):
    """Every item is scored, filtered one by one, and sorted; among ties, the earlier item comes first."""
    table, bias = rec.engine.model.output_embedding(rec.engine.params)
    scores = np.asarray(table) @ hidden + (0 if bias is None else np.asarray(bias))
    about = rec.catalogue.about

    def fits(v):
        listed = {name: value if isinstance(value, list) else [value] for name, value in query.where.items()}
        wanted = {name: [1991, 1992] if values == [{"above": 1990}] else values for name, values in listed.items()}
        has = lambda name: about[name][v].split("|") if name == "genres" else [about[name][v]]
        return (
            not (query.exclude_seen is not False and IDS[v] in query.history)
            and (query.candidates is None or IDS[v] in query.candidates)
            and IDS[v] not in query.block
            and all(set(has(name)) & set(values) for name, values in wanted.items())
        )

    left = [v for v in range(ITEMS) if fits(v)]
    return [(IDS[v], scores[v]) for v in sorted(left, key=lambda v: (-scores[v], v))[: query.k]]


def same(got, want):
    assert len(got) == len(want)
    np.testing.assert_allclose([score for _, score in got], [score for _, score in want], atol=1e-4)
    for (id, _), (other, score) in zip(got, want, strict=True):  # items of nearly equal scores may change places
        assert id == other or any(abs(score - near) < 1e-4 for each, near in want if each == id)


ids = st.sampled_from([*IDS, "nobody"])
queries = st.builds(
    Query,
    st.lists(st.sampled_from(IDS), min_size=1, max_size=30),
    st.sampled_from([1, 12]),
    exclude_seen=st.booleans(),
    candidates=st.none() | st.lists(ids, max_size=10),
    block=st.lists(ids, max_size=10),
    where=st.sampled_from(
        [
            {},
            {},
            {"genres": "Comedy"},
            {"genres": ["War", "Drama"], "year": 1991},
            {"year": [1990, 1992]},
            {"year": {"above": 1990}},
        ]
    ),
    user=st.none(),
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in recommenders.MODELS],
)
@settings(max_examples=4)
@given(batch=st.lists(queries, max_size=4))
def test_unlike_queries_are_answered_together_as_one_by_one_and_by_brute_force(name, batch):
    rec = made(name)
    for query, got in zip(batch, rec.answer(batch), strict=True):
        same(got, brute(rec, query, encoded(rec, query.history)))
        same(rec.answer([rec.check(query)])[0], got)
        strangers = {id for id in [*(query.candidates or ()), *query.block] if id not in IDS}
        assert set(got.unknown) == strangers


@pytest.mark.parametrize("name", ["gru4rec", "rg-lru"])
@settings(max_examples=10)
@given(first=st.lists(ids, min_size=1, max_size=LENGTH), then=st.lists(ids, max_size=30))
def test_a_state_that_goes_on_is_that_of_the_whole_history(name, first, then):
    rec = made(name)
    whole = session = rec.start(first)
    for id in then:
        session = rec.advance(session, id)
    whole = rec.start([*first, *then])
    np.testing.assert_array_equal(session.state[1], whole.state[1])  # the same bits
    assert session.known == whole.known and session.unknown == whole.unknown
    if not whole.known:
        return
    got = rec.answer([Query(session, k=9), Query(session, where={"year": 1990}), Query(whole, k=9)])
    assert got[0] == got[2] and got[0].unknown == [id for id in [*first, *then] if id not in IDS]
    if len(whole.known) <= LENGTH:
        np.testing.assert_allclose(whole.state[1][0], encoded(rec, [*first, *then]), atol=1e-6)
        same(got[0], rec.recommend([*first, *then], 9))
        same(got[1], rec.answer([Query([*first, *then], where={"year": 1990})])[0])


def test_a_state_means_nothing_to_other_parameters():
    rec = made("gru4rec")
    session, other = rec.start(["i1"]), copy.copy(rec)
    other.engine = rec.engine.renewed(jax.tree.map(lambda leaf: leaf + 1, rec.engine.params))
    for call in (
        lambda: other.recommend(session),
        lambda: other.advance(session, "i2"),
        lambda: made("sasrec").recommend(session),
    ):
        with pytest.raises(UserError, match="the Session is of another model, or of another checkpoint"):
            call()
    assert other.recommend(other.start(["i1"]), 3) != rec.recommend(session, 3)
    for call in (
        lambda: rec.advance(["i1"], "i2"),
        lambda: rec.answer([["i1"]]),
        lambda: rec.influence(session, ["i2"]),
    ):
        with pytest.raises(UserError, match=r"is no Session|is no Query|history is a Session"):
            call()


def test_models_without_a_state_say_so():
    with pytest.raises(UserError, match="sasrec carries no state"):
        made("sasrec").start()
    with pytest.raises(UserError, match="is empty"):
        made("gru4rec").answer([Query(made("gru4rec").start(), strict=True)])
    assert made("gru4rec").answer([Query(made("gru4rec").start())])[0].fallback


@pytest.mark.parametrize(("name", "length"), [("sasrec", 1), ("bert4rec", 25)])
def test_influence_is_the_score_less_that_without_the_item(name, length):
    rec = made(name)
    history, asked = [*IDS[7 : 7 + length // 2], "nobody", *IDS[30 : 30 + length - length // 2]], ["i3", "i50"]
    moved = rec.influence(history, asked)
    known = [id for id in history if id in IDS][-(LENGTH - rec.engine.num_mask_slots) :]
    for place, id in enumerate(history):
        if id not in known:
            assert (moved[:, place] == 0).all()
            continue
        rest = [other for other in known if other != id]
        without = encoded(rec, rest) if rest or rec.engine.num_mask_slots else np.zeros(8)
        table = rec.engine.params["items"]
        want = np.asarray(table)[[3, 50]] @ (encoded(rec, known) - without)
        np.testing.assert_allclose(moved[:, place], want, atol=1e-4)


def test_what_was_warmed_is_not_compiled_again():
    rec = recommenders.recommender("gru4rec")
    rec.warm(batch=3, k=10)
    programs = set(rec.engine._compiled)
    for length in (1, 14, 19, 40):
        rec.recommend_batch([IDS[:length]] * 3, 10)
        rec.recommend_batch([IDS[:length]] * 4, 3)
        rec.answer([Query(IDS[:length], candidates=IDS[50:51]), Query(rec.start(IDS[:3]), block=["i9"])])
    rec.similar("i4")
    assert set(rec.engine._compiled) == programs


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(["i1"], where={"genre": "War"}), "where: items have no attribute 'genre': there are genres, year"),
        (Query(["i1"], where={"genres": "Wars"}), "where: no item's genres is 'Wars': there are Comedy, Drama, War"),
        (Query(["i1"], where={"year": [1990, {}]}), "where: year is {}, and items have integers there: there are 1990"),
        (Query(["i1"], where={"year": {"under": 5}}), "where: year: the bounds are below, above, at_least, at_most"),
        (Query(["i1"], where={"genres": {"below": 5}}), "where: genres is text, and bounds are for numbers and dates"),
        (Query(["i1"], where=["year"]), "where: should be a dictionary"),
        (Query(["i1", ["i2"]]), r"history: \['i2'\] is no id"),
        (Query(7), "history is 7: a list of ids is expected"),
        (Query({"i1"}), r"history is \{'i1'\}: a list of ids is expected"),
        (Query(["i1"], candidates=b"i1"), "a candidates is a list of ids"),
        (Query(["i1"], block="i2"), "a block is a list of ids"),
        (Query(["i1"], k=0), "k is 0"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(query, said):
    rec = made("sasrec")
    with pytest.raises(UserError, match=said):
        rec.check(query)
    with pytest.raises(UserError, match=f"history 1: .*{said[:9]}"):
        rec.answer([Query(["i1"]), query])


@pytest.mark.parametrize("name", some(recommenders.MODELS, "sasrec", "gru4rec"))
def test_the_place_in_the_list_is_the_rank_of_evaluation(name):
    rec = made(name)
    random = np.random.default_rng(2)
    data = from_sequences([random.permutation(IDS)[:n].tolist() for n in (60, 40, 3, 7, 30, 12)])
    numbers = [IDS.index(id) + 1 for id in data.catalogue.ids.tolist()]  # ids are sorted as text
    data = replace(data, items=np.array(numbers, np.int32)[data.items - 1], catalogue=rec.catalogue)
    split = splits.last_item(data)
    ranks = Evaluator(rec.engine.model, rec.config, split, split.test, jax.devices()[:1]).ranks(rec.engine.params)
    asked = zip(split.test.start, split.test.stop, strict=True)
    histories = [[IDS[v - 1] for v in data.items[start:stop]] for start, stop in asked]
    targets = [IDS[data.items[stop] - 1] for stop in split.test.stop]
    for rank, target, ranked in zip(ranks, targets, rec.recommend_batch(histories, ITEMS), strict=True):
        assert [id for id, _ in ranked].index(target) + 1 == rank


@pytest.mark.slow
def test_candidates_are_the_best_and_too_few_of_them_are_not_trusted(monkeypatch):
    pytest.importorskip("faiss")
    exact = recommenders.recommender("gru4rec", 6000, LENGTH, 16)
    near = recommenders.recommender("gru4rec", 6000, LENGTH, 16, approximate=True)
    scanned = []
    search = candidates.search
    monkeypatch.setattr(candidates, "search", lambda *args: scanned.append(1) or search(*args))
    random = np.random.default_rng(0)
    histories = [[f"i{v}" for v in random.integers(0, 6000, 12)] for _ in range(30)]
    got, want = near.recommend_batch(histories, 50), exact.recommend_batch(histories, 50)
    found = [len({id for id, _ in a} & {id for id, _ in b}) / 50 for a, b in zip(got, want, strict=True)]
    assert scanned and np.mean(found) >= 0.999
    assert not any({id for id, _ in a} & set(h) for a, h in zip(got, histories, strict=True))
    filtered = [Query(h, 100, where={"year": 1990, "genres": "Drama"}) for h in histories[:3]]  # one item in fifteen
    for a, b in zip(near.answer(filtered), exact.answer(filtered), strict=True):
        same(a, b)
    monkeypatch.setattr(candidates, "enough", lambda places, found, k: False)
    for a, b in zip(near.recommend_batch(histories[:3], 50), want, strict=False):
        same(a, b)


def test_a_program_for_more_items_answers_fewer_where_there_is_none_of_their_own():
    rec = copy.copy(made("sasrec"))
    rec.engine = copy.copy(rec.engine)
    rec.engine._compiled = {}
    wanted = made("sasrec").recommend(IDS[:5], 4)
    more = rec.recommend(IDS[:5], 40)
    compiled = set(rec.engine._compiled)
    assert rec.recommend(IDS[:5], 4) == more[:4] == wanted and set(rec.engine._compiled) == compiled
    rec.engine.compile(1, 4)
    assert set(rec.engine._compiled) > compiled and rec.recommend(IDS[:5], 4) == wanted


def test_what_was_compiled_for_more_answers_fewer_from_states_too():
    rec = copy.copy(made("gru4rec"))
    rec.engine = copy.copy(rec.engine)
    rec.engine._compiled = {}
    session = rec.start(IDS[:5])
    more = rec.recommend(session, 40)
    compiled = set(rec.engine._compiled)
    assert rec.recommend(session, 20) == more[:20] and set(rec.engine._compiled) == compiled


def test_a_change_of_the_catalogue_compiles_nothing_for_similar_items():
    rec = made("sasrec").changed(rows=1024)
    rec.similar("i1", 5)
    compiled = set(rec.engine._compiled)
    now = rec.changed([NewItem("n", like=["i1"])], retired=["i2"])
    assert dict(now.similar("i1", 5)).keys() >= {"n"} and set(now.engine._compiled) == compiled
    assert now.engine._compiled["lengths",]._cache_size() == 1


def test_a_session_goes_on_after_a_change_of_the_catalogue():
    rec = made("gru4rec")
    session = rec.start(["i1"])
    now = rec.changed([NewItem("n", like=["i2"])], retired=["i3"])
    later = now.advance(session, "n")
    same(now.recommend(later, 5, exclude_seen=False), now.recommend(["i1", "n"], 5, exclude_seen=False))


def test_fewer_items_from_states_have_a_program_of_their_own_once_it_is_compiled():
    rec = copy.copy(made("gru4rec"))
    rec.engine = copy.copy(rec.engine)
    rec.engine._compiled = {}
    rec.engine.compile(1, 40)
    rec.engine.compile(1, 4)
    assert {key[1] for key in rec.engine._compiled if key[0] == "best for"} == {rec.engine._k(40), rec.engine._k(4)}


def test_a_session_that_knows_added_items_belongs_to_those_who_have_them():
    rec = made("gru4rec")
    one, other = rec.changed([NewItem("a", like=["i1"])]), rec.changed([NewItem("b", like=["i1"])])
    session = one.start(["i1", "a"])
    for stranger in (rec, other):
        with pytest.raises(UserError, match="the Session is of another model"):
            stranger.recommend(session)
    later = one.changed([NewItem("c", like=["i1"])], retired=["i2"])
    same(later.recommend(session, 5), later.recommend(["i1", "a"], 5))
    assert other.recommend(rec.start(["i1"]), 5) == other.recommend(other.start(["i1"]), 5)

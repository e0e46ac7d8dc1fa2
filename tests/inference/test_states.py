"""Answers from kept states equal those from the whole history, whatever came in between."""

import copy
import gc
from functools import cache

import jax
import numpy as np
import pytest
import recommenders
from hypothesis import given, settings, strategies as st

from jaxrec.inference.queries import Query
from jaxrec.inference.states import States
from jaxrec.inference.stock import NewItem, sharing

LENGTH = 16  # a single number of slots, so that fewer programs are compiled
IDS = [f"i{v}" for v in range(60)]
ids = st.sampled_from([*IDS[:9], "new", "nobody"])


@cache
def variants(name):
    """Recommenders as [checkpoint][catalogue]; the second catalogue has one more item, and a retired one."""
    first = recommenders.recommender(name, length=LENGTH, layers=1)
    second = copy.copy(first)
    second.engine = first.engine.renewed(jax.tree.map(lambda leaf: leaf * 1.1, first.engine.params))
    found = [[rec, rec.changed([NewItem("new", ["i3", "i4"])], ["i5"])] for rec in (first, second)]
    found[1][1].engine = sharing(found[1][1].engine, found[0][1].engine)
    return found


def same(got, want):
    """Checks that the items are the same, except that nearly equal scores may change places."""
    assert got.unknown == want.unknown and got.fallback == want.fallback and len(got) == len(want)
    np.testing.assert_allclose([score for _, score in got], [score for _, score in want], rtol=1e-6, atol=1e-6)
    for (id, _), (other, score) in zip(got, want, strict=True):
        assert id == other or any(abs(score - near) < 2e-6 for each, near in want if each == id)


asked = st.builds(
    dict,
    k=st.sampled_from([1, 16]),
    exclude_seen=st.booleans(),
    block=st.lists(ids, max_size=2),
    candidates=st.none() | st.just(IDS[:1]) | st.just(IDS),
)
users = st.integers(0, 2)
happened = st.one_of(
    st.tuples(st.just("events"), users, st.lists(ids, min_size=1, max_size=3)),
    st.tuples(st.just("events"), users, st.lists(ids, max_size=1)),
    st.tuples(st.just("many"), users, st.lists(ids, min_size=LENGTH - 5, max_size=LENGTH)),
    st.tuples(st.just("earlier"), users, ids),
    st.tuples(st.just("renew"), st.integers(0, 1), st.integers(0, 1)),
)
steps = st.lists(st.tuples(happened, st.lists(users, min_size=1, max_size=2), asked), min_size=8, max_size=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru4rec", "rg-lru"])
@settings(max_examples=20)
@given(room=st.integers(1, 4), steps=steps)
def test_an_answer_by_a_state_is_that_of_the_whole_history(name, room, steps):
    states, histories, rec = States(room), {0: ["i1"], 1: ["i2"], 2: []}, variants(name)[0][0]
    for (what, which, more), asking, how in steps:
        if what == "renew":  # the checkpoint, the catalogue or both
            rec = variants(name)[which][more]
        elif what == "events":
            histories[which] = histories[which] + more
        elif what == "many":
            histories[which] = more
        else:  # an event that is older than one stored before
            histories[which] = [*histories[which][:-1], more, *histories[which][-1:]]
        checked = [rec.check(Query(histories[user], **how)) for user in asking]
        for query, got in zip(checked, rec.answer(states.stated(rec, checked)), strict=True):
            same(got, rec.answer([query])[0])
        assert len(states._kept) <= room


def test_a_few_new_items_are_all_that_is_encoded(monkeypatch):
    rec, states, encoded = variants("gru4rec")[0][0], States(10), []
    ask = lambda history: rec.answer(states.stated(rec, [rec.check(Query(history))]))
    whole, some = type(rec.engine).states, type(rec.engine).advance
    monkeypatch.setattr(type(rec.engine), "states", lambda self, all: encoded.append(all) or whole(self, all))
    monkeypatch.setattr(type(rec.engine), "advance", lambda self, *a: encoded.append(a[1]) or some(self, *a))
    ask(IDS[:3])
    assert not encoded  # no state yet, as it may never be needed
    ask(IDS[:3])
    ask(IDS[:4])
    ask([*IDS[:4], "nobody", "i4", "i5"])
    ask(IDS[:6])
    assert encoded == [[[1, 2, 3]], [4], [5, 6]] and states.continued == 3
    for _ in range(2):
        ask(IDS[: LENGTH + 1])  # the model doesn't see the first item
    assert len(encoded) == 3
    for count in range(2):
        ask(["i9", *IDS[: LENGTH - 1]])  # its first item is known, but no state of its beginning
        assert len(encoded) == 3 + count and states.continued == 3


def test_a_checkpoint_has_its_own_states_and_a_catalogue_keeps_them():
    states, (first, second) = States(10), variants("gru4rec")
    ask = lambda rec, history: rec.answer(states.stated(rec, [rec.check(Query(history, 5))]))[0]
    for rec in (first[0], second[0], first[0]):
        for _ in range(2):
            same(ask(rec, IDS[:3]), rec.recommend(IDS[:3], 5))
    assert states.continued == 0 and first[0].recommend(IDS[:3], 5) != second[0].recommend(IDS[:3], 5)
    for _ in range(2):
        ask(second[0], IDS[:3])
    before = states.continued
    same(ask(second[1], [*IDS[:3], "new"]), second[1].recommend([*IDS[:3], "new"], 5))
    assert states.continued == before + 1


def test_others_have_no_states_and_old_params_are_not_kept():
    states = States(10)
    for rec in (recommenders.recommender("sasrec"), recommenders.recommender("gru4rec", context="hour")):
        query = rec.check(Query(["i1"]))
        assert states.stated(rec, [query]) == [query] and not states._kept
    rec = recommenders.recommender("gru4rec")
    for _ in range(2):
        states.stated(rec, [rec.check(Query(["i1"]))])
    assert states._kept and states._whose() is rec
    del rec, query
    gc.collect()
    assert states._whose() is None


def test_the_state_that_was_used_longest_ago_makes_room():
    rec, states = variants("gru4rec")[0][0], States(2)
    ask = lambda history: rec.answer(states.stated(rec, [rec.check(Query(history, 5))]))
    first, second, third = IDS[:1], IDS[1:3], IDS[3:6]
    for history in (first, first, second, second, first, third, third, first):
        ask(history)
    assert states.continued == 2
    ask(second)  # its state is gone
    assert states.continued == 2

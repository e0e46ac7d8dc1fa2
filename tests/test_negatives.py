"""Laws of jaxrec.negatives: exact, uniform, of the whole training history, and different on every row."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from jaxrec.errors import UserError
from jaxrec.negatives import Seen, nth_unseen, seen, uniform
from jaxrec.random import row_keys, site_keys

CATALOGUE = 23
MOST = 22  # distinct items that a user may have met


def flat(histories, gaps=0):
    """Items [N], starts and stops of histories with foreign items between them."""
    lengths = np.array([len(history) for history in histories], int)
    items = np.concatenate([np.append(history, [1] * gaps).astype(np.int32) for history in histories])
    start = np.cumsum(lengths + gaps) - lengths - gaps
    return items, start, start + lengths


def halvings(sets):
    """Bisection steps as a training takes them: the bit length of the longest set."""
    return int(np.diff(sets.offsets).max()).bit_length()


# --- the sets


@given(st.lists(st.lists(st.integers(1, CATALOGUE), max_size=30), min_size=1, max_size=6), st.integers(0, 2))
def test_seen_is_the_sorted_set_of_each_training_history(histories, gaps):
    histories = [[item for item in history if item != 7] for history in histories]  # nobody has met everything
    sets = seen(*flat(histories, gaps), CATALOGUE)
    assert sets.items.dtype == np.int32
    for user, history in enumerate(histories):
        assert sets.items[sets.offsets[user] : sets.offsets[user + 1]].tolist() == sorted(set(history))


def test_a_user_who_has_met_everything_is_an_error_that_names_the_user_and_the_cure():
    almost, everything = [1, 2, 3, 4], [3, 1, 1, 4, 5, 2]
    seen(*flat([almost, []]), 5)
    with pytest.raises(UserError, match=r"user number 2 has all 5 items .*loss\.name=softmax"):
        seen(*flat([almost, everything, almost]), 5)


# --- the nth item outside a set

find = jax.jit(nth_unseen, static_argnames="steps")


@given(st.sets(st.integers(1, CATALOGUE), max_size=MOST), st.integers(0, 5), st.data())
@example(set(), 0, None)
@example(set(range(1, CATALOGUE)), 0, None)
@example(set(range(2, CATALOGUE + 1)), 3, None)
def test_nth_unseen_is_the_nth_non_member(members, low, data):
    spare = 0 if data is None else data.draw(st.integers(0, 2))
    items = np.full(40, CATALOGUE, np.int32)  # what lies beside the set must not matter
    items[: low + 1] = 1
    items[low : low + len(members)] = sorted(members)
    outside = [item for item in range(1, CATALOGUE + 1) if item not in members]
    nth = np.zeros(CATALOGUE, np.int32)
    nth[: len(outside)] = np.arange(len(outside))
    lows = np.full(CATALOGUE, low, np.int32)
    found = find(nth, lows, lows + len(members), items, steps=len(members).bit_length() + spare)
    assert found[: len(outside)].tolist() == outside


def test_nth_unseen_at_the_end_of_the_items():
    items = np.array([1, 3, 4], np.int32)
    assert find(np.arange(2), np.full(2, 1), np.full(2, 3), items, steps=2).tolist() == [1, 2]


# --- draws

HISTORIES = {
    "empty": [],
    "one": [5] * 4,
    "half": [*range(1, 24, 2), 3, 3, 1],
    "first": list(range(1, 12)),
    "last": list(range(12, 24)),
    "all but one": [item for item in range(23, 0, -1) if item != 9],
}


@pytest.fixture(scope="module")
def draws():
    """Items drawn by every user of HISTORIES on each of 40 rows, [rows, T, K], and the user of each slot, [T]."""
    sets = seen(*flat(HISTORIES.values(), 1), CATALOGUE)
    source = np.repeat(np.arange(len(HISTORIES), dtype=np.int32), 10)
    draw = partial(uniform, number=12, seen=jax.tree.map(jnp.asarray, sets), catalogue=CATALOGUE, steps=halvings(sets))
    keys = site_keys(row_keys(0, 3, np.arange(40)), 77)
    return np.asarray(jax.jit(jax.vmap(lambda key: draw(key, source)))(keys)), source


@pytest.mark.parametrize("user", range(len(HISTORIES)), ids=HISTORIES)
def test_negatives_are_uniform_over_what_the_user_has_not_met(draws, user):
    drawn, source = draws
    assert drawn.dtype == np.int32
    assert drawn.shape == (40, len(source), 12)
    counts = np.bincount(drawn[:, source == user].ravel(), minlength=CATALOGUE + 1)
    assert len(counts) == CATALOGUE + 1
    outside = sorted(set(range(1, CATALOGUE + 1)) - set(list(HISTORIES.values())[user]))
    assert counts[outside].sum() == counts.sum() == 40 * 10 * 12
    if len(outside) > 1:
        assert chisquare(counts[outside]).pvalue > 1e-4


def test_negatives_of_two_rows_slots_or_columns_are_independent(draws):
    drawn, source = draws
    one = drawn[:, source == 0]  # of the user with an empty history
    pairs = {
        "rows": (one[::2], one[1::2]),
        "slots": (one[:, ::2], one[:, 1::2]),
        "columns": (one[..., ::2], one[..., 1::2]),
    }
    for first, second in pairs.values():
        together = np.bincount((first * 24 + second).ravel(), minlength=24 * 24).reshape(24, 24)[1:, 1:]
        assert chisquare(together.ravel()).pvalue > 1e-4
    assert len({row.tobytes() for row in one}) == len(one)


THREE = np.array([0, 1, 2, 2, 1, 0], np.int32)


@jax.jit
def draw_three(key, items, offsets):
    return uniform(key, THREE, 40, Seen(items, offsets), CATALOGUE, MOST.bit_length())


@given(st.integers(0, 2**31 - 1), st.lists(st.sets(st.integers(1, CATALOGUE), max_size=MOST), min_size=3, max_size=3))
def test_negatives_are_never_in_the_history(seed, histories):
    sets = seen(*flat([sorted(history) for history in histories]), CATALOGUE)
    padded = np.zeros(3 * MOST, np.int32)
    padded[: len(sets.items)] = sets.items
    drawn = np.asarray(draw_three(jax.random.key(seed), padded, sets.offsets))
    assert 1 <= drawn.min() <= drawn.max() <= CATALOGUE
    for slot, user in enumerate(THREE):
        assert not set(drawn[slot].tolist()) & histories[user]

"""Laws of negatives: their distributions, which slots share them, and the same draws on any number of devices."""

import dataclasses
from functools import partial

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from scipy.stats import chisquare
from some import some

from jaxrec.batches.objectives import Targets
from jaxrec.data import interactions, splits
from jaxrec.kernels.random import row_keys, site_keys, step_key
from jaxrec.system.errors import UserError
from jaxrec.training.steps import negatives
from jaxrec.training.steps.negatives import Seen, draw_popular, nth_unseen, popular, seen, uniform

CATALOGUE = 23
MOST = 22  # distinct items that a user may have met


def flat(histories, gaps=0):
    """Items [N], starts and stops of histories with foreign items between them."""
    lengths = np.array([len(history) for history in histories], int)
    items = np.concatenate([np.append(history, [1] * gaps).astype(np.int32) for history in histories])
    start = np.cumsum(lengths + gaps) - lengths - gaps
    return items, start, start + lengths


def halvings(sets):
    """The number of bisection steps in a training: the bit length of the longest set."""
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
    with pytest.raises(UserError, match=r"user ann has all 5 items .*loss\.name=softmax"):
        seen(*flat([almost, everything, almost]), 5, ["bob", "ann", "cy"])


# --- the nth item outside a set

find = jax.jit(nth_unseen, static_argnames="steps")


@given(st.sets(st.integers(1, CATALOGUE), max_size=MOST), st.integers(0, 5), st.data())
@example(set(), 0, None)
@example(set(range(1, CATALOGUE)), 0, None)
@example(set(range(2, CATALOGUE + 1)), 3, None)
def test_nth_unseen_is_the_nth_non_member(members, low, data):
    spare = 0 if data is None else data.draw(st.integers(0, 2))
    items = np.full(40, CATALOGUE, np.int32)  # what is stored beside the set must not matter
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
    user_index = np.repeat(np.arange(len(HISTORIES), dtype=np.int32), 10)
    draw = partial(uniform, number=12, seen=jax.tree.map(jnp.asarray, sets), catalogue=CATALOGUE, steps=halvings(sets))
    keys = site_keys(row_keys(0, 3, np.arange(40)), 77)
    return np.asarray(jax.jit(jax.vmap(lambda key: draw(key, user_index)))(keys)), user_index


@pytest.mark.parametrize("user", range(len(HISTORIES)), ids=HISTORIES)
def test_negatives_are_uniform_over_what_the_user_has_not_met(draws, user):
    drawn, user_index = draws
    assert drawn.dtype == np.int32
    assert drawn.shape == (40, len(user_index), 12)
    counts = np.bincount(drawn[:, user_index == user].ravel(), minlength=CATALOGUE + 1)
    assert len(counts) == CATALOGUE + 1
    outside = sorted(set(range(1, CATALOGUE + 1)) - set(list(HISTORIES.values())[user]))
    assert counts[outside].sum() == counts.sum() == 40 * 10 * 12
    if len(outside) > 1:
        assert chisquare(counts[outside]).pvalue > 1e-4


def test_negatives_of_two_rows_slots_or_columns_are_independent(draws):
    drawn, user_index = draws
    one = drawn[:, user_index == 0]  # of the user with an empty history
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


# --- by popularity


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any), st.sampled_from([0.0, 0.3, 0.75, 1.0]))
@example([0, 3, 5], 0.0)  # not even where all others are drawn alike
def test_an_alias_table_holds_the_shares_of_the_weights(counts, alpha):
    table = popular(np.array(counts), alpha)
    weights = np.where(np.array(counts) > 0, np.array(counts, float) ** alpha, 0)
    wanted = weights / weights.sum()
    keep = np.where(table.alias == np.arange(len(counts)), 1, table.keep / 2**32)
    got = (keep + np.bincount(table.alias, 1 - keep, minlength=len(counts))) / len(counts)
    np.testing.assert_allclose(got, wanted, atol=1e-9)
    np.testing.assert_allclose(table.share, wanted, rtol=1e-6)
    assert not got[np.array(counts) == 0].any()
    drawable = np.array(counts) > 0
    ratio = np.exp(table.log_weight[drawable]) / wanted[drawable]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_counts_to_a_power_that_no_number_holds_are_refused():
    with pytest.raises(UserError, match=r"config\.loss\.alpha is 300: the counts of the items to that power"):
        popular(np.array([1, 10**5]), 300.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_draws_by_popularity_are_in_proportion_to_the_weights(alpha):
    counts = np.array([1, 900, 30, 0, 4, 4, 250, 77, 1, 12])
    table = jax.tree.map(jnp.asarray, popular(counts, alpha))
    drawn = np.asarray(jax.jit(draw_popular, static_argnums=1)(jax.random.key(5), (100, 300), table))
    assert drawn.dtype == np.int32
    got, wanted = np.bincount(drawn.ravel() - 1, minlength=10), 30_000 * np.asarray(table.share, float)
    assert chisquare(got[wanted > 0], wanted[wanted > 0] / wanted.sum() * 30_000).pvalue > 1e-4
    assert got[wanted == 0].sum() == 0


def test_popularity_draws_of_one_slot_are_fair_over_steps_and_independent_of_the_next():
    """The same two slots at 30,000 successive steps: pairs are as frequent as the product of the shares."""
    table = jax.tree.map(jnp.asarray, popular(np.array([1, 2, 3, 5, 8]), 1.0))
    drawn = jax.vmap(lambda step: draw_popular(step_key(3, step), (2,), table))(jnp.arange(30_000))
    got = np.bincount(np.asarray((drawn[:, 0] - 1) * 5 + drawn[:, 1] - 1), minlength=25)
    wanted = np.outer(table.share, table.share).astype(float).ravel()
    assert chisquare(got, wanted / wanted.sum() * 30_000).pvalue > 1e-4


# --- by configuration

ROWS, SLOTS = 8, 5
TARGETS = np.random.default_rng(1).integers(0, CATALOGUE + 1, (ROWS, SLOTS)).astype(np.int32)
TARGET_COUNTS = np.random.default_rng(2).integers(0, 9, CATALOGUE) + 0.5  # expected ones may be fractions
SHARES = {"slot": (ROWS * SLOTS, 6), "row": (ROWS, 6), "batch": (6,)}
WAYS = {
    "uniform-unseen": {},
    **{
        f"{sampling} of a {share}": {"sampling": sampling, "share": share}
        for sampling in ("uniform", "popularity")
        for share in SHARES
    },
    "uniform, logq": {"sampling": "uniform", "logq": 1.0},
    "popularity, logq": {"sampling": "popularity", "share": "row", "logq": 0.5},
    "popularity, logq, keep": {"sampling": "popularity", "logq": 1.0, "remove_accidental_hits": False},
    **{
        f"{sampling}{more}": {"sampling": sampling, "share": "batch", **settings}
        for sampling in ("in-batch", "mixed")
        for more, settings in {
            "": {},
            ", logq": {"logq": 1.0},
            ", logq, keep": {"logq": 1.0, "remove_accidental_hits": False},
            ", logq, events": {"logq": 1.0, "logq_counts": "events"},
            ", logq, keep, events": {"logq": 1.0, "remove_accidental_hits": False, "logq_counts": "events"},
        }.items()
    },
}


def loss_of(sampling="uniform-unseen", **settings):
    return entries.loss("sampled-softmax", negatives=0 if sampling == "in-batch" else 6, sampling=sampling, **settings)


@pytest.fixture(scope="module")
def split():
    random = np.random.default_rng(0)
    histories = [random.choice(CATALOGUE, 12, p=random.dirichlet(np.ones(CATALOGUE))) + 1 for _ in range(40)]
    return splits.last_item(
        interactions.from_sequences([[*h.tolist(), 1 + u % CATALOGUE] for u, h in enumerate(histories)])
    )


def drawn_on(devices, loss, split, step=3):
    """The negatives of a step on this many devices, each field joined as if it were on one device."""
    draw, aside = negatives.sampler(loss, split, "data", lambda: TARGET_COUNTS)
    aside = jax.tree.map(jnp.asarray, aside)

    def of_device(rows, targets):
        keys = site_keys(row_keys(0, step, rows), 77)
        user_index = jnp.broadcast_to(rows[:, None], targets.shape)
        return draw(step_key(0, step), keys, Targets(targets, user_index, None), aside)

    rows = np.arange(ROWS, dtype=np.int32).reshape(devices, -1)
    out = jax.pmap(of_device, "data", devices=jax.devices()[:devices])(rows, TARGETS.reshape(devices, -1, SLOTS))

    def whole(name, each):
        if each is None:
            return None
        shared = out.shared_by == "batch" and name in ("items", "shift")
        assert not shared or (each == each[0]).all()
        return np.asarray(each[0] if shared else each.reshape(-1, *each.shape[2:]))

    fields = ("items", "shift", "own_shift", "own_column")
    return dataclasses.replace(out, **{name: whole(name, getattr(out, name)) for name in fields})


@pytest.mark.parametrize("way", some(WAYS, "uniform-unseen", "mixed, logq, keep, events"))
def test_devices_draw_what_one_draws(way, split):
    loss = loss_of(**WAYS[way])
    one = drawn_on(1, loss, split)
    for devices in (2, 8):
        jax.tree.map(np.testing.assert_array_equal, drawn_on(devices, loss, split), one)
    other = drawn_on(1, loss, split, step=4)
    assert loss.sampling == "in-batch" or (other.items != one.items).any()
    assert one.items.dtype == np.int32
    assert one.shift is None or one.shift.shape == one.items.shape
    assert (one.shift is not None) == (loss.logq > 0)
    assert (one.own_shift is not None) == (loss.logq > 0 and not loss.remove_accidental_hits)
    if loss.sampling in ("in-batch", "mixed"):
        assert one.items[: TARGETS.size].tolist() == TARGETS.ravel().tolist()
        assert one.own_column.tolist() == list(range(TARGETS.size))
        assert len(one.items) == TARGETS.size + loss.negatives
    else:
        assert one.items.shape == SHARES[loss.share]
        assert 1 <= one.items.min() <= one.items.max() <= CATALOGUE
        assert len(np.unique(one.items.reshape(-1, 6), axis=0)) == one.items.size // 6  # no two sets are the same
        assert one.own_column is None


def test_uniform_draws_are_uniform_over_the_catalogue(split):
    loss = entries.loss("bpr", negatives=400, sampling="uniform")
    counts = np.bincount(drawn_on(1, loss, split).items.ravel(), minlength=CATALOGUE + 1)[1:]
    assert len(counts) == CATALOGUE and chisquare(counts).pvalue > 1e-4


def test_logq_is_the_log_of_the_expected_count(split):
    """The expected count of an item among a slot's negatives: a masked target counts once, so it isn't corrected."""
    counts = splits.training_counts(split)
    weights, real = counts**0.75, (TARGETS > 0).sum()
    batch, events = TARGET_COUNTS / TARGET_COUNTS.sum(), counts / counts.sum()
    drawn = {way: drawn_on(1, loss_of(**WAYS[way]), split) for way in WAYS if "logq" in way}
    expected_of = {
        "uniform, logq": 6 / CATALOGUE * np.ones(CATALOGUE),
        "popularity, logq": (6 * weights / weights.sum()) ** 0.5,
        "in-batch, logq": (real - 1) * batch,
        "in-batch, logq, events": (real - 1) * events,
        "mixed, logq": (real - 1) * batch + 6 * weights / weights.sum(),
        "mixed, logq, events": (real - 1) * events + 6 * weights / weights.sum(),
    }
    for way, expected in expected_of.items():
        items, shift = drawn[way].items, drawn[way].shift
        np.testing.assert_allclose(shift[items > 0], np.log(expected)[items[items > 0] - 1], rtol=1e-4, atol=1e-5)
    # kept, as the official GRU4Rec: each by its own sampler's weights, the targets by the batch's
    targets = np.maximum(TARGETS.ravel(), 1) - 1
    popularity = drawn["popularity, logq, keep"]
    for way, by in {"mixed, logq, keep": TARGET_COUNTS, "mixed, logq, keep, events": counts}.items():
        mixed = drawn[way]
        np.testing.assert_allclose(mixed.own_shift, np.log(by[targets]), rtol=1e-5)
        np.testing.assert_allclose(mixed.shift[: len(targets)], np.log(by[targets]), rtol=1e-5)
        drawn_items = mixed.items[len(targets) :]
        np.testing.assert_allclose(mixed.shift[len(targets) :], np.log(weights[drawn_items - 1]), rtol=1e-5)
    np.testing.assert_allclose(popularity.own_shift, np.log(weights[targets]), rtol=1e-5)
    np.testing.assert_allclose(popularity.shift, np.log(weights[popularity.items - 1]), rtol=1e-5)

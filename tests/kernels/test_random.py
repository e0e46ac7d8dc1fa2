"""Laws of random: keys are functions of (seed, step, row), and the hash behind dropout is even and uncorrelated.

Statistics use fixed keys, with bounds that chance exceeds at most once in ten thousand times.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy.stats import chisquare

from jaxrec.kernels.random import Part, dropout, randint, random_bits, row_keys, site_keys

ROWS = 6
seeds = st.integers(0, 2**31 - 1)
row_keys_of, site_keys_of = jax.jit(row_keys), jax.jit(site_keys)
hash_of, dropout_of = jax.jit(random_bits, static_argnums=1), jax.jit(dropout, static_argnums=2)
hash_rows = jax.jit(jax.vmap(random_bits, (0, None)), static_argnums=1)


def data(keys):
    return [tuple(key) for key in np.asarray(jax.random.key_data(keys)).tolist()]


@jax.jit
def strongest_correlation(one, other):
    """Of any bit of one with any bit of the other, both uint32 [N], in standard deviations of independent bits."""

    def signs(words):
        return 1.0 - 2.0 * ((words[:, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1)

    return jnp.abs(signs(one).T @ signs(other)).max() / np.sqrt(len(one))


# --- keys


@given(seeds, seeds, st.lists(seeds, min_size=ROWS, max_size=ROWS), st.permutations(range(ROWS)))
def test_the_key_of_a_row_does_not_depend_on_the_rows_beside_it(seed, step, rows, order):
    keys = data(row_keys_of(seed, step, np.array(rows)))
    assert data(row_keys_of(seed, step, np.array(rows)[list(order)])) == [keys[row] for row in order]
    others = np.arange(ROWS)
    others[3] = rows[0]
    assert data(row_keys_of(seed, step, others))[3] == keys[0]


def test_no_two_rows_steps_or_sites_have_the_same_key():
    sites = [0, 1, 65535, 65536, 65537, 2**31 - 1]
    found = []
    for seed in range(3):
        for step in range(40):
            rows = row_keys_of(seed, step, np.arange(24))
            found += data(rows)
            for site in sites:
                found += data(site_keys_of(rows, site))
    assert len(set(found)) == len(found) == 3 * 40 * 24 * 7


@given(st.tuples(seeds, seeds, seeds, seeds), st.tuples(seeds, seeds, seeds, seeds))
@example((0, 1, 2, 3), (0, 1, 3, 2))
@example((0, 1, 2, 3), (1, 0, 2, 3))
@example((0, 1, 2, 3), (0, 2, 1, 3))
def test_dropout_is_the_same_only_for_the_same_seed_step_row_and_site(one, other):
    kept = []
    for seed, step, row, site in (one, one, other):
        (key,) = site_keys_of(row_keys_of(seed, step, np.array([row])), site)
        kept.append(np.asarray(dropout_of(key, jnp.ones(256), 0.5)) > 0)
    np.testing.assert_array_equal(kept[0], kept[1])
    assert np.array_equal(kept[0], kept[2]) == (one == other)


# --- the hash


@given(seeds)
@settings(max_examples=5)
def test_the_hash_is_a_function_of_the_key_and_the_place(seed):
    key = jax.random.key(seed)
    flat = np.asarray(hash_of(key, (24,)))
    assert flat.dtype == np.uint32
    np.testing.assert_array_equal(hash_of(key, (2, 3, 4)), flat.reshape(2, 3, 4))
    np.testing.assert_array_equal(hash_of(key, (48,))[:24], flat)


def test_each_byte_of_the_hash_is_uniform_over_places_and_over_keys():
    over_places = np.asarray(hash_of(jax.random.key(1), (2**18,)))
    over_keys = np.asarray(hash_rows(row_keys_of(1, 0, np.arange(2**15)), (4,)))
    for words in (over_places, *over_keys.T):
        by_byte = [
            np.bincount(byte, minlength=256) for byte in np.ascontiguousarray(words).view(np.uint8).reshape(-1, 4).T
        ]
        assert chisquare(by_byte, axis=1).pvalue.min() > 1e-4


@pytest.mark.parametrize("distance", [1, 2, 3, 50, 64, 128, 200, 4096])
def test_neighbouring_places_are_uncorrelated(distance):
    words = np.asarray(hash_of(jax.random.key(2), (2**16,)))
    assert strongest_correlation(words, np.roll(words, distance)) < 5.5


@pytest.mark.parametrize("axis", ["seed", "step", "row", "site"])
def test_neighbouring_keys_are_uncorrelated(axis):
    def words(distance):
        at = {"seed": 7, "step": 11, "row": 5, "site": 3}
        at[axis] += distance
        (key,) = site_keys_of(row_keys_of(at["seed"], at["step"], np.array([at["row"]])), at["site"])
        return hash_of(key, (2**16,))

    for distance in (1, 2, 4):
        assert strongest_correlation(words(0), words(distance)) < 5.5


def test_neighbouring_rows_are_uncorrelated_at_every_place():
    words = np.asarray(hash_rows(row_keys_of(3, 0, np.arange(2**15)), (3,)))
    for place in words.T:
        assert strongest_correlation(place, np.roll(place, 1)) < 5.5
    assert strongest_correlation(words[:, 0], words[:, 1]) < 5.5


@given(seeds, st.lists(st.integers(1, 2**31 - 1), min_size=20, max_size=20))
def test_what_is_drawn_below_a_bound_is_the_hash_modulo_it(seed, bounds):
    key, bounds = jax.random.key(seed), np.array(bounds)
    drawn = np.asarray(randint(key, (len(bounds), 3), bounds[:, None]))
    assert drawn.dtype == np.int32
    np.testing.assert_array_equal(drawn, np.asarray(hash_of(key, drawn.shape)) % bounds[:, None])


@pytest.mark.parametrize("bound", [2, 7, 100, 3416])
def test_what_is_drawn_below_a_bound_is_uniform(bound):
    drawn = randint(jax.random.key(6), (2**18,), bound)
    assert chisquare(np.bincount(drawn, minlength=bound)).pvalue > 1e-4


# --- dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.2, 0.5, 0.9])
def test_dropout_keeps_the_share_that_it_should_and_the_mean(rate):
    n = 2**20
    kept = np.asarray(dropout_of(jax.random.key(4), jnp.ones(n), rate))
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs((kept > 0).mean() - (1 - rate)) < 4.5 * deviation
    assert abs(kept.mean(dtype=np.float64) - 1) < 4.5 * deviation / (1 - rate) + 1e-6
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1) / np.float32(1 - rate)}


@given(seeds, st.sampled_from(["float32", "bfloat16"]))
def test_dropout_scales_what_it_keeps(seed, dtype):
    x = jax.random.normal(jax.random.key(seed), (8, 32), dtype)
    got = dropout_of(jax.random.key(seed + 1), x, 0.25)
    assert got.dtype == x.dtype
    kept = np.asarray(got != 0)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(np.asarray(got)[kept], np.asarray(x / 0.75)[kept])


@pytest.mark.parametrize(("begin", "shape"), [((0, 0, 0), (2, 3, 5)), ((0, 4, 0), (2, 3, 7)), ((1, 2, 3), (1, 5, 4))])
def test_a_part_of_an_array_loses_what_the_whole_loses_there(begin, shape):
    whole, key = (2, 7, 7), jax.random.key(3)
    at = tuple(slice(first, first + size) for first, size in zip(begin, shape, strict=True))
    part = dropout(key, jnp.ones(shape), 0.5, Part(whole, begin))
    np.testing.assert_array_equal(part, dropout(key, jnp.ones(whole), 0.5)[at])


def test_elements_that_are_2_to_the_32_apart_draw_the_same():
    """As two heads of attention do to a history of 65,536 items, on an accelerator."""
    key, begin = jax.random.key(3), (7, 11)
    first = random_bits(key, (2, 5), Part((2**16, 2**16), begin))
    second = random_bits(key, (1, 2, 5), Part((2, 2**16, 2**16), (1, *begin)))
    np.testing.assert_array_equal(second[0], first)


def test_no_key_or_no_rate_is_no_dropout():
    x = jnp.arange(5.0)
    assert dropout(None, x, 0.5) is x
    assert dropout(jax.random.key(0), x, 0.0) is x

"""Laws of the top k by chunks: it equals that of a sort of all scores, with ties, NaN and infinities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.kernels import best, sizes
from jaxrec.kernels.hardware import Hardware, assumed

QUERIES, WIDTH, SEEN = 5, 4, 7


def brute(scores, seen, k):
    left = [v for v in range(1, len(scores) + 1) if v not in set(seen.tolist()) and scores[v - 1] > -np.inf]
    found = sorted(left, key=lambda v: (-scores[v - 1], v))[:k]
    return found + [0] * (k - len(found)), [scores[v - 1] for v in found] + [-np.inf] * (k - len(found))


@pytest.fixture
def small(monkeypatch):
    """Uses chunks of 32 items and blocks of 4, so that a catalogue of a hundred has many."""
    monkeypatch.setattr(best, "WHOLE", 32)
    monkeypatch.setattr(sizes, "RANKED_ITEMS", 32)
    monkeypatch.setattr(best, "BLOCK", 4)
    monkeypatch.setattr(best, "SPARE", 2)


@pytest.mark.parametrize("items", [31, 33, 64, 97])
def test_they_are_those_of_a_sort_of_all_scores(small, items):
    found = jax.jit(best.top_k_unseen, static_argnames="k")

    @given(seed=st.integers(0, 2**32 - 1), biased=st.booleans(), levels=st.sampled_from([1, 3, 1000]))
    def law(seed, biased, levels):
        random = np.random.default_rng(seed)
        table, hidden = (random.integers(-levels, levels, (n, WIDTH)).astype(np.float32) for n in (items, QUERIES))
        bias = random.choice([0, 1, 2, np.nan, np.inf, -np.inf], items, p=[0.5, 0.2, 0.15, 0.05, 0.05, 0.05])
        seen = random.integers(0, items + 1, (QUERIES, SEEN)).astype(np.int32)
        params = (table, bias.astype(np.float32)) if biased else (table, None)
        got = found(params, hidden, seen, k=3)
        scores = hidden @ table.T + (bias if biased else 0)
        expected = [brute(row, known, 3) for row, known in zip(scores, seen, strict=True)]
        np.testing.assert_array_equal(got[0], [row for row, _ in expected])
        np.testing.assert_array_equal(got[1], np.array([row for _, row in expected], np.float32))

    law()


@pytest.mark.parametrize("items", [64, 97, 100])
@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_of_an_accelerators_chunks_they_are_those_of_the_whole(small, items, chunks, monkeypatch):
    monkeypatch.setattr(sizes, "RANKED_ITEMS", 1)
    random = np.random.default_rng(items)
    for _ in range(9):
        table, hidden = (random.integers(-3, 4, (n, WIDTH)).astype(np.float32) for n in (items, QUERIES))
        seen = random.integers(0, items + 1, (QUERIES, SEEN)).astype(np.int32)
        with assumed(Hardware("gpu", sizes.MEMORY_PER_NUMBER * QUERIES * -(-items // chunks))):
            assert -(-items // sizes.ranked_items(QUERIES, items)) == chunks
            found, _ = jax.jit(partial(best.top_k_unseen, k=3))((table, None), hidden, seen)
        assert found.tolist() == [brute(*each, 3)[0] for each in zip(hidden @ table.T, seen, strict=True)]


def test_fewer_than_k_left_are_filled_up_with_none(small):
    seen = jnp.arange(1, 97)[None]
    items, scores = best.top_k_unseen((jnp.ones((97, WIDTH)), None), jnp.ones((1, WIDTH)), seen, k=3)
    assert items.tolist() == [[97, 0, 0]]
    assert scores.tolist() == [[WIDTH, -np.inf, -np.inf]]


def test_memory_does_not_grow_by_the_product_of_what_is_asked_and_what_is_seen():
    """Comparing each block with each seen item would take 100 times the memory of the seen items."""
    table, hidden = jnp.zeros((20_000, WIDTH)), jnp.zeros((QUERIES, WIDTH))

    def temporaries(seen):
        shape = jax.ShapeDtypeStruct((QUERIES, seen), jnp.int32)
        lowered = jax.jit(best.top_k_unseen, static_argnames="k").lower((table, None), hidden, shape, k=100)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporaries(2**15) - temporaries(2**14) < 50 * QUERIES * 2**14 * 4


def test_real_sizes_agree_with_a_product_of_everything():
    random = np.random.default_rng(0)
    table = random.normal(size=(best.WHOLE + 5, 16)).astype(np.float32)
    table[sizes.RANKED_ITEMS :: 7] = table[0]  # the same vector in many blocks
    hidden = random.normal(size=(4, 16)).astype(np.float32)
    hidden[0] = table[0]
    seen = random.integers(0, len(table) + 1, (4, 50)).astype(np.int32)
    items, scores = jax.jit(partial(best.top_k_unseen, k=10))((table, None), hidden, seen)
    exact = hidden.astype(np.float64) @ table.T.astype(np.float64)
    exact[np.repeat(np.arange(4), 50)[seen.ravel() > 0], seen[seen > 0] - 1] = -np.inf
    order = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(items, order + 1)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, order, axis=1), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_of_scores_that_differ_by_their_rounding_all_are_compared(seed):
    random = np.random.default_rng(seed)
    one = random.normal(size=32)
    table = jnp.asarray(one + 1e-7 * random.normal(size=(best.WHOLE + 900, 32)), jnp.float32)
    hidden, seen = jnp.asarray(random.normal(size=(8, 32)), jnp.float32), jnp.zeros((8, 1), jnp.int32)
    params = table, None
    found = jax.jit(best.top_k_unseen, static_argnames="k")(params, hidden, seen, k=10)
    # a single query, as when it is compared again
    again = jax.jit(lambda hidden_D: best._of_all(params, hidden_D[None], seen[:1], 10))
    for row in range(8):
        np.testing.assert_array_equal(found[0][row], again(hidden[row])[0][0])

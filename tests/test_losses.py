"""Laws of jaxrec.losses: the formulas, and that fast forms equal the plain ones in value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxrec.losses import CHUNK, SAMPLED, TOTALS, bce, score, softmax, softmax_total, total

V, D, K = 37, 5, 3
seeds = st.integers(0, 2**31 - 1)


def problem(seed, slots, items=V, with_bias=True, scale=1.0):
    """(hidden, targets, weights, negatives, table, bias): about a third of the slots weigh nothing and ask for 0."""
    random = np.random.default_rng(seed)
    weight = np.where(random.random(slots) < 0.3, 0.0, random.uniform(0.2, 2, slots)).astype(np.float32)
    target = np.where(weight > 0, random.integers(1, items + 1, slots), 0).astype(np.int32)
    negatives = random.integers(1, items + 1, (slots, K)).astype(np.int32)
    hidden, table = (scale * random.normal(size=(n, D)).astype(np.float32) for n in (slots, items))
    bias = random.normal(size=items).astype(np.float32) if with_bias else None
    return tuple(
        None if each is None else jnp.asarray(each) for each in (hidden, target, weight, negatives, table, bias)
    )


def with_gradients(summed):
    """jit of (value, gradients in hidden, table and bias), of (hidden, target, weight, negatives, table, bias)."""

    def of(hidden, target, weight, negatives, table, bias):
        given = (hidden, table) if bias is None else (hidden, table, bias)
        at = lambda hidden, table, bias=None: summed(hidden, target, weight, negatives, table, bias)
        return jax.value_and_grad(at, argnums=tuple(range(len(given))))(*given)

    return jax.jit(of)


plain, fast = with_gradients(total(softmax)), with_gradients(softmax_total)
sampled = with_gradients(total(bce))
slots = {"score": jax.jit(score), "bce": jax.jit(bce), "softmax": jax.jit(softmax)}


def agree(got, wanted, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1, np.abs(other).max()))


# --- one slot


@given(seeds, st.booleans())
def test_a_slot_is_its_formula(seed, with_bias):
    hidden, target, _, negatives, table, bias = problem(seed, 1, with_bias=with_bias)
    slot = hidden[0], max(int(target[0]), 1), negatives[0], table, bias
    scores = np.asarray(table, float) @ np.asarray(hidden[0]) + (0 if bias is None else np.asarray(bias))
    score_of_target, asked = scores[slot[1] - 1], scores[negatives[0] - 1]
    assert slots["score"](slot[0], slot[1], table, bias) == pytest.approx(score_of_target, rel=1e-5, abs=1e-5)
    wanted = np.log1p(np.exp(-score_of_target)) + np.log1p(np.exp(asked)).sum()
    assert slots["bce"](*slot) == pytest.approx(wanted, rel=1e-5)
    wanted = -np.log(np.exp(score_of_target) / np.exp(scores).sum())
    assert slots["softmax"](*slot) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_a_slot_of_large_scores_is_finite():
    table, hidden, negatives = jnp.array([[100.0], [-100.0], [0.0]]), jnp.ones(1), jnp.array([1])
    assert slots["bce"](hidden, 2, negatives, table, None) == 200
    assert slots["softmax"](hidden, 2, negatives, table, None) == 200
    assert (
        slots["bce"](hidden, 1, negatives + 1, table, None) == slots["softmax"](hidden, 1, negatives, table, None) == 0
    )
    value, grads = fast(jnp.ones((3, 1)), jnp.array([2, 1, 3]), jnp.ones(3), None, table, None)
    assert value == 300
    assert all(np.isfinite(grad).all() for grad in grads)


# --- totals


@pytest.mark.parametrize(
    "name, form", [("bce", sampled), ("softmax", plain), ("softmax", fast)], ids=["bce", "softmax", "softmax_total"]
)
def test_the_total_is_the_weighted_sum_over_slots(name, form):
    hidden, target, weight, negatives, table, bias = problem(0, CHUNK + 1)
    each = [weight[n] * slots[name](hidden[n], target[n], negatives[n], table, bias) for n in np.flatnonzero(weight)]
    assert float(form(hidden, target, weight, negatives, table, bias)[0]) == pytest.approx(float(sum(each)), rel=1e-5)


@pytest.mark.parametrize("number, with_bias", [(1, True), (CHUNK, False), (CHUNK + 1, False), (2 * CHUNK + 11, True)])
def test_softmax_by_chunks_equals_the_plain_one_in_value_and_gradients(number, with_bias):
    given = problem(number, number, with_bias=with_bias)
    agree(fast(*given), plain(*given))


@settings(max_examples=20)
@given(seeds, st.sampled_from([0.1, 1.0, 6.0]))
def test_softmax_by_chunks_equals_the_plain_one_at_any_scale(seed, scale):
    given = problem(seed, CHUNK + 1, scale=scale)
    agree(fast(*given), plain(*given))


def test_gradients_are_scaled_by_what_follows():
    hidden, target, weight, negatives, table, bias = problem(5, CHUNK + 1)

    @jax.jit
    def gradients(hidden, table, bias):
        at = lambda *at: 3 * softmax_total(at[0], target, weight, negatives, *at[1:]) / weight.sum()
        return jax.grad(at, argnums=(0, 1, 2))(hidden, table, bias)

    wanted = jax.tree.map(
        lambda grad: 3 / weight.sum() * grad, plain(hidden, target, weight, negatives, table, bias)[1]
    )
    agree(gradients(hidden, table, bias), wanted)


def test_in_bfloat16_the_sums_are_float32():
    hidden, target, weight, negatives, table, bias = problem(6, CHUNK + 1)
    low = (jnp.bfloat16(hidden), target, weight, negatives, jnp.bfloat16(table), bias)
    value, grads = fast(*low)
    assert value.dtype == jnp.float32
    assert [grad.dtype for grad in grads] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]
    exact = plain(*(each.astype(jnp.float32) if each.dtype == jnp.bfloat16 else each for each in low))
    agree(value, exact[0])  # inputs rounded alike: products of bfloat16 are exact in float32
    agree(jax.tree.map(jnp.float32, grads), exact[1], 2**-7)  # a gradient is rounded to 8 bits, its factors before


@pytest.mark.parametrize("name", TOTALS)
def test_gradients_are_finite_differences(name):
    hidden, target, weight, negatives, table, bias = problem(2, 6, 8)

    @jax.jit
    def at(hidden, table, bias):
        return TOTALS[name](hidden, target, weight, negatives, table, bias)

    check_grads(at, (hidden, table, bias), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


@pytest.mark.parametrize("form", [sampled, plain, fast], ids=["bce", "softmax", "softmax_total"])
def test_a_slot_of_no_weight_changes_nothing_and_has_no_gradient(form):
    hidden, target, weight, negatives, table, bias = problem(3, CHUNK + 1)
    idle = np.asarray(weight == 0)
    assert 0 < idle.sum() < len(weight)
    noise = jnp.where(idle[:, None], 1e3 * hidden, hidden)
    other = jnp.where(idle, 5, target), weight, jnp.where(idle[:, None], 1, negatives)
    value, (grad, *shared) = form(hidden, target, weight, negatives, table, bias)
    noisy_value, (noisy_grad, *noisy_shared) = form(noise, *other, table, bias)
    for of_hidden in (grad, noisy_grad):
        assert not np.asarray(of_hidden)[idle].any()
        assert np.asarray(of_hidden)[~idle].any(axis=1).all()
    agree((noisy_value, noisy_grad, noisy_shared), (value, grad, shared), 1e-6)


def test_no_weight_at_all_is_zero_not_nan():
    hidden, target, weight, negatives, table, bias = problem(4, CHUNK + 1)
    for form in (sampled, plain, fast):
        for values in jax.tree.leaves(form(hidden, target, jnp.zeros_like(weight), negatives, table, bias)):
            assert not np.asarray(values).any()


def test_the_scores_of_a_batch_are_never_held_at_once():
    number, items = 8192, 1000
    given = problem(0, number, items)
    held = [form.lower(*given).compile().memory_analysis().temp_size_in_bytes for form in (fast, plain)]
    scores = 4 * number * items
    assert held[0] < scores / 4
    assert held[1] >= scores  # what the chunks save


def test_which_losses_take_negatives():
    assert set(TOTALS) == {"bce", "softmax"}
    assert {"bce"} == SAMPLED


@pytest.mark.parametrize("name", ["bce", "softmax"])
def test_gradients_of_one_item_add_up_in_bfloat16(name):
    """Thousands of slots that ask for one item: added in bfloat16, its row's gradient would stop growing at 128."""
    slots = 2048
    target, weight = jnp.full(slots, 3), jnp.ones(slots)
    negatives = jnp.full((slots, 1), 5) if name == "bce" else None

    def grad(dtype):
        hidden = jnp.ones((slots, 8), dtype)
        loss = lambda table: TOTALS[name](hidden, target, weight, negatives, table, None)
        return jax.grad(loss)(jnp.zeros((6, 8), jnp.float32))

    np.testing.assert_allclose(grad(jnp.bfloat16), grad(jnp.float32), rtol=0.01, atol=4)

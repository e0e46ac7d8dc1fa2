"""Laws of the full softmax: its formula, and that its chunks equal the plain one in value and gradients."""

from functools import partial

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads
from problems import V, agree, confident, error, fast_softmax, plain_softmax, problem, with_gradients
from some import some

from jaxrec.config import registry
from jaxrec.kernels import sizes
from jaxrec.system.errors import UserError
from jaxrec.training.losses import entry as losses
from jaxrec.training.losses.softmax import smoothed, softmax, softmax_plain, softmax_total
from jaxrec.training.losses.totals import score
from jaxrec.training.steps.negatives import Seen
from jaxrec.training.steps.own_items import OwnItems

seeds = st.integers(0, 2**31 - 1)
CHUNK = sizes.PRODUCT_ROWS
score_of, softmax_of = jax.jit(score), jax.jit(softmax)


@given(seeds, st.booleans())
def test_a_slot_of_the_softmax_is_its_formula(seed, with_bias):
    hidden, target, _, _, table, bias = problem(seed, 1, with_bias=with_bias)
    item = max(int(target[0]), 1)
    scores = np.asarray(table, float) @ np.asarray(hidden[0]) + (0 if bias is None else np.asarray(bias))
    assert score_of(hidden[0], item, table, bias) == pytest.approx(scores[item - 1], rel=1e-5, abs=1e-5)
    wanted = -np.log(np.exp(scores[item - 1]) / np.exp(scores).sum())
    assert softmax_of(hidden[0], item, table, bias) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("with_bias", some([True, False], True))
def test_a_smoothed_softmax_is_a_mixture_of_every_target(with_bias):
    """Of its own target with weight 1 - s, and of each item of the catalogue with s / V; value and gradients."""
    hidden, target, weight, negatives, table, bias = problem(3, 20)
    given = hidden, target, weight, negatives, table, bias if with_bias else None
    build = losses.build(entries.loss("softmax", label_smoothing=0.2), len(table))

    def mixture(hidden, target, weight, negatives, table, bias):
        total = lambda target: softmax_plain(hidden, target, weight, negatives, table, bias)
        every = sum(total(jnp.full_like(target, item)) for item in range(1, len(table) + 1))
        return 0.8 * total(target) + 0.2 * every / len(table)

    at = (0, 4, 5) if with_bias else (0, 4)
    agree(*(jax.jit(jax.value_and_grad(form, argnums=at))(*given) for form in (build, mixture)))
    assert losses.build(entries.loss("softmax"), len(table)) is softmax_total


def own_items(seed, slots, users=9, items=V):
    """OwnItems of slots: runs with the same user, some without a user; users have none, some or all of the items."""
    random = np.random.default_rng(seed)
    sets = [np.sort(random.choice(items, n, False)) + 1 for n in (items, 0, *random.integers(1, items, users - 2))]
    seen = Seen(np.concatenate(sets).astype(np.int32), np.append(0, np.cumsum(list(map(len, sets)))).astype(np.int32))
    of_slots = np.repeat(random.integers(-1, users, slots), random.integers(1, 4, slots))[:slots]
    return jax.tree.map(jnp.asarray, OwnItems(of_slots.astype(np.int32), seen))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_slot_whose_own_items_are_left_out_is_the_formula_of_the_others(smoothing):
    """The target is compared to all items except its user's others; with smoothing, partly by their mean score."""
    hidden, target, weight, _, table, bias = problem(5, 42)
    own, wanted = own_items(5, 42), 0.0
    users, seen = jax.tree.map(np.asarray, (own.users, own.seen))
    for n in np.flatnonzero(weight):
        scores = np.asarray(table, float) @ np.asarray(hidden[n]) + np.asarray(bias)
        begin, end = seen.offsets[users[n] : users[n] + 2] if users[n] >= 0 else (0, 0)
        others = set(seen.items[begin:end].tolist()) - {int(target[n])}
        among = np.delete(scores, np.array(sorted(others), int) - 1)
        plain = scores[target[n] - 1]
        towards = (1 - smoothing) * plain + smoothing * among.mean()
        wanted += float(weight[n]) * (np.log(np.exp(among).sum()) - towards)
    assert {-1, 0} < set(users[np.asarray(weight) > 0].tolist())  # slots without a user, and of the user with all items
    assert float(softmax_plain(hidden, target, weight, own, table, bias, smoothing)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("number, with_bias", [(7, True), (CHUNK + 1, False), (2 * CHUNK + 12, True)])
def test_chunks_without_own_items_equal_the_plain_form_in_value_and_gradients(number, with_bias, smoothing):
    hidden, target, weight, _, table, bias = problem(number, number, with_bias=with_bias)
    given = hidden, target, weight, own_items(number, number), table, bias
    forms = (with_gradients(partial(form, smoothing=smoothing)) for form in (softmax_total, softmax_plain))
    agree(*(form(*given) for form in forms))


def test_no_gradient_moves_what_is_left_out():
    """A row of the table that every slot of a batch leaves out has no gradient, whatever its score is."""
    hidden, target, weight, _, table, bias = problem(8, 21)
    target = jnp.where(target == 5, 6, target)
    own = OwnItems(jnp.zeros(21, jnp.int32), Seen(jnp.array([5]), jnp.array([0, 1])))
    for of_item in (0.0, 90.0):
        value, (_, grad_table, grad_bias) = fast_softmax(hidden, target, weight, own, table, bias.at[4].set(of_item))
        assert np.isfinite(value)
        assert not np.asarray(grad_table[4]).any()
        assert not grad_bias[4]


def test_hand_written_kernels_are_not_for_what_leaves_items_out():
    with pytest.raises(UserError, match=r"loss\.fused=False, or config\.loss\.seen=keep"):
        registry.find("loss", "softmax").check(entries.loss("softmax", fused=True, seen="exclude"))


def test_the_softmax_of_large_scores_is_finite():
    table, hidden = jnp.array([[100.0], [-100.0], [0.0]]), jnp.ones(1)
    assert softmax_of(hidden, 2, table, None) == 200
    assert softmax_of(hidden, 1, table, None) == 0
    value, grads = fast_softmax(jnp.ones((3, 1)), jnp.array([2, 1, 3]), jnp.ones(3), None, table, None)
    assert value == 300
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("form", [plain_softmax, fast_softmax], ids=["plain", "fast"])
def test_the_total_of_the_softmax_is_the_weighted_sum_over_slots(form):
    hidden, target, weight, negatives, table, bias = problem(0, CHUNK + 1)
    each = [weight[n] * softmax_of(hidden[n], target[n], table, bias) for n in np.flatnonzero(weight)]
    assert float(form(hidden, target, weight, negatives, table, bias)[0]) == pytest.approx(float(sum(each)), rel=1e-5)


@pytest.mark.parametrize("number, with_bias", [(1, True), (CHUNK, False), (CHUNK + 1, False), (2 * CHUNK + 12, True)])
def test_softmax_by_chunks_equals_the_plain_one_in_value_and_gradients(number, with_bias):
    given = problem(number, number, with_bias=with_bias)
    agree(fast_softmax(*given), plain_softmax(*given))


@pytest.mark.parametrize("held, few", [(1, 1), (1, 5), (100, 1), (1000, 1)])
def test_softmax_by_the_chunks_of_any_catalogue_equals_the_plain_one(held, few, monkeypatch):
    """With a large catalogue, fewer slots are scored at once; this one is treated as if it were large."""
    monkeypatch.setattr(sizes, "PRODUCT_NUMBERS", held)
    monkeypatch.setattr(sizes, "FEWEST_PRODUCT_ROWS", few)
    given = problem(7, 70)
    fresh = jax.jit(jax.value_and_grad(softmax_total, argnums=(0, 4, 5)))
    agree(fresh(*given), plain_softmax(*given))


@settings(max_examples=20)
@given(seeds, st.sampled_from([0.1, 1.0, 6.0]))
def test_softmax_by_chunks_equals_the_plain_one_at_any_scale(seed, scale):
    given = problem(seed, CHUNK + 1, scale=scale)
    agree(fast_softmax(*given), plain_softmax(*given))


def test_gradients_are_scaled_by_what_follows():
    hidden, target, weight, negatives, table, bias = problem(5, CHUNK + 1)

    @jax.jit
    def gradients(hidden, table, bias):
        at = lambda *at: 3 * softmax_total(at[0], target, weight, negatives, *at[1:]) / weight.sum()
        return jax.grad(at, argnums=(0, 1, 2))(hidden, table, bias)

    wanted = jax.tree.map(
        lambda grad: 3 / weight.sum() * grad, plain_softmax(hidden, target, weight, negatives, table, bias)[1]
    )
    agree(gradients(hidden, table, bias), wanted)


def test_in_bfloat16_the_sums_are_float32():
    hidden, target, weight, negatives, table, bias = problem(6, CHUNK + 1)
    low = (jnp.bfloat16(hidden), target, weight, negatives, jnp.bfloat16(table), bias)
    value, grads = fast_softmax(*low)
    assert value.dtype == jnp.float32
    assert [grad.dtype for grad in grads] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]
    exact = plain_softmax(low[0].astype(jnp.float32), *low[1:4], low[4].astype(jnp.float32), bias)
    agree(value, exact[0])  # inputs are rounded alike, and products of bfloat16 are exact in float32
    agree(jax.tree.map(jnp.float32, grads), exact[1], 2**-7)  # gradients are rounded to 8 bits, their factors before


@pytest.mark.parametrize("nll", [0.001, 0.01, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("leaves_out", [False, True])
def test_in_bfloat16_gradients_of_likely_targets_are_as_exact_as_others(nll, smoothing, leaves_out):
    """With a float32 table: for likely targets, p - 1 is small, while p has only 8 bits in bfloat16."""
    hidden, target, weight, _, table, _ = confident(1, CHUNK + 7, nll)
    own = own_items(2, CHUNK + 7) if leaves_out else None
    exact = hidden.astype(jnp.float32), target, weight, own, table.astype(jnp.bfloat16).astype(jnp.float32), None
    form = partial(softmax_total, smoothing=smoothing) if leaves_out else smoothed(softmax_total, smoothing)
    found = with_gradients(form)(hidden, target, weight, own, table, None)[1]
    assert error(found, with_gradients(partial(softmax_plain, smoothing=smoothing))(*exact)[1]) < 2**-7


def test_gradients_of_the_softmax_are_finite_differences():
    hidden, target, weight, negatives, table, bias = problem(2, 6, 8)
    at = jax.jit(lambda hidden, table, bias: softmax_total(hidden, target, weight, negatives, table, bias))
    check_grads(at, (hidden, table, bias), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


def test_the_scores_of_a_batch_are_never_held_at_once():
    number, items = 8192, 1000
    given = problem(0, number, items)
    held = [form.lower(*given).compile().memory_analysis().temp_size_in_bytes for form in (fast_softmax, plain_softmax)]
    scores = 4 * number * items
    assert held[0] < scores / 4
    assert held[1] >= scores  # chunks save this memory

"""Laws of losses: their formulas, and that the fast forms equal the plain ones in value and gradients."""

import dataclasses
from functools import partial

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from jax.test_util import check_grads
from problems import FLAT, FORMS, SLOTS, K, V, agree, plain_softmax, problem, sampled, with_gradients
from some import some

from jaxrec.kernels import sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.system.errors import UserError
from jaxrec.training.losses import entry as losses
from jaxrec.training.losses.bce import bce
from jaxrec.training.losses.bpr import bpr
from jaxrec.training.losses.gbce import gbce
from jaxrec.training.losses.sampled_softmax import sampled_softmax
from jaxrec.training.losses.softmax import softmax
from jaxrec.training.losses.totals import score, total
from jaxrec.training.steps.negatives import Negatives, draw_popular, popular

seeds = st.integers(0, 2**31 - 1)
CHUNK = sizes.PRODUCT_ROWS

# --- one slot

sigmoid = lambda x: 1 / (1 + np.exp(-x))
shares = lambda x: np.exp(x) / np.exp(x).sum()
elu = lambda x, a: np.where(x > 0, x, a * (np.exp(x) - 1))

FORMULAS = {  # of the positive's score and those of the negatives that count, in float64
    "bce": lambda p, n: -np.log(sigmoid(p)) - np.log(1 - sigmoid(n)).sum(),
    "gbce": lambda p, n: (
        (-np.log(sigmoid(p) ** (K / 36 * ((1 - 36 / K) * 0.75 + 36 / K))) - np.log(1 - sigmoid(n)).sum()) / (K + 1)
    ),
    "sampled-softmax": lambda p, n: -np.log(np.exp(p) / (np.exp(p) + np.exp(n).sum())),
    "sampled-softmax, scaled": lambda p, n: -np.log(np.exp(p) / (np.exp(p) + 100 * np.exp(n).sum())),
    "bpr": lambda p, n: -np.log(sigmoid(p - n)).mean() if len(n) else 0,
    "bpr-max": lambda p, n: -np.log((shares(n) * sigmoid(p - n)).sum()) + 1.3 * (shares(n) * n**2).sum(),
    "bpr-max of elu": lambda p, n: (
        -np.log((shares(elu(n, 0.5)) * sigmoid(elu(p, 0.5) - elu(n, 0.5))).sum())
        + 0.7 * (shares(elu(n, 0.5)) * elu(n, 0.5) ** 2).sum()
    ),
    "top1-max": lambda p, n: (shares(n) * (sigmoid(n - p) + sigmoid(n**2))).sum(),
    "hinge, from outside": lambda s, n: np.maximum(1 - s + n, 0).mean(),
}
slots = {name: jax.jit(slot) for name, slot in SLOTS.items()}
score_of, softmax_of = jax.jit(score), jax.jit(softmax)


@pytest.mark.parametrize("name", SLOTS)
@given(seeds, st.lists(st.booleans(), min_size=K, max_size=K))
def test_a_slot_of_a_sampled_loss_is_its_formula(name, seed, valid):
    positive, *negatives = np.random.default_rng(seed).normal(0, 2, K + 1).astype(np.float32)
    negatives, valid = np.array(negatives), np.array(valid)
    got = slots[name](positive, negatives, valid)
    if not valid.any() and name in ("bpr", "bpr-max", "bpr-max of elu", "top1-max", *FLAT):
        assert got == 0
    else:
        wanted = FORMULAS[name](np.float64(positive), np.float64(negatives[valid]))
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", some(SLOTS, "bce", "gbce", "bpr-max", "hinge, from outside"))
@pytest.mark.parametrize("valid", some([((True, False, True),), ((False, False, False),)], ((True, False, True),)))
def test_gradients_of_a_slot_are_finite_differences(name, valid):
    at = partial(SLOTS[name], valid_K=np.array(valid))
    with jax.enable_x64(True):
        for positive, negatives in ((0.3, [1.1, -0.7, 0.2]), (-4.0, [3.0, -2.0, 5.0]), (6.0, [-5.0, 0.1, -0.1])):
            check_grads(at, (positive, jnp.array(negatives)), order=1, modes=["fwd", "rev"], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", some(SLOTS, "bce", "gbce", "sampled-softmax", "bpr-max", "hinge, from outside"))
def test_a_slot_of_large_scores_is_finite_and_learns(name):
    valid = jnp.ones(K, bool)
    for scale in (30.0, 100.0):
        scores = (jnp.float32(-scale), scale * jnp.array([1.0, -1.0, 0.5]))
        value, grads = jax.jit(jax.value_and_grad(SLOTS[name], (0, 1)))(*scores, valid)
        assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)
        if name not in ("top1-max", "bpr-max of elu"):  # the formulas of these saturate
            assert grads[0] < -0.05


def test_gbce_at_0_is_the_mean_of_bce():
    scores = jnp.float32(0.4), jnp.array([-1.0, 2.0, 0.3]), jnp.array([True, False, True])
    assert gbce(V, 0.0)(*scores) == pytest.approx(float(bce(*scores)) / 4)


# --- totals


@pytest.mark.parametrize("name", some(SLOTS, "bce", "sampled-softmax", "bpr-max of elu", "hinge, from outside"))
def test_the_total_is_the_weighted_sum_over_slots(name):
    hidden, target, weight, negatives, table, bias = problem(0, 20)
    wanted = 0.0
    for n in np.flatnonzero(weight):
        scores = table @ hidden[n] + bias
        items = negatives.items[n]
        wanted += weight[n] * slots[name](scores[target[n] - 1], scores[items - 1], items != target[n])
    given = hidden, target, weight, negatives, table, bias
    assert float(sampled(name)(*given)[0]) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_a_slot_of_no_weight_changes_nothing_and_has_no_gradient(name):
    hidden, target, weight, negatives, table, bias = problem(3, CHUNK + 1)
    idle = np.asarray(weight == 0)
    assert 0 < idle.sum() < len(weight)
    noise = jnp.where(idle[:, None], 1e3 * hidden, hidden)
    items = jnp.where(idle[:, None], 1, negatives.items)
    value, (grad, *shared) = FORMS[name](hidden, target, weight, negatives, table, bias)
    noisy = FORMS[name](noise, jnp.where(idle, 5, target), weight, Negatives(items, shared_by="slot"), table, bias)
    noisy_value, (noisy_grad, *noisy_shared) = noisy
    for of_hidden in (grad, noisy_grad):
        assert not np.asarray(of_hidden)[idle].any()
        moved = np.asarray(of_hidden)[~idle].any(axis=1).mean()
        assert moved > (0.5 if name in FLAT else 0.95)  # the rest have no negative other than their target, or are flat
    agree((noisy_value, noisy_grad, noisy_shared), (value, grad, shared), 1e-6)


def test_no_weight_at_all_is_zero_not_nan():
    hidden, target, weight, negatives, table, bias = problem(4, CHUNK + 1)
    for form in FORMS.values():
        for values in jax.tree.leaves(form(hidden, target, jnp.zeros_like(weight), negatives, table, bias)):
            assert not np.asarray(values).any()


@pytest.mark.parametrize("name", some(["bce", "softmax"], "softmax"))
def test_gradients_of_one_item_add_up_in_bfloat16(name):
    """Thousands of slots have the same target: added in bfloat16, the gradient of its row would stop growing at 128."""
    slots = 2048
    target, weight = jnp.full(slots, 3), jnp.ones(slots)
    summed = losses.build(entries.loss(name, **({} if name == "softmax" else {"negatives": 1})), 6)

    def grad(dtype, negatives):
        hidden = jnp.ones((slots, 8), dtype)
        loss = lambda table: summed(hidden, target, weight, negatives, table, None)
        return jax.jit(jax.grad(loss))(jnp.zeros((6, 8), jnp.float32))

    for shared_by, shape in {"slot": (slots, 1), "batch": (1,)}.items():
        negatives = Negatives(jnp.full(shape, 5), shared_by=shared_by)
        np.testing.assert_allclose(grad(jnp.bfloat16, negatives), grad(jnp.float32, negatives), rtol=0.01, atol=4)


# --- sampled: the fast forms

ROWS, MEMBERS, MANY = 6, 7, 11  # MANY negatives per row or batch
SLOT_COUNT = ROWS * MEMBERS
LAYOUTS = {  # (shape of the negatives, what shares them, TABLE_ROWS_PER_LOOKUP)
    "slots, looked up": ((SLOT_COUNT, MANY), "slot", 0),
    "slots, taken": ((SLOT_COUNT, MANY), "slot", 16),
    "rows": ((ROWS, MANY), "row", 0),
    "batch": ((MANY,), "batch", 0),
}


def shifted(given, seed=1):
    """The problem with shifted scores, an own column for each slot, and the third negative missing (item 0)."""
    hidden, target, weight, negatives, table, bias = given
    random = np.random.default_rng(seed)
    shape = negatives.items.shape
    negatives = dataclasses.replace(
        negatives,
        items=negatives.items.at[..., 2].set(0),
        shift=jnp.asarray(random.normal(size=shape), jnp.float32),
        own_shift=jnp.asarray(random.normal(size=len(target)), jnp.float32),
        own_column=jnp.asarray(random.integers(0, shape[-1], len(target)), jnp.int32),
    )
    return hidden, target, weight, negatives, table, bias


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch):
    """A layout of negatives, with limits so low that there are several chunks, the last one not full."""
    shape, shared_by, rows = LAYOUTS[request.param]
    monkeypatch.setattr(sizes, "TABLE_ROWS_PER_LOOKUP", rows)
    held = {"batch": 5 * MANY, "rows": 4 * MEMBERS * MANY}.get(request.param, 5 * V)
    monkeypatch.setattr(sizes, "HELD_NUMBERS", held)
    return {"shape": shape, "shared_by": shared_by}


@pytest.mark.parametrize("name", some(SLOTS, "bce", "bpr-max of elu", "hinge, from outside"))
def test_fast_forms_equal_the_plain_one_in_value_and_gradients(name, layout):
    given = shifted(problem(1, SLOT_COUNT, **layout))
    agree(with_gradients(total(SLOTS[name]))(*given), sampled(name)(*given))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape, shared_by", [((SLOT_COUNT, K), "slot"), ((ROWS, MANY), "row"), ((MANY,), "batch")])
def test_forms_of_accelerators_equal_the_plain_one(shape, shared_by, with_bias):
    given = shifted(problem(5, SLOT_COUNT, shape=shape, shared_by=shared_by, with_bias=with_bias))
    with assumed(Hardware("gpu", 16 << 30)):
        found = with_gradients(total(SLOTS["bce"]))(*given)
    agree(found, sampled("bce")(*given))


def test_fast_forms_without_bias_and_shifts_and_where_collisions_are_kept(layout):
    given = problem(2, SLOT_COUNT, with_bias=False, **layout)
    agree(with_gradients(total(bpr))(*given), sampled("bpr")(*given))
    given = shifted(given)
    agree(with_gradients(total(bpr, keep=True))(*given), sampled("bpr", True)(*given))


def test_fast_forms_in_bfloat16(layout):
    hidden, target, weight, negatives, table, bias = shifted(problem(4, SLOT_COUNT, **layout))
    table = table.astype(jnp.bfloat16).astype(jnp.float32)
    low = hidden.astype(jnp.bfloat16)
    got, grads = with_gradients(total(sampled_softmax))(low, target, weight, negatives, table, bias)
    assert got.dtype == jnp.float32
    assert [grad.dtype for grad in grads] == [jnp.bfloat16, jnp.float32, jnp.float32]
    exact = sampled("sampled-softmax")(low.astype(jnp.float32), target, weight, negatives, table, bias)
    agree(got, exact[0])
    agree(jax.tree.map(jnp.float32, grads), exact[1], 2**-6)


def test_fast_gradients_are_scaled_by_what_follows(layout):
    hidden, target, weight, negatives, table, bias = shifted(problem(5, SLOT_COUNT, **layout))

    @jax.jit
    def gradients(*at):
        return jax.grad(
            lambda *at: 3 * total(bpr)(at[0], target, weight, negatives, *at[1:]) / weight.sum(), argnums=(0, 1, 2)
        )(*at)

    wanted = sampled("bpr")(hidden, target, weight, negatives, table, bias)[1]
    agree(gradients(hidden, table, bias), jax.tree.map(lambda grad: 3 / weight.sum() * grad, wanted))


@pytest.mark.parametrize(("shared_by", "shape"), [("slot", (4096, 256)), ("row", (32, 1024)), ("batch", (2048,))])
@pytest.mark.parametrize("items", some([1000, 10_000], 10_000))
def test_memory_is_bounded(shared_by, shape, items):
    """Gathered rows or scores of all slots are never in memory at once; only gradients of the whole table are."""
    given = problem(0, 4096, items, shape=shape, shared_by=shared_by)
    given = (jnp.zeros((4096, 64)), *given[1:4], jnp.zeros((items, 64)), None)
    fast = with_gradients(total(sampled_softmax))
    held = fast.lower(*given).compile().memory_analysis().temp_size_in_bytes
    assert held < 10 * 4 * sizes.HELD_NUMBERS + 4 * 4 * items * 64
    if shared_by != "batch" and items == 1000:
        whole = sampled("sampled-softmax").lower(*given).compile().memory_analysis().temp_size_in_bytes
        assert held < whole / 4


# --- sampled: what counts


@pytest.mark.slow
def test_a_softmax_against_all_other_items_is_the_full_one():
    for shared_by, shape in {"batch": (V,), "row": (1, V), "slot": (SLOT_COUNT, V)}.items():
        given = problem(7, SLOT_COUNT)
        negatives = Negatives(jnp.broadcast_to(jnp.arange(1, V + 1), shape), shared_by=shared_by)
        given = (*given[:3], negatives, *given[4:])
        agree(with_gradients(total(sampled_softmax))(*given), plain_softmax(*given))


@pytest.mark.parametrize("name", some(SLOTS, "bce", "bpr-max", "hinge, from outside"))
def test_a_negative_that_is_the_target_counts_only_where_it_is_kept(name):
    hidden, _, weight, negatives, table, bias = problem(8, 20)
    target = jnp.full(20, 5)
    items = jnp.where(negatives.items == 5, 6, negatives.items)
    # the second negative is another item, the target, or no item
    forms = [Negatives(items.at[:, 1].set(item), shared_by="slot") for item in (7, 5, 0)]
    masked = [sampled(name)(hidden, target, weight, each, table, bias)[0] for each in forms]
    kept = [sampled(name, True)(hidden, target, weight, each, table, bias)[0] for each in forms]
    assert masked[1] == masked[2] == kept[2] != masked[0]
    assert kept[0] == masked[0] and kept[1] != kept[2]
    own = dataclasses.replace(forms[1], own_column=jnp.ones(20, jnp.int32))
    assert sampled(name, True)(hidden, target, weight, own, table, bias)[0] == kept[2]


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True], ids=["mask", "keep"])
def test_the_expected_gradient_with_logq_goes_to_that_of_the_full_softmax(keep):
    """A target that is masked among the negatives isn't corrected; one that is kept is corrected as they are."""
    items, target, draws = 9, 3, 4000
    scores = jnp.asarray(np.random.default_rng(0).normal(0, 1, items), jnp.float32)
    table = popular(np.array([1, 40, 6, 3, 100, 2, 10, 20, 5]), 0.75)
    wanted = jax.nn.softmax(scores) - jax.nn.one_hot(target - 1, items)

    def error(number, logq):
        def grad(key):
            drawn = draw_popular(key, (number,), jax.tree.map(jnp.asarray, table))
            if keep:
                shift, own = table.log_weight[drawn - 1], table.log_weight[target - 1]
            else:
                shift, own = jnp.log(number * table.share[drawn - 1]), 0.0

            def loss(scores):
                valid = jnp.ones(number, bool) if keep else drawn != target
                return sampled_softmax(scores[target - 1] - logq * own, scores[drawn - 1] - logq * shift, valid)

            return jax.grad(loss)(scores)

        keys = jax.random.split(jax.random.key(1), draws)
        mean = jax.jit(lambda keys: jax.lax.map(grad, keys, batch_size=500).mean(0))(keys)
        return np.abs(mean - wanted).max()

    table = jax.tree.map(jnp.asarray, table)
    few, many, most = (error(number, 1.0) for number in (4, 32, 256))
    assert few > many > most
    assert most < (0.012 if keep else 0.006)  # if kept, the bias goes as 1 over the target's expected count
    assert error(256, 0.0) > 0.05


def test_gbce_takes_a_share_of_the_catalogue():
    with pytest.raises(
        UserError, match=r"config.loss.negatives is 20 of a catalogue of 20 items.*Set it to 19 or less"
    ):
        losses.build(entries.loss("gbce", negatives=20, sampling="uniform"), 20)

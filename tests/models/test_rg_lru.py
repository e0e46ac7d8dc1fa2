"""Laws of jaxrec.models.rg_lru, besides those of every model: its unit is the paper's, and it carries a state."""

import dataclasses
import importlib
import itertools

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.batches.stream import Stream
from jaxrec.models import layers, rg_lru

ROWS, SLOTS, WIDTH, ITEMS = 3, 9, 4, 27
LENGTHS = [[9], [4, 1, 3], [2, 5]]  # of the sequences in the rows; two rows end with empty slots
POSITIONS = np.array([[p for length in row for p in range(length)] + [0] * (SLOTS - sum(row)) for row in LENGTHS])
SEGMENTS = np.array([np.repeat(range(1, len(row) + 1), row).tolist() + [0] * (SLOTS - sum(row)) for row in LENGTHS])
ITEM = np.where(SEGMENTS > 0, np.arange(1, ITEMS + 1).reshape(ROWS, SLOTS), 0)
FULL = Stream(*(jnp.asarray(x, jnp.int32) for x in (ITEM, 0 * ITEM, SEGMENTS, POSITIONS, 0 * ITEM)))
REAL = SEGMENTS > 0


def model(**keys):
    made = entries.model("rg-lru", ITEMS, SLOTS, dim=WIDTH, **({"layers": 2} | keys))
    return dataclasses.replace(made, encode=jax.jit(made.encode))


def noisy(model):
    """Returns params near their initial values, so that a state lasts; biases are moved too."""
    random = np.random.default_rng(1)
    move = lambda x: x + 0.5 * jnp.asarray(random.normal(size=x.shape), jnp.float32)
    return jax.tree.map(move, jax.jit(model.init)(jax.random.key(0)))


# --- the unit


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_the_unit_is_its_formula(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    random = np.random.default_rng(0)
    x, decay, enters = 2 * random.normal(size=(3, ROWS, SLOTS, WIDTH))
    slowness, state = 3 * random.normal(size=WIDTH), random.normal(size=(ROWS, WIDTH))
    reset = (POSITIONS == 0) & (np.arange(SLOTS) > 0)  # the first slots continue from the given state
    low = (jnp.asarray(value, jnp.float32) for value in (x, decay, enters, slowness))
    got = jax.jit(lambda *args: rg_lru.rg_lru(*args))(*low, jnp.asarray(reset), jnp.asarray(state, jnp.float32))
    for slot in range(SLOTS):
        a = sigmoid(slowness) ** (8 * sigmoid(decay[:, slot]))
        state = np.where(reset[:, slot, None], 0, a * state)
        state = state + np.sqrt(1 - a**2) * sigmoid(enters[:, slot]) * x[:, slot]
        np.testing.assert_allclose(got[:, slot], state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_states_and_gradients_are_finite_whatever_the_gates(monkeypatch, backend):
    """Over 500 slots in float32, with features from one that forgets at once to one that never does."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    kinds = np.array(list(itertools.product([-200, -10, 0, 200], [-100, 0, 100])), np.float32)
    x = jnp.ones((1, 500, len(kinds)))

    def last(x, decay, enters, slowness, before):
        states = rg_lru.rg_lru(x, decay, enters, slowness, jnp.arange(500)[None] == 7, before)
        return states[:, -1].sum(), states

    gates = x * kinds[:, 0]
    args = (x, gates, gates, jnp.asarray(kinds[:, 1]), x[:, 0])
    (_, states), grads = jax.jit(jax.value_and_grad(last, argnums=range(5), has_aux=True))(*args)
    assert np.abs(states).max() < 100
    assert all(np.isfinite(grad).all() for grad in grads)


def test_at_first_an_open_gate_keeps_nine_tenths_or_more():
    slowness = rg_lru.initial_slowness(jax.random.key(0), (1000,))
    kept = jax.nn.sigmoid(slowness) ** rg_lru.SHARPNESS
    low, high = rg_lru.DECAYS
    assert low <= kept.min() < low + 0.01 and high - 0.01 < kept.max() <= high + 1e-5


# --- the state that is carried


def test_slot_by_slot_is_the_whole():
    """Each slot alone, with the carry of the slot before. The first carry is arbitrary, since sequences begin there."""
    made = model()
    params = noisy(made)
    whole, last = made.encode(params, FULL)
    carry = jax.tree.map(lambda x: x + 7, made.initial_carry(params, ROWS))
    for slot in range(SLOTS):
        one = jax.tree.map(lambda values, at=slot: values[:, at : at + 1], FULL)
        hidden, carry = made.encode(params, one, carry)
        np.testing.assert_allclose(hidden[:, 0], whole[:, slot], rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), carry, last)
    assert [x.shape for x in carry] == [(ROWS, WIDTH)] * 2


def test_a_sequence_may_begin_from_the_initial_carry_instead_of_position_0():
    """As in serving: the carry decides, not the positions."""
    made = model()
    params = noisy(made)
    one = jax.tree.map(lambda x: x[:1], FULL)
    served, _ = made.encode(params, one._replace(positions=one.positions + 1), made.initial_carry(params, 1))
    np.testing.assert_array_equal(served, made.encode(params, one)[0])


def test_a_reset_is_exact():
    """From any state, even NaN."""
    made = model()
    params = noisy(made)
    start = made.initial_carry(params, ROWS)
    wanted = made.encode(params, FULL, start)[0]
    for bad in (1e3, np.nan):
        got = made.encode(params, FULL, jax.tree.map(lambda x, bad=bad: x + bad, start))[0]
        np.testing.assert_array_equal(got, wanted)
    goes_on = FULL._replace(positions=FULL.positions + 3)
    assert (made.encode(params, goes_on, jax.tree.map(lambda x: x + 1, start))[0][:, 0] != wanted[:, 0]).any()


# --- dropout sites and initial params


def test_no_two_dropouts_draw_from_one_site(monkeypatch):
    sites = []

    def note(x, rate, keys, site):
        sites.append(site)
        return x

    for module in (layers, importlib.import_module("jaxrec.models.rg_lru")):
        monkeypatch.setattr(module, "drop_rows", note)
    made = entries.model("rg-lru", ITEMS, SLOTS, dim=WIDTH, layers=3)
    params = jax.eval_shape(made.init, jax.random.key(0))
    sites.clear()
    jax.eval_shape(made.encode, params, FULL)
    assert len(sites) == len(set(sites)) == 1 + 3 * 3


def test_in_bfloat16_states_stay_float32_and_hidden_is_close():
    params = noisy(model())
    (exact, _), (rounded, carry) = (model(dtype=dtype).encode(params, FULL) for dtype in ("float32", "bfloat16"))
    assert all(x.dtype == jnp.float32 for x in carry)
    assert 0 < np.abs(exact - rounded)[REAL].mean() < 0.05

"""Laws of jaxrec.models.gru4rec, on rows of one shape."""

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.kernels.random import row_keys

ROWS, SLOTS, WIDTH = 3, 9, 4
ITEMS = ROWS * SLOTS
LENGTHS = [[9], [4, 1, 3], [2, 5]]  # of the sequences in the rows; two rows end with empty slots
KEYS = jax.jit(row_keys)(0, 0, jnp.arange(ROWS))
SHAPES = [(1, "shared"), (2, "shared"), (2, "separate")]


def model(layers=2, embedding="shared", dropout=0.0, input_dropout=0.0, init="uniform", dtype="float32"):
    keys = {"init": init, "embedding": embedding, "input_dropout": input_dropout}
    return entries.model("gru4rec", ITEMS, SLOTS, dtype=dtype, dim=WIDTH, layers=layers, dropout=dropout, **keys)


def noisy(model):
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), shapes)


def packed(rows):
    """The Stream of sequences of items, row by row: [len(rows), SLOTS]."""
    made = Stream(*np.zeros((5, len(rows), SLOTS), np.int32))
    for row, sequences in enumerate(rows):
        begin = 0
        for number, items in enumerate(sequences, 1):
            at = slice(begin, begin := begin + len(items))
            made.items[row, at], made.segments[row, at], made.positions[row, at] = items, number, np.arange(len(items))
    return jax.tree.map(jnp.asarray, made)


FRESH = iter(range(1, ITEMS + 1))  # every slot has its own item, and so its own row of the table
SEQUENCES = [[[next(FRESH) for _ in range(length)] for length in row] for row in LENGTHS]
FULL = packed(SEQUENCES)
REAL = np.asarray(FULL.segments) > 0


@pytest.mark.parametrize(("layers", "embedding"), some(SHAPES, (2, "shared")))
def test_packed_is_each_sequence_alone(layers, embedding):
    """In the forward pass and in the gradient of every parameter: what is before or beside a sequence has no effect."""
    made = model(layers, embedding)
    params = noisy(made)
    alone = packed([[items] for row in SEQUENCES for items in row])
    weights = np.random.default_rng(0).normal(size=(*REAL.shape, WIDTH)) * REAL[..., None]
    aside = np.zeros((*alone.items.shape, WIDTH))
    aside[np.asarray(alone.segments) > 0] = weights[REAL]

    def read(params, stream, weights):
        hidden, _ = made.encode(params, stream)
        return (hidden * weights).sum(), hidden

    gradient = jax.jit(jax.grad(read, has_aux=True))
    (grads, hidden), (grads_alone, hidden_alone) = gradient(params, FULL, weights), gradient(params, alone, aside)
    assert np.isfinite(hidden).all()
    np.testing.assert_allclose(hidden[REAL], hidden_alone[np.asarray(alone.segments) > 0], rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, grads_alone)


def test_a_slot_sees_its_own_sequence_up_to_itself():
    """Shown by the gradient of the input embeddings: exactly zero for other slots, not zero for these."""
    made = model(2, "separate")
    params = noisy(made)
    hidden = made.encode(params, FULL)[0]
    of_inputs = lambda table: made.encode(params | {"inputs": table}, FULL)[0]
    pull = jax.jit(lambda asked: jax.vjp(of_inputs, params["inputs"])[1](asked))
    for row, sequences in enumerate(SEQUENCES):
        begin = 0
        for items in sequences:
            for place in range(len(items)):
                asked = np.zeros(hidden.shape, np.float32)
                asked[row, begin + place] = 1
                moved = np.flatnonzero(np.asarray(pull(jnp.asarray(asked))[0]).any(axis=1)) + 1
                assert moved.tolist() == items[: place + 1]
            begin += len(items)


@pytest.mark.parametrize("layers", some([1, 2], 2))
def test_slot_by_slot_is_the_whole(layers):
    """Each slot alone, with the carry of the slot before. The first carry is arbitrary, since sequences begin there."""
    made = model(layers)
    params = noisy(made)
    whole, last = made.encode(params, FULL)
    carry = jax.tree.map(lambda x: x + 7, made.initial_carry(params, ROWS))
    for slot in range(SLOTS):
        one = jax.tree.map(lambda values, at=slot: values[:, at : at + 1], FULL)
        hidden, carry = made.encode(params, one, carry)
        np.testing.assert_allclose(hidden[:, 0], whole[:, slot], rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), carry, last)


def test_a_reset_is_exact():
    """From any state, even NaN."""
    made = model(2)
    params = noisy(made)
    start = made.initial_carry(params, ROWS)
    wanted = made.encode(params, FULL, start)[0]
    for bad in (1e3, np.nan):
        got = made.encode(params, FULL, jax.tree.map(lambda x, bad=bad: x + bad, start))[0]
        np.testing.assert_array_equal(got, wanted)
    goes_on = FULL._replace(positions=FULL.positions + 3)
    assert (made.encode(params, goes_on, jax.tree.map(lambda x: x + 1, start))[0][:, 0] != wanted[:, 0]).any()


@pytest.mark.parametrize("site", ["dropout", "input_dropout"])
def test_dropout_needs_keys_and_differs_by_row_and_step(site):
    made, without = model(**{site: 0.5}), model()
    params = noisy(made)
    alike = packed([SEQUENCES[0]] * ROWS)
    np.testing.assert_array_equal(made.encode(params, alike)[0], without.encode(params, alike)[0])
    drawn = np.asarray(made.encode(params, alike, keys=KEYS)[0])
    np.testing.assert_array_equal(made.encode(params, alike, keys=KEYS)[0], drawn)
    assert (drawn[0] != drawn[1]).any() and (drawn[1] != drawn[2]).any()
    assert (made.encode(params, alike, keys=row_keys(0, 1, jnp.arange(ROWS)))[0] != drawn).any()
    if site == "dropout":
        assert (drawn == 0).mean() == pytest.approx(0.5, abs=0.2)


def test_what_dropout_leaves_is_what_is_carried_on():
    made = model(1, dropout=0.5)
    hidden, carry = made.encode(noisy(made), packed([SEQUENCES[0]] * ROWS), keys=KEYS)
    np.testing.assert_array_equal(carry[0], hidden[:, -1])
    assert (np.asarray(carry[0]) == 0).any()


@pytest.mark.parametrize(("layers", "embedding"), SHAPES)
def test_the_tree_and_the_bounds_of_its_params(layers, embedding):
    made = model(layers, embedding)
    params = made.init(jax.random.key(0))
    names = {"items", "bias"} | {f"gru_{i}" for i in range(layers)}
    names |= {"inputs"} if embedding == "separate" else set()
    assert set(params) == names and set(made.item_tables) <= set(params)
    for name, bound in {"items": (6 / (ITEMS + WIDTH)) ** 0.5, "inputs": (6 / (ITEMS + WIDTH)) ** 0.5}.items():
        if name in params:
            assert 0.8 * bound < np.abs(params[name]).max() <= bound
    for i in range(layers):
        for side in ("input", "hidden"):
            kernel = params[f"gru_{i}"][side]["kernel"]
            assert kernel.shape == (WIDTH, 3 * WIDTH)
            for gate in np.split(np.asarray(kernel), 3, axis=1):
                assert 0.5 * (6 / (2 * WIDTH)) ** 0.5 < np.abs(gate).max() <= (6 / (2 * WIDTH)) ** 0.5
            assert not params[f"gru_{i}"][side]["bias"].any()


def test_in_bfloat16_only_the_products_are_rounded():
    params = noisy(model())
    exact, rounded = (model(dtype=dtype).encode(params, FULL)[0] for dtype in ("float32", "bfloat16"))
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(exact - rounded)[REAL].max() < 0.05

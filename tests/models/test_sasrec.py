"""Laws of jaxrec.models.sasrec. All use rows of one shape and mostly run op by op, which compiles less."""

import importlib

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches import stream
from jaxrec.batches.stream import Stream
from jaxrec.kernels import sizes
from jaxrec.kernels.random import row_keys
from jaxrec.models import layers

ROWS, SLOTS, WIDTH = 4, 70, 8  # more slots than a block of attention has
ITEMS = ROWS * SLOTS
LENGTHS = [[70], [45, 24], [51, 15, 1], [30, 36]]  # of the sequences in the rows
NORMS = ["query", "post", "pre"]
KEYS = jax.jit(row_keys)(0, 0, jnp.arange(ROWS))


def model(norm="query", heads=1, positions="from_start", dropout=0.0, layers=2, dtype="float32"):
    keys = {"dim": WIDTH, "layers": layers, "dropout": dropout, "heads": heads, "norm": norm}
    return entries.model("sasrec", ITEMS, SLOTS, positions, dtype, **keys)


def noisy(model):
    """Returns params with biases and gains near 0 and 1, but not equal to them."""
    random = np.random.default_rng(1)

    def drawn(path, x):
        return jnp.asarray(("scale" in jax.tree_util.keystr(path)) + 0.3 * random.normal(size=x.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(drawn, jax.eval_shape(model.init, jax.random.key(0)))


def packed(rows):
    """Returns the Stream of sequences of items, row by row, without targets: [ROWS, SLOTS]."""
    made = Stream(*np.zeros((5, ROWS, SLOTS), np.int32))
    for row, sequences in enumerate(rows):
        begin = 0
        for number, items in enumerate(sequences, 1):
            at = slice(begin, begin := begin + len(items))
            made.items[row, at], made.segments[row, at], made.positions[row, at] = items, number, np.arange(len(items))
    return jax.tree.map(jnp.asarray, made)


def hidden_of(model, params, stream, keys=None):
    return np.asarray(model.encode(params, stream, keys=keys)[0])


FRESH = iter(range(1, ITEMS + 1))  # every slot has its own item, and so its own row of the table
SEQUENCES = [[[next(FRESH) for _ in range(length)] for length in row] for row in LENGTHS]
FULL = packed(SEQUENCES)
SEGMENTS, SLOT_ITEMS = np.asarray(FULL.segments), np.asarray(FULL.items)
REAL = SEGMENTS > 0


# --- what a slot sees


@pytest.mark.parametrize("norm", some(NORMS, "query"))
def test_a_slot_sees_its_own_sequence_up_to_itself(norm):
    """Shown by the gradient of the input embeddings: exactly zero for other slots, not zero for these."""
    made = model(norm, heads=2)
    params = noisy(made)
    hidden = made.encode(params, FULL)[0]
    of_items = lambda items: made.encode(params | {"items": items}, FULL)[0]
    pull = jax.jit(lambda asked: jax.vjp(of_items, params["items"])[1](asked))
    weights = np.random.default_rng(0).normal(size=WIDTH).astype(np.float32)
    for slots in ([0, 0, 50, 29], [49, 44, 51, 30], [50, 45, 49, 49], [51, 49, 65, 50], [69, 68, 66, 65]):
        asked = np.zeros(hidden.shape, np.float32)
        asked[range(ROWS), slots] = weights
        moved = np.append(False, np.asarray(pull(jnp.asarray(asked))[0]).any(axis=1))
        for row, slot in enumerate(slots):
            visible = (SEGMENTS[row] == SEGMENTS[row, slot]) & (np.arange(SLOTS) <= slot)
            np.testing.assert_array_equal(moved[SLOT_ITEMS[row]], visible)


@pytest.mark.parametrize("norm", NORMS)
def test_another_item_changes_nothing_before_it(norm):
    made = model(norm)
    params = noisy(made)
    before = hidden_of(made, params, FULL)
    for slot in (1, 44, 49, 50, 51, 69):
        after = hidden_of(made, params, FULL._replace(items=FULL.items.at[:, slot].set(ITEMS)))
        earlier, at = REAL & (np.arange(SLOTS) < slot), REAL & (np.arange(SLOTS) == slot)
        np.testing.assert_array_equal(after[earlier], before[earlier])
        assert (after[at] != before[at]).any(axis=-1).all()


WEIGHTS = np.random.default_rng(2).normal(size=(ITEMS + 1, WIDTH)).astype(np.float32)


def weighted(model, params, rows):
    """Returns each sequence's hidden vectors, by its first item, and the gradient of their sum weighted by WEIGHTS."""
    weight, places = np.zeros((ROWS, SLOTS, WIDTH), np.float32), {}
    for row, held in enumerate(rows):
        begin = 0
        for items in held:
            places[items[0]] = row, slice(begin, begin := begin + len(items))
            weight[places[items[0]]] = WEIGHTS[items]

    def total(params):
        hidden, _ = model.encode(params, packed(rows))
        return (hidden * weight).sum(), hidden

    grads, hidden = jax.jit(jax.grad(total, has_aux=True))(params)
    return {first: np.asarray(hidden[place]) for first, place in places.items()}, grads


@pytest.mark.parametrize(  # each norm with both numbers of heads and both numberings
    "norm, heads, positions",
    some(
        [
            ("query", 1, "from_end"),
            ("query", 2, "from_start"),
            ("post", 1, "from_start"),
            ("post", 2, "from_end"),
            ("pre", 1, "from_start"),
            ("pre", 2, "from_end"),
        ],
    ),
)
def test_packed_is_each_sequence_alone(norm, heads, positions):
    made = model(norm, heads, positions)
    params = noisy(made)
    together, grads = weighted(made, params, SEQUENCES)
    each = [[items] for row in SEQUENCES for items in row]
    (first, grads_of_first), (second, grads_of_second) = (weighted(made, params, each[n : n + ROWS]) for n in (0, ROWS))
    assert together.keys() == (first | second).keys()
    for sequence, hidden in (first | second).items():
        np.testing.assert_allclose(together[sequence], hidden, rtol=1e-5, atol=1e-5)
    wanted = jax.tree.map(np.add, grads_of_first, grads_of_second)
    for got, value in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-5 * max(1, np.abs(value).max()))


def test_empty_slots_and_rows_are_finite_and_have_no_gradient():
    made = model()
    params = noisy(made)
    hidden = hidden_of(made, params, packed(SEQUENCES[1:3]))
    assert np.isfinite(hidden).all()
    _, grads = weighted(made, params, SEQUENCES[1:3])
    assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))
    shown = {item for row in SEQUENCES[1:3] for items in row for item in items}
    assert set(np.flatnonzero(np.asarray(grads["items"]).any(axis=1)) + 1) == shown


# --- dropout


def test_without_keys_there_is_no_dropout():
    made = model(dropout=0.5)
    params = noisy(made)
    hidden = hidden_of(made, params, FULL)
    np.testing.assert_array_equal(hidden, hidden_of(made, params, FULL))
    np.testing.assert_array_equal(hidden, hidden_of(model(), params, FULL))
    np.testing.assert_array_equal(hidden, hidden_of(model(), params, FULL, KEYS))


@pytest.mark.slow
def test_a_row_is_dropped_by_its_own_key_whatever_lies_beside_it():
    made = model(dropout=0.2)
    params = noisy(made)
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[1], x.shape), FULL)
    plain, hidden = hidden_of(made, params, same), hidden_of(made, params, same, KEYS)
    real = REAL[1]
    for row in range(ROWS):
        assert (hidden[row, real] != plain[row, real]).any(axis=-1).all()
        for other in range(row):
            assert (hidden[row, real] != hidden[other, real]).any(axis=-1).all()
    swapped = jnp.array([3, 1, 0, 2])
    np.testing.assert_array_equal(hidden_of(made, params, same, KEYS[swapped]), hidden[swapped])
    beside = same._replace(items=same.items.at[0].set(5))
    np.testing.assert_array_equal(hidden_of(made, params, beside, KEYS)[1:], hidden[1:])


@pytest.mark.parametrize("norm", NORMS)
def test_no_two_dropouts_draw_from_one_site(norm, monkeypatch):
    sites = []

    def note(x, rate, keys, site, part=None):
        sites.append(site)
        return x

    for module in (layers, importlib.import_module("jaxrec.models.sasrec")):
        monkeypatch.setattr(module, "drop_rows", note)
    made = model(norm, layers=3)
    params = jax.eval_shape(made.init, jax.random.key(0))
    sites.clear()
    jax.eval_shape(made.encode, params, FULL)
    blocks = -(-SLOTS // sizes.QUERY_BLOCK)
    assert len(sites) == len(set(sites)) == 1 + 3 * (blocks + 2)
    assert all(0 <= part < layers.SITE_PARTS for _, part in sites)


# --- positions


def rows_read(positions, shown):
    """Returns the rows of the position table that the newest of `shown` slots reads, in a model without blocks."""
    made = model(positions=positions, layers=0)
    params = noisy(made)
    history = packed([[list(range(1, shown + 1))]])
    newest = lambda table: made.encode(params | {"positions": table}, history)[0][0, shown - 1, 0]
    return np.flatnonzero(np.asarray(jax.jit(jax.grad(newest))(params["positions"])).any(axis=1)).tolist()


@pytest.mark.parametrize(
    "positions, history",
    some(
        [("from_end", 5), ("from_end", SLOTS), ("from_end", 200), ("from_start", SLOTS + 1), ("from_start", 200)],
        ("from_end", 200),
        ("from_start", 200),
    ),
)
def test_the_position_read_at_inference_is_trained(positions, history):
    """Always if counted from the end; from the start, if the training history is longer than the model's length."""
    subsequences = stream.next_item_subsequences(np.array([0]), np.array([history]), SLOTS)
    places, order_of = stream.packing_layout(subsequences.length, SLOTS, ROWS)
    data = stream.Data(np.arange(1, history + 1, dtype=np.int32), subsequences.start, subsequences.user_index, places)
    order = stream.plan(subsequences.length, order_of, ROWS, 0, 0)
    batch = jax.tree.map(jnp.asarray, stream.gather(data, order, np.arange(ROWS)))
    made = model(positions=positions)
    params = noisy(made)

    def scores_of_targets(table):
        hidden, _ = made.encode(params | {"positions": table}, batch)
        scores = (hidden * params["items"][batch.targets - 1]).sum(-1)
        return jnp.where(batch.targets > 0, scores, 0).sum()

    trained = np.asarray(jax.jit(jax.grad(scores_of_targets))(params["positions"])).any(axis=1)
    for given in (history, history + 1):  # in validation, and in the test
        assert rows_read(positions, min(given, SLOTS)) == [SLOTS - 1]
    assert trained[SLOTS - 1]


def test_from_end_numbers_as_a_left_padded_row_does():
    made = model(positions="from_end", layers=0)
    params = noisy(made)
    hidden = hidden_of(made, params, packed([[[3, 1, 4, 1, 5], [9, 2]]]))
    for slot, item, row in zip(range(7), [3, 1, 4, 1, 5, 9, 2], [65, 66, 67, 68, 69, 68, 69], strict=True):
        x = np.asarray(params["items"][item - 1] * WIDTH**0.5 + params["positions"][row], float)
        x = (x - x.mean()) / x.std() * params["last_norm"]["scale"] + params["last_norm"]["bias"]
        np.testing.assert_allclose(hidden[0, slot], x, rtol=1e-4, atol=1e-4)


# --- parameters and precision


@pytest.mark.parametrize("initial", ["xavier", "normal"])
def test_parameters(initial):
    keys = {"dim": WIDTH, "dropout": 0.1, "init": initial}
    made, low = (entries.model("sasrec", ITEMS, SLOTS, dtype=dtype, **keys) for dtype in ("float32", "bfloat16"))
    init = jax.jit(made.init)
    params = init(jax.random.key(0))
    shapes = jax.eval_shape(low.init, jax.random.key(0))
    assert shapes == jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), params)
    table, bias = made.output_embedding(params)
    assert table is params["items"]
    assert bias is None
    assert table.shape == (ITEMS, WIDTH)
    spread = 0.02 if initial == "normal" else np.sqrt(2 / (ITEMS + WIDTH))
    assert np.std(table) == pytest.approx(spread, rel=0.05)
    assert made.initial_carry(params, 8) is None
    assert made.head(params, table) is table
    np.testing.assert_array_equal(table, init(jax.random.key(0))["items"])
    assert not np.array_equal(table, init(jax.random.key(1))["items"])


@pytest.mark.parametrize("norm", NORMS)
def test_bfloat16_is_close_to_float32(norm):
    """A bfloat16 has 8 bits, so each rounding errs by up to 2^-9 = 0.2%; here some tens of them accumulate."""
    params = noisy(model(norm))
    exact, low = (hidden_of(model(norm, dtype=dtype), params, FULL) for dtype in ("float32", "bfloat16"))
    assert low.dtype == np.float32
    error = np.abs(low - exact)[REAL]
    assert 0 < np.sqrt((error**2).mean()) < 0.02
    assert error.max() < 0.15

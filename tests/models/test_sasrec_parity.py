"""SASRec against the reference implementations: tests/parity/README.md says what the arrays are.

All in float32, to 1e-5 of max(1, |value|) as that page says. Rows have the shape of those of test_sasrec.py, so what is
compiled there serves here; a model of length 6 in rows of 70 slots also has more empty slots than positions.
"""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.config import ModelConfig, OptimConfig
from jaxrec.data.stream import Stream
from jaxrec.losses import bce, softmax, softmax_total, total
from jaxrec.models import sasrec
from jaxrec.optim import optimiser

ROWS, SLOTS, WIDTH, LENGTH, ITEMS = 4, 70, 8, 6, 20
PYTORCH = ["sasrec_pytorch", "sasrec_pytorch_2heads", "sasrec_pytorch_prenorm", "sasrec_pytorch_prenorm_2heads"]
RECSYS23 = ["sasrec_recsys23", "sasrec_recsys23_2heads"]


SUMS = {"bce": jax.jit(total(bce)), "softmax": jax.jit(total(softmax)), "softmax by chunks": jax.jit(softmax_total)}


def load(name):
    with np.load(Path(__file__).parents[1] / "parity" / f"{name}.npz") as file:
        return dict(file)


def model(heads, norm, positions="from_start", items=ITEMS, length=LENGTH):
    return sasrec(ModelConfig("sasrec", WIDTH, 2, 0.0, int(heads), norm), items, length, positions, jnp.dtype("float32"))


def converted(arrays, prefix):
    """A reference's weights, or what has their shapes, as ours: transposed kernels, no rows for padding."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}

    def dense(name, rows=slice(None), weight=".weight", bias=".bias"):
        return {"kernel": of[name + weight].reshape(-1, WIDTH)[rows].T, "bias": of[name + bias][rows]}

    def norm(name):
        return {"scale": of[f"{name}.weight"], "bias": of[f"{name}.bias"]}

    tree = {"items": of["item_emb.weight"][1:], "positions": of["pos_emb.weight"], "last_norm": norm("last_layernorm")}
    for i in range(2):
        projections = {
            part: dense(f"attention_layers.{i}.in_proj", slice(n * WIDTH, (n + 1) * WIDTH), "_weight", "_bias")
            for n, part in enumerate(["query", "key", "value"])
        }
        tree[f"attention_{i}"] = projections | {"out": dense(f"attention_layers.{i}.out_proj")}
        convolutions = {part: f"forward_layers.{i}.conv{n}" for n, part in enumerate(["inner", "outer"], 1)}
        tree[f"feed_forward_{i}"] = {part: dense(name) for part, name in convolutions.items()}
        tree[f"attention_norm_{i}"] = norm(f"attention_layernorms.{i}")
        tree[f"feed_forward_norm_{i}"] = norm(f"forward_layernorms.{i}")
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def without_padding(tree):
    """The same without the row of pos_emb that SASRec.pytorch keeps for padding."""
    return tree | {"positions": tree["positions"][1:]}


def agree(got, wanted, tolerance=1e-5):
    for (path, one), (_, other) in zip(*(jax.tree.leaves_with_path(tree) for tree in (got, wanted)), strict=True):
        error = np.abs(np.asarray(one, float) - other) / np.maximum(1, np.abs(other))
        assert error.max() < tolerance, (jax.tree_util.keystr(path), error.max())


def laid_out(alone, inputs, **others):
    """Real slots of [3, 6] arrays as a Stream, each sequence in a row of its own, or all in one behind others.

    Returns:
        (Stream, [12, 2] the row and slot of each real slot, [12, …] each of the other arrays at these).
    """
    made = Stream(*np.zeros((5, ROWS, SLOTS), np.int32))
    filled = np.zeros(ROWS, int)
    numbers = np.zeros(ROWS, int)
    places = []

    def put(row, items):
        at = slice(filled[row], filled[row] + len(items))
        numbers[row] += 1
        made.items[row, at], made.segments[row, at], made.positions[row, at] = items, numbers[row], np.arange(len(items))
        filled[row] = at.stop
        return [(row, slot) for slot in range(at.start, at.stop)]

    if not alone:  # so that a sequence lies across two of the attention's blocks
        for neighbour in range(8):
            put(0, np.arange(LENGTH) + neighbour + 1)
    for row, items in enumerate(inputs):
        places += put(row if alone else 0, items[items > 0])
    return Stream(*map(jnp.asarray, made)), np.array(places), *(jnp.asarray(x[inputs > 0]) for x in others.values())


def sum_over(loss, hidden, target, negatives, table):
    """A loss's total over slots that all ask."""
    return SUMS[loss](hidden, target, (target > 0).astype(jnp.float32), negatives, table, None)


@cache
def adam(b2):
    """The references' Adam as our optimiser: (init, jit of (grads, state, params) -> params, state)."""
    made = optimiser(OptimConfig("adam", 1e-3, b2=b2), 3)

    def update(grads, state, params):
        updates, state = made.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return made.init, jax.jit(update)


def without_key_biases(tree):
    """Adam makes steps of the learning rate's size of the rounding noise in gradients that are zero in theory."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: 0 if jax.tree_util.keystr(path[-2:], simple=True, separator=".") == "key.bias" else x, tree
    )


# --- SASRec.pytorch


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "packed"])
@pytest.mark.parametrize("positions", ["from_start", "from_end"])
@pytest.mark.parametrize("name", PYTORCH)
def test_sasrec_pytorch_without_padding(name, positions, alone):
    wanted = load(name)
    made = model(wanted["heads"], "pre" if wanted["norm_first"] else "post", positions)
    inputs = wanted["seq"]
    stream, (row, slot), pos, neg = (
        x.T if n == 1 else x for n, x in enumerate(laid_out(alone, inputs, pos=wanted["pos"], neg=wanted["neg"]))
    )

    def loss(params):
        hidden = made.encode(params, stream)[0][row, slot]
        return sum_over("bce", hidden, pos, neg[:, None], params["items"]) / 12, hidden

    params = without_padding(converted(wanted, "param."))
    (value, hidden), grads = jax.value_and_grad(loss, has_aux=True)(params)
    prefix = f"alone.{positions}."
    agree(hidden, wanted[prefix + "hidden"][inputs > 0])
    agree(value, wanted[prefix + "loss"])
    agree(grads, without_padding(converted(wanted, f"{prefix}grad.")))


@pytest.mark.parametrize("name", PYTORCH)
def test_sasrec_pytorch_with_its_padding_and_three_steps_of_adam(name):
    """The reference attends to padding. Here padding is an item 21, a zero vector in positions of their own, also zero."""
    wanted = load(name)
    made = model(wanted["heads"], "pre" if wanted["norm_first"] else "post", items=ITEMS + 1, length=2 * LENGTH)
    real = wanted["seq"] > 0
    rows, slots = slice(0, 3), slice(0, LENGTH)
    stream = Stream(*np.zeros((5, ROWS, SLOTS), np.int32))
    stream.items[rows, slots] = np.where(real, wanted["seq"], ITEMS + 1)
    stream.segments[rows, slots] = 1
    stream.positions[rows, slots] = np.arange(LENGTH) + np.where(real, LENGTH, 0)
    stream = Stream(*map(jnp.asarray, stream))

    def padded(tree):
        tree = without_padding(tree)
        zeros = jnp.zeros((LENGTH, WIDTH))
        positions, items = jnp.append(zeros, tree["positions"], axis=0), jnp.append(tree["items"], zeros[:1], axis=0)
        return tree | {"items": items, "positions": positions}

    def loss(params):
        hidden = made.encode(params, stream)[0][rows, slots]
        return sum_over(
            "bce", hidden[real], jnp.asarray(wanted["pos"])[real], jnp.asarray(wanted["neg"])[real][:, None], params["items"]
        ) / real.sum(), hidden

    def dropped(grads):  # lookups of padding have no gradient
        return grads | {
            "items": grads["items"].at[ITEMS].set(0),
            "positions": grads["positions"].at[:LENGTH].set(0),
        }

    params = padded(converted(wanted, "param."))
    init, update = adam(0.98)
    state = init(params)
    for step in range(3):
        (value, hidden), grads = jax.value_and_grad(loss, has_aux=True)(params)
        grads = dropped(grads)
        if step == 0:
            agree(hidden, wanted["hidden"])
            agree(value, wanted["loss"])
            agree(grads, padded(converted(wanted, "grad.")))
            for asked in ("pos", "neg"):
                logits = (hidden * params["items"][wanted[asked] - 1]).sum(-1)
                agree(jnp.where(real, logits, 0), wanted[f"{asked}_logits"])
            candidates = params["items"][wanted["candidates"] - 1]
            agree(jnp.einsum("bcd,bd->bc", candidates, hidden[:, -1]), wanted["candidate_logits"])
        agree(value, wanted["adam_losses"][step])
        params, state = update(grads, state, params)
    agree(*map(without_key_biases, (params, padded(converted(wanted, "adam3.")))), 1e-6)


def test_padding_matters_not_in_a_row_without_any():
    wanted = load("sasrec_pytorch")
    assert (wanted["seq"][0] > 0).all()
    agree(wanted["hidden"][0], wanted["alone.from_end.hidden"][0], 1e-9)


# --- recsys23


def recsys23(wanted, alone):
    """(model, hidden of real slots as a function of params, their labels, their places among [3, 6])."""
    made = model(wanted["heads"], "query", length=8)
    inputs = wanted["input_ids"]
    stream, places, labels = laid_out(alone, inputs, labels=wanted["labels"])
    row, slot = places.T
    return lambda params: made.encode(params, stream)[0][row, slot], labels, inputs > 0


def with_padding_row(arrays, prefix):
    """Ours, and row 0 of the reference's table, which takes part in its softmax."""
    return {"model": converted(arrays, prefix), "row0": jnp.asarray(arrays[f"{prefix}item_emb.weight"][:1], jnp.float32)}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "packed"])
@pytest.mark.parametrize("name", RECSYS23)
def test_recsys23_full_softmax_and_three_steps_of_adam(name, alone):
    """Its softmax is over 21 ids: to the loss, padding's row is the first item and items are one further."""
    wanted = load(name)
    encode, labels, real = recsys23(wanted, alone)

    def loss(params, name="softmax by chunks"):
        hidden = encode(params["model"])
        table = jnp.concatenate([params["row0"], params["model"]["items"]])
        return sum_over(name, hidden, labels + 1, None, table) / len(labels), (hidden, hidden @ table.T)

    params = with_padding_row(wanted, "param.")
    agree(loss(params, "softmax")[0], wanted["loss"])
    init, update = adam(0.999)
    state = init(params)
    for step in range(3):
        (value, (hidden, logits)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        if step == 0:
            agree(hidden, wanted["hidden"][real])
            agree(logits, wanted["logits"][real])
            agree(value, wanted["loss"])
            agree(grads, with_padding_row(wanted, "grad."))
        agree(value, wanted["adam_losses"][step])
        params, state = update(grads, state, params)
    agree(*map(without_key_biases, (params, with_padding_row(wanted, "adam3."))), 1e-6)


@pytest.mark.parametrize("kind", ["shared", "each"])
@pytest.mark.parametrize("name", RECSYS23)
def test_recsys23_sampled_bce(name, kind):
    """Its loss of a slot is the mean of five entries, ours their sum."""
    wanted = load(name)
    encode, labels, real = recsys23(wanted, alone=True)
    negatives = wanted[f"sampled.{kind}.negatives"]
    negatives = jnp.asarray(np.broadcast_to(negatives[:, None] if negatives.ndim == 2 else negatives, (3, 6, 4))[real])

    def loss(params):
        return sum_over("bce", encode(params), labels, negatives, params["items"]) / (5 * len(labels))

    value, grads = jax.value_and_grad(loss)(converted(wanted, "param."))
    agree(value, wanted[f"sampled.{kind}_bce.loss"])
    agree(grads, converted(wanted, f"sampled.{kind}_bce.grad."))

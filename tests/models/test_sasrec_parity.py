"""SASRec against the reference implementations: tests/parity/README.md says what the arrays are.

All in float32, to 1e-5 of max(1, |value|), as that page says. Rows have the shape of test_sasrec.py's, so programs
compiled there are reused here; a model of length 6 in rows of 70 slots also has more empty slots than positions.
"""

import itertools
from functools import cache
from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from some import some
from stepping import without_key_biases

from jaxrec.batches.stream import Stream
from jaxrec.config.parsing import OptimConfig
from jaxrec.training.losses.bce import bce
from jaxrec.training.losses.sampled_softmax import sampled_softmax
from jaxrec.training.losses.softmax import softmax_plain, softmax_total
from jaxrec.training.losses.totals import plain
from jaxrec.training.steps.negatives import Negatives
from jaxrec.training.steps.optim import optimiser

ROWS, SLOTS, WIDTH, LENGTH, ITEMS = 4, 70, 8, 6, 20
PYTORCH = ["sasrec_pytorch", "sasrec_pytorch_2heads", "sasrec_pytorch_prenorm", "sasrec_pytorch_prenorm_2heads"]
RECSYS23 = ["sasrec_recsys23", "sasrec_recsys23_2heads"]


SUMS = {  # the references also count a negative that equals the target
    "bce": jax.jit(plain(bce, keep=True)),
    "ce": jax.jit(plain(sampled_softmax, keep=True)),
    "softmax": jax.jit(softmax_plain),
    "softmax by chunks": jax.jit(softmax_total),
}


def load(name):
    with np.load(Path(__file__).parents[1] / "parity" / f"{name}.npz") as file:
        return dict(file)


def model(heads, norm, positions="from_start", items=ITEMS, length=LENGTH):
    return entries.model("sasrec", items, length, positions, dim=WIDTH, layers=2, heads=int(heads), norm=norm)


def converted(arrays, prefix):
    """Converts a reference's weights, or arrays of their shapes, to ours: transposed kernels, no rows for padding."""
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
    """As `converted`, without the row of pos_emb that SASRec.pytorch keeps for padding."""
    return tree | {"positions": tree["positions"][1:]}


def agree(got, wanted, tolerance=1e-5):
    for (path, one), (_, other) in zip(*(jax.tree.leaves_with_path(tree) for tree in (got, wanted)), strict=True):
        error = np.abs(np.asarray(one, float) - other) / np.maximum(1, np.abs(other))
        assert error.max() < tolerance, (jax.tree_util.keystr(path), error.max())


def laid_out(inputs, alone):
    """Lays out the real slots of [3, 6] inputs as a Stream: each sequence in its own row, or all in one after others.

    Returns:
        (Stream, the rows [12] and slots [12] of the real inputs).
    """
    made = Stream(*np.zeros((5, ROWS, SLOTS), np.int32))
    rows, slots = [], []
    # Eight neighbours end at slot 48, so that the first sequence spans two blocks of attention.
    neighbours = [] if alone else [np.arange(LENGTH) + n for n in range(1, 9)]
    sequences = [*neighbours, *(row[row > 0] for row in inputs)]
    begin = 0
    for number, items in enumerate(sequences):
        row, begin = (number, 0) if alone else (0, begin)
        at = slice(begin, begin := begin + len(items))
        made.items[row, at], made.positions[row, at] = items, np.arange(len(items))
        made.segments[row, at] = 1 if alone else number + 1
        if number >= len(neighbours):
            rows += [row] * len(items)
            slots += range(at.start, at.stop)
    return jax.tree.map(jnp.asarray, made), np.array(rows), np.array(slots)


def sum_over(loss, hidden, target, negatives, table):
    """Returns a loss's sum over slots that all have targets."""
    assert (target > 0).all()
    return SUMS[loss](hidden, target, jnp.ones(len(target)), Negatives(negatives, shared_by="slot"), table, None)


@cache
def adam(b2):
    """Returns the references' Adam as our optimiser: (init, jit of (grads, state, params) -> params, state)."""
    made = optimiser(OptimConfig("adam", 1e-3, b2=b2), 3)

    def update(grads, state, params):
        updates, state = made.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return made.init, jax.jit(update)


# --- SASRec.pytorch


@pytest.mark.parametrize("alone", some([True, False], False))
@pytest.mark.parametrize(
    "name, positions",
    some(itertools.product(PYTORCH, ["from_start", "from_end"]), (PYTORCH[0], "from_start"), (PYTORCH[3], "from_end")),
)
def test_sasrec_pytorch_without_padding(name, positions, alone):
    wanted = load(name)
    made = model(wanted["heads"], "pre" if wanted["norm_first"] else "post", positions)
    real = wanted["seq"] > 0
    stream, rows, slots = laid_out(wanted["seq"], alone)

    def loss(params):
        hidden = made.encode(params, stream)[0][rows, slots]
        pos, neg = wanted["pos"][real], wanted["neg"][real][:, None]
        return sum_over("bce", hidden, pos, neg, params["items"]) / len(pos), hidden

    params = without_padding(converted(wanted, "param."))
    (value, hidden), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    prefix = f"alone.{positions}."
    agree(hidden, wanted[prefix + "hidden"][real])
    agree(value, wanted[prefix + "loss"])
    agree(grads, without_padding(converted(wanted, f"{prefix}grad.")))


@pytest.mark.parametrize("name", some(PYTORCH, PYTORCH[2]))
def test_sasrec_pytorch_with_its_padding_and_three_steps_of_adam(name):
    """The reference attends to padding. Here padding is item 21, a zero vector, in positions of its own, also zero."""
    wanted = load(name)
    made = model(wanted["heads"], "pre" if wanted["norm_first"] else "post", items=ITEMS + 1, length=2 * LENGTH)
    real = wanted["seq"] > 0
    rows, slots = slice(0, 3), slice(0, LENGTH)
    stream = Stream(*np.zeros((5, ROWS, SLOTS), np.int32))
    stream.items[rows, slots] = np.where(real, wanted["seq"], ITEMS + 1)
    stream.segments[rows, slots] = 1
    stream.positions[rows, slots] = np.arange(LENGTH) + np.where(real, LENGTH, 0)
    stream = jax.tree.map(jnp.asarray, stream)

    def padded(tree):
        tree = without_padding(tree)
        zeros = jnp.zeros((LENGTH, WIDTH))
        positions, items = jnp.append(zeros, tree["positions"], axis=0), jnp.append(tree["items"], zeros[:1], axis=0)
        return tree | {"items": items, "positions": positions}

    def loss(params):
        hidden = made.encode(params, stream)[0][rows, slots]
        pos, neg = wanted["pos"][real], wanted["neg"][real][:, None]
        return sum_over("bce", hidden[real], pos, neg, params["items"]) / len(pos), hidden

    def dropped(grads):  # lookups of padding get no gradient
        items, positions = grads["items"].at[ITEMS].set(0), grads["positions"].at[:LENGTH].set(0)
        return grads | {"items": items, "positions": positions}

    params = padded(converted(wanted, "param."))
    init, update = adam(0.98)
    state = init(params)
    for step in range(3):
        (value, hidden), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
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
    """Returns (params -> hidden vectors of the real slots, their labels, a mask of them in [3, 6])."""
    made = model(wanted["heads"], "query", length=8)
    real = wanted["input_ids"] > 0
    stream, rows, slots = laid_out(wanted["input_ids"], alone)
    return lambda params: made.encode(params, stream)[0][rows, slots], wanted["labels"][real], real


def with_padding_row(arrays, prefix):
    """Returns our params, and row 0 of the reference's table, which is part of its softmax."""
    row0 = jnp.asarray(arrays[f"{prefix}item_emb.weight"][:1], jnp.float32)
    return {"model": converted(arrays, prefix), "row0": row0}


@pytest.mark.parametrize("alone", some([True, False], False))
@pytest.mark.parametrize("name", some(RECSYS23, RECSYS23[1]))
def test_recsys23_full_softmax_and_three_steps_of_adam(name, alone):
    """Its softmax is over 21 ids: for the loss, padding's row is the first item, and item numbers move up by one."""
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
        (value, (hidden, logits)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        if step == 0:
            agree(hidden, wanted["hidden"][real])
            agree(logits, wanted["logits"][real])
            agree(value, wanted["loss"])
            agree(grads, with_padding_row(wanted, "grad."))
        agree(value, wanted["adam_losses"][step])
        params, state = update(grads, state, params)
    agree(*map(without_key_biases, (params, with_padding_row(wanted, "adam3."))), 1e-6)


@pytest.mark.parametrize(
    "loss, entries, kind",
    some(
        [("bce", 5, "shared"), ("bce", 5, "each"), ("ce", 1, "shared"), ("ce", 1, "each")],
        ("bce", 5, "each"),
        ("ce", 1, "shared"),
    ),
)
@pytest.mark.parametrize("name", some(RECSYS23, RECSYS23[1]))
def test_recsys23_sampled_losses(name, kind, loss, entries):
    """Its binary loss of a slot is the mean of five terms, ours is their sum."""
    wanted = load(name)
    encode, labels, real = recsys23(wanted, alone=True)
    negatives = wanted[f"sampled.{kind}.negatives"]
    negatives = np.broadcast_to(negatives[:, None] if kind == "shared" else negatives, (3, 6, 4))[real]

    def mean(params):
        return sum_over(loss, encode(params), labels, negatives, params["items"]) / (entries * len(labels))

    value, grads = jax.jit(jax.value_and_grad(mean))(converted(wanted, "param."))
    agree(value, wanted[f"sampled.{kind}_{loss}.loss"])
    agree(grads, converted(wanted, f"sampled.{kind}_{loss}.grad."))

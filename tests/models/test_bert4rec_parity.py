"""BERT4Rec against the reference implementation: tests/parity/README.md says what the arrays are.

In float32, to 1e-5 of max(1, |value|). The reference adds a token type to every slot and scores padding and [MASK] too:
the test adds the first to our positions, and appends the latter two to the table of the loss.
"""

from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.batches.objectives import MASK, cloze
from jaxrec.batches.stream import Stream
from jaxrec.training.losses.softmax import softmax_total

ITEMS, WIDTH, SLOTS = 20, 8, 8  # the reference's ids 2 ... 21 are our items; a table of 8 positions
MODEL = entries.model("bert4rec", ITEMS, SLOTS, dim=WIDTH, layers=2, heads=2, ffn_multiplier=2, transform=False)


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parents[1] / "parity" / "bert4rec.npz") as file:
        return dict(file)


def converted(arrays, prefix):
    """Converts a reference's weights, or arrays of their shapes: {"ours", "type", "padding"}."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}

    def named(start):
        return {
            ours: {"kernel": of[f"{start}{name}.weight"].T, "bias": of[f"{start}{name}.bias"]}
            for ours, name in {
                "query": "attention.self.query",
                "key": "attention.self.key",
                "value": "attention.self.value",
                "out": "attention.output.dense",
                "inner": "intermediate.dense",
                "outer": "output.dense",
            }.items()
        }

    def norm(name):
        return {"scale": of[f"{name}.weight"], "bias": of[f"{name}.bias"]}

    table, embeddings = of["embed_layer.weight"], "transformer_model.embeddings."
    tree = {
        "items": table[2:],
        "mask": table[1:2],
        "positions": of[embeddings + "position_embeddings.weight"],
        "bias": np.zeros(ITEMS),
        "first_norm": norm(embeddings + "LayerNorm"),
    }
    for i in range(2):
        start = f"transformer_model.encoder.layer.{i}."
        parts = named(start)
        tree[f"attention_{i}"] = {part: parts[part] for part in ("query", "key", "value", "out")}
        tree[f"feed_forward_{i}"] = {part: parts[part] for part in ("inner", "outer")}
        tree[f"attention_norm_{i}"] = norm(start + "attention.output.LayerNorm")
        tree[f"feed_forward_norm_{i}"] = norm(start + "output.LayerNorm")
    tree = {"ours": tree, "type": of[embeddings + "token_type_embeddings.weight"][0], "padding": table[:1]}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def shown(ids):
    """The reference's rows of ids as a Stream."""
    real = ids > 0
    items = np.where(ids == 1, MASK, np.maximum(ids - 1, 0))
    slots = np.where(real, np.arange(ids.shape[1]), 0)
    return Stream(*(jnp.asarray(x, jnp.int32) for x in (items, np.zeros_like(ids), real, slots, np.zeros_like(ids))))


def params_of(tree):
    return tree["ours"] | {"positions": tree["ours"]["positions"] + tree["type"]}


def hidden_of(tree, ids):
    params = params_of(tree)
    return MODEL.head(params, MODEL.encode(params, shown(ids))[0])


def loss(tree, arrays):
    """The mean over the masked slots of the cross-entropy over our items, padding and [MASK]."""
    hidden = hidden_of(tree, arrays["input_ids"]).reshape(-1, WIDTH)
    target = jnp.asarray(np.maximum(arrays["labels"] - 1, 0).reshape(-1), jnp.int32)
    weight = (target > 0).astype(jnp.float32)
    table = jnp.concatenate([tree["ours"]["items"], tree["padding"], tree["ours"]["mask"]])
    return softmax_total(hidden, target, weight, None, table, None) / weight.sum()


def agree(got, wanted, tolerance=1e-5):
    for (path, one), (_, other) in zip(*(jax.tree.leaves_with_path(tree) for tree in (got, wanted)), strict=True):
        error = np.abs(np.asarray(one, float) - other) / np.maximum(1, np.abs(other))
        assert error.max() < tolerance, (jax.tree_util.keystr(path), error.max())


def test_hidden_vectors_and_scores(arrays):
    tree, real = converted(arrays, "param."), arrays["input_ids"] > 0
    hidden = np.asarray(hidden_of(tree, arrays["input_ids"]))
    agree(hidden[real], arrays["hidden"][real])
    rows, slots = arrays["masked_slots"].T
    table, bias = MODEL.output_embedding(params_of(tree))
    agree(hidden[rows, slots] @ table.T + bias, arrays["masked_logits"][:, 2:])


def test_loss_and_gradients(arrays):
    value, grads = jax.jit(jax.value_and_grad(lambda params: loss(params, arrays)))(converted(arrays, "param."))
    agree(value, arrays["loss"])
    wanted = converted(arrays, "grad.")
    grads["ours"]["bias"] = wanted["ours"]["bias"]  # the reference has none
    agree(grads, wanted)


@pytest.mark.slow
def test_three_steps_of_adam(arrays):
    tree = converted(arrays, "param.")
    adam = optax.adam(1e-3)
    state = adam.init(tree)
    step = jax.jit(jax.value_and_grad(lambda tree: loss(tree, arrays)))
    for wanted in arrays["adam_losses"]:
        value, grads = step(tree)
        agree(value, wanted)
        grads["ours"]["bias"] *= 0
        updates, state = adam.update(grads, state)
        tree = optax.apply_updates(tree, updates)
    wanted = converted(arrays, "adam3.")
    for i in range(2):  # a gradient that is zero in theory: Adam turns its rounding noise into steps
        for each in (tree, wanted):
            each["ours"][f"attention_{i}"]["key"]["bias"] = jnp.zeros(WIDTH)
    agree(tree, wanted)


def test_the_answer_is_read_at_a_mask_after_the_newest_items(arrays):
    """Their inference input is ours: the history without its oldest item, then [MASK]."""
    tree = converted(arrays, "param.")
    history = arrays["infer.input_ids"].copy()
    masks = history == 1
    stream = shown(np.where(masks, 2, history))  # any item, since it must not be seen
    stream = cloze(0.2, 0.1).mask_inputs(stream)
    np.testing.assert_array_equal(np.asarray(stream.items) == MASK, masks)
    params = params_of(tree)
    hidden = np.asarray(MODEL.encode(params, stream)[0])[np.arange(3), arrays["infer.read_slot"]]
    agree(hidden @ MODEL.output_embedding(params)[0].T, arrays["infer.scores"][:, 2:])

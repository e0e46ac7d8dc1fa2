"""Caser against RecBole's: tests/parity/README.md says what the arrays are. In float32, to 1e-5 of max(1, |value|).

The reference pads on the right and convolves the padding's vector like an item's: here padding is item 21.
"""

from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream

ITEMS, USERS, WIDTH, WINDOW = 20, 5, 8, 6
KEYS = {"dim": WIDTH, "window": WINDOW, "vertical": 2, "horizontal": 3, "users": True}
MODEL = entries.model("caser", ITEMS + 1, WINDOW, num_users=USERS, **KEYS)


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parents[1] / "parity" / "caser_recbole.npz") as file:
        return dict(file)


def converted(arrays, prefix):
    """Converts weights, or arrays of their shapes, to ours; the padding's vector is row 21 of the items."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    items = of["item_embedding.weight"]
    tree = {
        "items": np.concatenate([items[1:], items[:1]]),
        "before": items[:1],
        "users": of["user_embedding.weight"],
        "columns": {"kernel": of["conv_v.weight"].reshape(2, WINDOW).T, "bias": of["conv_v.bias"]},
        "with_user": {"kernel": of["fc2.weight"].T, "bias": of["fc2.bias"]},
        "mix": {"kernel": of["fc1.weight"].T, "bias": of["fc1.bias"]},
    }
    for n in range(WINDOW):
        kernel = of[f"conv_h.{n}.weight"].reshape(3, (n + 1) * WIDTH).T
        tree[f"rows_{n}"] = {"kernel": kernel, "bias": of[f"conv_h.{n}.bias"]}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def output(params, arrays):
    items = np.where(arrays["seq"] > 0, arrays["seq"], ITEMS + 1)
    slots = np.broadcast_to(np.arange(WINDOW), items.shape)
    user_index = np.broadcast_to(arrays["users"][:, None], items.shape)
    parts = (items, np.zeros_like(items), np.ones_like(items), slots, user_index)
    return MODEL.encode(params, Stream(*(jnp.asarray(x, jnp.int32) for x in parts)))[0][:, -1]


def regulariser(params, arrays):
    """Norms of weights, summed as in the reference; ours has the padding's vector twice."""
    kernels = [
        params[name]["kernel"] for name in ("columns", "mix", "with_user", *(f"rows_{n}" for n in range(WINDOW)))
    ]
    return arrays["reg_weight"] * sum(jnp.linalg.norm(x) for x in [params["users"], params["items"], *kernels])


def cross_entropy(params, arrays):
    hidden = output(params, arrays)
    scores = hidden @ params["items"].T
    target = jnp.take_along_axis(scores, arrays["targets"][:, None] - 1, 1)[:, 0]
    return (jax.nn.logsumexp(scores, axis=1) - target).mean() + regulariser(params, arrays)


def bpr(params, arrays):
    hidden = output(params, arrays)
    of = lambda items: (hidden * params["items"][items - 1]).sum(-1)
    difference = of(arrays["targets"]) - of(arrays["negatives"])
    return -jnp.log(1e-10 + jax.nn.sigmoid(difference)).mean() + regulariser(params, arrays)


def agree(got, wanted, tolerance=1e-5):
    error = np.abs(np.asarray(got, float) - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() < tolerance, error.max()


def test_outputs_and_scores(arrays):
    params = converted(arrays, "param.")
    hidden = output(params, arrays)
    agree(hidden, arrays["output"])
    agree(hidden @ params["items"].T, np.roll(arrays["scores"], -1, axis=1))


@pytest.mark.parametrize(("name", "loss"), some([("ce", cross_entropy), ("bpr", bpr)], ("bpr", bpr)))
def test_loss_and_gradients(arrays, name, loss):
    value, grads = jax.jit(jax.value_and_grad(lambda params: loss(params, arrays)))(converted(arrays, "param."))
    agree(value, arrays[f"{name}.loss"])
    wanted = converted(arrays, f"{name}.grad.")
    # the reference gives lookups of padding no gradient, and here nothing comes before the window
    del grads["before"], wanted["before"]
    grads["items"], wanted["items"] = grads["items"][:-1], wanted["items"][:-1]
    for (path, got), (_, want) in zip(*(jax.tree.leaves_with_path(tree) for tree in (grads, wanted)), strict=True):
        agree(got, np.asarray(want)), path

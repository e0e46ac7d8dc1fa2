"""GRU4Rec against the authors' own implementation: tests/parity/README.md says what the arrays are.

In float32, to 1e-5 of max(1, |value|). The reference counts items from 0, and a closed lane is -1 there.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.config import ModelConfig
from jaxrec.data.stream import Stream
from jaxrec.models.gru4rec import gru4rec

ITEMS = 20


def load(name):
    with np.load(Path(__file__).parents[1] / "parity" / f"gru4rec_official_{name}.npz") as file:
        return dict(file)


def model(layers=1):
    config = ModelConfig("gru4rec", 8, layers, 0.0)
    return gru4rec(config, ITEMS, 8, "from_start", jnp.dtype("float32"))


def converted(of, layers=1):
    """The reference's weights, or what has their shapes, as ours: transposed kernels, the same two biases."""
    tree = {"items": of["Wy.weight"], "bias": of["By.weight"][..., 0]}
    for i in range(layers):
        tree[f"gru_{i}"] = {
            ours: {"kernel": np.swapaxes(of[f"G.{i}.weight_{side}"], -1, -2), "bias": of[f"G.{i}.bias_{side}"]}
            for ours, side in {"input": "ih", "hidden": "hh"}.items()
        }
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def starting(arrays, prefix):
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def agree(got, wanted, tolerance=1e-5):
    for (path, one), (_, other) in zip(*(jax.tree.leaves_with_path(tree) for tree in (got, wanted)), strict=True):
        error = np.abs(np.asarray(one, float) - other) / np.maximum(1, np.abs(other))
        assert error.max() < tolerance, (jax.tree_util.keystr(path), error.max())


def lanes_of(items, reset):
    """A Stream of [lanes, steps], positions from each reset on."""
    steps = np.arange(len(items))[:, None]
    positions = steps - np.maximum.accumulate(np.where(reset == 1, steps, 0))
    real = items >= 0
    stream = items + 1, np.zeros_like(items), real, np.where(real, positions, 0), np.zeros_like(items)
    return Stream(*(jnp.asarray(values.T, jnp.int32) for values in stream))


@pytest.mark.parametrize("whole", [True, False], ids=["by rows", "step by step"])
@pytest.mark.parametrize(("name", "layers"), [("one", 1), ("two", 2)])
def test_forward_with_resets(name, layers, whole):
    wanted = starting(load("forward"), f"{name}.")
    made, params = model(layers), converted(starting(wanted, "param."), layers)
    stream = lanes_of(wanted["input_items"], wanted["reset"])
    carry, hidden = made.carry0(params, 3), []
    if whole:
        hidden = made.encode(params, stream, carry)[0]
    else:
        for step in range(7):
            here = Stream(*(values[:, step : step + 1] for values in stream))
            out, carry = made.encode(params, here, carry)
            hidden.append(out)
            for layer, state in enumerate(carry):
                agree(state * wanted["alive"][step][:, None], wanted[f"hidden{layer}"][step])
        hidden = jnp.concatenate(hidden, axis=1)
    table, bias = made.table(params)
    scores = jnp.swapaxes(hidden @ table.T + bias, 0, 1)
    agree(scores * wanted["alive"][..., None], wanted["scores"])

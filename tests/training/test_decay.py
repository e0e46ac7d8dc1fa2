"""Laws of weight decay in a step: whose rows it moves, on any devices, and row-sparse."""

import jax
import numpy as np
import pytest
from stepping import ADAM, assert_close, made, states

BCE = {"items": 300, "loss": {"name": "bce", "negatives": 1}, "batch": 4}
DECAYED = ADAM | {"name": "adamw", "weight_decay": 0.5, "decayed": "rows"}


@pytest.fixture(scope="module")
def alone():
    """States after these steps of one device, of few of the items in each."""
    return {int(state.step): state for state, _ in states(made(optim=DECAYED, **BCE), [0, 1, 5])}


def test_only_rows_of_items_in_the_step_decay(alone):
    before, after = alone[0], alone[1]
    plain = states(made(optim=ADAM, **BCE), [1])[0][0]
    moved = (after.params["items"] != before.params["items"]).any(axis=1)
    assert 0 < moved.sum() < len(moved)
    pulled = plain.params["items"] - after.params["items"]
    np.testing.assert_allclose(pulled, moved[:, None] * 0.5e-2 * before.params["items"], atol=1e-6)
    blocks = lambda state: {name: value for name, value in state.params.items() if name != "items"}
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (blocks(after), blocks(plain))), strict=True):
        assert x.ndim > 1 or np.allclose(x, y, atol=1e-6), path


@pytest.mark.slow
def test_many_devices_are_one(alone):
    assert_close(states(made(2, optim=DECAYED, launcher="shard_map", **BCE), [5])[0][0], alone[5])


@pytest.mark.slow
def test_of_the_full_softmax_too_only_rows_of_items_in_the_step_decay():
    """Though its gradient is of all rows."""
    changes = BCE | {"loss": {"name": "softmax"}}
    (before, _), (after, _) = states(made(optim=DECAYED, **changes), [0, 1])
    plain = states(made(optim=ADAM, **changes), [1])[0][0]
    pulled = plain.params["items"] - after.params["items"]
    decayed = (np.abs(pulled - 0.5e-2 * before.params["items"]) < 1e-6).all(axis=1)
    assert 0 < decayed.sum() < len(decayed)
    np.testing.assert_allclose(pulled[~decayed], 0, atol=1e-6)


@pytest.mark.slow
def test_row_sparse_it_decays_the_same_rows(alone):
    """The first step of all: later the moments of rows that are not touched differ."""
    assert_close(states(made(optim=DECAYED | {"sparse": True}, **BCE), [1])[0][0], alone[1])

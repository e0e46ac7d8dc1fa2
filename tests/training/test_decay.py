"""Laws of weight decay in a step: whose rows it moves, on any devices, and row-sparse."""

import jax
import numpy as np
import pytest
from some import some
from stepping import ADAM, assert_close, made, states

BCE = {"loss": {"name": "bce", "negatives": 1}, "batch": 4}
DECAYED = ADAM | {"name": "adamw", "weight_decay": 0.5, "decayed": "rows"}


def test_only_rows_of_items_in_the_step_decay():
    before, after = (state for state, _ in states(made(items=300, optim=DECAYED, **BCE), [0, 1]))
    plain = states(made(items=300, optim=ADAM, **BCE), [1])[0][0]
    moved = (after.params["items"] != before.params["items"]).any(axis=1)
    assert 0 < moved.sum() < len(moved)  # of few sequences
    pulled = plain.params["items"] - after.params["items"]
    np.testing.assert_allclose(pulled, moved[:, None] * 0.5e-2 * before.params["items"], atol=1e-6)
    blocks = lambda state: {name: value for name, value in state.params.items() if name != "items"}
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (blocks(after), blocks(plain))), strict=True):
        assert x.ndim > 1 or np.allclose(x, y, atol=1e-6), path


@pytest.mark.parametrize(
    "changes", some([{"launcher": "shard_map"}, {"loss": {"name": "softmax"}}], {"launcher": "shard_map"})
)
def test_many_devices_are_one(changes):
    changes = BCE | changes
    one, two = (states(made(n, optim=DECAYED, **changes), [5])[0][0] for n in (1, 2))
    assert_close(two, one)


def test_row_sparse_it_decays_the_same_rows():
    """The first step of all: later the moments of rows that are not touched differ."""
    dense, sparse = (states(made(optim=DECAYED | more, **BCE), [1])[0][0] for more in ({}, {"sparse": True}))
    assert_close(sparse, dense)

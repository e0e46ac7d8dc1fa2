"""Laws of the contrast between sequences with the same next item: its definition, and many devices are one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some
from stepping import assert_close, made, states

from jaxrec.kernels.placement import AXIS
from jaxrec.kernels.random import row_keys
from jaxrec.training import contrast

ROWS, SLOTS = 6, 4
RANDOM = np.random.default_rng(0)
HIDDEN = RANDOM.normal(size=(ROWS * SLOTS, 5)).astype(np.float32)
TARGETS = RANDOM.integers(0, 6, ROWS * SLOTS)


def of_device(hidden, targets):
    keys = row_keys(0, 0, jnp.arange(ROWS))
    mean = lambda *args: contrast.mean_contrast(*args, keys, ROWS)
    return jax.pmap(mean, AXIS, devices=jax.devices()[:1])(hidden[None], targets[None])[0]


def by_definition(hidden, targets):
    unit = hidden.astype(float) / np.linalg.norm(hidden, axis=1, keepdims=True)
    scores, found = unit @ unit.T / 0.1, []
    for n in np.flatnonzero(targets):
        others = [a for a in np.flatnonzero(targets) if a != n]
        norm = np.log(np.exp(scores[n, others]).sum())
        same = [norm - scores[n, p] for p in others if targets[p] == targets[n]]
        found += [np.mean(same)] if same else []
    return np.mean(found) if found else 0.0


def test_it_is_the_mean_of_those_that_have_one_of_their_class():
    assert (TARGETS == 0).sum() > 0
    assert of_device(HIDDEN, TARGETS) == pytest.approx(by_definition(HIDDEN, TARGETS), rel=1e-5)
    alone = np.where(np.isin(np.arange(len(TARGETS)), [3, 7, 11]), [1, 2, 3] * 8, 0)
    assert of_device(HIDDEN, alone) == 0 == by_definition(HIDDEN, alone)


def test_where_slots_are_many_some_of_each_row_are_drawn_that_have_a_target(monkeypatch):
    monkeypatch.setattr(contrast, "MOST_SLOTS", 2 * ROWS)
    targets = np.where(np.arange(len(TARGETS)) % SLOTS < 2, 0, TARGETS % 2 + 1)  # two of each row
    assert of_device(HIDDEN, targets) == pytest.approx(by_definition(HIDDEN, targets), rel=1e-5)
    assert of_device(HIDDEN, TARGETS % 2 + 1) != pytest.approx(by_definition(HIDDEN, TARGETS % 2 + 1), rel=1e-3)


@pytest.mark.parametrize(("devices", "launcher"), some([(4, "pmap"), (2, "shard_map")], (2, "shard_map")))
def test_many_devices_are_one(devices, launcher):
    softmax = {"loss": {"name": "softmax"}, "contrast": 0.3}
    one, many = (states(made(n, **softmax, launcher=by), [4])[0] for n, by in ((1, "pmap"), (devices, launcher)))
    assert_close(many[0], one[0])
    assert one[1].loss[0] > 1.1 * np.log(20)  # what the softmax of 20 items is at first, and the contrast beside it

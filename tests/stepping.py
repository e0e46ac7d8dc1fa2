"""A small training for tests, one call at a time."""

import dataclasses

import jax
import numpy as np
from trainings import BASE

from jaxrec.config import parsing as configs
from jaxrec.data import event_types, interactions, splits
from jaxrec.training import assembly, fit, setup as setups

ADAM = {"name": "adam", "learning_rate": 1e-2, "eps": 1e-4}  # with a smaller eps, rounding noise makes steps
SOFTMAX = {"loss": {"name": "softmax"}, "model": {"name": "sasrec", "dim": 8, "layers": 1, "heads": 2, "dropout": 0.3}}
CLOZE = {
    "objective": "cloze",
    "model": {"name": "bert4rec", "dim": 8, "layers": 1, "heads": 2, "dropout": 0.3},
    "loss": {"name": "softmax"},
}
LANES = {"stream": "session-parallel", "model": {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.3}}
WAYS = {"next item": SOFTMAX, "cloze": CLOZE, "few targets": SOFTMAX | {"history": "windows", "overlap": 7}}


def made(devices=1, items=20, known=lambda log: {}, **changes):
    """The Setup of a configuration, for histories of 3 to 14 events; `known` gives the log's other fields."""
    random = np.random.default_rng(0)
    histories = [random.integers(1, items + 1, random.integers(3, 15)).tolist() for _ in range(60)]
    log = interactions.from_sequences([list(range(1, items + 1)), *histories])
    log = event_types.asking(dataclasses.replace(log, **known(log)), changes.get("target_types", ""))
    split = splits.last_item(log)
    return setups.setup(configs.from_dict(BASE | {"optim": ADAM} | changes), split, jax.devices()[:devices])


def states(setup, ends):
    """The (State, StepMetrics) after each of these numbers of steps, on the host."""
    state, values, feed, found = assembly.first_state(setup), None, fit.Feed(setup), []
    for end in ends:
        while (now := int(state.step)) < end:
            state, values = assembly.call(setup, feed, state, now, min(fit.boundary(setup, now), end))
        found.append(jax.device_get((state, values)))
    return found


def assert_close(a, b, atol=2e-5):
    """Asserts that two States are equal up to rounding."""
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (a, b)), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=atol, err_msg=str(path))


def without_key_biases(tree):
    """Zeroes the keys' biases: their gradients are zero in theory, but Adam makes full steps of rounding noise."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: 0 if jax.tree_util.keystr(path[-2:], simple=True, separator=".") == "key.bias" else x, tree
    )

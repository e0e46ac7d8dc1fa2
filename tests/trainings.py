"""Small trainings for tests: running and killing them, and what must not differ between two of them."""

import jax
import numpy as np

from jaxrec.training import fit, metric_writer, setup as setups
from jaxrec.training.workdirs import checkpoint, leaves

BASE = {
    "dataset": "histories",
    "seed": 1,
    "epochs": 3,
    "batch": 16,
    "length": 8,
    "eval_every": 1,
    "save_every": 0.4,
    "steps_per_call": 2,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.2},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-2},
}


class Killed(BaseException):
    """Ends a run as a kill would: the loop doesn't catch it."""


def run(prepared, path):
    setup, validate = prepared
    path.mkdir(exist_ok=True)
    return fit.fit(setup, path, validate)


def outcome(prepared, path):
    """What must not differ: the State and the loop's state at the latest checkpoint, and the rows without seconds."""
    checkpoints = checkpoint.Checkpoints(path, read_only=True)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state, loop = checkpoints.restore(checkpoints.latest(), leaves.abstract(setups.initial(prepared[0]), sharding))
    best = checkpoints.best()
    checkpoints.close()
    loop.pop("seconds")
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in metric_writer.read_rows(path / "metrics.jsonl")]
    return jax.tree.leaves_with_path(jax.device_get(state)), loop, best, rows


def assert_same(a, b):
    for (path, x), (_, y) in zip(a[0], b[0], strict=True):
        np.testing.assert_array_equal(x, y, err_msg=str(path))
    assert a[1:] == b[1:]


def killed_at(nth, function):
    """Wraps `function` to raise Killed before its nth call."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == nth:
            raise Killed
        return function(*args, **kwargs)

    return wrapped

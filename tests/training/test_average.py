"""Laws of the average of params: its definition, on any devices, in checkpoints, and what is evaluated with it."""

import contextlib

import jax
import numpy as np
import pytest
from stepping import ADAM, assert_close, made, states
from trainings import Killed, assert_same, killed_at, outcome, run

from jaxrec.kernels.placement import replicated
from jaxrec.training import setup as setups
from jaxrec.training.workdirs import checkpoint
from jaxrec.training.workdirs.restore import restore_params

EMA = {"optim": ADAM | {"ema": 0.8}}


def test_the_average_is_the_mean_of_all_params_so_far_weighted_by_their_age():
    every = [state for state, _ in states(made(**EMA), range(1, 8))]
    for steps in (1, 2, 7):
        weight = 0.8 ** np.arange(steps - 1, -1, -1.0)
        mean = jax.tree.map(lambda *x, w=weight: np.average(x, axis=0, weights=w), *(s.params for s in every[:steps]))
        assert_close(every[steps - 1].average, mean, 1e-6)
    plain = setups.shapes(made())
    assert plain.average is None and plain.evaluated is plain.params
    assert every[-1].evaluated is every[-1].average


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "launcher"), [(4, "pmap"), (2, "shard_map")])
def test_many_devices_are_one(devices, launcher):
    one, many = (states(made(n, **EMA, launcher=by), [5])[0][0] for n, by in ((1, "pmap"), (devices, launcher)))
    assert_close(many, one)


@pytest.mark.slow
def test_killed_it_resumes_bit_for_bit_and_its_checkpoints_are_of_the_average(prepare, tmp_path, monkeypatch):
    judged, (setup, validate) = [], prepare(**EMA, epochs=1)
    prepared = setup, lambda params: judged.append(jax.device_get(params)) or validate(params)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(prepared, whole)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepared, killed)
    run(prepared, killed)
    assert_same(outcome(prepared, killed), outcome(prepared, whole))
    kept, step = restore_params(whole, setup.model, "latest", replicated(setup.devices))
    assert step == setup.total_steps
    jax.tree.map(np.testing.assert_array_equal, kept, judged[-1])
    with contextlib.closing(checkpoint.Checkpoints(whole, read_only=True)) as checkpoints:
        state, _ = checkpoints.restore(step, setups.shapes(setup))  # the params are stored beside their average
    jax.tree.map(np.testing.assert_array_equal, state.average, kept)
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (state.params, kept)), strict=True))

"""Laws of what a call of steps reports: the loss of each step, and where a call stops."""

import jax
import numpy as np
import pytest
from stepping import ADAM, made

from jaxrec.kernels import placement
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training import fit, setup as setups


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_call_stops_where_the_gradient_alone_is_not_finite(kind):
    with assumed(Hardware(kind, 16 << 30)):
        setup = made(optim=ADAM, steps_per_call=3)
        start = setups.initial(setup)
        start.params["items"] = start.params["items"] * 1e25  # whose scores are finite, and no squares of gradients
        data, _ = fit.Feed(setup)(0, 3)
        placed = jax.device_put(start, placement.replicated(setup.devices))
        state, report = setup.run(placed, data, setup.sampler_tables, np.int32(0), np.int32(3))
    assert np.isfinite(report.loss[0]) and not np.isfinite(report.norm[0])
    assert int(state.step) == 1 and np.isnan(report.count[1:]).all()


def test_the_loss_of_a_step_is_the_mean_over_its_targets():
    """With lanes too, whose gradients are divided by the number of lanes, however few of them still read a session."""
    model = {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.0}
    setup = made(stream="session-parallel", model=model, loss={"name": "softmax"}, optim=ADAM | {"learning_rate": 1e-9})
    steps, state, found = min(setup.epoch_steps, 60), setups.initial(setup), []
    while (now := int(state.step)) < steps:
        end = min(fit.boundary(setup, now), steps)
        data, begins = fit.Feed(setup)(now, end)
        state, report = setup.run(state, data, setup.sampler_tables, np.int32(begins), np.int32(end))
        found.append(np.stack(jax.device_get((report.loss, report.count)))[:, : end - now])
    loss, count = np.concatenate(found, axis=1)
    assert count.min() < count.max() == 16
    np.testing.assert_allclose(loss, np.log(20), rtol=0.2)

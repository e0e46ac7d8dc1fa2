"""One device's program on several devices: values declared as replicated are the same on each."""

import jax
import numpy as np
import pytest
from stepping import made

from jaxrec.kernels import placement
from jaxrec.training import fit, launch, setup as setups


def test_every_device_holds_the_same_state():
    """out_axes=None silently takes device 0's value; here every device returns its own."""
    captured = {}

    def show_each(call, devices, options, per_device_data, seed):
        axes = (launch.AXES, None, None, None, None, None, 0)
        captured["seed"] = np.uint32(seed)
        captured["mapped"] = jax.pmap(call, placement.AXIS, in_axes=axes, out_axes=0, devices=devices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(launch.LAUNCHERS, "pmap", show_each)
        setup = made(devices=4)
    data, begins = fit.Feed(setup)(0, 2)
    steps = np.int32(begins), np.int32(2)
    state, _ = captured["mapped"](
        setups.initial(setup), data, setup.sampler_tables, *steps, captured["seed"], np.arange(4)
    )
    for leaf in jax.tree.leaves(state):
        for device in range(1, 4):
            np.testing.assert_array_equal(leaf[0], leaf[device])

"""Laws of collectives: every device gets the combined value, and a single device gets its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxrec.kernels.collectives import all_gather, mark_replicated, psum
from jaxrec.kernels.placement import AXIS, mesh_of

PARTS = jnp.arange(24.0).reshape(8, 3) ** 2


def on_devices(call, number):
    """Returns the result of `call` on this many devices, each with its share of PARTS, checked to be equal on all."""
    if len(jax.devices()) < number:
        pytest.skip(f"needs {number} devices: XLA_FLAGS=--xla_force_host_platform_device_count={number}")
    mesh = mesh_of(jax.devices()[:number])
    everywhere = jax.shard_map(call, mesh=mesh, in_specs=P(AXIS), out_specs=P(), check_vma=number > 1)
    return jax.jit(everywhere)(PARTS)


@pytest.mark.parametrize("number", [1, 2, 4, 8])
def test_added_is_the_sum_of_all_shares(number):
    shares = PARTS.reshape(number, -1, 3)
    made = on_devices(lambda share: psum({"of shares": share, "of one": share.sum()}, AXIS), number)
    np.testing.assert_array_equal(made["of shares"], shares.sum(0))
    np.testing.assert_array_equal(made["of one"], shares.sum())


@pytest.mark.parametrize("number", [1, 2, 4, 8])
def test_gathered_is_the_whole_in_order_and_alike_says_so(number):
    np.testing.assert_array_equal(
        on_devices(lambda share: mark_replicated(all_gather(share, AXIS), AXIS), number), PARTS
    )


def test_without_alike_the_check_does_not_know():
    with pytest.raises(ValueError, match="replicat"):
        on_devices(lambda share: all_gather(share, AXIS), 2)


def test_one_device_is_told_nothing():
    told = lambda x: (psum(x, AXIS), all_gather(x, AXIS), mark_replicated(x, AXIS))
    made = jax.make_jaxpr(told, axis_env=[(AXIS, 1)])(PARTS)
    assert not made.eqns

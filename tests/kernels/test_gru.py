"""The gradient of the GRU on accelerators, against that of the plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.kernels import gru, sizes
from jaxrec.kernels.hardware import Hardware, assumed

GPU = Hardware("gpu", 16 << 30)
INTERPRETED = GPU._replace(interpreted=True)


def value_and_gradients(slots, rows, width, dropped, fused=False, dtype=jnp.float32):
    """Returns a jitted function without arguments of a recurrence's states and gradients, for the assumed hardware."""
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    given = draw(slots, rows, 3 * width), draw(rows, width), draw(width, 3 * width), draw(3 * width)
    reset = jnp.asarray(random.random((slots, rows)) < 0.3)
    keep = jnp.asarray(2.0 * (random.random((slots, rows, width)) < 0.5), "f4") if dropped else None
    of_after, of_states = draw(rows, width), draw(slots, rows, width)

    def value(x, before, kernel, bias):
        after, states = gru.recurrence(x, reset, keep, before, kernel, bias, dtype, fused)
        return (of_after * after).sum() + (of_states * states).sum(), states

    return jax.jit(jax.value_and_grad(value, (0, 1, 2, 3), has_aux=True))(*given)


def agree(found, wanted, tolerance=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, wanted)


@pytest.mark.parametrize("dropped", [False, True])
def test_the_loop_of_few_kernels_has_the_gradient_of_the_plain_one(dropped):
    plain = value_and_gradients(9, 4, 5, dropped)
    with assumed(GPU):
        agree(value_and_gradients(9, 4, 5, dropped), plain)


SHAPES = [(3, 5, 4, True), (9, 4, 5, False), (4, 20, 16, True), (3, 33, 20, False)]


@pytest.mark.parametrize("shape", [SHAPES[0], *(pytest.param(each, marks=pytest.mark.slow) for each in SHAPES[1:])])
def test_hand_written_kernels_compute_what_the_plain_loop_does(shape):
    """For rows and widths that tiles don't divide, with resets, with and without dropout; interpreted by Pallas."""
    plain = value_and_gradients(*shape)
    with assumed(INTERPRETED):
        agree(value_and_gradients(*shape, fused=True), plain)


@pytest.mark.slow
def test_hand_written_kernels_round_factors_alone():
    """In bfloat16, as in the plain loop, states and what is added to them are float32."""
    plain = value_and_gradients(4, 3, 16, True, dtype=jnp.bfloat16)
    with assumed(INTERPRETED):
        agree(value_and_gradients(4, 3, 16, True, fused=True, dtype=jnp.bfloat16), plain, 2e-2)


def test_a_wide_state_has_no_kernel_of_its_own():
    wide = sizes.FUSED_GRU_WIDTH + 1
    with assumed(GPU):
        assert sizes.fuses_gru(wide - 1) and not sizes.fuses_gru(wide)
    assert not sizes.fuses_gru(1)  # nor does one on a CPU

"""The gradient of accelerators' GRU, against that of the plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.kernels import gru
from jaxrec.kernels.hardware import Hardware, assumed

T, B, D = 9, 4, 5


@pytest.mark.parametrize("dropped", [False, True])
def test_the_loop_of_few_kernels_has_the_gradient_of_the_plain_one(dropped):
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    x, before, kernel, bias = draw(T, B, 3 * D), draw(B, D), draw(D, 3 * D), draw(3 * D)
    reset, keep = jnp.asarray(random.random((T, B)) < 0.3), jnp.asarray(2.0 * (random.random((T, B, D)) < 0.5), "f4")
    of_after, of_states = draw(B, D), draw(T, B, D)

    def value(x, before, kernel, bias):
        after, states = gru.recurrence(x, reset, keep if dropped else None, before, kernel, bias, jnp.float32)
        return (of_after * after).sum() + (of_states * states).sum()

    plain = jax.value_and_grad(value, (0, 1, 2, 3))(x, before, kernel, bias)
    with assumed(Hardware("gpu", 16 << 30)):
        few = jax.value_and_grad(value, (0, 1, 2, 3))(x, before, kernel, bias)
    assert jax.tree.structure(plain) == jax.tree.structure(few)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), plain, few)

"""Laws of norms: one copy of a vector per row acts like the vector, and the copies' gradients add up to its own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.kernels import norms

ROWS, SLOTS, WIDTH, EPSILON = 3, 4, 5, 1e-3
SCALE, BIAS = (np.random.default_rng(1).normal(size=WIDTH).astype("f4") for _ in range(2))


def flax_layer(x, scale, bias):
    of = nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False)
    return of.apply({"params": {"scale": scale, "bias": bias}}, x)


def flax_rms(x, scale, bias):
    return nn.RMSNorm(epsilon=EPSILON).apply({"params": {"scale": scale}}, x) + bias


def added(x, scale, bias):
    first, second = norms.plus([x, 2 * x], [scale, bias])
    return first * second


WAYS = {
    "layer": (lambda x, scale, bias: norms.layer(x, scale, bias, EPSILON), flax_layer),
    "rms": (lambda x, scale, bias: norms.plus([norms.rms(x, scale, EPSILON)], [bias])[0], flax_rms),
    "plus": (added, lambda x, scale, bias: (x + scale) * (2 * x + bias)),
}


@pytest.mark.parametrize("shape", [(ROWS, SLOTS, WIDTH), (ROWS * SLOTS, WIDTH)])
@pytest.mark.parametrize("way", WAYS)
def test_vectors_given_once_a_row_have_the_gradient_of_one_in_parts(way, shape):
    by_row, plain = WAYS[way]
    random = np.random.default_rng(0)
    x, towards = (random.normal(size=shape).astype("f4") for _ in range(2))
    value = lambda of: lambda *args: (towards * of(*args)).sum()
    wanted, (of_x, *of_vectors) = jax.value_and_grad(value(plain), (0, 1, 2))(x, SCALE, BIAS)
    each = (jnp.broadcast_to(vector, (ROWS, WIDTH)) for vector in (SCALE, BIAS))
    found, (of_x_too, *of_rows) = jax.value_and_grad(value(by_row), (0, 1, 2))(x, *each)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(of_x_too, of_x, rtol=1e-4, atol=1e-5)
    for rows, whole in zip(of_rows, of_vectors, strict=True):
        assert rows.shape == (ROWS, WIDTH) and np.abs(rows).max(1).all()
        np.testing.assert_allclose(rows.sum(0), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_of_wider_products_what_exceeds_the_vectors_is_cut_off_and_has_no_gradient(dtype, more):
    """As without copies per row: what is added is rounded, and the sums of its gradient are float32."""
    random = np.random.default_rng(3)
    x, towards = (random.normal(size=(ROWS * SLOTS, WIDTH + extra)).astype("f4") for extra in (more, 0))

    def value(x, *vectors):
        return sum((towards * each.astype(dtype).astype("f4")).sum() for each in norms.plus([x, x], vectors))

    wide = jnp.asarray(x, dtype)
    each = [jnp.broadcast_to(vector, (ROWS, WIDTH)) for vector in (SCALE, BIAS)]
    wanted, (of_x, *of_vectors) = jax.value_and_grad(value, (0, 1, 2))(wide, SCALE, BIAS)
    found, (of_x_too, *of_rows) = jax.value_and_grad(value, (0, 1, 2))(wide, *each)
    assert of_x_too.dtype == dtype and not of_x_too[:, WIDTH:].any() and of_x_too[:, :WIDTH].all()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_array_equal(of_x_too, of_x)
    for rows, whole in zip(of_rows, of_vectors, strict=True):
        assert rows.dtype == jnp.float32
        np.testing.assert_allclose(rows.sum(0), whole, rtol=1e-4, atol=1e-5)


def test_a_row_has_its_own_vector():
    x = np.random.default_rng(2).normal(size=(ROWS * SLOTS, WIDTH)).astype("f4")
    scale = np.arange(1, ROWS + 1, dtype="f4")[:, None] * SCALE
    found = norms.layer(x, jnp.asarray(scale), jnp.zeros_like(scale), EPSILON).reshape(ROWS, SLOTS, WIDTH)
    alone = norms.layer(x, jnp.asarray(scale[:1]), jnp.zeros((1, WIDTH)), EPSILON).reshape(ROWS, SLOTS, WIDTH)
    np.testing.assert_allclose(found, alone * np.arange(1, ROWS + 1)[:, None, None], rtol=1e-5)

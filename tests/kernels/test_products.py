"""The products equal their definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.kernels import products
from jaxrec.kernels.hardware import Hardware, assumed

RANDOM = np.random.default_rng(0)
X_GMD = RANDOM.normal(size=(2, 3, 4)).astype(np.float32)


def test_vectors_by_rows_of_their_group():
    rows, bias = RANDOM.normal(size=(2, 5, 4)).astype(np.float32), RANDOM.normal(size=(2, 5)).astype(np.float32)
    wanted = X_GMD @ np.swapaxes(rows, 1, 2) + bias[:, None]
    np.testing.assert_allclose(products.by_rows(X_GMD, rows, bias), wanted, rtol=1e-5, atol=1e-6)


def test_vectors_by_a_table():
    table, bias = RANDOM.normal(size=(1, 5, 4)).astype(np.float32), RANDOM.normal(size=(1, 5)).astype(np.float32)
    wanted = X_GMD[:1] @ np.swapaxes(table, 1, 2) + bias[:, None]
    np.testing.assert_allclose(products.by_table(X_GMD[:1], table, bias), wanted, rtol=1e-5, atol=1e-6)


def test_products_of_bfloat16_add_up_in_float32():
    ones = jnp.ones((1, 1, 1000), jnp.bfloat16)
    for product in (products.by_rows, products.by_table):
        out = product(ones, ones, jnp.zeros((1, 1)))
        assert out.dtype == jnp.float32 and out[0, 0, 0] == 1000


EQUATIONS = {"bqd,bkd->bqk": ((2, 3, 40), (2, 5, 40)), "bqhd,nhd->bhqn": ((2, 3, 2, 40), (5, 2, 40))}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_the_gradient_of_a_summed_product_is_that_of_its_rounded_gradient(equation):
    """For factors and gradients exact in bfloat16, it equals that of float32 up to the result's rounding."""
    exact = [np.asarray(jnp.bfloat16(RANDOM.normal(size=shape)), np.float32) for shape in EQUATIONS[equation]]
    made, pull = jax.vjp(partial(products.summed, equation), *exact)
    of_made = np.asarray(jnp.bfloat16(RANDOM.normal(size=made.shape)), np.float32)
    low, pull_low = jax.vjp(partial(products.summed, equation), *map(jnp.bfloat16, exact))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, made, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(pull_low(of_made), pull(of_made), strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(found, np.float32), wanted, rtol=2**-8, atol=1e-2)
    lowered = jax.jit(lambda of_made: pull_low(of_made)).lower(of_made).as_text()
    factors = [line.rsplit(" : ")[-1].split("->")[0] for line in lowered.splitlines() if "dot_general" in line]
    assert len(factors) == 2 and not any("xf32" in each for each in factors)


def test_member_sums():
    np.testing.assert_allclose(products.member_sums(X_GMD), X_GMD.sum(1), rtol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("heads", [1, 2])
def test_products_by_head_are_those_of_each_head(heads, platform):
    query, key, value = (RANDOM.normal(size=(2, slots, heads, 4)).astype(np.float32) for slots in (3, 5, 5))
    weights = RANDOM.normal(size=(2, heads, 3, 5)).astype(np.float32)
    with assumed(Hardware(platform)):
        scores, mixed = products.by_head(query, key), products.mixed_by_head(weights, value)
    for head in range(heads):
        wanted = query[:, :, head] @ np.swapaxes(key[:, :, head], 1, 2)
        np.testing.assert_allclose(scores[:, head], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(mixed[:, :, head], weights[:, head] @ value[:, :, head], rtol=1e-5, atol=1e-6)

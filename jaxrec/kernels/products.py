"""Matrix products written in the form that XLA computes fastest on the device."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrec.kernels import hardware


def by_table(x_GMD: jax.Array, table_GKD: jax.Array, bias_GK: jax.Array) -> jax.Array:
    """The products of a few vectors with all rows of a table, plus a bias, for each group.

    A CPU multiplies a large table by a few vectors several times faster than the few vectors by the table. Adding the
    bias before the transpose keeps XLA from swapping the two.

    Args:
        x_GMD: the vectors.
        table_GKD: the tables.
        bias_GK: added to the products.

    Returns:
        [G, M, K] float32.
    """
    product_GKM = jnp.einsum("gkd,gmd->gkm", table_GKD, x_GMD, preferred_element_type=jnp.float32)
    return jnp.swapaxes(product_GKM + bias_GK[..., None], 1, 2)


def by_rows(x_GMD: jax.Array, rows_GKD: jax.Array, bias_GK: jax.Array) -> jax.Array:
    """As `by_table`, for rows that were looked up for each group: [G, M, D], [G, K, D], [G, K] -> [G, M, K]."""
    return jnp.einsum("gmd,gkd->gmk", x_GMD, rows_GKD, preferred_element_type=jnp.float32) + bias_GK[:, None]


def member_sums(x_GMK: jax.Array) -> jax.Array:
    """The sums over each group's members: [G, M, K] -> [G, K]. On a CPU this is faster than `sum(axis=1)`."""
    return jnp.einsum("gmk,gm->gk", x_GMK, jnp.ones_like(x_GMK[..., 0]))


def summed(equation: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """`jnp.einsum` of two arrays of one dtype, with float32 sums and with products of that dtype in the gradient.

    JAX itself would use the float32 gradient of the result as a factor: for bfloat16 inputs, the products of the
    gradient would be of float32 arrays, on slower units and with twice the bytes. Here it is rounded first, as in
    FlashAttention (Dao et al. 2022).

    Args:
        equation: of letters and "->"; each letter occurs in two of the three arrays.
        x: the first factor.
        y: the second factor.

    Returns:
        float32.

    >>> summed("qd,kd->qk", jnp.ones((2, 3), jnp.bfloat16), jnp.ones((4, 3), jnp.bfloat16)).dtype
    dtype('float32')
    """
    if x.dtype == jnp.float32:
        return jnp.einsum(equation, x, y, preferred_element_type=jnp.float32)
    return _rounded(equation, x, y)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded(equation, x, y):
    return jnp.einsum(equation, x, y, preferred_element_type=jnp.float32)


def _forward(equation, x, y):
    return _rounded(equation, x, y), (x, y)


def _backward(equation, factors, grad):
    x, y = factors
    factor, product = equation.split("->")
    first, second = factor.split(",")
    grad = grad.astype(x.dtype)
    return jnp.einsum(f"{product},{second}->{first}", grad, y), jnp.einsum(f"{product},{first}->{second}", grad, x)


_rounded.defvjp(_forward, _backward)


def by_head(query_BQHd: jax.Array, key_BKHd: jax.Array) -> jax.Array:
    """The products of all queries with all keys of each head: [B, Q, H, d], [B, K, H, d] -> [B, H, Q, K] float32.

    On accelerators the axis of a single head is dropped, since XLA would transpose the factors for it.
    """
    if query_BQHd.shape[2] == 1 and not hardware.is_cpu():
        query_BQd, key_BKd = query_BQHd[:, :, 0], key_BKHd[:, :, 0]
        return summed("bqd,bkd->bqk", query_BQd, key_BKd)[:, None]
    return summed("bqhd,bkhd->bhqk", query_BQHd, key_BKHd)


def mixed_by_head(weights_BHQK: jax.Array, value_BKHd: jax.Array) -> jax.Array:
    """The values of each head, summed by weights: [B, H, Q, K], [B, K, H, d] -> [B, Q, H, d]; see `by_head`."""
    if value_BKHd.shape[2] == 1 and not hardware.is_cpu():
        return jnp.einsum("bqk,bkd->bqd", weights_BHQK[:, 0], value_BKHd[:, :, 0])[:, :, None]
    return jnp.einsum("bhqk,bkhd->bqhd", weights_BHQK, value_BKHd)


def kept_separate(x: jax.Array) -> jax.Array:
    """Returns the array, but keeps accelerators from merging its product with another product of the same array.

    Merging saves less than it costs to copy factors together and to split results and gradients.
    """
    return x if hardware.is_cpu() else jax.lax.optimization_barrier(x)

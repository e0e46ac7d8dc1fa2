"""Matrix products written in the form that XLA's CPU backend computes fastest."""

import jax
import jax.numpy as jnp


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

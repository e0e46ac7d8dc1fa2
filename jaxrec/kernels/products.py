"""Products in the form that XLA's CPU computes fast."""

import jax.numpy as jnp


def by_table(x_GMD, table_GKD, bias_GK):
    """The products of a few vectors with all rows of a table, plus a bias: -> [G, M, K] float32.

    Many rows by few vectors: in this order a CPU takes a fraction of the time, and a bias within keeps XLA to it.
    """
    product_GKM = jnp.einsum("gkd,gmd->gkm", table_GKD, x_GMD, preferred_element_type=jnp.float32)
    return jnp.swapaxes(product_GKM + bias_GK[..., None], 1, 2)


def by_rows(x_GMD, rows_GKD, bias_GK):
    """The products of each group's vectors with rows of its own, plus a bias: -> [G, M, K] float32."""
    return jnp.einsum("gmd,gkd->gmk", x_GMD, rows_GKD, preferred_element_type=jnp.float32) + bias_GK[:, None]


def member_sums(x_GMK):
    """The sums over the members of each group: [G, M, K] -> [G, K]; XLA's CPU takes longer to add up columns."""
    return jnp.einsum("gmk,gm->gk", x_GMK, jnp.ones_like(x_GMK[..., 0]))

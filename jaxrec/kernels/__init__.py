"""Low-level JAX code: masks, random bits, ranking, reductions, collectives, device placement, compiler options."""

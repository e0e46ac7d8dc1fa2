"""Adds vectors, and normalises with vectors, that are given as one copy per row.

Their gradients then have one copy per row too, so that an accelerator sums those of all vectors of a model over the
rows in one kernel, instead of one kernel each.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def plus(xs: Sequence[jax.Array], vectors: Sequence[jax.Array]) -> Sequence[jax.Array]:
    """Returns x + vector, along the last axis, for each pair, in float32.

    Args:
        xs: [..., D] each, or wider if what exceeds the vectors is to be cut off; all of one floating-point dtype. If
            that is not float32, the sums are meant to be rounded to it: so are their gradients.
        vectors: [D] each; or [R, D], one for each of R equal parts of the slots of x, in their order.
    """
    if vectors[0].ndim == 1:
        return [_cut(x, vector).astype(jnp.float32) + vector for x, vector in zip(xs, vectors, strict=True)]
    sums: Any = _plus(
        xs[0].dtype,
        tuple(x.shape[-1] for x in xs),
        tuple(_by_row(x, vector) for x, vector in zip(xs, vectors, strict=True)),
        tuple(vectors),
    )
    return [each.reshape(*x.shape[:-1], -1) for each, x in zip(sums, xs, strict=True)]


def layer(x: jax.Array, scale_RD: jax.Array, bias_RD: jax.Array, epsilon: float) -> jax.Array:
    """LayerNorm (Ba et al. 2016) in float32: (x - mean) / sqrt(variance + epsilon) * scale + bias.

    Args:
        x: [..., D].
        scale_RD: one scale for each of R equal parts of the slots of x, in their order.
        bias_RD: the biases, likewise.
        epsilon: added to the variance.
    """
    found: Any = _normalised(True, epsilon, _by_row(x, scale_RD), scale_RD, bias_RD)
    return found.reshape(x.shape)


def rms(x: jax.Array, scale_RD: jax.Array, epsilon: float) -> jax.Array:
    """RMSNorm (Zhang & Sennrich 2019) in float32: x / sqrt(mean of x^2 + epsilon) * scale; arguments as for `layer`."""
    found: Any = _normalised(False, epsilon, _by_row(x, scale_RD), scale_RD, jnp.zeros_like(scale_RD))
    return found.reshape(x.shape)


def _cut(x, like):
    """Leaves out the last features of x that `like` does not have."""
    return x if x.shape[-1] == like.shape[-1] else x[..., : like.shape[-1]]


def _filled(x, width):
    """Adds zeros as last features of x, up to the width."""
    return x if x.shape[-1] == width else jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])


def _by_row(x, vector_RD):
    return x.reshape(len(vector_RD), -1, x.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _plus(dtype, widths, xs_RND, vectors_RD):
    """The sums of arrays of this dtype, and of these widths before they are cut, and vectors; in float32."""
    # The barrier keeps XLA from adding the vector within the product, for which it would copy each vector first. The
    # product is cut and converted after it, in the kernel that adds.
    parts = zip(xs_RND, vectors_RD, strict=True)
    kept = lambda x, vector: _cut(jax.lax.optimization_barrier(x), vector).astype(jnp.float32)
    return [kept(x, each) + each[:, None] for x, each in parts]


def _plus_backward(dtype, widths, _, grads_RND):
    rounded = [_filled(x.astype(dtype), width) for x, width in zip(grads_RND, widths, strict=True)]
    if dtype == jnp.float32:
        return tuple(rounded), tuple(_row_sums(*grads_RND))
    # One rounded array is read for the products and for the sums. These lose nothing, since what was added is rounded.
    rounded = jax.lax.optimization_barrier(rounded)
    exact = [_cut(x, grad).astype(jnp.float32) for x, grad in zip(rounded, grads_RND, strict=True)]
    return tuple(rounded), tuple(_side_by_side(*exact))


_plus.defvjp(lambda *args: (_plus(*args), None), _plus_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalised(centred, epsilon, x_RND, scale_RD, bias_RD):
    return _forward(centred, epsilon, x_RND, scale_RD, bias_RD)[0]


def _forward(centred, epsilon, x_RND, scale_RD, bias_RD):
    wide_RND = x_RND.astype(jnp.float32)
    mean = wide_RND.mean(-1, keepdims=True) if centred else jnp.zeros_like(wide_RND[..., :1])
    factor = jax.lax.rsqrt(((wide_RND - mean) ** 2).mean(-1, keepdims=True) + epsilon)
    found_RND = (wide_RND - mean) * factor * scale_RD[:, None] + bias_RD[:, None]
    return jax.lax.optimization_barrier(found_RND), (x_RND, mean, factor, scale_RD)


def _backward(centred, epsilon, kept, grad_RND):
    x_RND, mean, factor, scale_RD = kept
    unit_RND = (x_RND.astype(jnp.float32) - mean) * factor
    of_unit_RND = grad_RND * scale_RD[:, None]
    along = (of_unit_RND * unit_RND).mean(-1, keepdims=True)
    shift = of_unit_RND.mean(-1, keepdims=True) if centred else 0.0
    of_x_RND = factor * (of_unit_RND - shift - unit_RND * along)
    return of_x_RND.astype(x_RND.dtype), *_row_sums(grad_RND * unit_RND, grad_RND)


_normalised.defvjp(_forward, _backward)


def _row_sums(*arrays_RND):
    """The sums over each row's slots, in one kernel if all shapes are equal: [R, N, D] each -> [R, D] each."""
    if len({x.shape for x in arrays_RND}) > 1:
        return [x.sum(1) for x in arrays_RND]
    zeros = tuple(jnp.zeros((), x.dtype) for x in arrays_RND)
    return list(jax.lax.reduce(arrays_RND, zeros, lambda one, other: tuple(map(jnp.add, one, other)), (1,)))


def _side_by_side(*arrays_RND):
    """As `_row_sums`, for arrays that are converted in the same kernel."""
    if len({x.shape for x in arrays_RND}) > 1:
        return [x.sum(1) for x in arrays_RND]
    return jnp.split(jnp.concatenate(arrays_RND, axis=-1).sum(1), len(arrays_RND), axis=-1)

"""A gated recurrence along the slots of a row, whose gradient starts few kernels."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.kernels import hardware, products, sizes

SLOTS_AT_ONCE = 4  # slots per iteration of an accelerator's loops, whose counter is a kernel of its own


def product(x_ND: jax.Array, kernel_DF: jax.Array, bias_F: jax.Array, dtype: Any) -> jax.Array:
    """Returns x W + b, with factors in `dtype` and sums in float32."""
    return _without_bias(x_ND, kernel_DF, dtype) + bias_F


def _without_bias(x_ND, kernel_DF, dtype):
    kernel_DF = kernel_DF.astype(dtype)
    if more := sizes.product_columns(kernel_DF.shape[1], dtype) - kernel_DF.shape[1]:
        kernel_DF = jnp.pad(kernel_DF, ((0, 0), (0, more)))
    product_NF = products.summed("nd,df->nf", x_ND.astype(dtype), kernel_DF)
    if not hardware.is_cpu():  # the gates add the bias: XLA would copy it first to add it within the product
        product_NF = jax.lax.optimization_barrier(product_NF)
    return product_NF[:, :-more] if more else product_NF


def gates(x_B3D: jax.Array, h_B3D: jax.Array, h_BD: jax.Array) -> jax.Array:
    """Returns the state after a slot (Cho et al. 2014, with the reset after the product, as in cuDNN).

    r = sigmoid(x_r + h_r); z = sigmoid(x_z + h_z); c = tanh(x_c + r h_c); (1 - z) c + z h.

    Args:
        x_B3D: the input times its kernel, plus its bias.
        h_B3D: the state times its kernel, plus its bias.
        h_BD: the state.
    """
    (x_r, x_z, x_c), (h_r, h_z, h_c) = (jnp.split(gates, 3, axis=-1) for gates in (x_B3D, h_B3D))
    z_BD = jax.nn.sigmoid(x_z + h_z)
    return (1 - z_BD) * jnp.tanh(x_c + jax.nn.sigmoid(x_r + h_r) * h_c) + z_BD * h_BD


def recurrence(
    x_TB3D: jax.Array,
    reset_TB: jax.Array,
    keep_TBD: jax.Array | None,
    before_BD: jax.Array,
    kernel_DF: jax.Array,
    bias_F: jax.Array,
    dtype: Any,
    fused: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Returns the states of a GRU layer, slot after slot.

    On a CPU, JAX differentiates the loop. On accelerators the gradient has its own loop, which starts fewer kernels.

    Args:
        x_TB3D: the inputs of all slots times their kernel, plus their bias.
        reset_TB: whether the state is zero before a slot.
        keep_TBD: what the state is multiplied by after a slot (dropout); has no gradient; None for 1.
        before_BD: the state before the first slot.
        kernel_DF: [D, 3D], the state's kernel.
        bias_F: [3D], its bias.
        dtype: of the factors of products.
        fused: whether a GPU runs each loop as one hand-written kernel.

    Returns:
        (the state after the last slot [B, D], the states after all slots [T, B, D])
    """
    args = x_TB3D, reset_TB, keep_TBD, before_BD, kernel_DF, bias_F
    if hardware.is_cpu() or len(x_TB3D) == 1:
        return _states(dtype, *args)
    return _states_in_few_kernels(dtype, fused and sizes.fuses_gru(before_BD.shape[1]), *args)


def _states(dtype, x_TB3D, reset_TB, keep_TBD, before_BD, kernel_DF, bias_F):
    def slot(h_BD, inputs):
        x_B3D, reset_B, keep_BD = inputs
        h_BD = jnp.where(reset_B[:, None], 0.0, h_BD)
        h_BD = gates(x_B3D, product(h_BD, kernel_DF, bias_F, dtype), h_BD)
        h_BD = h_BD if keep_BD is None else keep_BD * h_BD
        return h_BD, h_BD

    return jax.lax.scan(slot, before_BD, (x_TB3D, reset_TB, keep_TBD))


def _states_by_masks(dtype, x_TB3D, reset_TB, keep_TBD, before_BD, kernel_DF, bias_F):
    """The same, in few kernels: the reset follows the product, and so is computed together with the gates."""

    def slot(h_BD, inputs):
        x_B3D, reset_B, keep_BD = inputs
        reset_B1, h_B3D = reset_B[:, None], _without_bias(h_BD, kernel_DF, dtype)
        h_BD = gates(x_B3D, jnp.where(reset_B1, 0.0, h_B3D) + bias_F, jnp.where(reset_B1, 0.0, h_BD))
        h_BD = h_BD if keep_BD is None else keep_BD * h_BD
        return h_BD, h_BD

    return jax.lax.scan(slot, before_BD, (x_TB3D, reset_TB, keep_TBD), unroll=SLOTS_AT_ONCE)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _states_in_few_kernels(dtype, fused, *args):
    if not fused:
        return _states_by_masks(dtype, *args)
    from jaxrec.kernels import fused_gru  # imported here: Pallas is slow to import and rarely needed

    return fused_gru.states(dtype, *args)


def _forward(dtype, fused, *args):
    found: Any = _states_in_few_kernels(dtype, fused, *args)  # the decorator hides its type
    return found, (args, found[1])


def _backward(dtype, fused, kept, cotangents):
    """The loop only has what depends on later slots, not the products with the states or the kernel's gradient.

    JAX's own gradient of the loop would save every gate of every slot, with one kernel each.
    """
    (x_TB3D, reset_TB, keep_TBD, before_BD, kernel_DF, bias_F), out_TBD = kept
    after_BD, grad_TBD = cotangents
    width = before_BD.shape[-1]
    held_TBD = jnp.concatenate([before_BD[None], out_TBD[:-1]])
    held_TBD = jnp.where(reset_TB[..., None], 0.0, held_TBD)
    h_TB3D = product(held_TBD.reshape(-1, width), kernel_DF, bias_F, dtype).reshape(x_TB3D.shape)

    given = x_TB3D, h_TB3D, held_TBD, reset_TB, keep_TBD, grad_TBD, after_BD, kernel_DF
    if fused:
        from jaxrec.kernels import fused_gru

        of_before, of_TBF = fused_gru.gradients(dtype, *given)
    else:
        of_before, of_TBF = _gradients(dtype, *given)
    of_x, of_h = of_TBF[..., : 3 * width], jnp.concatenate([of_TBF[..., : 2 * width], of_TBF[..., 3 * width :]], -1)
    of_h = of_h.reshape(-1, 3 * width)
    held_ND = held_TBD.reshape(-1, width).astype(dtype)
    of_kernel = jnp.dot(held_ND.T, of_h.astype(dtype), preferred_element_type=jnp.float32)
    return of_x, None, None, of_before, of_kernel, of_h.sum(0)


def _gradients(dtype, x_TB3D, h_TB3D, held_TBD, reset_TB, keep_TBD, grad_TBD, after_BD, kernel_DF):
    width = held_TBD.shape[-1]

    def slot(after_BD, inputs):
        x_B3D, h_B3D, held_BD, reset_B, keep_BD, grad_BD = inputs
        grad_BD = grad_BD + after_BD
        grad_BD = grad_BD if keep_BD is None else keep_BD * grad_BD
        of_x, of_h, of_held = jax.vjp(gates, x_B3D, h_B3D, held_BD)[1](grad_BD)
        back_BD = jnp.dot(of_h.astype(dtype), kernel_DF.T.astype(dtype), preferred_element_type=jnp.float32)
        # gates r and z only use the sum of both products, so only the candidate's two gradients differ
        return jnp.where(reset_B[:, None], 0.0, of_held + back_BD), jnp.concatenate([of_x, of_h[:, 2 * width :]], 1)

    inputs = x_TB3D, h_TB3D, held_TBD, reset_TB, keep_TBD, grad_TBD
    return jax.lax.scan(slot, after_BD, inputs, reverse=True, unroll=SLOTS_AT_ONCE)


_states_in_few_kernels.defvjp(_forward, _backward)

"""The loops of a gated recurrence and of its gradient, each as one GPU kernel: the state never leaves a processor.

They compute what the loops of `gru` do. A program has some rows, and loops over their slots; the state's kernel and the
state stay in its registers and shared memory. Both are written in Pallas for Triton.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxrec.kernels.handwritten import NARROWEST, WHOLE, call, pad, tile_width

ROWS = NARROWEST  #: rows per program: the fewest that a matrix unit takes, since a step has few rows


def states(
    dtype: Any,
    x_TB3D: jax.Array,
    reset_TB: jax.Array,
    keep_TBD: jax.Array | None,
    before_BD: jax.Array,
    kernel_DF: jax.Array,
    bias_F: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the states after the last slot [B, D] and after all slots [T, B, D]; see `gru.recurrence`."""
    (slots, rows, _), dim = x_TB3D.shape, before_BD.shape[1]
    width, padded = tile_width(dim), -(-rows // ROWS) * ROWS
    keep = [] if keep_TBD is None else [pad(keep_TBD, slots, padded, width)]
    (out_TBW,) = call(
        partial(_states_kernel, slots=slots),
        [
            _by_gate(x_TB3D, slots, padded, width),
            pad(reset_TB.astype(jnp.int32), slots, padded),
            pad(before_BD, padded, width),
            _by_gate(kernel_DF.astype(dtype), width, width),
            _by_gate(bias_F, width),
            *keep,
        ],
        [(slots, padded, width)],
        name="gru_states",
        grid=(padded // ROWS,),
        in_specs=[_of_slots(slots, 3, width), _of_slots(slots), _rows_of(width), WHOLE, WHOLE]
        + [_of_slots(slots, width)] * len(keep),
        out_specs=[_of_slots(slots, width)],
        warps=_warps(width, dtype),
        stages=1,
        flops=6 * slots * padded * width**2,
        transcendentals=3 * slots * padded * width,
    )
    out_TBD = out_TBW[:, :rows, :dim]
    return out_TBD[-1], out_TBD


def gradients(
    dtype: Any,
    x_TB3D: jax.Array,
    h_TB3D: jax.Array,
    held_TBD: jax.Array,
    reset_TB: jax.Array,
    keep_TBD: jax.Array | None,
    grad_TBD: jax.Array,
    after_BD: jax.Array,
    kernel_DF: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The loop of the gradient, from the last slot to the first.

    Args:
        dtype, x_TB3D, reset_TB, keep_TBD, kernel_DF: as for `gru.recurrence`.
        h_TB3D: the states before the slots times their kernel, plus their bias.
        held_TBD: these states, zero where they are reset.
        grad_TBD: the gradient of the states after all slots.
        after_BD: the gradient of the state after the last slot.

    Returns:
        (the gradient of the state before the first slot [B, D]; the gradients of the gates r and z, of the candidate's
        input, and of its product with the state [T, B, 4D])
    """
    (slots, rows, dim), width = held_TBD.shape, tile_width(held_TBD.shape[2])
    padded = -(-rows // ROWS) * ROWS
    keep = [] if keep_TBD is None else [pad(keep_TBD, slots, padded, width)]
    of_before, of_TB4W = call(
        partial(_gradients_kernel, slots=slots),
        [
            _by_gate(x_TB3D, slots, padded, width),
            _by_gate(h_TB3D, slots, padded, width),
            pad(held_TBD, slots, padded, width),
            pad(reset_TB.astype(jnp.int32), slots, padded),
            pad(grad_TBD, slots, padded, width),
            pad(after_BD, padded, width),
            _by_gate(kernel_DF.astype(dtype), width, width),
            *keep,
        ],
        [(padded, width), (slots, padded, 4, width)],
        name="gru_gradients",
        grid=(padded // ROWS,),
        in_specs=[_of_slots(slots, 3, width), _of_slots(slots, 3, width), _of_slots(slots, width), _of_slots(slots)]
        + [_of_slots(slots, width), _rows_of(width), WHOLE]
        + [_of_slots(slots, width)] * len(keep),
        out_specs=[_rows_of(width), _of_slots(slots, 4, width)],
        warps=_warps(width, dtype),
        stages=1,
        flops=6 * slots * padded * width**2,
        transcendentals=3 * slots * padded * width,
    )
    return of_before[:rows, :dim], of_TB4W[:, :rows, :, :dim].reshape(slots, rows, 4 * dim)


# --- the kernels; references hold only the program's own rows, except those of the matrices


def _states_kernel(x_ref, reset_ref, before_ref, kernel_ref, bias_ref, *refs, slots):
    *keep_ref, out_ref = refs
    kernels, biases = ([ref[..., gate, :] for gate in range(3)] for ref in (kernel_ref, bias_ref))

    def inputs(slot):
        return tuple(x_ref[slot, :, gate, :] for gate in range(3)), reset_ref[slot, :]

    def advance(slot, found):
        state, (xs, reset) = found
        ahead = inputs(jnp.minimum(slot + 1, slots - 1))  # loaded while this slot is computed
        state = jnp.where(reset[:, None] != 0, 0.0, state)
        factor = state.astype(kernels[0].dtype)
        hs = [plgpu.dot(factor, kernel) + bias[None, :] for kernel, bias in zip(kernels, biases, strict=True)]
        state = _state(xs, hs, state)
        state = keep_ref[0][slot, :, :] * state if keep_ref else state
        out_ref[slot, :, :] = state
        return state, ahead

    jax.lax.fori_loop(0, slots, advance, (before_ref[...], inputs(0)))


def _gradients_kernel(x_ref, h_ref, held_ref, reset_ref, grad_ref, after_ref, kernel_ref, *refs, slots):
    *keep_ref, before_ref, out_ref = refs
    kernels = [kernel_ref[:, gate, :].T for gate in range(3)]

    def inputs(slot):
        gates = [tuple(ref[slot, :, gate, :] for gate in range(3)) for ref in (x_ref, h_ref)]
        return *gates, held_ref[slot, :, :], reset_ref[slot, :], grad_ref[slot, :, :]

    def retreat(i, found):
        after, (xs, hs, held, reset, grad) = found
        slot = slots - 1 - i
        earlier = inputs(jnp.maximum(slot - 1, 0))  # loaded while this slot is computed
        grad = grad + after
        grad = keep_ref[0][slot, :, :] * grad if keep_ref else grad
        r, z, candidate = _gates(xs, hs)
        of_sum = grad * (1 - z) * (1 - candidate**2)
        of_r, of_z, of_h = of_sum * hs[2] * r * (1 - r), grad * (held - candidate) * z * (1 - z), of_sum * r
        for place, of in enumerate((of_r, of_z, of_sum, of_h)):
            out_ref[slot, :, place, :] = of
        back = sum(
            plgpu.dot(of.astype(kernel.dtype), kernel) for of, kernel in zip((of_r, of_z, of_h), kernels, strict=True)
        )
        return jnp.where(reset[:, None] != 0, 0.0, grad * z + back), earlier

    before_ref[...] = jax.lax.fori_loop(0, slots, retreat, (after_ref[...], inputs(slots - 1)))[0]


def _gates(xs, hs):
    """Returns r, z and the candidate, from the input's and the state's parts; see `gru.gates`."""
    r = jax.nn.sigmoid(xs[0] + hs[0])
    return r, jax.nn.sigmoid(xs[1] + hs[1]), jnp.tanh(xs[2] + r * hs[2])


def _state(xs, hs, state):
    _, z, candidate = _gates(xs, hs)
    return (1 - z) * candidate + z * state


def _of_slots(slots, *features):
    return pl.BlockSpec((slots, ROWS, *features), lambda row: (0, row, *(0,) * len(features)))


def _rows_of(width):
    return pl.BlockSpec((ROWS, width), lambda row: (row, 0))


def _by_gate(x, *shape):
    """[..., 3D] -> [..., 3, width], padded to the shape [..., width]."""
    x = x.reshape(*x.shape[:-1], 3, -1)
    return pad(x, *shape[:-1], 3, shape[-1])


def _warps(width, dtype):
    """Returns the number of warps whose registers hold the state's kernel."""
    return 4 if width**2 * jnp.dtype(dtype).itemsize <= 2**14 else 8

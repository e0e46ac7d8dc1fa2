"""GPU kernels for the sums that a softmax over many rows and its gradients need, which keep no scores in memory.

Each kernel computes what the function of the same name in `PLAIN` defines. The kernels are written in Pallas for
Triton. Scores are products of a vector and a row, plus the row's bias; a bias of -inf leaves a row out.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxrec.kernels.handwritten import WHOLE, call, pad, tile_width

LOG2E = float(np.log2(np.e))
LOWEST = -1e30  #: the peak of no rows; finite, so that differences of two peaks are finite too
PROGRAMS = 512  #: fewer programs than this would leave some of a GPU's processors idle


class Sums(NamedTuple):
    """The sums of a softmax over some of the rows, for N vectors; `merge` combines those of several parts."""

    peak: jax.Array  #: [N] float32, the highest score, times log2(e)
    norm: jax.Array  #: [N] float32, the sum of e^score, divided by 2^peak
    rows: jax.Array  #: [N, D] float32, the sum of e^score times the row, divided by 2^peak


def sums(hidden_ND: jax.Array, table_VD: jax.Array, bias_V: jax.Array) -> Sums:
    """Returns the Sums over all rows of a table for each vector, as in attention with the table as keys and values.

    Args:
        hidden_ND: the vectors.
        table_VD: the rows, of the same dtype, which the factors of products have too.
        bias_V: float32.
    """
    (number, dim), width = hidden_ND.shape, tile_width(hidden_ND.shape[1])
    tile = _tile(width * hidden_ND.dtype.itemsize)
    vectors, blocks = -(-number // tile.vectors), -(-len(table_VD) // tile.rows)
    parts, padded, rows = _parts(vectors, blocks), vectors * tile.vectors, blocks * tile.rows
    of_vectors = lambda *shape: pl.BlockSpec(
        (None, tile.vectors, *shape), lambda n, part: (part, n, *(0,) * len(shape))
    )
    found = call(
        partial(_sums_kernel, rows=tile.rows, blocks=blocks, parts=parts),
        [pad(hidden_ND, padded, width), pad(table_VD, rows, width), pad(LOG2E * bias_V, rows, value=-jnp.inf)],
        [(parts, padded), (parts, padded), (parts, padded, width)],
        name="softmax_sums",
        grid=(vectors, parts),
        in_specs=[pl.BlockSpec((tile.vectors, width), lambda n, part: (n, 0)), WHOLE, WHOLE],
        out_specs=[of_vectors(), of_vectors(), of_vectors(width)],
        warps=tile.warps,
        stages=tile.stages,
        flops=4 * padded * rows * width,
        transcendentals=padded * rows,
    )
    peak, norm, sum_ND = (each[:, :number] for each in found)
    every = Sums(peak, norm, sum_ND[..., :dim])
    return jax.tree.map(lambda x: x[0], every) if parts == 1 else merge(every, peak.max(0), lambda x: x.sum(0))


def merge(parts: Sums, peak: jax.Array, total: Callable[[jax.Array], jax.Array]) -> Sums:
    """Merges the Sums over parts of the rows into those over all rows.

    Args:
        parts: Sums with a leading axis of parts; or this device's, if each device has a part.
        peak: [N], the highest peak of all parts.
        total: sums an array over the parts.
    """
    share = jnp.exp2(parts.peak - peak)
    return Sums(peak, total(share * parts.norm), total(share[..., None] * parts.rows))


def row_gradients(
    hidden_ND: jax.Array,
    table_VD: jax.Array,
    bias_V: jax.Array,
    log_share_N: jax.Array,
    target_N: jax.Array,
    weight_N: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of rows and biases: the sums over all vectors of d times the vector, and of d.

    d is e^score 2^log_share, less the weight at the vector's target; the product rounds it to the vectors' dtype.

    Args:
        hidden_ND, table_VD, bias_V: as for `sums`.
        log_share_N: float32, log2 of the vector's weight, less log2 of the sum of e^score of all rows.
        target_N: the place of the target among the rows; V or more if it is another device's.
        weight_N: float32.

    Returns:
        ([V, D] float32, [V] float32)
    """
    (rows, dim), width = table_VD.shape, tile_width(table_VD.shape[1])
    tile = _tile(width * table_VD.dtype.itemsize)
    vectors, blocks = -(-len(hidden_ND) // tile.shown), -(-rows // tile.learned)
    parts, padded, number = _parts(blocks, vectors), blocks * tile.learned, vectors * tile.shown
    of_rows = lambda *shape: pl.BlockSpec((tile.learned, *shape), lambda v, part: (v, *(0,) * len(shape)))
    by_part = lambda *shape: pl.BlockSpec((None, tile.learned, *shape), lambda v, part: (part, v, *(0,) * len(shape)))
    of_vectors = pad(hidden_ND, number, width), pad(log_share_N, number, value=-jnp.inf)
    of_targets = pad(target_N, number), pad(weight_N, number)
    grad_VD, grad_V = call(
        partial(_row_gradients_kernel, vectors=tile.shown, blocks=vectors, parts=parts),
        [*of_vectors, *of_targets, pad(table_VD, padded, width), pad(LOG2E * bias_V, padded, value=-jnp.inf)],
        [(parts, padded, width), (parts, padded)],
        name="softmax_row_gradients",
        grid=(blocks, parts),
        in_specs=[WHOLE, WHOLE, WHOLE, WHOLE, of_rows(width), of_rows()],
        out_specs=[by_part(width), by_part()],
        warps=tile.warps,
        stages=tile.stages,
        flops=4 * padded * number * width,
        transcendentals=padded * number,
    )
    return grad_VD[:, :rows, :dim].sum(0), grad_V[:, :rows].sum(0)


# --- the definitions


def _plain_sums(hidden_ND, table_VD, bias_V):
    scores_NV = LOG2E * (_scores(hidden_ND, table_VD) + bias_V)
    peak_N = jnp.maximum(scores_NV.max(1), LOWEST)
    shares_NV = jnp.exp2(scores_NV - peak_N[:, None])
    rows_ND = jnp.dot(shares_NV.astype(hidden_ND.dtype), table_VD, preferred_element_type=jnp.float32)
    return Sums(peak_N, shares_NV.sum(1), rows_ND)


def _plain_row_gradients(hidden_ND, table_VD, bias_V, log_share_N, target_N, weight_N):
    scores_NV = LOG2E * (_scores(hidden_ND, table_VD) + bias_V)
    is_target_NV = target_N[:, None] == jnp.arange(len(table_VD))
    shares_NV = jnp.exp2(scores_NV + log_share_N[:, None]) - jnp.where(is_target_NV, weight_N[:, None], 0)
    grad_VD = jnp.dot(shares_NV.T.astype(hidden_ND.dtype), hidden_ND, preferred_element_type=jnp.float32)
    return grad_VD, shares_NV.sum(0)


def _scores(hidden_ND, table_VD):
    return jnp.dot(hidden_ND, table_VD.T, preferred_element_type=jnp.float32)


PLAIN = {"sums": _plain_sums, "row_gradients": _plain_row_gradients}


# --- the kernels


def _sums_kernel(hidden_ref, table_ref, bias_ref, peak_ref, norm_ref, sum_ref, *, rows, blocks, parts):
    """One block of vectors against one part of the rows; the sums are rescaled as the peak rises (Dao et al. 2022)."""
    hidden = hidden_ref[...]
    begin, end = _range(pl.program_id(1), blocks, parts)

    def block(i, found):
        peak, norm, total = found
        at = pl.ds(i * rows, rows)
        table = table_ref[at, :]
        scores = LOG2E * plgpu.dot(hidden, table.T) + bias_ref[at][None, :]
        higher = jnp.maximum(peak, scores.max(1))
        shares = jnp.exp2(scores - higher[:, None])
        fade = jnp.exp2(peak - higher)
        total = fade[:, None] * total + plgpu.dot(shares.astype(table.dtype), table)
        return higher, fade * norm + shares.sum(1), total

    number, width = hidden.shape
    first = jnp.full((number,), LOWEST), jnp.zeros((number,)), jnp.zeros((number, width))
    peak_ref[...], norm_ref[...], sum_ref[...] = jax.lax.fori_loop(begin, end, block, first)


def _row_gradients_kernel(
    hidden_ref, share_ref, target_ref, weight_ref, table_ref, bias_ref, rows_ref, sum_ref, *, vectors, blocks, parts
):
    """One block of rows against one part of the vectors."""
    table, bias = table_ref[...], bias_ref[...]
    place = pl.program_id(0) * len(table) + jnp.arange(len(table))
    begin, end = _range(pl.program_id(1), blocks, parts)

    def block(i, found):
        total, norm = found
        at = pl.ds(i * vectors, vectors)
        hidden = hidden_ref[at, :]
        scores = LOG2E * plgpu.dot(table, hidden.T) + bias[:, None]
        shares = jnp.exp2(scores + share_ref[at][None, :])
        is_target = place[:, None] == target_ref[at][None, :]
        shares -= jnp.where(is_target, weight_ref[at][None, :], 0)
        return total + plgpu.dot(shares.astype(table.dtype), hidden), norm + shares.sum(1)

    number, width = table.shape
    first = jnp.zeros((number, width)), jnp.zeros((number,))
    rows_ref[...], sum_ref[...] = jax.lax.fori_loop(begin, end, block, first)


class _Tile(NamedTuple):
    """What one program computes at once."""

    vectors: int  #: of `sums`
    rows: int  #: of `sums`, in each round of its loop
    learned: int  #: rows of `row_gradients`
    shown: int  #: vectors of `row_gradients`, in each round of its loop
    warps: int
    stages: int  #: rounds of the loop whose blocks are loaded ahead


def _tile(row_bytes):
    """Tiles whose sums and scores fit the registers of their warps, and whose blocks fit the shared memory."""
    if row_bytes <= 128:
        return _Tile(128, 64, 128, 64, warps=4, stages=3)
    if row_bytes <= 256:
        return _Tile(128, 64, 128, 64, warps=8, stages=3)
    return _Tile(64, 64, 64, 64, warps=8, stages=2) if row_bytes <= 512 else _Tile(64, 32, 64, 32, warps=8, stages=2)


def _parts(programs, blocks):
    """Returns how many parts to split a loop over blocks into, given the number of programs without splitting."""
    return max(min(-(-PROGRAMS // programs), blocks), 1)


def _range(part, blocks, parts):
    """Returns the range of blocks of one part; the parts' numbers of blocks differ by one at most."""
    return part * blocks // parts, (part + 1) * blocks // parts

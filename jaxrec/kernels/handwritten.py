"""Calls hand-written kernels, in Pallas for Triton."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxrec.kernels import hardware

WHOLE = pl.BlockSpec()  #: of an argument that every program may read in full
NARROWEST = 16  #: minimum width of a tile of a matrix unit


def tile_width(features: int) -> int:
    """Returns the width of tiles that hold this many features: a power of 2."""
    return max(pl.next_power_of_2(features), NARROWEST)


def pad(x: jax.Array, *shape: int, value: float = 0) -> jax.Array:
    """The array with `value` appended along each axis up to the shape."""
    return jnp.pad(x, [(0, wanted - size) for wanted, size in zip(shape, x.shape, strict=True)], constant_values=value)


def call(
    kernel: Callable,
    args: Sequence[jax.Array],
    shapes: Sequence[tuple[int, ...]],
    *,
    name: str,
    grid: tuple[int, ...],
    in_specs: Sequence,
    out_specs: Sequence,
    warps: int,
    stages: int,
    flops: int,
    transcendentals: int,
) -> list[jax.Array]:
    """Calls a kernel on a GPU, or interprets it: see `hardware.Hardware`.

    Args:
        kernel: takes a reference of each argument and each result.
        args: the arguments.
        shapes: of the results, which are float32.
        name: of the kernel, in profiles.
        grid, in_specs, out_specs: as for `pl.pallas_call`.
        warps: number per program.
        stages: number of loop iterations whose operands of products are loaded ahead.
        flops: floating-point operations of the products of all programs.
        transcendentals: transcendental functions of all programs.
    """

    def alike(*args):  # so that the results vary over every device axis that an argument varies over
        one = sum(each.reshape(-1)[0].astype(jnp.float32) for each in args)
        return [jnp.broadcast_to(one, shape) for shape in shapes]

    moved = sum(each.nbytes for each in args) + 4 * sum(map(math.prod, shapes))
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=in_specs,
        out_specs=out_specs,
        out_shape=jax.eval_shape(alike, *args),
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=stages),
        cost_estimate=pl.CostEstimate(flops=flops, transcendentals=transcendentals, bytes_accessed=moved),
        interpret=hardware.current().interpreted,
        name=name,
    )(*args)

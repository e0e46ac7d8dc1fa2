"""Tables whose rows are split over a device axis: each device holds an equal share of consecutive rows.

`axis` is the name of that axis, inside shard_map. None stands for a table that every device holds whole: each of these
functions is then the plain operation, and compiles to nothing else.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from jaxrec.kernels import processes


def total(x: jax.Array, axis: str | None) -> jax.Array:
    """The sum of x over the axis."""
    return x if axis is None else jax.lax.psum(x, axis)


def largest(x: jax.Array, axis: str | None) -> jax.Array:
    """The largest x of the axis, elementwise; it has no gradient."""
    return x if axis is None else jax.lax.pmax(x, axis)


def first_row(rows: int, axis: str | None) -> jax.Array | int:
    """The row of the whole table at which this device's share of `rows` rows begins."""
    return 0 if axis is None else jax.lax.axis_index(axis) * rows


def place(row: jax.Array, rows: int, axis: str | None) -> jax.Array:
    """The places of rows of the whole table in this device's share of `rows` rows; `rows` for other devices' rows."""
    if axis is None:
        return row
    here = row - first_row(rows, axis)
    return jnp.where((here >= 0) & (here < rows), here, rows)


def held(table_RD: jax.Array, row: jax.Array, axis: str | None) -> jax.Array:
    """table[row], zero where another device holds the row. The sum over the axis is the row."""
    if axis is None:
        return table_RD[row]
    return table_RD.at[place(row, len(table_RD), axis)].get(mode="fill", fill_value=0)


def look_up(table_RD: jax.Array, row: jax.Array, axis: str | None) -> jax.Array:
    """table[row], on every device, whichever holds the row: a masked gather, and a sum over the axis."""
    return total(held(table_RD, row, axis), axis)


def take_columns(x_CR: jax.Array, row_CK: jax.Array, axis: str | None) -> jax.Array:
    """Takes some columns of each line, if columns are split like the rows of a table: [C, R], [C, K] -> [C, K]."""
    if axis is None:
        return jnp.take_along_axis(x_CR, row_CK, axis=1)
    place_CK = place(row_CK, x_CR.shape[1], axis)
    return total(jnp.take_along_axis(x_CR, place_CK, axis=1, mode="fill", fill_value=0), axis)


def own_slice(x_N: Any, rows: int, axis: str) -> jax.Array:
    """This device's share of `rows` elements of an array that every device holds whole; zero beyond its end."""
    whole = jnp.pad(x_N, (0, max(rows * jax.lax.axis_size(axis) - len(x_N), 0)))
    return jax.lax.dynamic_slice_in_dim(whole, first_row(rows, axis), rows)


def rows_per_device(rows: int, size: int) -> int:
    """The rows of each of `size` devices' equal parts, padding included."""
    return -(-rows // size)


def put(tree: Any, specs: Any, mesh: Mesh, axis: str) -> Any:
    """Places arrays on a mesh. Those that are split over the axis are padded with zero rows to a multiple of its size.

    Args:
        tree: arrays; those to be split are taken through the host unless they are on the mesh already.
        specs: a PartitionSpec for each, or for a part of the tree.
        mesh: Mesh.
        axis: the name of the axis.
    """

    def leaf(spec, x):
        if spec != P(axis):
            return processes.on_devices(x, NamedSharding(mesh, spec))
        size = mesh.shape[axis]
        return padded(x, (rows_per_device(len(x), size) * size, *x.shape[1:]), NamedSharding(mesh, spec))

    return jax.tree.map(lambda spec, part: jax.tree.map(lambda x: leaf(spec, x), part), specs, tree)


def padded(x: Any, shape: Sequence[int], sharding: Any) -> jax.Array:
    """Appends zeros to an array along its axes, up to a shape, and places it with a sharding."""
    if x.shape != tuple(shape):
        x = np.pad(np.asarray(x), [(0, to - size) for size, to in zip(x.shape, shape, strict=True)])
    return processes.on_devices(x, sharding)


def whole(tree: Any, form: Any) -> Any:
    """Returns the tree with its split arrays whole and without padding, on the host.

    Args:
        tree: arrays.
        form: their shapes without padding.
    """

    def leaf(x, form):
        if isinstance(x, jax.Array) and x.is_fully_replicated and x.shape == form.shape and not processes.several():
            return x
        return processes.whole(x)[tuple(map(slice, form.shape))]

    return jax.tree.map(leaf, tree, form)

"""Laws of split tables: whichever device holds a row, it equals the whole table's, and so does its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from jax.sharding import PartitionSpec as P

from jaxrec.kernels import shards
from jaxrec.kernels.collectives import psum
from jaxrec.kernels.placement import AXIS, ITEM, data_size, item_axis, item_spec, mesh_of

ROWS, WIDTH = 21, 3


def on_mesh(function, item, in_specs, out_specs, **checks):
    """Returns `function` on eight devices, with `item` of them along the axis of the tables."""
    return jax.jit(
        jax.shard_map(function, mesh=mesh_of(jax.devices()[:8], item), in_specs=in_specs, out_specs=out_specs, **checks)
    )


def table(seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, WIDTH)).astype(np.float32)


def split(x, item):
    return shards.put(x, P(ITEM), mesh_of(jax.devices()[:8], item), ITEM)


LOOKED_UP = {
    item: on_mesh(lambda table, rows: shards.look_up(table, rows, ITEM), item, (P(ITEM), P()), P()) for item in (2, 8)
}


@given(st.lists(st.integers(-2, ROWS - 1), min_size=4, max_size=4), st.sampled_from(sorted(LOOKED_UP)))
def test_a_row_is_found_wherever_it_lies_and_no_row_is_zero(rows, item):
    whole, rows = table(), np.array(rows)
    found = LOOKED_UP[item](split(whole, item), rows)
    np.testing.assert_array_equal(found, np.where(rows[:, None] < 0, 0, whole[rows]))


@pytest.mark.parametrize("item", [2, 8])
def test_gradients_of_what_is_looked_up_lie_with_the_rows(item):
    rows, weights = np.array([3, 20, 3, 0]), np.arange(1.0, 5.0, dtype=np.float32)[:, None]
    loss = lambda found: (weights * found**2).sum()
    local = jax.grad(lambda table: loss(shards.look_up(table, rows, ITEM)))
    found = on_mesh(local, item, P(ITEM), P(ITEM))(split(table(), item))
    np.testing.assert_allclose(found[:ROWS], jax.grad(lambda whole: loss(whole[rows]))(jnp.asarray(table())), rtol=1e-6)
    assert not np.asarray(found)[ROWS:].any()


@pytest.mark.parametrize("item", [2, 8])
def test_columns_and_shares_of_what_is_whole_are_found(item):
    lines, wide = np.arange(5), np.random.default_rng(1).normal(size=(5, 24)).astype(np.float32)
    pick = on_mesh(lambda x, column: shards.take_columns(x, column, ITEM), item, (P(None, ITEM), P()), P())
    np.testing.assert_array_equal(pick(wide, 5 * lines[:, None]), wide[lines, 5 * lines, None])
    rows = -(-ROWS // item)
    share = on_mesh(lambda: shards.own_slice(np.arange(1, ROWS + 1), rows, ITEM), item, (), P(ITEM))
    np.testing.assert_array_equal(share(), np.pad(np.arange(1, ROWS + 1), (0, item * rows - ROWS)))


def test_a_whole_table_is_only_indexed():
    told = jax.make_jaxpr(lambda table, rows: shards.look_up(table, rows, None))(table(), np.arange(2))
    assert str(told) == str(jax.make_jaxpr(lambda table, rows: table[rows])(table(), np.arange(2)))


@pytest.mark.parametrize("item", [2, 8])
def test_what_is_put_on_a_mesh_comes_back(item):
    mesh = mesh_of(jax.devices()[:8], item)
    tree, specs = {"a": table(), "b": {"c": np.arange(ROWS), "d": table(1)}}, {"a": P(ITEM), "b": P()}
    placed = shards.put(tree, specs, mesh, ITEM)
    assert placed["a"].sharding.shard_shape(placed["a"].shape) == (-(-ROWS // item), WIDTH)
    again = shards.put(placed, specs, mesh, ITEM)
    jax.tree.map(np.testing.assert_array_equal, shards.whole(again, tree), tree)


@pytest.mark.parametrize("item", [1, 2, 8])
def test_meshes_have_an_axis_of_items_where_tables_are_split(item):
    mesh = mesh_of(jax.devices()[:8], item)
    assert (data_size(mesh), item_axis(mesh)) == (8 // item, ITEM if item > 1 else None)
    assert mesh_of(mesh) is mesh and item_spec(mesh) == (P(ITEM) if item > 1 else P())


def test_along_an_axis_of_one_device_what_is_summed_counts_as_replicated():
    told = on_mesh(lambda share: psum(share.sum(), AXIS), 8, P(AXIS), P())
    assert told(np.arange(8.0)) == 28

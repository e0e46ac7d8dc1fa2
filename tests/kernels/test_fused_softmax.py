"""Laws of the softmax's kernels, interpreted by Pallas: they compute what their plain definitions do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P
from problems import agree, confident, error, plain_softmax, problem, with_gradients

from jaxrec.kernels import fused_softmax, placement, shards
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training.losses import softmax
from jaxrec.training.steps import folding

GPU = Hardware("gpu", 16 << 30, interpreted=True)
FUSED = with_gradients(softmax.softmax_fused)


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch):
    """Splits the loops of these small problems into two parts only, since the interpreter is slow for each program."""
    monkeypatch.setattr(fused_softmax, "PROGRAMS", 4)


def given(vectors, rows, width, dtype=jnp.float32, seed=0):
    random = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    bias = draw(rows).at[::7].set(-jnp.inf)
    log_share = (draw(vectors) - 5).at[0].set(-jnp.inf)
    target = jnp.asarray(random.integers(0, 2 * rows, vectors), jnp.int32)  # some have no row
    of_rows = log_share, target, jnp.abs(draw(vectors))
    return draw(vectors, width).astype(dtype), draw(rows, width).astype(dtype), bias, of_rows


SHAPES = [(130, 200, 5), (1, 1, 64), (64, 300, 200)]


@pytest.mark.parametrize("shape", [SHAPES[0], *(pytest.param(each, marks=pytest.mark.slow) for each in SHAPES[1:])])
def test_kernels_compute_their_definitions(shape):
    hidden, table, bias, more = given(*shape)
    given_rows = hidden, table, bias.at[0].set(0.5)

    def both(of_vectors, of_rows):
        return jax.jit(lambda *args: (of_vectors(*args), of_rows(*args, *more)))(*given_rows)

    with assumed(GPU):
        found = both(fused_softmax.sums, fused_softmax.row_gradients)
    agree(found, both(fused_softmax.PLAIN["sums"], fused_softmax.PLAIN["row_gradients"]))


@pytest.mark.slow
def test_of_rows_that_are_all_left_out_sums_are_zero_and_merge_with_others():
    hidden, table, bias, _ = given(5, 40, 8)
    gone = jnp.full_like(bias, -jnp.inf)
    with assumed(GPU):
        none, some = fused_softmax.sums(hidden, table, gone), fused_softmax.sums(hidden, table, bias)
    assert not none.norm.any() and not none.rows.any()
    both = jax.tree.map(lambda *parts: jnp.stack(parts), none, some)
    agree(fused_softmax.merge(both, both.peak.max(0), lambda x: x.sum(0)), some)


@pytest.mark.parametrize(
    ("scale", "with_bias"),
    [(6.0, True), *(pytest.param(*each, marks=pytest.mark.slow) for each in [(6.0, False), (0.1, True), (0.1, False)])],
)
def test_the_fused_softmax_equals_the_plain_one_in_value_and_gradients(scale, with_bias):
    made = problem(3, 150, items=200, with_bias=with_bias, scale=scale)
    with assumed(GPU):
        found = FUSED(*made)
    agree(found, plain_softmax(*made))


@pytest.mark.slow
def test_in_bfloat16_the_sums_are_float32():
    hidden, target, weight, negatives, table, bias = problem(6, 140)
    low = (jnp.bfloat16(hidden), target, weight, negatives, jnp.bfloat16(table), bias)
    with assumed(GPU):
        value, grads = FUSED(*low)
    assert value.dtype == jnp.float32
    assert [grad.dtype for grad in grads] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]
    exact = plain_softmax(low[0].astype(jnp.float32), *low[1:4], low[4].astype(jnp.float32), bias)
    agree(value, exact[0])
    agree(jax.tree.map(jnp.float32, grads), exact[1], 2**-7)


@pytest.mark.slow
def test_in_bfloat16_gradients_of_likely_targets_are_as_exact_as_others():
    hidden, target, weight, _, table, _ = confident(4, 140)
    exact = hidden.astype(jnp.float32), target, weight, None, table.astype(jnp.bfloat16).astype(jnp.float32), None
    with assumed(GPU):
        found = FUSED(hidden, target, weight, None, table, None)[1]
    assert error(found, plain_softmax(*exact)[1]) < 2**-7


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_devices_that_split_the_table_merge_their_sums(smoothing):
    """For a catalogue that eight devices don't divide, with padding rows; two items never train."""
    items = 37
    hidden, target, weight, negatives, *table = problem(1, 12)
    trained = np.ones(items, bool)
    trained[[4, 30]] = False
    target = jnp.where(jnp.isin(target, jnp.array([5, 31])), 1, target)

    def summed(axis, fused):
        options = softmax.SoftmaxOptions("softmax", label_smoothing=smoothing, fused=fused)
        total = folding.among_trained(softmax.build(options, items, axis), trained, axis)
        at = lambda hidden, table: total(hidden, target, weight, negatives, *table)
        return jax.value_and_grad(at, argnums=(0, 1))

    wanted = jax.jit(summed(None, False))(hidden, tuple(table))
    mesh = jax.make_mesh((8,), (placement.ITEM,), axis_types=(AxisType.Auto,))
    specs = P(), (P(), P(placement.ITEM))
    split = jax.shard_map(summed(placement.ITEM, True), mesh=mesh, in_specs=(P(), P(placement.ITEM)), out_specs=specs)
    with assumed(GPU):
        found = jax.jit(split)(hidden, shards.put(tuple(table), P(placement.ITEM), mesh, placement.ITEM))
    value, (of_hidden, of_table) = shards.whole(found, wanted)
    agree((value, (of_hidden, of_table)), wanted)

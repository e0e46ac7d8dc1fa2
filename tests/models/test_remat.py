"""What a gradient computes again changes no result, and takes less memory, in every model that has blocks."""

import math

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.config import registry
from jaxrec.kernels import sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.kernels.random import row_keys
from jaxrec.models.remat import KEPT

SLOTS, ITEMS, ROWS, WIDTH = 60, 30, 2, 8
KEYS = row_keys(0, 0, jnp.arange(ROWS))
VARIANTS = {
    "sasrec": {"heads": 2},
    "sasrec gated": {"heads": 2, "norm": "gated", "norm_type": "rms", "ffn": "swiglu", "ffn_multiplier": 2},
    "sasrec timed": {"norm": "pre", "ffn": "gelu", "time_bias": True, "time_intervals": 9},
    "bert4rec": {"heads": 2},
    "bert4rec gated": {"norm": "gated"},
    "hstu": {"heads": 2, "time_bias": True},
    "rg-lru": {},
}
ATTENTIVE = [name for name in VARIANTS if name != "rg-lru"]


def packed(slots):
    """Rows of two sequences and an empty slot each."""
    first = slots // 3
    segments = np.repeat([1, 2, 0], [first, slots - first - 1, 1])
    positions = np.concatenate([np.arange(first), np.arange(slots - first - 1), [0]])
    items = np.random.default_rng(0).integers(1, ITEMS + 1, (ROWS, slots)) * (segments > 0)
    stream = Stream(
        *(
            jnp.asarray(np.broadcast_to(x, items.shape), jnp.int32)
            for x in (items, items, segments, positions, segments)
        )
    )
    return stream._replace(times=100 * stream.positions**2)


def made(name, slots=SLOTS, dropout=0.3, **options):
    """(params, the sum of what the model computes of them in training)"""
    kind = name.partition(" ")[0]
    positions = registry.find("model", kind).positions[0]
    model = entries.model(
        kind, ITEMS, slots, positions, dim=WIDTH, layers=2, dropout=dropout, **VARIANTS[name] | options
    )
    stream = packed(slots)
    weights = np.random.default_rng(1).normal(size=(ROWS, slots, WIDTH)) * (stream.items > 0)[..., None]

    def total(params):
        return (weights * model.encode(params, stream, model.initial_carry(params, ROWS), keys=KEYS)[0]).sum()

    return model.init(jax.random.key(0)), total


def kept(total, params):
    """The bytes that the backward pass is given."""
    found = jax.eval_shape(lambda params: jax.vjp(total, params)[1], params)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(found))


def test_every_model_with_the_key_is_here():
    having = [name for name in registry.names("model") if hasattr(registry.find("model", name).options, "remat")]
    assert {name.partition(" ")[0] for name in VARIANTS} == set(having)


def same(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * max(np.abs(one).max(), 1))


@pytest.mark.parametrize("name", some(VARIANTS, "sasrec", "rg-lru"))
def test_gradients_are_the_same_up_to_the_order_of_sums(name):
    params, total = made(name)
    plain = jax.jit(jax.value_and_grad(total))(params)
    for remat in KEPT:
        again = jax.jit(jax.value_and_grad(made(name, remat=remat)[1]))(params)
        jax.tree.map(same, plain, again)


@pytest.mark.parametrize("name", some(VARIANTS, "sasrec", "rg-lru"))
def test_blocks_keep_less_than_products_and_these_less_than_nothing_again(name):
    sizes_kept = [kept(made(name, remat=remat)[1], made(name)[0]) for remat in ("blocks", "products", "none")]
    assert sizes_kept == sorted(sizes_kept) and len(set(sizes_kept)) == len(sizes_kept)


@pytest.mark.parametrize("name", some(["sasrec", "bert4rec", "hstu", "rg-lru"], "hstu"))
def test_a_product_that_is_kept_is_not_computed_again(name):
    params, _ = made(name)
    number = lambda remat: str(jax.make_jaxpr(jax.grad(made(name, remat=remat)[1]))(params)).count("dot_general")
    scores = 2 * 2  # at most two products of attention in each of two layers
    assert number("products") <= number("none") + scores < number("blocks")


def test_without_keys_nothing_is_computed_again():
    model = entries.model("sasrec", ITEMS, SLOTS, dim=WIDTH, remat="blocks")
    params, stream = model.init(jax.random.key(0)), packed(SLOTS)
    traced = {
        keys is None: str(jax.make_jaxpr(lambda p, k=keys: model.encode(p, stream, keys=k))(params))
        for keys in (None, KEYS)
    }
    assert "checkpoint" in traced[False] or "remat" in traced[False]
    assert "checkpoint" not in traced[True] and "remat" not in traced[True]


@pytest.mark.parametrize("remat", some(["none", *KEPT], "none"))
@pytest.mark.parametrize("name", some(ATTENTIVE, "sasrec", "hstu"))
def test_blocks_of_queries_on_an_accelerator_are_attention_in_one_and_drop_the_same(name, remat):
    """A device with little memory cuts attention into blocks, and one with much doesn't."""
    slots = 2 * sizes.KERNEL_QUERIES + 9
    found = []
    for memory in (60 << 30, 1 << 20):
        params, total = made(name, slots, remat=remat)
        with assumed(Hardware("gpu", memory)):
            assert (sizes.query_block(slots, slots) < slots) == (memory == 1 << 20)
            found.append((kept(total, params), jax.jit(jax.value_and_grad(total))(params)))
    (whole, one), (part, several) = found
    assert part < whole or remat != "none"
    for x, y in zip(*map(jax.tree.leaves, (one, several)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4 * max(np.abs(x).max(), 1))

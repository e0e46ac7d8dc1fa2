"""Laws of jaxrec.models.layers, against plain NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxrec.kernels import sizes
from jaxrec.kernels.masks import causal
from jaxrec.kernels.random import row_keys
from jaxrec.models.layers import INITIAL, Attention, FeedForward, apply_rotary, drop_rows, gelu, layer_norm, rms_norm

ROWS, WIDTH = 2, 8
BLOCK = sizes.QUERY_BLOCK


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def two_sequences(slots):
    """Returns the mask of rows with two sequences and a few empty slots: [ROWS, T, T]."""
    first = slots // 3
    segments = np.repeat([1, 2, 0], [first, slots - first - 2, 2])
    positions = np.concatenate([np.arange(first), np.arange(slots - first - 2), [0, 0]])
    return np.broadcast_to(causal(jnp.array(segments), jnp.array(positions)), (ROWS, slots, slots))


def noisy(module, *args):
    """Returns params of a module, with biases and gains moved off their neutral initial values."""
    params = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [noise(n, *leaf.shape) for n, leaf in enumerate(leaves)])


def dense(params, x):
    return x @ params["kernel"].astype(float) + params["bias"]


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("slots", [BLOCK - 1, BLOCK, BLOCK + 5, 2 * BLOCK + 20])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # which decides whether queries are cut into blocks
def test_attention_in_blocks_is_attention(monkeypatch, backend, slots, heads):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert (sizes.query_block(slots, ROWS * heads * slots) == slots) == (backend == "gpu" or slots == BLOCK)
    module = Attention(heads, 0.0, jnp.float32, nn.initializers.normal())
    query, memory, mask = noise(1, ROWS, slots, WIDTH), noise(2, ROWS, slots, WIDTH), two_sequences(slots)
    params = noisy(module, query, memory, mask, None, 0)
    got = jax.jit(lambda params: module.apply({"params": params}, query, memory, mask, None, 0))(params)
    mixed = np.zeros((ROWS, slots, WIDTH))
    q, k, v = (dense(params[name], x) for name, x in (("query", query), ("key", memory), ("value", memory)))
    for head in np.split(np.arange(WIDTH), heads):  # a head has consecutive features
        scores = np.where(mask, q[..., head] @ k[..., head].swapaxes(1, 2) / np.sqrt(len(head)), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed[..., head] = weights / weights.sum(-1, keepdims=True) @ v[..., head]
    real = slice(0, slots - 2)  # an empty slot may not see those of the next block, but its output is unused
    np.testing.assert_allclose(got[:, real], dense(params["out"], mixed)[:, real], rtol=1e-4, atol=1e-4)
    assert np.isfinite(got).all()


def test_feed_forward_is_its_formula():
    module, x = FeedForward(0.0, jnp.float32, nn.initializers.normal()), noise(3, ROWS, 5, WIDTH)
    params = noisy(module, x, None, 0)
    wanted = dense(params["outer"], np.maximum(dense(params["inner"], x), 0))
    np.testing.assert_allclose(module.apply({"params": params}, x, None, 0), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gelu_and_its_gradient_are_the_definition(dtype):
    x = jnp.asarray(np.append(np.linspace(-8, 8, 321), [-40, 40]), dtype)
    wanted = partial(jax.nn.gelu, approximate=False)
    near = {"rtol": 1e-6, "atol": 1e-7} if dtype == "float32" else {"rtol": 2e-2, "atol": 2**-8}  # 8 bits
    made, slope = gelu(x), jax.grad(lambda x: gelu(x).sum().astype(jnp.float32))(x)
    assert made.dtype == slope.dtype == x.dtype
    wide = x.astype(jnp.float32)
    np.testing.assert_allclose(made.astype(jnp.float32), wanted(wide), **near)
    np.testing.assert_allclose(slope.astype(jnp.float32), jax.grad(lambda x: wanted(x).sum())(wide), **near)


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # at 1e-3, flax's own epsilon of 1e-6 would halve the output
def test_layer_norm_is_its_formula_with_a_small_epsilon(scale):
    module, x = layer_norm(), 5 * scale + scale * noise(4, 30, WIDTH)
    params = noisy(module, x)
    centred = x - x.mean(-1, keepdims=True, dtype=float)
    wanted = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-8) * params["scale"] + params["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, x), wanted, rtol=1e-3, atol=1e-3)


def test_layer_norm_counts_in_float32():
    low = jnp.bfloat16(noise(5, 3, WIDTH))
    module = layer_norm()
    assert module.apply(module.init(jax.random.key(0), low), low).dtype == jnp.float32


def test_rows_are_dropped_by_their_own_keys():
    x, keys = jnp.ones((4, 50, WIDTH)), row_keys(0, 0, jnp.arange(4))
    dropped = drop_rows(x, 0.5, keys, (1, 0))
    assert len({np.asarray(row).tobytes() for row in dropped}) == 4
    np.testing.assert_array_equal(drop_rows(x, 0.5, keys[jnp.array([2, 0, 1, 3])], (1, 0))[0], dropped[2])
    np.testing.assert_array_equal(drop_rows(x[2:3], 0.5, keys[2:3], (1, 0))[0], dropped[2])
    for site in ((1, 1), (0, 1), (2, 0)):
        assert not np.array_equal(drop_rows(x, 0.5, keys, site), dropped)
    assert drop_rows(x, 0.5, None, (1, 0)) is x
    assert drop_rows(x, 0.0, keys, (1, 0)) is x


def test_attention_drops_weights_and_keeps_their_mean():
    slots = 60
    module = Attention(2, 0.5, jnp.float32, nn.initializers.normal())
    x = np.repeat(noise(6, 1, slots, WIDTH), 400, 0)
    mask = np.broadcast_to(np.tri(slots, dtype=bool), (400, slots, slots))
    params = noisy(module, x[:1], x[:1], mask[:1], None, 0)
    attend = jax.jit(lambda x, mask, keys: module.apply({"params": params}, x, x, mask, keys, 3))
    plain = attend(x[:1], mask[:1], None)
    dropped = np.asarray(attend(x, mask, row_keys(0, 0, jnp.arange(400))))
    error = np.abs(dropped.mean(0) - plain[0]) / (dropped.std(0) / np.sqrt(400))
    assert error.max() < 5
    assert (dropped.std(0) > 0).all()


def test_what_is_rotated_scores_by_how_far_apart_it_is():
    """Moving a query and a key by the same number of slots doesn't change their product."""
    random = np.random.default_rng(0)
    query, key = (jnp.asarray(random.normal(size=(1, 1, 2, 8)), jnp.float32) for _ in range(2))

    def product(at, other):
        return np.asarray((apply_rotary(query, jnp.array([[at]])) * apply_rotary(key, jnp.array([[other]]))).sum(-1))

    for moved in (1, 7, 150):
        np.testing.assert_allclose(product(5 + moved, 2 + moved), product(5, 2), atol=1e-4)
    np.testing.assert_allclose(product(3, 3), np.asarray((query * key).sum(-1)), atol=1e-5)
    assert abs(product(5, 2) - product(4, 2)).max() > 0.01


def test_an_rms_norm_takes_off_no_mean():
    x = jnp.asarray([[3.0, 4.0], [30.0, 40.0], [0.0, 0.0]])
    norm = rms_norm()
    out = norm.apply(norm.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(out, np.array([[3, 4], [3, 4], [0, 0]]) / 12.5**0.5, atol=1e-6)


def test_a_swiglu_is_its_formula():
    feed = FeedForward(0.0, jnp.float32, INITIAL["xavier"], "swiglu", 3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 4)), jnp.float32)
    params = feed.init(jax.random.key(0), x, None, 0)["params"]
    one, gate, two = (params[name]["kernel"] for name in ("inner", "gate", "outer"))
    assert one.shape == (4, 12) and all(set(part) == {"kernel"} for part in params.values())
    np.testing.assert_allclose(
        feed.apply({"params": params}, x, None, 0), (jax.nn.silu(x @ one) * (x @ gate)) @ two, atol=1e-5
    )

"""HSTU's units against RecTools': tests/parity/README.md says what the arrays are. In float32."""

from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.models import hstu, times
from jaxrec.models.layers import INITIAL

SLOTS = 6


class Units(hstu.HSTU):
    """Returns units of the fixture's sizes, in which `linear` and `attention` differ."""

    biased: bool = True

    def setup(self):
        made = lambda: hstu.Unit(2, 4, 3, SLOTS, 0.0, jnp.float32, INITIAL["normal"], self.biased)
        self.unit = [made() for _ in range(self.options.layers)]


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parents[1] / "parity" / "hstu.npz") as file:
        return dict(file)


def converted(arrays, prefix):
    """Converts the units' weights, or arrays of their shapes, to ours, whose distance biases count backwards."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    tree = {}
    for i in range(2 if any(".1." in name for name in of) else 1):
        at = f"stu_blocks.{i}."
        tree[f"unit_{i}"] = {
            "norm": {"scale": of[f"{at}norm_input.weight"], "bias": of[f"{at}norm_input.bias"]},
            "inner": {"kernel": of[f"{at}uvqk_proj"]},
            "mixed_norm": {"scale": of[f"{at}norm_attn_output.weight"], "bias": of[f"{at}norm_attn_output.bias"]},
            "outer": {"kernel": of[f"{at}output_mlp.weight"].T, "bias": of[f"{at}output_mlp.bias"]},
        }
        if f"{at}rel_attn.pos_weights" in of:
            tree[f"unit_{i}"]["distance"] = of[f"{at}rel_attn.pos_weights"][SLOTS - 1 :: -1]
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def agree(got, wanted, tolerance):
    error = np.abs(np.asarray(got, float) - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() < tolerance, error.max()


@pytest.mark.parametrize("name", ["plain", "relative", "relative2"])
def test_outputs_and_gradients(arrays, name):
    options = hstu.HSTUOptions("hstu", 8, 2 if name == "relative2" else 1, 0.0, 2)
    module: nn.Module = Units(20, SLOTS, options, "relative", jnp.float32, biased=name != "plain")
    seq = arrays["seq"]
    slots = np.broadcast_to(np.arange(SLOTS), seq.shape)
    stream = Stream(*(jnp.asarray(x, jnp.int32) for x in (seq, 0 * seq, seq > 0, slots, 0 * seq)))

    def total(params, x):
        out = module.apply({"params": params}, x, stream, method="units")
        return (out**2).sum(), out

    params, x = converted(arrays, f"{name}.param."), jnp.asarray(arrays["x"], jnp.float32)
    (_, out), (grads, grad_x) = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, x)
    agree(out, arrays[f"{name}.output"], 1e-5)
    agree(grad_x, arrays[f"{name}.grad_x"], 1e-3)
    jax.tree.map(partial(agree, tolerance=1e-3), grads, converted(arrays, f"{name}.grad."))


@pytest.mark.parametrize("name", some(["times", "both"], "both"))
def test_a_bias_of_times(name):
    """Against RecTools' unit, with its own buckets and its own times: those of the events after the queries."""
    with np.load(Path(__file__).parents[1] / "parity" / "hstu_times.npz") as file:
        arrays = dict(file)
    seq, at = arrays["seq"], arrays["unix_ts"]
    between = np.maximum(np.abs(at[:, 1:, None] - at[:, None, :-1]), 1)
    bucket = jnp.asarray(np.log(between) / 0.301, jnp.int32)
    real = jnp.asarray(seq > 0)
    mask = jnp.tril(jnp.ones((SLOTS, SLOTS), bool)) & real[:, None] & real[:, :, None]
    unit = hstu.Unit(2, 4, 3, SLOTS, 0.0, jnp.float32, INITIAL["normal"], name == "both", timed=True)

    def named(prefix):
        theirs = {each.removeprefix(prefix): x for each, x in arrays.items() if each.startswith(prefix)}
        ours = converted({f".stu_blocks.0.{each}": x for each, x in theirs.items()}, ".")["unit_0"]
        weights = jnp.asarray(theirs["rel_attn.time_weights"][: times.BUCKETS], jnp.float32)
        return ours, weights

    def total(params, weights, x):
        params = params | {"time": jnp.broadcast_to(weights[:, None], (times.BUCKETS, 2))}
        x = jnp.where(real[..., None], x, 0)
        out = x + unit.apply({"params": params}, x, mask, None, 1, None, bucket)
        out = jnp.where(real[..., None], out, 0)
        return (out**2).sum(), out

    (params, weights), x = named(f"{name}.param."), jnp.asarray(arrays["x"], jnp.float32)
    (_, out), grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(params, weights, x)
    agree(out, arrays[f"{name}.output"], 1e-5)
    jax.tree.map(partial(agree, tolerance=1e-3), grads, (*named(f"{name}.grad."), arrays[f"{name}.grad_x"]))

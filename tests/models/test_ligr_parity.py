"""SASRec's gated blocks against RecTools' LiGR: tests/parity/README.md says what the arrays are. In float32."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.models import layers, sasrec

WIDTH, LAYERS = 8, 2
PARTS = {"attention": "multi_head_attn", "feed_forward": "feed_forward"}


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parents[1] / "parity" / "ligr.npz") as file:
        return dict(file)


def converted(arrays, prefix):
    """Converts the blocks' weights, or arrays of their shapes, to ours."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    tree = {}
    for i in range(LAYERS):
        at = f"transformer_blocks.{i}."

        def dense(name, at=at):
            bias = {"bias": of[f"{at}{name}.bias"]} if f"{at}{name}.bias" in of else {}
            return {"kernel": of[f"{at}{name}.weight"].T} | bias

        weight, bias = (of[f"{at}multi_head_attn.in_proj_{kind}"] for kind in ("weight", "bias"))
        names = ("query", "key", "value")
        projections = zip(names, np.split(weight, 3), np.split(bias, 3), strict=True)
        attention = {name: {"kernel": kernel.T, "bias": bias} for name, kernel, bias in projections}
        tree[f"attention_{i}"] = attention | {"out": dense("multi_head_attn.out_proj")}
        inner = {"inner": dense("feed_forward.ff_linear_1"), "outer": dense("feed_forward.ff_linear_2")}
        gated = f"{at}feed_forward.ff_linear_3.weight" in of
        tree[f"feed_forward_{i}"] = inner | ({"gate": dense("feed_forward.ff_linear_3")} if gated else {})
        for number, part in enumerate(PARTS, 1):
            norm = f"{at}layer_norm_{number}"
            if f"{norm}.weight" in of:
                tree[f"{part}_norm_{i}"] = {"scale": of[f"{norm}.weight"], "bias": of[f"{norm}.bias"]}
            tree[f"{part}_gate_{i}"] = dense(f"gating_linear_{number}")
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def agree(got, wanted, tolerance):
    error = np.abs(np.asarray(got, float) - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() < tolerance, error.max()


@pytest.mark.parametrize("mask", ["causal", "padmask"])
@pytest.mark.parametrize("ffn", some(["swiglu", "gelu"], "swiglu"))
def test_outputs_and_gradients(arrays, monkeypatch, ffn, mask):
    monkeypatch.setitem(layers.NORMS, "layer", partial(layers.layer_norm, 1e-5))
    options = sasrec.SASRecOptions(
        "sasrec", WIDTH, LAYERS, 0.0, heads=int(arrays["heads"]), norm="gated", ffn=ffn, ffn_multiplier=2
    )
    module = sasrec.SASRec(20, 6, options, "from_start", jnp.float32)
    seq = arrays["seq"]
    slots = np.broadcast_to(np.arange(seq.shape[1]), seq.shape)
    alone = np.where((seq > 0) | (mask == "causal"), 1, 2 + slots)  # a padded slot sees itself
    stream = Stream(*(jnp.asarray(x, jnp.int32) for x in (seq, 0 * seq, alone, slots, 0 * seq)))
    rest = module.init(jax.random.key(0), stream)["params"]

    def total(params, x):
        out = module.apply({"params": rest | params}, x, stream, method="blocks")
        return (out**2).sum(), out

    params, x = converted(arrays, f"{ffn}.param."), jnp.asarray(arrays["x"], jnp.float32)
    (_, out), (grads, grad_x) = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, x)
    agree(out, arrays[f"{ffn}.{mask}.output"], 1e-5)
    agree(grad_x, arrays[f"{ffn}.{mask}.grad_x"], 1e-3)
    if mask == "padmask":
        jax.tree.map(partial(agree, tolerance=1e-3), grads, converted(arrays, f"{ffn}.{mask}.grad."))

"""SASRec with time intervals against TiSASRec: tests/parity/README.md says what the arrays are. In float32."""

from functools import partial
from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream

ITEMS, WIDTH, SLOTS = 20, 8, 6


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parents[1] / "parity" / "tisasrec.npz") as file:
        return dict(file)


def converted(arrays, prefix):
    """Converts weights, or arrays of their shapes, to ours; the reference has no layer after attention."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    norm = lambda name: {"scale": of[f"{name}.weight"], "bias": of[f"{name}.bias"]}
    dense = lambda name: {"kernel": of[f"{name}.weight"].squeeze().T, "bias": of[f"{name}.bias"]}
    tree = {"items": of["item_emb.weight"][1:], "last_norm": norm("last_layernorm")}
    for ours, theirs in (("interval", "time_matrix"), ("position", "abs_pos")):
        tree |= {f"{ours}_{kind}s": of[f"{theirs}_{kind[0].upper()}_emb.weight"] for kind in ("key", "value")}
    for i in range(2):
        projections = {name: dense(f"attention_layers.{i}.{name[0].upper()}_w") for name in ("query", "key", "value")}
        tree[f"attention_{i}"] = projections | {"out": {"kernel": np.eye(WIDTH), "bias": np.zeros(WIDTH)}}
        tree[f"feed_forward_{i}"] = {
            "inner": dense(f"forward_layers.{i}.conv1"),
            "outer": dense(f"forward_layers.{i}.conv2"),
        }
        tree[f"attention_norm_{i}"] = norm(f"attention_layernorms.{i}")
        tree[f"feed_forward_norm_{i}"] = norm(f"forward_layernorms.{i}")
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def agree(got, wanted, tolerance):
    error = np.abs(np.asarray(got, float) - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() < tolerance, error.max()


@pytest.mark.parametrize("heads", some([1, 2], 2))
def test_outputs_and_gradients(arrays, heads):
    keys = {"dim": WIDTH, "layers": 2, "heads": heads, "time_intervals": int(arrays["time_span"])}
    model = entries.model("sasrec", ITEMS, SLOTS, **keys)
    seq, slots = arrays["seq"], np.broadcast_to(np.arange(SLOTS), (3, SLOTS))
    stream = Stream(*(jnp.asarray(x, jnp.int32) for x in (seq, 0 * seq, seq > 0, slots, 0 * seq)))
    stream = stream._replace(times=jnp.asarray(arrays["times"], jnp.int32))
    real = jnp.asarray(seq > 0)

    def loss(params):
        hidden = model.encode(params, stream)[0]
        score = lambda items: (hidden * params["items"][jnp.maximum(jnp.asarray(items) - 1, 0)]).sum(-1)
        slots = jax.nn.softplus(-score(arrays["pos"])) + jax.nn.softplus(score(arrays["neg"]))
        return jnp.where(real, slots, 0).sum() / real.sum(), hidden

    params = converted(arrays, f"heads{heads}.param.")
    (value, hidden), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    agree(jnp.where(real[..., None], hidden, 0), arrays[f"heads{heads}.hidden"], 1e-5)
    agree(value, arrays[f"heads{heads}.loss"], 1e-5)
    wanted = converted(arrays, f"heads{heads}.grad.")
    for i in range(2):
        del grads[f"attention_{i}"]["out"], wanted[f"attention_{i}"]["out"]
    jax.tree.map(partial(agree, tolerance=1e-5), grads, wanted)

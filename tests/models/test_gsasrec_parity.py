"""SASRec with a separate output table against gSASRec: tests/parity/README.md says what the arrays are. In float32.

The reference's loss, gBCE, is in tests/training/test_losses_parity.py.
"""

from functools import partial
from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.models import layers
from jaxrec.training.losses.softmax import softmax_total

ROWS, WIDTH, SLOTS, PADDING = 22, 8, 6, 21


def load(name):
    with np.load(Path(__file__).parents[1] / "parity" / f"{name}.npz") as file:
        return dict(file)


def converted(arrays, prefix):
    """Converts weights, or arrays of their shapes, to ours; the reference has no layer after attention."""
    of = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    norm = lambda name: {"scale": of[f"{name}.weight"], "bias": of[f"{name}.bias"]}
    dense = lambda name: {"kernel": of[f"{name}.weight"].T, "bias": of[f"{name}.bias"]}
    tree = {"items": of["output_embedding.weight"], "inputs": of["item_embedding.weight"]}
    tree |= {"positions": of["position_embedding.weight"], "last_norm": norm("seq_norm")}
    for i in range(2):
        at = f"transformer_blocks.{i}."
        parts = {"query": "query_proj", "key": "key_proj", "value": "val_proj"}
        projections = {ours: dense(f"{at}multihead_attention.{name}") for ours, name in parts.items()}
        tree[f"attention_{i}"] = projections | {"out": {"kernel": np.eye(WIDTH), "bias": np.zeros(WIDTH)}}
        tree[f"feed_forward_{i}"] = {"inner": dense(f"{at}dense1"), "outer": dense(f"{at}dense2")}
        tree[f"attention_norm_{i}"] = norm(f"{at}first_norm")
        tree[f"feed_forward_norm_{i}"] = norm(f"{at}second_norm")
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def agree(got, wanted, tolerance=1e-5):
    error = np.abs(np.asarray(got, float) - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() < tolerance, error.max()


@pytest.mark.parametrize("name", some(["gsasrec", "gsasrec_2heads"], "gsasrec_2heads"))
def test_outputs_and_gradients(monkeypatch, name):
    """All 22 rows of the reference's tables are items here, so that item numbers move up by one."""
    monkeypatch.setitem(layers.NORMS, "layer", partial(layers.layer_norm, 1e-5))
    arrays = load(name)
    keys = {"dim": WIDTH, "layers": 2, "heads": int(arrays["heads"]), "norm": "query", "embedding": "separate"}
    model = entries.model("sasrec", ROWS, SLOTS, **keys)
    seq, real = arrays["seq"], arrays["seq"] != PADDING
    slots = np.broadcast_to(np.arange(SLOTS), seq.shape)
    stream = Stream(*(jnp.asarray(x, jnp.int32) for x in (np.where(real, seq + 1, 0), 0 * seq, real, slots, 0 * seq)))
    targets = jnp.asarray(arrays["labels"][real] + 1)

    def loss(params):
        scaled = params | {"inputs": params["inputs"] / WIDTH**0.5}  # the reference doesn't multiply by sqrt(d)
        hidden = model.encode(scaled, stream)[0]
        total = softmax_total(hidden[real], targets, jnp.ones(len(targets)), None, params["items"], None)
        return total / len(targets), hidden

    params = converted(arrays, "param.")
    (value, hidden), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    agree(hidden[real], arrays["hidden"][real])
    agree(hidden[:, -1] @ params["items"].T, arrays["scores_last"])
    agree(value, arrays["probe_loss"])
    wanted = converted(arrays, "grad.")
    for i in range(2):
        del grads[f"attention_{i}"]["out"], wanted[f"attention_{i}"]["out"]
    jax.tree.map(agree, grads, wanted)

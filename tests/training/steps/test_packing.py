"""Trainings with packed params, as on accelerators: the same as on a CPU, up to rounding."""

import jax
import numpy as np
import pytest
from some import some
from stepping import ADAM, assert_close, made, states

from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training.steps import packing

GPU = Hardware("gpu", 16 << 30)
SOFTMAX = {"loss": {"name": "softmax"}, "model": {"name": "sasrec", "dim": 8, "layers": 2, "heads": 2, "dropout": 0.3}}
WAYS = {
    "clipped": SOFTMAX | {"optim": ADAM | {"clip": 0.5}},
    "decayed": SOFTMAX | {"optim": ADAM | {"name": "adamw", "weight_decay": 0.1, "decayed": "matrices"}},
    "averaged": SOFTMAX | {"optim": ADAM | {"ema": 0.9}},
    "sparse": {"optim": ADAM | {"sparse": True}},
    "parallel": {
        "stream": "session-parallel",
        "model": {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.3},
        "optim": {"name": "adagrad", "learning_rate": 0.02, "eps": 1e-3, "momentum": 0.1},
    },
    "microbatches": SOFTMAX | {"microbatch_rows": 4},
    "gated": SOFTMAX | {"model": SOFTMAX["model"] | {"norm": "gated", "norm_type": "rms", "ffn": "gelu"}},
    "cosine": {"model": SOFTMAX["model"] | {"score": "cosine", "heads": 1}},
    "cloze": SOFTMAX | {"objective": "cloze", "model": SOFTMAX["model"] | {"name": "bert4rec"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", some(WAYS, "parallel"))
def test_a_training_is_the_same_with_an_accelerators_sizes_and_packed_params(way, monkeypatch):
    ours = states(made(**WAYS[way]), [4])[0]
    seen = []
    packed = packing.packed
    monkeypatch.setattr(packing, "packed", lambda *args: seen.append(packed(*args)) or seen[-1])
    with assumed(GPU):
        theirs = states(made(**WAYS[way]), [4])[0]
    few, many = len(jax.tree.leaves(seen[0][1].params)), len(jax.tree.leaves(ours[0].params))
    assert few <= 4 < many
    assert jax.tree.structure(theirs) == jax.tree.structure(ours)
    assert_close(theirs[0], ours[0])
    np.testing.assert_allclose(theirs[1].norm, ours[1].norm, rtol=1e-4)

"""A model answers on a mesh as on one device, whatever it splits."""

import jax
import numpy as np
import pytest
from ranked_splits import random_split
from some import some

from jaxrec.config import parsing as configs, registry
from jaxrec.evaluation import protocols
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.training.building import model_of

MESHES = {"2x4": (2, 4), "4x2": (4, 2), "1x8": (1, 8)}
VALUES = {
    "dataset": "histories",
    "seed": 1,
    "epochs": 1,
    "batch": 16,
    "length": 8,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.2},
    "loss": {"name": "softmax"},
    "optim": {"name": "adam", "learning_rate": 1e-2},
}
EVERY = registry.names("protocol")


@pytest.mark.parametrize(
    ("mesh", "model"), some([(m, n) for m in MESHES for n in ("gru4rec", "caser")], ("2x4", "gru4rec"))
)
def test_ranks_and_the_best_are_those_of_one_device(mesh, model):
    """With 301 items, which no mesh divides evenly; ranks under every protocol."""
    split = random_split(items=301)
    values = VALUES | {"model": VALUES["model"] | {"name": model}}
    alone, on_mesh = (configs.from_dict(values | {"mesh": {"item": item}}) for item in (1, MESHES[mesh][1]))
    params = model_of(alone, split).init(jax.random.key(0))
    params |= {"bias": jax.random.normal(jax.random.key(1), (301,))} if "bias" in params else {}

    def answers(config, devices):
        evaluator = Evaluator(model_of(config, split), config, split, split.test, devices, *EVERY)
        ranks = evaluator.every_rank(params)
        return ranks, {name: evaluator.best(params, name, 10) for name in EVERY if protocols.whole(name)}

    (ranks, best), (told, top) = answers(alone, jax.devices()[:1]), answers(on_mesh, jax.devices()[:8])
    for name in EVERY:
        assert (ranks[name] != told[name]).mean() < 0.01 and np.abs(ranks[name] - told[name]).max() <= 1  # near ties
    for name in best:
        assert (best[name] != top[name]).mean() < 0.01

"""Recommenders of every model with random params."""

import jax
import numpy as np
import polars as pl

from jaxrec.config import parsing as configs
from jaxrec.data.interactions import Catalogue
from jaxrec.inference.recommender import Recommender
from jaxrec.training.building import model_for

MODELS = {
    "sasrec": {"layers": 2, "heads": 2},
    "gru4rec": {"layers": 2},
    "bert4rec": {"layers": 2, "heads": 2, "norm": "post"},
    "caser": {"window": 3, "vertical": 2, "horizontal": 3},
    "two-tower": {"layers": 2},
    "rg-lru": {"layers": 2},
}
GENRES = ["Comedy", "Drama", "Comedy|War", "", "War"]


def config(name, length=20, width=8, context="", topic="", user_features="", start_prob=0.0, baskets=False, **keys):
    """A Config for this model. keys: the model's own."""
    values = {
        "dataset": "histories",
        "seed": 0,
        "epochs": 1,
        "batch": 16,
        "length": length,
        "eval_every": 1,
        "patience": 0,
        "objective": "cloze" if name == "bert4rec" else "next-item",
        "model": {"name": name, "dim": width, "dropout": 0.1, "layers": 1} | MODELS[name] | keys,
        "loss": {"name": "bce", "negatives": 1},
        "optim": {"name": "adam", "learning_rate": 1e-2},
        "context": context,
        "topic": topic,
        "user_features": user_features,
        "start_prob": start_prob,
    }
    return configs.from_dict(values | ({"baskets": True, "split": "last-basket"} if baskets else {}))


def params(model, seed=1):
    """Random params of a model: gains around 1, the rest around 0."""
    random = np.random.default_rng(seed)

    def noisy(path, x):
        gain = "scale" in jax.tree_util.keystr(path)
        return jax.numpy.asarray(gain + 0.3 * random.normal(size=x.shape), jax.numpy.float32)

    return jax.tree_util.tree_map_with_path(noisy, jax.eval_shape(model.init, jax.random.key(0)))


def recommender(name, items=60, length=20, width=8, approximate=False, context="", types=(), columns=(), **keys):
    """A Recommender of the items "i0", "i1", ..., whose genres and years repeat."""
    made = config(name, length, width, context, user_features=",".join(each.name for each in columns), **keys)
    about = {"genres": [GENRES[v % 5] for v in range(items)], "year": [1990 + v % 3 for v in range(items)]}
    ids = np.array([f"i{v}" for v in range(items)], np.dtypes.StringDType())
    catalogue = Catalogue(ids, pl.DataFrame(about))
    model = model_for(made, catalogue, 10, len(types), columns)
    return Recommender(made, model, params(model), catalogue, 7, None, approximate, types=types, columns=columns)


def featured():
    """A Recommender of a model whose items have features."""
    ids = np.array([f"i{v}" for v in range(60)], np.dtypes.StringDType())
    about = pl.DataFrame({"genres": [["A", "B|A", "C"][v % 3] for v in range(60)], "note": [None] * 60})
    catalogue = Catalogue(ids, about).counted(np.arange(60))
    made = config("sasrec")
    made = type(made)(**{**made.__dict__, "features": "genres", "cold_bonus": 0.5})
    model = model_for(made, catalogue, 10)
    return Recommender(made, model, params(model), catalogue, 7)

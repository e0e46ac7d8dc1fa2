"""A model is built for what its training knew, whenever it is used."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from trainings import BASE

from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.system.errors import UserError
from jaxrec.training.building import model_later, model_of

CONFIG = configs.from_dict(BASE | {"features": "genre"})


def log_of(seed):
    random = np.random.default_rng(seed)
    log = interactions.from_sequences([list(range(1, 11)), *(random.integers(1, 11, 6).tolist() for _ in range(20))])
    return replace(log, catalogue=log.catalogue._replace(about=pl.DataFrame({"genre": ["a", "b"] * 5})))


def test_asked_later_it_is_the_model_that_was_trained():
    before, now = log_of(0), splits.last_item(log_of(1))
    split = splits.last_item(before)
    catalogue = before.catalogue.counted(splits.training_counts(split))
    trained = model_of(CONFIG, split)
    asked, found = model_later(CONFIG, before, catalogue, now)
    params = trained.init(jax.random.key(0))
    assert found is now and jax.tree.map(np.shape, params) == jax.tree.map(np.shape, asked.init(jax.random.key(1)))
    for one, other in zip(*(model.output_embedding(params) for model in (trained, asked)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_counts_features_are_refused():
    log = log_of(0)
    with pytest.raises(UserError, match="needs the number of training events of each item"):
        model_later(CONFIG, log, log.catalogue, splits.last_item(log))

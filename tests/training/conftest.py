"""Small trainings that tests share."""

import json

import jax
import numpy as np
import pytest
from trainings import BASE, outcome, run

from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.training import setup as setups


@pytest.fixture(scope="session")
def split():
    random = np.random.default_rng(0)
    histories = [random.integers(1, 21, random.integers(3, 12)).tolist() for _ in range(120)]
    return splits.last_item(interactions.from_sequences(histories))


@pytest.fixture(scope="session")
def prepare(split):
    """(setup, validate) of a config, compiled once for all runs that share it."""
    made = {}

    def prepared(**changes):
        key = json.dumps(changes)
        if key not in made:
            setup = setups.setup(configs.from_dict(BASE | changes), split, jax.devices()[:1])
            evaluator = Evaluator(setup.model, setup.config, split, split.valid, setup.devices)
            made[key] = setup, lambda params: metrics(evaluator.ranks(params))
        return made[key]

    return prepared


@pytest.fixture(scope="session")
def uninterrupted(prepare, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    run(prepare(), path)
    return outcome(prepare(), path)

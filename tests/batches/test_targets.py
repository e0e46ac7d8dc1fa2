"""The expected targets of an epoch are those of its batches; logQ corrects in-batch negatives by them."""

import jax
import numpy as np
import pytest
from some import some

from jaxrec.batches import objectives
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.kernels.random import row_keys
from jaxrec.training import feed, fit, setup as setups

ITEMS, MOST = 20, 6
BASE = {
    "dataset": "histories",
    "seed": 1,
    "epochs": 1,
    "batch": 16,
    "length": MOST,
    "row": 8,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "gru4rec", "dim": 4, "layers": 1, "dropout": 0.0},
    "loss": {"name": "sampled-softmax", "negatives": 0, "sampling": "in-batch", "share": "batch", "logq": 1.0},
    "optim": {"name": "adam", "learning_rate": 1e-2},
}
CLOZE = {
    "objective": "cloze",
    "mask_prob": 0.4,
    "mask_last_prob": 0.5,
    "model": {"name": "bert4rec", "dim": 4, "layers": 1, "dropout": 0.0, "norm": "post"},
}
CASES = {
    "newest": {},
    "oldest": {"history": "oldest"},
    "windows": {"history": "windows"},
    "windows that overlap": {"history": "windows", "overlap": 3},
    "every prefix": {"history": "windows", "overlap": MOST - 1},
    "three ahead of every prefix": {"history": "windows", "overlap": MOST - 1, "num_future_targets": 3},
    "three ahead": {"num_future_targets": 3},
    "three ahead in windows": {"num_future_targets": 3, "history": "windows"},
    "lanes": {"stream": "session-parallel", "row": MOST},
    "cloze": CLOZE,
    "cloze in windows": CLOZE | {"history": "windows"},
}


@pytest.fixture(scope="module")
def split():
    random = np.random.default_rng(0)
    histories = [random.integers(1, ITEMS + 1, n).tolist() for n in random.integers(1, 20, 60)]
    return splits.last_item(interactions.from_sequences([list(range(1, ITEMS + 1)), *histories]))


def targets_in(setup, epoch):
    """Returns how often each item is a target in the batches of an epoch. [V]"""
    data, order, rows = (
        jax.device_get(setup.data),
        feed.order(setup, epoch),
        np.arange(setup.epoch_steps * setup.batches.rows),
    )
    batch = setup.batches.gather(data, order, rows, setup.objective.stream_targets)
    keys = row_keys(0, epoch, rows)
    make_targets = jax.jit(setup.objective.make_targets, static_argnums=2)
    _, targets = make_targets(jax.device_put(batch), keys, batch.items.shape[1])
    return np.bincount(np.asarray(targets.items).ravel(), minlength=ITEMS + 1)[1:]


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_asks_for_each_item_as_often_as_is_expected(split, case):
    setup = setups.setup(configs.from_dict(BASE | CASES[case]), split, jax.devices()[:1])
    subsequences, objective = setup.batches.subsequences, setup.objective
    expected = objectives.expected_targets(objective, subsequences, split.interactions.items, ITEMS)
    assert expected.sum() == pytest.approx(objective.count(subsequences.length).sum())
    np.testing.assert_allclose(setup.sampler_tables.batch.share, expected / expected.sum(), rtol=1e-6)
    if "cloze" not in case:
        np.testing.assert_array_equal(targets_in(setup, 0), expected)
        assert (expected != splits.training_counts(split)).any()
        return
    epochs = 40
    found = sum(targets_in(setup, epoch) for epoch in range(epochs)) / epochs
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max() / epochs)
    assert np.abs(found - expected).mean() < np.sqrt(expected.mean() / epochs)


@pytest.mark.parametrize("model", some(["gru4rec", "sasrec"], "gru4rec"))
def test_every_prefix_with_a_target_at_its_end_is_the_history_with_all_its_targets(model):
    """For a causal model with positions from the start, if no history is cut: loss and gradient are equal."""
    random = np.random.default_rng(1)
    histories = [random.integers(1, ITEMS + 1, n).tolist() for n in random.integers(3, MOST + 4, 30)]
    split = splits.last_item(interactions.from_sequences([*histories, list(range(1, ITEMS + 1))[: MOST + 3]]))
    softmax = {"model": BASE["model"] | {"name": model}, "loss": {"name": "softmax", "negatives": 0}}
    reports = []
    for overlap in (0, MOST - 1):
        changes = {"batch": 10_000, "history": "windows", "overlap": overlap, "row": MOST}
        setup = setups.setup(configs.from_dict(BASE | softmax | changes), split, jax.devices()[:1])
        assert setup.epoch_steps == 1
        data, begins = fit.Feed(setup)(0, 1)
        _, report = setup.run(setups.initial(setup), data, setup.sampler_tables, np.int32(begins), np.int32(1))
        reports.append(np.array(report)[:, 0])
    np.testing.assert_allclose(reports[1], reports[0], rtol=1e-5)


def test_events_are_counted_where_the_configuration_says_so(split):
    loss = BASE["loss"] | {"logq_counts": "events"}
    setup = setups.setup(configs.from_dict(BASE | {"loss": loss}), split, jax.devices()[:1])
    counts = splits.training_counts(split)
    np.testing.assert_allclose(setup.sampler_tables.batch.share, counts / counts.sum(), rtol=1e-6)

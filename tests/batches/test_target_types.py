"""Laws of targets of some types: they alone are asked, each as often as is expected, and everything else is shown."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest

from jaxrec.batches import objectives, target_types
from jaxrec.batches.objectives import MASK
from jaxrec.config import parsing as configs
from jaxrec.data import event_types, splits
from jaxrec.data.interactions import from_sequences
from jaxrec.kernels.random import row_keys
from jaxrec.system.errors import UserError
from jaxrec.training import fit

from .test_targets import BASE, CASES, ITEMS, targets_in

ASKED = [case for case in CASES if case != "lanes"]


@pytest.fixture(scope="module")
def log():
    """Histories of which every third event or so is a purchase; every item is one somewhere."""
    random = np.random.default_rng(0)
    histories = [random.integers(1, ITEMS + 1, n).tolist() for n in random.integers(1, 20, 60)]
    data = from_sequences([list(range(1, ITEMS + 1)), *histories])
    names = np.where(random.random(len(data.items)) < 0.3, "purchase", "view")
    column = event_types.Column("type")
    column.add(pl.Series(names.tolist()), "log")
    return replace(data, types=column.close())


@pytest.fixture(scope="module")
def split(log):
    return splits.last_item(event_types.asking(log, "purchase"))


def made(split, case):
    changes = BASE | CASES[case] | {"target_types": "purchase"}
    return fit.setup(configs.from_dict(changes), split, jax.devices()[:1])


@pytest.mark.parametrize("case", ASKED)
def test_an_epoch_asks_for_each_item_as_often_as_is_expected(split, case):
    setup = made(split, case)
    subsequences, objective = setup.subsequences, setup.objective
    expected = objectives.expected_targets(objective, subsequences, split.interactions.items, ITEMS)
    assert expected.sum() <= objective.count(subsequences.length).sum()
    if "cloze" not in case:
        np.testing.assert_array_equal(targets_in(setup, 0), expected)
        return
    epochs = 40
    found = sum(targets_in(setup, epoch) for epoch in range(epochs)) / epochs
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max() / epochs)
    assert np.abs(found - expected).mean() < np.sqrt(expected.mean() / epochs)


def test_every_purchase_but_a_first_event_is_a_target_once(split):
    may = event_types.targets(split.interactions)
    spans = zip(split.start, split.stop, strict=True)
    places = [at for start, stop in spans for at in range(start + 1, stop) if may[at]]
    wanted = np.bincount(split.interactions.items[places], minlength=ITEMS + 1)[1:]
    np.testing.assert_array_equal(targets_in(made(split, "windows"), 0), wanted)


@pytest.mark.parametrize("case", ["newest", "cloze in windows"])
def test_no_other_event_is_asked_or_hidden(split, case):
    setup = made(split, case)
    data, order = jax.device_get(setup.data), fit.order(setup, 0)
    rows = np.arange(setup.epoch_steps * setup.rows)
    batch = setup.gather(data, order, rows, setup.objective.stream_targets)
    most = int(setup.objective.count(setup.subsequences.length).sum())
    shown, targets = setup.objective.make_targets(jax.device_put(batch), row_keys(0, 0, rows), min(most, 8))
    items, hidden = np.asarray(batch.items), np.asarray(shown.items) == MASK
    of_a_purchase = np.asarray(batch.targets) > 0
    assert (hidden <= of_a_purchase).all() if "cloze" in case else not hidden.any()
    real = np.asarray(targets.items) > 0
    slots = np.asarray(targets.slots)
    assert np.take_along_axis(of_a_purchase, slots, 1)[real].all()
    picked = np.take_along_axis(items if "cloze" in case else np.asarray(batch.targets), slots, 1)
    np.testing.assert_array_equal(picked[real], np.asarray(targets.items)[real])
    lengths = np.asarray(batch.items > 0).sum()
    assert lengths == setup.subsequences.length.sum()  # whatever is not asked is shown


def test_each_kept_subsequence_has_a_target_and_ends_with_it(split):
    config = configs.from_dict(BASE | {"target_types": "purchase"})
    found = target_types.build(config, split).subsequences(split.start, split.stop, config.length, "newest")
    may = event_types.targets(split.interactions)
    assert len(found.length) and may[found.start + found.length].all()


def test_where_all_types_are_asked_it_is_the_objective_that_it_was(log):
    every = splits.last_item(event_types.asking(log, "purchase, view"))
    one, other = made(every, "newest"), fit.setup(configs.from_dict(BASE), splits.last_item(log), jax.devices()[:1])
    np.testing.assert_array_equal(targets_in(one, 0), targets_in(other, 0))
    assert one.objective.count(one.subsequences.length).tolist() == other.subsequences.length.tolist()


def test_who_has_nothing_to_learn_from_is_said(log):
    first = np.zeros(len(log.items), np.uint8) + 2
    first[log.offsets[:-1]] = 1
    data = event_types.asking(replace(log, types=log.types._replace(numbers=first)), "purchase")
    with pytest.raises(UserError, match="no user has a purchase with an event before it after the split"):
        made(splits.last_item(data), "newest")
    with pytest.raises(UserError, match=r"config.target_types is for config.stream=packed"):
        configs.from_dict(BASE | CASES["lanes"] | {"target_types": "purchase"})

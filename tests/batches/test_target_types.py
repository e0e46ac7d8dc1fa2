"""Laws of targets of some types: only they are targets, as often as expected, and everything else is shown."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from some import some

from jaxrec.batches import objectives, target_types
from jaxrec.batches.objectives import MASK
from jaxrec.config import parsing as configs
from jaxrec.data import event_types, splits
from jaxrec.data.interactions import from_sequences
from jaxrec.kernels.random import row_keys
from jaxrec.system.errors import UserError
from jaxrec.training import feed, setup as setups

from .test_targets import BASE, CASES, ITEMS, targets_in

ASKED = [case for case in CASES if case != "lanes"]


@pytest.fixture(scope="module")
def log():
    """Histories with about a third of the events being purchases; every item is purchased somewhere."""
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
    return setups.setup(configs.from_dict(changes), split, jax.devices()[:1])


@pytest.mark.parametrize("case", some(ASKED, "three ahead of every prefix", "cloze in windows"))
def test_an_epoch_asks_for_each_item_as_often_as_is_expected(split, case):
    setup = made(split, case)
    subsequences, objective = setup.batches.subsequences, setup.objective
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
def test_no_other_event_is_asked_or_hidden_and_none_is_lost(split, case):
    setup = made(split, case)
    data, rows = jax.device_get(setup.data), np.arange(setup.epoch_steps * setup.batches.rows)
    most = setup.batches.most
    assert most < data.layout.slot_to_segment.shape[1]
    make_targets = jax.jit(setup.objective.make_targets, static_argnums=2)
    for epoch in range(3):
        batch = setup.batches.gather(data, feed.order(setup, epoch), rows, setup.objective.stream_targets)
        shown, targets = jax.device_get(make_targets(jax.device_put(batch), row_keys(0, epoch, rows), most))
        may, hidden, real = batch.targets > 0, shown.items == MASK, targets.items > 0
        np.testing.assert_array_equal(np.where(hidden, 0, batch.items), np.where(hidden, 0, shown.items))
        assert (hidden <= may).all() if "cloze" in case else not hidden.any()
        assert real.sum() == (hidden if "cloze" in case else may).sum()  # none exceeds a row's maximum
        np.testing.assert_array_equal(np.take_along_axis(batch.targets, targets.slots, 1)[real], targets.items[real])


def test_each_kept_subsequence_has_a_target_and_ends_with_it(split):
    config = configs.from_dict(BASE | {"target_types": "purchase"})
    found = target_types.build(config, split).subsequences(split.start, split.stop, config.length, "newest")
    may = event_types.targets(split.interactions)
    assert len(found.length) and may[found.start + found.length].all()


def test_a_cloze_keeps_the_same_windows_wherever_it_masks(split):
    """Also if the newest event must always be masked and is of another type: then an earlier one is masked."""
    keys = BASE | CASES["cloze in windows"] | {"target_types": "purchase"}

    def kept(last):
        config = configs.from_dict(keys | {"mask_last_prob": last})
        return target_types.build(config, split).subsequences(split.start, split.stop, config.length, "windows")

    for last in (0.0, 1.0):
        for one, other in zip(kept(last), kept(0.5), strict=True):
            np.testing.assert_array_equal(one, other)
    may = event_types.targets(split.interactions)
    assert not may[kept(1.0).start + kept(1.0).length - 1].all()  # the case occurs


def test_where_all_types_are_asked_it_is_the_objective_that_it_was(log):
    every = splits.last_item(event_types.asking(log, "purchase, view"))
    one, other = made(every, "newest"), setups.setup(configs.from_dict(BASE), splits.last_item(log), jax.devices()[:1])
    np.testing.assert_array_equal(targets_in(one, 0), targets_in(other, 0))
    assert one.objective.count(one.batches.subsequences.length).tolist() == other.batches.subsequences.length.tolist()


def test_who_has_nothing_to_learn_from_is_said(log):
    first = np.zeros(len(log.items), np.uint8) + 2
    first[log.offsets[:-1]] = 1
    data = event_types.asking(replace(log, types=log.types._replace(numbers=first)), "purchase")
    with pytest.raises(UserError, match="no user has a purchase with an event before it outside of what"):
        made(splits.last_item(data), "newest")
    with pytest.raises(UserError, match=r"config.target_types is for config.stream=packed"):
        configs.from_dict(BASE | CASES["lanes"] | {"target_types": "purchase"})


@pytest.mark.parametrize("case", ["newest", "cloze in windows"])
def test_an_epoch_has_exactly_as_many_targets_as_are_expected(split, case):
    setup = made(split, case)
    items, subsequences = split.interactions.items, setup.batches.subsequences
    expected = objectives.expected_targets(setup.objective, subsequences, items, ITEMS)
    assert targets_in(setup, 0).sum() == pytest.approx(expected.sum())

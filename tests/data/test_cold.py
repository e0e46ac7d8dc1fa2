"""Items held out of training occur nowhere in it, while the test stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from jaxrec.data.cold import hold_out
from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import SESSIONS, describe, last_item, training_counts, training_items
from jaxrec.system.errors import UserError

histories = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=15), min_size=4, max_size=20)


def made(lists):
    log = from_sequences([[*range(1, 13)], *lists])
    times = np.arange(len(log.items), dtype=np.int64) * 10**9
    return replace(log, times=times, weights=times.astype(np.float32))


def held_out(split, share, seed):
    try:
        return hold_out(split, share, seed)
    except UserError:  # raised for a few short histories
        assume(False)


@pytest.mark.parametrize("name", ["last-item", "sessions"])
@given(histories, st.integers(0, 99), st.sampled_from([0.1, 0.4]))
def test_training_and_validation_join_over_the_gaps_and_the_test_stays(name, lists, seed, share):
    split = last_item(made(lists)) if name == "last-item" else SESSIONS.split(made(lists), 0.6, 0.2)
    items = len(split.interactions.catalogue.ids)
    held = held_out(split, share, seed)
    old, new = split.interactions, held.interactions
    counts = training_counts(held)
    cold = 1 + np.random.default_rng(seed).permutation(items)[: max(round(share * items), 1)]
    assert not counts[cold - 1].any()
    stays = ~np.isin(np.asarray(old.items), cold)
    for user in range(len(split.start)):
        at = np.arange(split.start[user], split.stop[user])
        at = at[stays[at]]
        part = slice(held.start[user], held.stop[user])
        np.testing.assert_array_equal(new.items[part], old.items[at])
        np.testing.assert_array_equal(new.times[part], old.times[at])
        np.testing.assert_array_equal(new.weights[part], old.weights[at])
    assert held.test is split.test and len(new.items) == new.offsets[-1]
    assert np.isin(held.start, new.offsets).all() and np.isin(old.offsets, new.offsets).all()
    np.testing.assert_array_equal(new.items[: len(old.items)], old.items)
    valid = dict(zip(zip(split.valid.source, split.valid.stop, strict=True), split.valid.target, strict=True))
    assert len(held.valid.target) <= len(valid) and not np.isin(held.valid.target, cold).any()
    for start, stop in zip(held.valid.start, held.valid.stop, strict=True):
        assert stop > start >= len(old.items) and not np.isin(new.items[start:stop], cold).any()


def test_the_share_is_of_the_catalogue_and_the_draw_is_the_seeds():
    split = last_item(made([[1, 2, 3, 4, 5]] * 5))
    cold = lambda share, seed: np.flatnonzero(training_counts(hold_out(split, share, seed))[:10] == 0).tolist()
    assert len(cold(0.01, 0)) <= 1 and cold(0.5, 1) == cold(0.5, 1) != cold(0.5, 2)
    assert describe(hold_out(split, 0.5, 1))["interactions"] == len(training_items(hold_out(split, 0.5, 1)))


def test_a_share_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match="leaves no history of two items to train on"):
        hold_out(last_item(from_sequences([[1, 2, 3, 4]] * 3)), 0.99, 0)

"""Laws of a training's batches: their weights, how many events they can have, and the message if there are none."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st
from stepping import SOFTMAX
from trainings import BASE

from jaxrec.batches import stream
from jaxrec.config import parsing as configs
from jaxrec.config.keys import LossOptions
from jaxrec.data.interactions import from_sequences
from jaxrec.system.errors import UserError
from jaxrec.training.assembly import split_of
from jaxrec.training.batching import target_weights
from jaxrec.training.setup import setup


def test_batches_beyond_2_31_events(tmp_path):
    """The events are in a sparse file, which takes no disk space."""
    first = 2**31 + 7
    items = np.memmap(tmp_path / "items", np.int32, "w+", shape=(first + 5,))
    items[first:] = [3, 1, 4, 1, 5]
    subsequences = stream.next_item_subsequences([first, first + 2], [first + 2, first + 5], 4)
    layout, order_of = stream.packing_layout(subsequences.length, 4)
    data = stream.Data(items, subsequences.start, subsequences.user_index, layout)
    batch = stream.gather(data, stream.plan(subsequences.length, order_of, 1, 0, 0), np.arange(1))
    assert (batch.items.tolist(), batch.targets.tolist()) == ([[4, 1, 3, 0]], [[1, 5, 1, 0]])


@given(
    weights=st.lists(st.floats(0, 1e6, width=32), min_size=3, max_size=3).filter(any), clip=st.sampled_from([0.0, 2.5])
)
def test_weights_are_cut_and_then_logged(weights, clip):
    log = from_sequences([[1, 2, 3]])
    object.__setattr__(log, "weights", np.array(weights, np.float32))
    cut = np.minimum(weights, clip) if clip else np.array(weights)
    for how, wanted in (("linear", cut), ("log", np.log1p(cut))):
        np.testing.assert_allclose(
            target_weights(log, LossOptions("softmax", weight=how, weight_clip=clip)), wanted, 1e-6
        )
    assert target_weights(log, LossOptions("softmax")) is None


@pytest.mark.parametrize(
    ("events", "changes", "cures"),
    [
        (3, {}, [{"split": "by-time"}]),
        (4, {"split": "by-time", "test_quantile": 0.2}, [{"split": "by-time", "test_quantile": 0.9}, {}]),
    ],
)
def test_where_a_split_leaves_nothing_to_train_its_cures_leave_some(events, changes, cures):
    """The first events of all users come first, then all their second ones, and so on."""
    log = from_sequences([range(1, events + 1)] * 20)
    time = np.tile(np.arange(events), 20) * 1000 + np.repeat(np.arange(20), events)
    log = replace(log, times=(1_700_000_000 + time) * 1_000_000)

    def trains(changes):
        config = configs.from_dict(BASE | SOFTMAX | changes)
        return len(setup(config, split_of(config, log), jax.devices()[:1]).batches.subsequences.length) > 0

    named = "a larger config.test_quantile.*or config.split=last-item" if changes else "config.split=by-time"
    with pytest.raises(UserError, match=f"no user has two items to train on .* {named}"):
        trains(changes)
    assert all(map(trains, cures))


@pytest.mark.parametrize("changes", [{}, {"split": "by-time", "test_quantile": 0.2}])
def test_no_split_is_advised_that_leaves_nothing_either(changes):
    log = from_sequences([[1, 2, 3]])
    log = replace(log, times=(1_700_000_000 + np.arange(3)) * 1_000_000)
    config = configs.from_dict(BASE | SOFTMAX | changes)
    with pytest.raises(UserError, match=r"holds out: (a larger config\.test_quantile, or )?a longer log leaves some"):
        setup(config, split_of(config, log), jax.devices()[:1])

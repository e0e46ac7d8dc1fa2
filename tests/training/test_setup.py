"""Laws of what a training uses besides items: weights of targets, and context."""

import jax
import numpy as np
import polars as pl
import pytest
from some import some
from stepping import CLOZE, LANES, SOFTMAX, WAYS, assert_close, made, states, without_key_biases

from jaxrec.batches import context
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import Types, UserColumns
from jaxrec.system.errors import UserError


def weighing(value):
    """Weights of all events: one value, or drawn."""

    def known(log):
        drawn = np.random.default_rng(0).uniform(0, 5, len(log.items))
        return {"weights": (drawn if value is None else np.full(len(log.items), value)).astype(np.float32)}

    return known


def timed(log):
    """Times within a year, and weights."""
    random = np.random.default_rng(1)
    parts = [np.sort(random.integers(0, 365 * 86_400, length)) for length in np.diff(log.offsets)]
    return {"times": np.concatenate(parts) * context.SECOND} | weighing(None)(log)


def weighted(changes, how="linear"):
    return changes | {"loss": changes.get("loss", {"name": "bce", "negatives": 2}) | {"weight": how}}


@pytest.mark.slow
@pytest.mark.parametrize("way", some(WAYS, "next item"))
def test_weights_of_one_are_none(way):
    plain, weighed = (
        states(made(known=weighing(1.0), **changes), [3])[0][0] for changes in (WAYS[way], weighted(WAYS[way]))
    )
    assert_close(*(without_key_biases(state.params) for state in (weighed, plain)), atol=1e-6)


@pytest.mark.parametrize("way", some(WAYS))
def test_only_the_ratios_of_weights_count(way):
    """The loss is a weighted mean: multiplying all weights by a constant changes nothing."""
    one, many = (states(made(known=weighing(value), **weighted(WAYS[way])), [3])[0] for value in (1.0, 64.0))
    jax.tree.map(np.testing.assert_array_equal, one[0].params, many[0].params)
    np.testing.assert_array_equal(one[1].loss, many[1].loss)


def test_what_weighs_nothing_is_not_asked():
    """A step whose targets all have weight 0 has a loss of 0, not NaN."""

    def first_user_alone(log):
        weights = np.zeros(len(log.items), np.float32)
        weights[: log.offsets[1]] = 1
        return {"weights": weights}

    setup = made(known=first_user_alone, **weighted(SOFTMAX))
    loss = [values.loss[0] for _, values in states(setup, range(1, setup.epoch_steps + 1))]
    assert np.isfinite(loss).all()
    assert np.count_nonzero(loss) == 1  # the only step with this user


@pytest.mark.slow
@pytest.mark.parametrize("changes", some([weighted(SOFTMAX), weighted(CLOZE), weighted(LANES)], weighted(SOFTMAX)))
def test_many_devices_are_one_with_weights_and_context(changes):
    changes = changes | {"context": "gap,weekday,weight,type,switch,asked_gap,asked_weekday", "context_dropout": 0.3}
    known = lambda log: timed(log) | typed(log)
    one, two = (states(made(devices, known=known, **changes), [3])[0][0] for devices in (1, 2))
    assert_close(two, one)
    tables = one.params["context"]
    assert {name: len(tables[name]) for name in ("type", "switch")} == {"type": 2, "switch": 2}
    assert any(np.any(table != 0) for table in jax.tree.leaves(tables))


def typed(log):
    """Types of all events, and topics of all items."""
    numbers = np.random.default_rng(2).integers(1, 3, len(log.items)).astype(np.uint8)
    about = pl.DataFrame({"genres": [["War", "Drama"][each % 2] for each in range(len(log.catalogue.ids))]})
    return {"types": Types(numbers, ("purchase", "view")), "catalogue": log.catalogue._replace(about=about)}


def of_users(log):
    """A column of all users."""
    about = pl.DataFrame({"gender": ["FM"[user % 2] for user in range(len(log.users))]})
    return {"user_columns": UserColumns(about, (Column("gender", values=("F", "M")),))}


@pytest.mark.slow
@pytest.mark.parametrize("changes", some([SOFTMAX, CLOZE, LANES], CLOZE))
def test_values_of_users_are_learnt_and_many_devices_are_one(changes):
    changes = changes | {"user_features": "gender", "context_dropout": 0.3}
    one, two = (states(made(devices, known=of_users, **changes), [3])[0][0] for devices in (1, 2))
    assert_close(two, one)
    assert one.params["context"]["user gender"].any(1).tolist() == [True, True]


@pytest.mark.parametrize("changes", some([SOFTMAX, CLOZE, WAYS["few targets"]]))
def test_many_devices_are_one_with_few_targets(changes):
    changes = changes | {"context": "type,switch", "target_types": "purchase"}
    one, two = (states(made(devices, known=typed, **changes), [3])[0][0] for devices in (1, 2))
    assert_close(two, one)
    assert all(np.any(table != 0) for table in one.params["context"].values())


@pytest.mark.parametrize("changes", some([SOFTMAX, CLOZE]))
def test_where_all_types_are_targets_they_are_what_they_were(changes):
    whole, every = (
        states(made(known=typed, target_types=asked, **changes), [3])[0][0] for asked in ("", "view,purchase")
    )
    assert_close(every.params, whole.params, atol=1e-6)


def later(log):
    """Like `timed`, but the events that are not trained on come a year later."""
    known = timed(log)
    known["times"][np.concatenate([log.offsets[1:] - 1, log.offsets[1:] - 2])] += 365 * 86_400 * context.SECOND
    return known


INTERVALS = SOFTMAX | {"model": SOFTMAX["model"] | {"time_intervals": 8, "time_bias": True}}


@pytest.mark.slow
@pytest.mark.parametrize("changes", some([SOFTMAX, CLOZE, LANES, INTERVALS], INTERVALS))
def test_no_time_that_is_asked_in_the_test_trains(changes):
    changes = changes | {"context": "gap,hour,asked_gap,asked_hour"}
    one, other = (states(made(known=known, **changes), [3])[0][0] for known in (timed, later))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    moved = [*one.params["context"].values()]
    moved += (
        [one.params["interval_values"], one.params["attention_0"]["time"]] if changes["model"].get("time_bias") else []
    )
    assert all(np.any(table != 0) for table in moved)


@pytest.mark.parametrize("changes", some([SOFTMAX, CLOZE]))
def test_a_host_feeds_what_a_device_has(changes):
    changes = weighted(changes) | {"context": "gap,weight,type", "target_types": "view"}
    known = lambda log: timed(log) | typed(log)
    device, host = (states(made(known=known, feed=feed, **changes), [3])[0][0] for feed in ("device", "host"))
    assert_close(host.params, device.params, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("way", [*WAYS, "lanes"])
def test_negatives_of_the_host_train_the_same(way):
    changes = (WAYS | {"lanes": LANES})[way] | {"loss": {"name": "bce", "negatives": 3}}
    device, host = (states(made(2, feed=feed, **changes), [3])[0] for feed in ("device", "host"))
    assert_close(host[0].params, device[0].params, atol=1e-6)
    np.testing.assert_allclose(host[1].loss, device[1].loss, rtol=1e-6)


@pytest.mark.parametrize(
    ("known", "changes", "said"),
    [
        (lambda log: {}, weighted(SOFTMAX), "has no weights, and config.loss.weight is linear: name their column"),
        (weighing(-1.0), weighted(SOFTMAX), "has weights below 0"),
        (weighing(0.0), weighted(SOFTMAX), "all weights are 0, so nothing would be trained"),
        (lambda log: {}, SOFTMAX | {"context": "gap"}, "asks for gap, which needs a time for every event"),
        (lambda log: timed(log) | {"relative": True}, SOFTMAX | {"context": "hour"}, "it has gap, weight"),
        (timed, SOFTMAX | {"context": "session"}, "sessions within the users' histories"),
        (timed, SOFTMAX | {"context": "type"}, "asks for type, which needs types of events .*: it has gap"),
        (
            timed,
            SOFTMAX | {"context": "switch"},
            "asks for switch, which needs an item column called genres",
        ),
        (typed, SOFTMAX | {"context": "switch", "topic": "mood"}, "config.topic names mood"),
        (typed, SOFTMAX | {"target_types": "buy"}, "asks for buy, a type that no event has"),
        (lambda log: {}, SOFTMAX | {"context": "asked_gap"}, "asks for asked_gap, which needs a time for every event"),
        (lambda log: {}, INTERVALS, "config.model asks for times in attention, which needs a time for every event"),
    ],
)
def test_what_a_log_lacks_is_said_with_what_to_do(known, changes, said):
    with pytest.raises(UserError, match=said):
        made(known=known, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"context": "moon"}, "config.context: 'moon' is none of gap"),
        ({"context_dropout": 0.2}, "config.context_dropout is for config.context"),
        ({"context": "gap", "asked_dropout": 0.2}, "config.asked_dropout is for config.context=asked_hour"),
        ({"context": "hour", "valid_query_time": True}, "config.valid_query_time is for config.context=asked_hour"),
        ({"context": "gap", "context_zone": "Asia/Tokyo"}, "config.context_zone is for hour, weekday or month"),
        ({"context": "hour", "context_zone": "Mars/Base"}, "'Mars/Base' is no time zone: give one such as Europe"),
        ({"loss": {"name": "softmax", "weight_clip": 2.0}}, "config.loss.weight_clip is for config.loss.weight"),
        (
            {"context": "gap", "model": {"name": "examples.own_model:MODEL", "dim": 8, "layers": 1, "dropout": 0.0}},
            "config.context is not for .*, which sees items alone",
        ),
    ],
)
def test_keys_that_do_nothing_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        made(known=timed, **SOFTMAX | changes)

"""Laws of what a training is shown and asked beside items: weights of targets, and context."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from some import some
from stepping import assert_close, made, states, without_key_biases
from trainings import BASE

from jaxrec.batches import context, stream
from jaxrec.config import parsing as configs
from jaxrec.data.interactions import Types, UserColumns, from_sequences
from jaxrec.data.user_columns import Column
from jaxrec.kernels import placement
from jaxrec.kernels.random import row_keys, site_keys
from jaxrec.system.errors import UserError
from jaxrec.training import negatives
from jaxrec.training.assembly import split_of
from jaxrec.training.feed import Feed, order
from jaxrec.training.setup import setup

SOFTMAX = {"loss": {"name": "softmax"}, "model": {"name": "sasrec", "dim": 8, "layers": 1, "heads": 2, "dropout": 0.3}}
CLOZE = {
    "objective": "cloze",
    "model": {"name": "bert4rec", "dim": 8, "layers": 1, "heads": 2, "dropout": 0.3},
    "loss": {"name": "softmax"},
}
LANES = {"stream": "session-parallel", "model": {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.3}}
WAYS = {"next item": SOFTMAX, "cloze": CLOZE, "few targets": SOFTMAX | {"history": "windows", "overlap": 7}}


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
    """The loss is a weighted mean: as many times all weights change nothing."""
    one, many = (states(made(known=weighing(value), **weighted(WAYS[way])), [3])[0] for value in (1.0, 64.0))
    jax.tree.map(np.testing.assert_array_equal, one[0].params, many[0].params)
    np.testing.assert_array_equal(one[1].loss, many[1].loss)


def test_what_weighs_nothing_is_not_asked():
    """A step whose targets all weigh nothing has no loss, and no NaN."""

    def first_user_alone(log):
        weights = np.zeros(len(log.items), np.float32)
        weights[: log.offsets[1]] = 1
        return {"weights": weights}

    setup = made(known=first_user_alone, **weighted(SOFTMAX))
    loss = [values.loss[0] for _, values in states(setup, range(1, setup.epoch_steps + 1))]
    assert np.isfinite(loss).all()
    assert np.count_nonzero(loss) == 1  # of the step that has this user


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
    """As `timed`, and what is not trained on is later by a year."""
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


@pytest.mark.parametrize("way", some([*WAYS, "lanes"], "next item"))
def test_the_host_draws_the_negatives_that_a_device_would(way):
    changes = (WAYS | {"lanes": LANES})[way] | {"loss": {"name": "bce", "negatives": 3}}
    here = made(2, feed="host", **changes)
    assert here.sampler_tables is None, "nothing of it lies on the devices"
    draw, tables = negatives.sampler(here.config.loss, here.split, "data", None)
    step, rows = 2, np.arange(here.rows)
    keys = row_keys(here.config.seed, step, rows)
    batch = here.gather(here.data, order(here, 0), step * here.rows + rows, here.objective.stream_targets)
    most = here.host_draw._users.__wrapped__.args[0].keywords["most"]
    _, targets = here.objective.make_targets(jax.tree.map(jnp.asarray, batch), keys, most=most)
    wanted = draw(None, site_keys(keys, negatives.SITE), targets, jax.tree.map(jnp.asarray, tables)).items
    sent, _ = Feed(here)(step, step + 1)
    found = sent.negatives.reshape(2, -1, here.rows // 2, sent.negatives.shape[-1])[:, 0]
    np.testing.assert_array_equal(found.reshape(-1, 3), wanted)


@pytest.mark.parametrize("way", some([*WAYS, "lanes"], "cloze"))
def test_a_process_gathers_the_rows_of_its_own_devices_alone(way, monkeypatch):
    setup = made(2, feed="host", **(WAYS | {"lanes": LANES})[way] | {"loss": {"name": "bce", "negatives": 3}})
    monkeypatch.setattr(placement, "spread_own", lambda tree, mesh: tree)
    whole = Feed(setup)._sent(2)
    for share in range(2):
        asked = []
        watched = replace(setup, gather=lambda *args: asked.append(args[2]) or setup.gather(*args))  # noqa: B023
        monkeypatch.setattr(placement, "own_shares", lambda mesh: np.array([share]))  # noqa: B023
        wanted = jax.tree.map(lambda x: x[[share]], whole)  # noqa: B023
        jax.tree.map(np.testing.assert_array_equal, Feed(watched)._sent(2), wanted)
        assert sum(map(len, asked)) == setup.config.steps_per_call * setup.padded_rows // 2


@pytest.mark.slow
@pytest.mark.parametrize("way", [*WAYS, "lanes"])
def test_negatives_of_the_host_train_the_same(way):
    changes = (WAYS | {"lanes": LANES})[way] | {"loss": {"name": "bce", "negatives": 3}}
    device, host = (states(made(2, feed=feed, **changes), [3])[0] for feed in ("device", "host"))
    assert_close(host[0].params, device[0].params, atol=1e-6)
    np.testing.assert_allclose(host[1].loss, device[1].loss, rtol=1e-6)


def test_a_thread_gathers_the_next_batches_and_others_are_gathered_when_asked_for():
    setup = made(feed="host", epochs=2, steps_per_call=2, **SOFTMAX)
    feed = Feed(setup)
    steps = [0, 2, 4, 1, 3, setup.epoch_steps, setup.total_steps - 1]
    for at, following in zip(steps, [*steps[1:], setup.total_steps], strict=True):
        found, begins = feed(at, following)
        wanted, _ = Feed(setup)(at, setup.total_steps)
        assert begins == at
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert feed._next is None, "nothing is gathered beyond the end"


def test_a_thread_makes_the_order_of_the_next_epoch():
    setup = made(feed="device", epochs=3, **SOFTMAX)
    feed = Feed(setup)
    for epoch in (0, 1, 0, 2):  # as after a jump back
        (_, found), begins = feed(epoch * setup.epoch_steps, (epoch + 1) * setup.epoch_steps)
        assert begins == epoch * setup.epoch_steps
        jax.tree.map(np.testing.assert_array_equal, found, order(setup, epoch))
        assert (feed._next is None) == (epoch == 2), "nothing is made beyond the end"


def test_what_is_asked_for_twice_is_gathered_once():
    """As by the preflight and then by the first call."""
    setup, asked = made(feed="host", epochs=2, steps_per_call=2, **SOFTMAX), []
    feed = Feed(replace(setup, gather=lambda *args: asked.append(args[2][0]) or setup.gather(*args)))
    first, again = feed(0, 2)[0], feed(0, 2)[0]
    jax.tree.map(np.testing.assert_array_equal, first, again)
    feed(2, 4)
    feed._next[1].result()
    assert [row // setup.rows for row in asked] == [at % setup.epoch_steps for at in (0, 2, 4)]


def test_batches_beyond_2_31_events(tmp_path):
    """Of a file of holes, which takes no room."""
    first = 2**31 + 7
    items = np.memmap(tmp_path / "items", np.int32, "w+", shape=(first + 5,))
    items[first:] = [3, 1, 4, 1, 5]
    subsequences = stream.next_item_subsequences([first, first + 2], [first + 2, first + 5], 4)
    layout, order_of = stream.packing_layout(subsequences.length, 4)
    data = stream.Data(items, subsequences.start, subsequences.user_index, layout)
    batch = stream.gather(data, stream.plan(subsequences.length, order_of, 1, 0, 0), np.arange(1))
    assert (batch.items.tolist(), batch.targets.tolist()) == ([[4, 1, 3, 0]], [[1, 5, 1, 0]])


@given(weights=st.lists(st.floats(0, 1e6, width=32), min_size=3, max_size=3), clip=st.sampled_from([0.0, 2.5]))
def test_weights_are_cut_and_then_logged(weights, clip):
    from jaxrec.config.keys import LossOptions
    from jaxrec.training.setup import target_weights

    log = from_sequences([[1, 2, 3]])
    object.__setattr__(log, "weights", np.array(weights, np.float32))
    cut = np.minimum(weights, clip) if clip else np.array(weights)
    for how, wanted in (("linear", cut), ("log", np.log1p(cut))):
        np.testing.assert_allclose(
            target_weights(log, LossOptions("softmax", weight=how, weight_clip=clip)), wanted, 1e-6
        )
    assert target_weights(log, LossOptions("softmax")) is None


@pytest.mark.parametrize(
    ("known", "changes", "said"),
    [
        (lambda log: {}, weighted(SOFTMAX), "has no weights, and config.loss.weight is linear: name their column"),
        (weighing(-1.0), weighted(SOFTMAX), "has weights below 0"),
        (lambda log: {}, SOFTMAX | {"context": "gap"}, "asks for gap, which needs a time for every event"),
        (lambda log: timed(log) | {"relative": True}, SOFTMAX | {"context": "hour"}, "it knows gap, weight"),
        (timed, SOFTMAX | {"context": "session"}, "sessions within the users' histories"),
        (timed, SOFTMAX | {"context": "type"}, "asks for type, which needs types of events .*: it knows gap"),
        (
            timed,
            SOFTMAX | {"context": "switch"},
            "asks for switch, which needs a column of items, genres",
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
        ({"context": "gap", "context_zone": "Asia/Tokyo"}, "config.context_zone is for the hour, weekday or month"),
        ({"context": "hour", "context_zone": "Mars/Base"}, "'Mars/Base' is no time zone: give one as Europe/Berlin"),
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


def test_data_sent_from_the_host_are_sent_to_the_device_that_takes_them():
    data, _ = Feed(made(4, feed="host"))(0, 1)
    for whole in jax.tree.leaves(data):
        assert {part.data.size for part in whole.addressable_shards} == {whole.size // 4}


@pytest.mark.parametrize(
    ("events", "changes", "cures"),
    [
        (3, {}, [{"split": "by-time"}]),
        (4, {"split": "by-time", "test_quantile": 0.2}, [{"split": "by-time", "test_quantile": 0.9}, {}]),
    ],
)
def test_where_a_split_leaves_nothing_to_train_its_cures_leave_some(events, changes, cures):
    """Each user's first event is old, and the others of all users follow each other."""
    log = from_sequences([range(1, events + 1)] * 20)
    time = np.tile(np.arange(events), 20) * 1000 + np.repeat(np.arange(20), events)
    log = replace(log, times=(1_700_000_000 + time) * 1_000_000)

    def trains(changes):
        config = configs.from_dict(BASE | SOFTMAX | changes)
        return len(setup(config, split_of(config, log), jax.devices()[:1]).subsequences.length) > 0

    named = "a larger config.test_quantile.*or config.split=last-item" if changes else "config.split=by-time"
    with pytest.raises(UserError, match=f"no user has two items to train on .* {named}"):
        trains(changes)
    assert all(map(trains, cures))

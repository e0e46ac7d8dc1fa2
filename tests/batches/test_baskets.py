"""Laws of baskets: order within one has no effect, none sees its own events, and all after the first are targets."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from some import some
from stepping import ADAM, assert_close, states
from trainings import BASE

from jaxrec.batches import baskets, calendar, context
from jaxrec.batches.stream import Stream
from jaxrec.config import parsing as configs
from jaxrec.data import splits
from jaxrec.data.baskets import of_log
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.kernels.masks import causal
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, fit, setup as setups

ITEMS, LENGTH = 15, 8
MODEL = {"name": "sasrec", "dim": 8, "layers": 2, "dropout": 0.0}
KEYS = BASE | {"split": "last-basket", "baskets": True, "length": LENGTH, "model": MODEL, "loss": {"name": "softmax"}}
CASES = {
    "plain": {},
    "pre": {"model": MODEL | {"norm": "pre", "heads": 2}, "positions": "rotary"},
    "times": {"model": MODEL | {"time_bias": True, "time_intervals": 4}, "context": "hour", "context_dropout": 0.0},
}


def log_of(sizes, seed=0):
    """Returns a log of users with baskets of these sizes, a day apart."""
    random = np.random.default_rng(seed)
    log = from_sequences([list(range(1, ITEMS + 1)), *(random.integers(1, ITEMS + 1, sum(each)) for each in sizes)])
    days = [np.arange(ITEMS), *(np.repeat(np.arange(len(each)), each) for each in sizes)]
    return dataclasses.replace(log, times=np.concatenate(days).astype(np.int64) * calendar.DAY)


def shuffled(log, seed=1):
    """Returns the log with the events of every basket in a different order."""
    key = np.random.default_rng(seed).random(len(log.items))
    order = np.lexsort((key, of_log(log)))
    return dataclasses.replace(log, items=log.items[order])


SIZES = [[2, 3, 1, 2], [1, 1, 1], [3, 2, 2, 1, 4], [2], [4, 3, 1, 1, 1, 2]]


def setup_of(log, **changes):
    config = configs.from_dict(KEYS | changes)
    return setups.setup(config, assembly.split_of(config, log), jax.devices()[:1])


def params_of(setup):
    return jax.device_get(assembly.first_state(setup).params)


def first_loss(setup, log=None):
    """Returns the first step's loss and norm, by the program of `setup` on the data of `log`, another setup."""
    _, values = assembly.call(setup, fit.Feed(log or setup), assembly.first_state(setup), 0, 1)
    return float(values.loss[0]), float(values.norm[0])


@pytest.mark.parametrize("case", some(CASES, "times"))
def test_no_loss_and_no_answer_depends_on_the_order_within_a_basket(case):
    log, found = log_of(SIZES), []
    setup, other = (setup_of(each, history="windows", **CASES[case]) for each in (log, shuffled(log)))
    params = jax.tree.map(lambda x: x + 0.1 * np.cos(np.arange(x.size).reshape(x.shape)), params_of(setup))
    for each in (setup, other):
        judge = Evaluator(setup.model, setup.config, each.split, each.split.test, jax.devices()[:1])
        ranks = judge.ranks(jax.tree.map(np.float32, params))
        found.append((first_loss(setup, each), np.asarray(judge.hidden), ranks))
    assert not np.array_equal(log.items, shuffled(log).items)
    (loss, hidden, ranks), (other_loss, other_hidden, other_ranks) = found
    np.testing.assert_allclose(loss, other_loss, rtol=2e-5)
    np.testing.assert_allclose(hidden, other_hidden, atol=2e-5)
    np.testing.assert_array_equal(ranks, other_ranks)


@pytest.mark.slow
def test_without_the_key_the_order_counts():
    log = log_of(SIZES)
    losses = [first_loss(setup_of(each, baskets=False))[0] for each in (log, shuffled(log))]
    assert abs(losses[0] - losses[1]) > 1e-4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=7), min_size=1, max_size=5), st.booleans())
def test_windows_ask_for_each_event_once_and_subsequences_fit(sizes, windows):
    log = log_of(sizes)
    begin, start, stop = of_log(log), log.offsets[:-1], log.offsets[1:]
    found = baskets.subsequences(begin, start, stop, LENGTH, "windows" if windows else "newest")
    assert (found.length <= LENGTH).all()
    asked = np.zeros(len(log.items), int)
    for first, length, user in zip(*found, strict=True):
        assert start[user] <= first and first + length <= stop[user]
        places = np.arange(first, first + length)
        asked[places[begin[places] > begin[first]]] += 1
    wanted = begin > np.repeat(start, stop - start)
    if windows:
        np.testing.assert_array_equal(asked, wanted)
    else:
        assert (asked <= wanted).all()
        has = stop[begin[stop - 1] > start] - 1
        assert (asked[has] == 1).all()


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 9))
def test_a_target_is_read_at_the_basket_before_which_does_not_see_its_own(sizes, seed):
    lengths = [sum(each) for each in sizes]
    segments = np.repeat(np.arange(1, len(sizes) + 1), lengths)[None]
    number = np.concatenate([np.repeat(2 * np.arange(1, len(each) + 1), each) for each in sizes])[None]
    items = np.random.default_rng(seed).integers(1, ITEMS + 1, segments.shape)
    counted = np.concatenate([np.arange(n) for n in lengths])[None]
    pad = lambda values: np.pad(values, ((0, 0), (0, 2))).astype(np.int32)
    given = Stream(*map(pad, (items, items, segments, counted, segments)), pad(number)[..., None])
    placed = baskets.placed(given)
    found, _, slots, _ = (None if each is None else np.asarray(each)[0] for each in baskets.targets(placed, 99))
    sees = np.asarray(causal(placed.segments[0], placed.positions[0]))
    count = sum(n - each[0] for n, each in zip(lengths, sizes, strict=True))
    assert (found > 0).sum() == count
    own = np.argsort(~((pad(segments)[0] > 0) & (np.asarray(placed.positions)[0] > 0)), kind="stable")
    for place, slot in zip(own[:count], slots[:count], strict=True):
        same = (placed.segments[0] == placed.segments[0][place]) & (placed.positions[0] == placed.positions[0][place])
        assert placed.positions[0][slot] == placed.positions[0][place] - 1
        assert placed.segments[0][slot] == placed.segments[0][place]
        assert not (sees[slot] & np.asarray(same)).any()


def test_the_items_of_a_basket_change_nothing_that_is_read_before_it():
    log = log_of([[2, 3, 2, 3, 1]])
    setup = setup_of(log, history="windows")
    split, model, params = setup.split, setup.model, params_of(setup)
    begin, end = log.offsets[1], log.offsets[2]
    numbers = context.numbers(context.of_log(log), [context.BASKET])[begin:end, 0].astype(np.int32)
    items, ones = np.asarray(log.items[begin:end]), np.ones(end - begin, np.int32)
    hidden = []
    for change in (0, 1):
        shown = np.where(np.arange(len(items)) >= 5, (items + change - 1) % ITEMS + 1, items)
        row = [each[None].astype(np.int32) for each in (shown, shown, ones, np.arange(len(items)), ones)]
        hidden.append(np.asarray(model.encode(params, baskets.placed(Stream(*row, numbers[None, :, None])))[0])[0])
    np.testing.assert_array_equal(hidden[0][:5], hidden[1][:5])
    assert np.abs(hidden[0][5:] - hidden[1][5:]).max() > 1e-3
    assert split.together


@pytest.mark.parametrize("case", some(CASES, "plain"))
def test_packed_is_as_alone(case):
    setup = setup_of(log_of(SIZES), row=24, **CASES[case])
    params, split, config = params_of(setup), setup.split, setup.config
    ask = lambda questions: Evaluator(setup.model, config, split, questions, jax.devices()[:1])
    together = ask(split.test)
    together.ranks(params)
    for q in range(0, len(split.test.target), 3):
        alone = ask(splits.Questions(*(values[q : q + 1] for values in split.test)))
        alone.ranks(params)
        np.testing.assert_allclose(alone.hidden[0], together.hidden[q], atol=2e-5)


@pytest.mark.slow
def test_many_devices_are_one_and_a_host_feeds_what_a_device_has():
    log = log_of(SIZES * 6)
    config = lambda feed: configs.from_dict(KEYS | CASES["times"] | {"optim": ADAM, "history": "windows", "feed": feed})
    split = assembly.split_of(config("device"), log)
    made = lambda devices, feed: setups.setup(config(feed), split, jax.devices()[:devices])
    one, two, host = (states(made(*how), [3])[0][0] for how in ((1, "device"), (2, "device"), (1, "host")))
    assert_close(two, one)
    assert_close(host, one, atol=1e-6)


def test_a_basket_that_was_cut_off_is_left_out_and_one_that_is_alone_stays():
    numbers = np.array([[4, 4, 7, 6, 9, 8], [4, 4, 4, 4, 4, 4], [3, 2, 5, 4, 7, 7]], np.int32)
    ones, at = np.ones((3, 6), np.int32), np.tile(np.arange(6, dtype=np.int32), (3, 1))
    found = baskets.shown(Stream(ones, ones, ones, at, ones, numbers[..., None]), 6)
    assert found.items.tolist() == [[0, 0, 1, 1, 1, 1], [1] * 6, [1] * 6]
    assert found.positions.tolist() == [[0, 0, 0, 0, 1, 1], [0] * 6, [0, 0, 1, 1, 2, 2]]


def test_without_times_every_event_is_its_own_basket():
    zeros, at = np.zeros((1, 4), np.int32), np.arange(4, dtype=np.int32)[None]
    given = Stream(zeros + 1, zeros, zeros + 1, at, zeros, zeros[..., None])
    assert baskets.placed(given).positions.tolist() == at.tolist()
    assert baskets.placed(given._replace(context=None)).positions is at


@pytest.mark.slow
def test_baskets_of_one_are_items_one_after_another():
    log = log_of([[1] * 6, [1] * 9])
    with_key, without = (setup_of(log, length=16, baskets=each) for each in (True, False))
    np.testing.assert_allclose(first_loss(with_key), first_loss(without), rtol=1e-5)


REFUSED = [
    ({"split": "last-item"}, "config.baskets is for config.split=last-basket"),
    ({"model": MODEL | {"name": "gru4rec"}}, "not for gru4rec.*config.model.name=sasrec"),
    ({"positions": "from_end"}, "for config.positions=from_start or rotary"),
    ({"context": "hour,gap"}, "config.context has gap, which depends on the order"),
    ({"num_future_targets": 2}, "config.num_future_targets is for items one after another"),
    ({"history": "oldest"}, "for config.history=newest or windows"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_what_knows_an_order_within_baskets_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        configs.from_dict(KEYS | changes)


def test_logs_without_times_and_baskets_too_large_are_refused_with_a_cure():
    with pytest.raises(UserError, match="no times: give data with a time column"):
        setup_of(dataclasses.replace(log_of(SIZES), times=None))
    with pytest.raises(UserError, match=r"a basket has 9 events, and config.length=8 .* set config.length=10"):
        setup_of(log_of([[1, 9, 1, 1]]))

"""One device's step: the run is the same on any number of devices, with either launcher, however calls are cut."""

import jax
import numpy as np
import optax
import pytest
from some import some
from stepping import ADAM, made

from jaxrec.batches import stream
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.kernels import placement, sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training import fit, launch, setup as setups
from jaxrec.training.steps import microbatches, optim, step

USERS, ITEMS = 40, 30


def histories(seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(1, ITEMS + 1, random.integers(3, 15)).tolist() for _ in range(USERS)] + [
        list(range(1, ITEMS))
    ]


def config(**changes):
    values = {
        "dataset": "histories",
        "seed": 3,
        "epochs": 10,
        "batch": 20,
        "length": 12,
        "eval_every": 1,
        "patience": 0,
        "steps_per_call": 16,
        "model": {"name": "sasrec", "dim": 8, "layers": 2, "heads": 2, "dropout": 0.3},
        "loss": {"name": "bce", "negatives": 2},
        # Adam turns rounding noise into steps as large as the rate, unless eps is large
        "optim": {"name": "adam", "learning_rate": 1e-2, "eps": 1e-4, "clip": 1.0},
    }
    return configs.from_dict(values | changes)


def train(devices=1, ends=(8,), **changes):
    """The params, and the reports of calls up to each of the ends."""
    split = splits.last_item(interactions.from_sequences(histories()))
    setup = setups.setup(config(**changes), split, jax.devices()[:devices])
    state = jax.device_put(setups.initial(setup), placement.replicated(setup.devices))
    feed, reports = fit.Feed(setup), []
    for end in ends:
        while (now := int(state.step)) < end:
            stop = min(fit.boundary(setup, now), end)
            data, begins = feed(now, stop)
            state, report = setup.run(state, data, setup.sampler_tables, np.int32(begins), np.int32(stop))
            reports.append(np.stack(jax.device_get(report))[:, : stop - now])
    return jax.device_get(state.params), np.concatenate(reports, axis=1)


def assert_same(a, b):
    for path, value in jax.tree.leaves_with_path(a[0]):
        np.testing.assert_array_equal(value, dict(jax.tree.leaves_with_path(b[0]))[path], err_msg=str(path))
    np.testing.assert_array_equal(a[1], b[1])


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=2e-5), a[0], b[0])
    np.testing.assert_allclose(a[1], b[1], rtol=1e-4)


LOSSES = {"bce": {}, "softmax": {"loss": {"name": "softmax", "negatives": 0}}}
UNSEEN = {"loss": {"name": "softmax", "label_smoothing": 0.1, "seen": "exclude"}}
GRU = {"name": "gru4rec", "dim": 8, "layers": 2, "dropout": 0.3, "input_dropout": 0.2}
SAMPLED = {
    "mixed": {"name": "sampled-softmax", "negatives": 9, "sampling": "mixed", "share": "batch", "logq": 1.0},
    "sequence": {"name": "bpr-max", "negatives": 9, "sampling": "popularity", "share": "row", "elu": 0.5},
    "slot": {"name": "gbce", "negatives": 9, "sampling": "uniform"},
}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.02, "eps": 1e-3}
OUTSIDE = {
    "model": {"name": "examples.own_model:MODEL", "dim": 8, "layers": 1, "dropout": 0.3},
    "loss": {"name": "examples.own_loss:LOSS", "negatives": 2},
}
KINDS = (
    LOSSES
    | {"outside": OUTSIDE, "unseen": UNSEEN}
    | {
        "lanes": {  # as GRU4Rec's authors train it; 4 rows are closed lanes
            "stream": "session-parallel",
            "batch": 12,
            "model": GRU,
            "loss": SAMPLED["mixed"] | {"remove_accidental_hits": False},
            "optim": ADAGRAD | {"momentum": 0.3, "sparse": True},
        },
        "gated lanes": {
            "stream": "session-parallel",
            "batch": 12,
            "model": {"name": "rg-lru", "dim": 8, "layers": 2, "dropout": 0.3},
        },
    }
)


def over_kinds(*quick, of=((),)):
    """Every kind of training with each of these values, as `some` selects them."""
    return some([(kind, *value) for kind in KINDS for value in of], *quick)


@pytest.fixture(scope="module")
def alone(request):
    """The configuration of a run with dropout and negatives, and the run on one device."""
    return KINDS[request.param], train(1, **KINDS[request.param])


@pytest.mark.parametrize(
    ("alone", "devices"),
    over_kinds(("lanes", 3), of=[(number,) for number in range(2, 9)]),
    indirect=["alone"],
)
def test_many_devices_are_one(alone, devices):
    """Also if some devices have more empty rows than others, as not every number divides the rows of a step."""
    changes, run = alone
    assert_close(train(devices, **changes), run)


@pytest.mark.parametrize(("alone", "devices"), over_kinds(of=[(1,), (4,)]), indirect=["alone"])
def test_shard_map_is_pmap(alone, devices):
    changes, run = alone
    assert_close(train(devices, launcher="shard_map", **changes), run)


TWO_WAYS = [(4, "shard_map"), (8, "pmap"), (3, "pmap"), (7, "shard_map")]


@pytest.mark.parametrize(
    ("name", "devices", "launcher"),
    some([(name, *way) for name in SAMPLED for way in TWO_WAYS]),
)
def test_many_devices_are_one_with_negatives_of_every_sharing(name, devices, launcher):
    run = train(1, (4,), loss=SAMPLED[name])
    assert_close(train(devices, (4,), loss=SAMPLED[name], launcher=launcher), run)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "launcher"), TWO_WAYS)
def test_many_devices_are_one_with_a_cloze(devices, launcher):
    """What is masked depends only on the seed, the step and the global row."""
    model = {"name": "bert4rec", "dim": 8, "layers": 1, "heads": 2, "dropout": 0.3, "norm": "post"}
    cloze = {
        "objective": "cloze",
        "mask_prob": 0.4,
        "mask_last_prob": 0.5,
        "model": model,
        "loss": LOSSES["softmax"]["loss"],
    }
    assert_close(train(devices, (4,), launcher=launcher, **cloze), train(1, (4,), **cloze))


@pytest.fixture
def cuts(monkeypatch):
    """For each traced step: the number of microbatches, and their rows."""
    traced, inner = [], microbatches.accumulated

    def spied(loss_and_grad, rows):
        over_microbatches = inner(loss_and_grad, rows)

        def spy(params, batch):
            traced.append((len(batch.stream.items) // rows, rows))
            return over_microbatches(params, batch)

        return spy

    monkeypatch.setattr(microbatches, "accumulated", spied)
    return traced


@pytest.mark.parametrize(
    ("alone", "devices", "rows", "launcher"),
    over_kinds(
        ("lanes", 2, 2, "shard_map"),
        of=[(1, 1, "pmap"), (1, 4, "pmap"), (2, 2, "shard_map")],
    ),
    indirect=["alone"],
)
def test_microbatches_are_the_whole(alone, cuts, devices, rows, launcher):
    changes, run = alone
    assert_close(train(devices, microbatch_rows=rows, launcher=launcher, **changes), run)
    assert all(number > 1 and size == rows for number, size in cuts) and cuts


@pytest.mark.parametrize(("name", "moved"), some([(name, moved) for name in SAMPLED for moved in (False, True)]))
def test_microbatches_are_the_whole_with_negatives_of_every_sharing(name, moved, cuts, monkeypatch):
    """Also with row-sparse steps, whether their rows are moved out of the tables or not."""
    if moved:
        monkeypatch.setattr(sizes, "MASKED_ROWS_PER_TOUCHED", 0)
    changes = {"loss": SAMPLED[name], "optim": ADAGRAD | {"sparse": True}}
    run = train(1, (4,), **changes)
    assert_close(train(2, (4,), microbatch_rows=2, launcher="shard_map", **changes), run)
    assert min(cuts)[0] == 1 < max(cuts)[0]


OTHERS = {
    "several targets a slot": {
        "model": {"name": "caser", "dim": 8, "layers": 1, "dropout": 0.3},
        "num_future_targets": 2,
    },
    "cloze": {
        "model": {"name": "bert4rec", "dim": 8, "layers": 1, "heads": 2, "dropout": 0.3, "norm": "post"},
        "objective": "cloze",
        **LOSSES["softmax"],
    },
    "recurrent without lanes": {"model": GRU},
    "every prefix": {"history": "windows", "overlap": 11, "loss": SAMPLED["slot"]},
}


@pytest.mark.parametrize("name", some([(name,) for name in OTHERS]))
def test_microbatches_are_the_whole_with(name, cuts):
    run = train(1, (4,), **OTHERS[name])
    assert_close(train(2, (4,), microbatch_rows=2, launcher="shard_map", **OTHERS[name]), run)
    assert min(cuts)[0] == 1 < max(cuts)[0]


SPARSE = {
    "shared by the batch": (1, {"loss": SAMPLED["mixed"]}),
    "a slot's own": (4, {"loss": {"name": "bce", "negatives": 1}, "batch": 8, "launcher": "shard_map"}),
    "from outside": (4, {"model": OUTSIDE["model"], "loss": OUTSIDE["loss"], "batch": 8}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", some(SPARSE, "shared by the batch"))
def test_sparse_rows_are_the_dense_step_where_they_are_defined_to_be(name):
    """With a sampled loss, on any number of devices: Adagrad, and clipping by the norm of all rows."""
    (devices, changes), optim = SPARSE[name], ADAGRAD | {"clip": 0.5}
    run = train(1, (4,), optim=optim, **changes)
    assert_close(train(devices, (4,), optim=optim | {"sparse": True}, **changes), run)


@pytest.mark.slow
@pytest.mark.parametrize("alone", over_kinds(("lanes",)), indirect=True)
def test_cutting_calls_changes_no_bit(alone):
    changes, run = alone
    assert_same(train(1, ends=(3, 4, 8), **changes), run)


@pytest.mark.parametrize("alone", [each for each in over_kinds() if "unseen" not in each.values[0]], indirect=True)
def test_data_sent_from_the_host_change_no_bit(alone):
    changes, run = alone
    assert_same(train(1, feed="host", **changes), run)


@pytest.mark.parametrize(("devices", "launcher"), some([(4, "pmap"), (4, "shard_map"), (3, "pmap")]))
def test_data_sent_from_the_host_to_many_devices_are_those_that_lie_there(devices, launcher):
    assert_close(train(devices, (4,), feed="host", launcher=launcher), train(devices, (4,)))


@pytest.mark.parametrize("alone", over_kinds(), indirect=True)
def test_seeds_differ_and_dropout_is_on(alone):
    changes, run = alone
    other = train(1, seed=4, **changes)
    assert not np.allclose(other[1][0], run[1][0], rtol=1e-4)
    model = changes.get("model", config().model.__dict__)
    model = model | {key: 0.0 for key in ("dropout", "input_dropout") if key in model}
    assert not np.allclose(train(1, **changes | {"model": model})[1][0], run[1][0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", some([("lanes",), ("gated lanes",)], ("lanes",)))
def test_lanes_carry_their_states_from_step_to_step(kind):
    """After some steps, the carry is the hidden state after reading each session from its beginning."""
    split = splits.last_item(interactions.from_sequences(histories()))
    dry = {key: 0.0 for key in ("dropout", "input_dropout") if key in KINDS[kind]["model"]}
    still = {"model": KINDS[kind]["model"] | dry, "optim": ADAGRAD | {"learning_rate": 1e-30}}
    setup = setups.setup(config(**KINDS[kind] | still), split, jax.devices()[:2])
    state = jax.device_put(setups.initial(setup), launch.placed(setup.devices))
    at = setup.epoch_steps // 2
    data, _ = fit.Feed(setup)(0, at)
    state, _ = setup.run(state, data, setup.sampler_tables, np.int32(0), np.int32(at))
    now = setup.batches.gather(*jax.device_get(data), (at - 1) * setup.batches.rows + np.arange(setup.batches.rows))
    for lane in np.flatnonzero(now.items[:, 0])[:4]:
        user, position = now.user_index[lane, 0], now.positions[lane, 0]
        first = max(split.stop[user] - 1 - config().length, split.start[user])
        items = split.interactions.items[first : first + position + 1]
        alone = stream.Stream(*(np.zeros((1, position + 1), np.int32),) * 5)
        alone = alone._replace(items=items[None], positions=np.arange(position + 1)[None])
        _, wanted = setup.model.encode(state.params, alone)
        for got, whole in zip(state.carry, wanted, strict=True):
            np.testing.assert_allclose(got[lane], whole[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("devices", some([1, 2, 8]))
def test_gradient_is_normalised_by_the_global_count(devices):
    """One SGD step on n devices moves by the gradient of (sum of losses over all targets) / (number of targets)."""
    split = splits.last_item(interactions.from_sequences(histories()))
    changes = {"model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.0}, **LOSSES["softmax"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "optimiser", lambda config, steps: optax.sgd(1.0))
        setup = setups.setup(config(**changes), split, jax.devices()[:devices])
    start = setups.initial(setup)
    data, _ = fit.Feed(setup)(0, 1)
    batch = stream.gather(*jax.device_get(data), np.arange(setup.batches.rows))

    def mean_loss(params, batch=batch, model=setup.model):
        hidden, _ = model.encode(params, batch)
        scores = hidden @ model.output_embedding(params)[0].T
        each = optax.softmax_cross_entropy_with_integer_labels(scores, np.maximum(batch.targets - 1, 0))
        return (each * (batch.targets > 0)).sum() / (batch.targets > 0).sum()

    expected = jax.tree.map(lambda p, g: p - g, start.params, jax.jit(jax.grad(mean_loss))(start.params))
    state = jax.device_put(start, placement.replicated(setup.devices))
    state, report = setup.run(state, data, setup.sampler_tables, np.int32(0), np.int32(1))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-5), jax.device_get(state.params), expected
    )
    assert report.count[0] == (batch.targets > 0).sum()


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("broken", [1, 2])
def test_a_call_stops_at_what_is_not_finite(kind, broken):
    """In its first step, because of its input, or in its second, because of what the first step computed."""
    with assumed(Hardware(kind, 16 << 30)):
        setup = made(optim=ADAM | {"learning_rate": 1e38}, steps_per_call=3)
        start = setups.initial(setup)
        if broken == 1:
            start.params["items"] = start.params["items"].at[4].set(np.nan)
        data, _ = fit.Feed(setup)(0, 3)
        placed = jax.device_put(start, placement.replicated(setup.devices))
        state, report = setup.run(placed, data, setup.sampler_tables, np.int32(0), np.int32(3))
    assert int(state.step) == broken
    np.testing.assert_array_equal(np.isfinite(report.loss), np.arange(1, 4) < broken)
    np.testing.assert_array_equal(np.isnan(report.count), np.arange(1, 4) > broken)


@pytest.mark.slow
def test_one_program_serves_every_number_of_steps():
    split = splits.last_item(interactions.from_sequences(histories()))
    with pytest.MonkeyPatch.context() as patch:
        traced = []
        patch.setattr(step, "step", lambda *args, inner=step.step: traced.append(1) or inner(*args))
        setup = setups.setup(config(), split, jax.devices()[:1])
        state = jax.device_put(setups.initial(setup), placement.replicated(setup.devices))
        feed = fit.Feed(setup)
        for now, end in ((0, 1), (1, 3), (3, 5)):
            data, begins = feed(now, end)
            state, _ = setup.run(state, data, setup.sampler_tables, np.int32(begins), np.int32(end))
        assert int(state.step) == 5 and len(traced) == 1

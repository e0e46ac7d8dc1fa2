"""Item tables split over devices: the same losses, gradients and steps as on one, from checkpoints of any mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec as P
from problems import SLOTS, K, V, agree, problem
from some import some
from stepping import ADAM, assert_close, made, states
from trainings import BASE, Killed, killed_at

from jaxrec.config import parsing as configs, registry
from jaxrec.config.keys import MeshConfig
from jaxrec.data import interactions, splits
from jaxrec.kernels import placement, shards, sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, fit, setup as setups, sharding, wording
from jaxrec.training.losses import entry as losses, softmax, totals
from jaxrec.training.steps import folding, optim
from jaxrec.training.steps.negatives import Seen
from jaxrec.training.steps.own_items import OwnItems
from jaxrec.training.workdirs import checkpoint

ITEMS = 21  # neither 4 nor 8 divides it
MESHES = {"2x4": (2, 4), "4x2": (4, 2), "8x1": (8, 1), "1x8": (1, 8)}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.02, "eps": 1e-3}
SHARED = {"negatives": 9, "share": "batch"}
LOSSES = {
    "softmax": {},
    "softmax, smoothed": {"name": "softmax", "label_smoothing": 0.2},
    "softmax, seen left out": {"name": "softmax", "label_smoothing": 0.2, "seen": "exclude"},
    "bce": {"negatives": 1},
    "bce of 30": {"name": "bce", "negatives": 30, "sampling": "uniform", "share": "row"},
    "gbce": {"negatives": 9, "sampling": "uniform"},
    "sampled-softmax": SHARED | {"sampling": "mixed", "logq": 1.0},
    "in-batch": {"name": "sampled-softmax", "negatives": 0, "sampling": "in-batch", "share": "batch", "logq": 0.5},
    "bpr": {"negatives": 9, "sampling": "popularity", "share": "row"},
    "bpr-max": SHARED | {"sampling": "popularity", "elu": 0.5},
    "top1-max": SHARED | {"sampling": "uniform", "remove_accidental_hits": False},
    "hinge": {"name": "examples.own_loss:LOSS", "negatives": 2},
}
MODELS = {
    "sasrec": {"heads": 2},
    "sasrec, separate": {"name": "sasrec", "embedding": "separate", "score": "cosine"},
    "gru4rec": {},
    "bert4rec": {},
    "bert4rec, separate": {"name": "bert4rec", "embedding": "separate"},
    "caser": {"window": 3, "users": True},
    "two-tower": {},
    "hstu": {},
    "rg-lru": {},
    "outside": {"name": "examples.own_model:MODEL"},
}


def of(mesh, model="sasrec", loss="softmax", **changes):
    """The Setup on a mesh of eight devices, or on one device if the mesh is None."""
    values = {
        "model": {"name": model, "dim": 8, "layers": 1, "dropout": 0.2} | MODELS[model],
        "loss": {"name": loss} | LOSSES[loss],
        "objective": "cloze" if model.startswith("bert4rec") else "next-item",
    }
    if mesh:
        values["mesh"] = dict(zip(("data", "item"), MESHES[mesh], strict=True))
    return made(8 if mesh else 1, ITEMS, **values | changes)


def recording(config, steps, norm=None):
    """An optimiser that leaves the params unchanged and keeps the gradients as its state."""
    zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)
    update = lambda grads, state, params=None, **extra_args: (zeros(grads), grads)
    return optax.GradientTransformationExtraArgs(zeros, update)


@functools.cache
def gradients(*given):
    """(loss, targets, norm) and gradients of the first step, with whole tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "optimiser", recording)
        setup = of(*given)
    state, values = states(setup, [1])[0]
    return np.array([each[0] for each in values]), assembly.to_save(setup, state).opt


def assert_equal_to_one_device(mesh, *given):
    (told, grads), (wanted, alone) = gradients(mesh, *given), gradients(None, *given)
    np.testing.assert_allclose(told, wanted, rtol=1e-5)
    largest = max(np.abs(each).max() for each in jax.tree.leaves(alone))  # some leaves are zero up to rounding
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (grads, alone)), strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5 * largest, err_msg=str(path))


def test_what_is_registered_is_tried():
    assert {MODELS[each].get("name", each) for each in MODELS} >= set(registry.names("model"))
    assert {LOSSES[each].get("name", each) for each in LOSSES} >= set(registry.names("loss"))


def pairs():
    """Every model with every loss on some mesh, and each of these on every mesh."""
    of_one = [("2x4", model, loss) for model in MODELS for loss in LOSSES]
    of_each = [
        (mesh, *each)
        for mesh in MESHES
        for each in [*((m, "softmax") for m in MODELS), *(("sasrec", n) for n in LOSSES)]
    ]
    return list(dict.fromkeys(of_one + of_each))


@pytest.mark.parametrize(("mesh", "model", "loss"), some(pairs(), ("2x4", "two-tower", "softmax")))
def test_loss_and_gradients_are_those_of_one_device(mesh, model, loss):
    assert_equal_to_one_device(mesh, model, loss)


SHARED_BY = {"slot": (12, K), "row": (3, 5), "batch": (5,)}  # shapes of the negatives of 12 slots


@pytest.mark.parametrize(
    ("loss", "shared_by", "held"),
    some(
        [("softmax", "", 0), ("smoothed", "", 0), ("on a gpu", "", 0)]
        + [(n, s, h) for n in SLOTS for s in SHARED_BY for h in (8, 2**20)],
        ("smoothed", "", 0),
        ("on a gpu", "", 0),
        ("bce", "row", 8),
        ("sampled-softmax", "batch", 8),
    ),
)
def test_totals_of_split_tables_are_those_of_whole_ones(loss, shared_by, held, monkeypatch):
    """Values and gradients, with all scores in memory at once, or only few."""
    monkeypatch.setattr(sizes, "HELD_NUMBERS", held)
    shape = SHARED_BY.get(shared_by)
    hidden, target, weight, negatives, *table = problem(0, 12, shape=shape, shared_by=shared_by or "slot")
    smoothing = 0.3 if loss == "smoothed" else 0.0

    def total(axis):
        if shared_by:
            return totals.total(SLOTS[loss], axis=axis)
        whole = softmax.build(softmax.SoftmaxOptions("softmax", label_smoothing=smoothing), V, axis)
        return folding.among_trained(whole, np.ones(V, bool), axis)

    with assumed(Hardware("gpu" if loss == "on a gpu" else "cpu", 16 << 30)):  # a GPU picks targets out of the scores
        agree(*split_and_whole(total, (hidden, target, weight, negatives, *table)))


@pytest.mark.parametrize(("seen", "smoothing"), [("keep", 0.0), ("keep", 0.3), ("exclude", 0.3)])
def test_totals_of_split_tables_leave_out_what_never_trains(seen, smoothing):
    """Also if it is the first item, which slots without a target have, or all items of a slot's user."""
    hidden, target, weight, _, *table = problem(0, 12)
    trained = np.arange(V) > 2
    asked = trained[np.maximum(target, 1) - 1] & (np.asarray(weight) > 0)
    has = Seen(jnp.arange(1, V + 1), jnp.array([0, V]))
    own = OwnItems(jnp.zeros(12, jnp.int32), has) if seen == "exclude" else None

    def total(axis):
        options = softmax.SoftmaxOptions("softmax", seen=seen, label_smoothing=smoothing)
        return folding.among_trained(softmax.build(options, V, axis), trained, axis)

    split, whole = split_and_whole(total, (hidden, jnp.where(asked, target, 0), asked * weight, own, *table))
    agree(split, whole)
    assert all(np.isfinite(each).all() for each in jax.tree.leaves(whole))


def split_and_whole(total, given):
    """Values and gradients of `total(axis)` at the arguments `given`, with the table split over 8 devices and whole."""
    hidden, target, weight, negatives, *table = given

    def of(axis):
        summed = total(axis)
        at = lambda hidden, table: summed(hidden, target, weight, negatives, *table)
        return jax.value_and_grad(at, argnums=(0, 1))

    mesh = jax.make_mesh((8,), (placement.ITEM,), axis_types=(AxisType.Auto,))
    specs = P(), (P(), P(placement.ITEM))
    split = jax.shard_map(of(placement.ITEM), mesh=mesh, in_specs=(P(), P(placement.ITEM)), out_specs=specs)
    found = jax.jit(split)(hidden, shards.put(tuple(table), P(placement.ITEM), mesh, placement.ITEM))
    wanted = jax.jit(of(None))(hidden, tuple(table))
    return shards.whole(found, wanted), wanted


TRAININGS = {
    "adam, clipped": {"optim": ADAM | {"clip": 0.05}},
    "the average": {"optim": ADAM | {"ema": 0.9}},
    "matrices alone decay": {"optim": ADAM | {"name": "adamw", "weight_decay": 0.1, "decayed": "matrices"}},
    "plateau": {"optim": ADAM | {"schedule": "plateau", "plateau": 1}},
    "microbatches": {"microbatch_rows": 2},
    "from the host": {"feed": "host"},
    "sessions side by side": {
        "model": "gru4rec",
        "stream": "session-parallel",
        "loss": "sampled-softmax",
        "optim": ADAGRAD | {"momentum": 0.3},
    },
    "adagrad": {"optim": ADAGRAD},
    "context": {"context": "gap", "context_dropout": 0.0},
}
SPARSE = {"shared": "sampled-softmax", "of slots": "gbce"}


@pytest.mark.parametrize(("mesh", "kind"), some([(m, k) for m in MESHES for k in TRAININGS]))
def test_trainings_are_those_of_one_device(mesh, kind):
    known = (lambda log: {"times": np.arange(len(log.items)) * 10**6}) if kind == "context" else (lambda log: {})
    on_mesh, alone = of(mesh, known=known, **TRAININGS[kind]), of(None, known=known, **TRAININGS[kind])
    (state, values), (wanted, told) = states(on_mesh, [5])[0], states(alone, [5])[0]
    assert_close((assembly.to_save(on_mesh, state), values), (wanted, told))
    padding = jax.tree.map(lambda x: x[ITEMS:], state.params["items"])
    assert not padding.any()  # rows that belong to no item stay zero


@pytest.mark.parametrize(
    ("mesh", "kind", "rows_per_touched"),
    some([(mesh, kind, rows) for mesh in MESHES for kind in SPARSE for rows in (0, 100)]),
)
def test_row_sparse_steps_are_those_of_one_device(mesh, kind, rows_per_touched, monkeypatch):
    """Both if each device gathers its touched rows, and if it masks its other rows."""
    monkeypatch.setattr(sizes, "MASKED_ROWS_PER_TOUCHED", rows_per_touched)
    changes = {"optim": ADAGRAD | {"sparse": True, "clip": 0.05}}
    on_mesh, alone = (of(each, "two-tower", SPARSE[kind], **changes) for each in (mesh, None))
    (state, values), (wanted, told) = states(on_mesh, [5])[0], states(alone, [5])[0]
    assert_close((assembly.to_save(on_mesh, state), values), (wanted, told))


def test_the_first_state_is_that_of_one_device_to_the_bit():
    whole = jax.device_get(setups.initial(of(None, "two-tower")))
    setup = of("1x8", "two-tower")
    assert "8 cpu device(s), tables of items split over 8" in wording.describe(setup)
    state = assembly.first_state(setup)
    assert {shard.data.shape for shard in state.params["items"].addressable_shards} == {(3, 8)}
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(assembly.to_save(setup, state)), whole)


@pytest.fixture(scope="module")
def split():
    random = np.random.default_rng(0)
    histories = [random.integers(1, ITEMS + 1, random.integers(3, 12)).tolist() for _ in range(60)]
    return splits.last_item(interactions.from_sequences([list(range(1, ITEMS + 1)), *histories]))


@pytest.fixture(scope="module")
def prepare(split):
    """The Setup of a training on a mesh, or on one device, compiled once."""

    @functools.cache
    def prepared(mesh):
        model = {"name": "two-tower", "dim": 8, "layers": 1, "dropout": 0.2}
        values = BASE | {"model": model, "optim": ADAM, "mesh": {"item": MESHES[mesh][1]} if mesh else {}}
        return setups.setup(configs.from_dict(values), split, jax.devices()[: 8 if mesh else 1])

    return prepared


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    some([("2x4", None), ("2x4", "1x8"), ("1x8", None), (None, "4x2"), ("8x1", "2x4")], ("2x4", None)),
)
def test_a_training_goes_on_on_another_mesh(prepare, first, then, tmp_path):
    """Tables in checkpoints have one row per item, whatever mesh they come from."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    fit.fit(prepare(None), whole, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(4, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            fit.fit(prepare(first), cut, None)
    assert fit.fit(prepare(then), cut, None)["step"] == prepare(then).total_steps
    assert fit.complete(prepare(then), cut)
    assert_close(*(at_the_end(prepare(None), path) for path in (whole, cut)))


def at_the_end(setup, path):
    """The State of the latest checkpoint, on the host."""
    checkpoints = checkpoint.Checkpoints(path, read_only=True)
    state, _ = checkpoints.restore(checkpoints.latest(), assembly.saved_shapes(setup))
    checkpoints.close()
    assert state.params["items"].shape == (ITEMS, 8)
    return jax.device_get(state)


@pytest.mark.parametrize(
    ("devices", "mesh", "said"),
    [
        (8, {"item": 3}, "config.mesh.item is 3, and there are 8 devices: set config.mesh.item=2 (of 8 it can be 1, 2"),
        (1, {"item": 4}, "config.mesh.item is 4, and there is 1 device: set config.mesh.item=1, and leave"),
        (8, {"item": 4, "data": 4}, "config.mesh.item is 4 and config.mesh.data 4, and there are 8 devices"),
        (4, {"data": 2}, "config.mesh.item is 1 and config.mesh.data 2, and there are 4 devices"),
    ],
)
def test_a_mesh_that_the_devices_do_not_make_is_refused(devices, mesh, said):
    with pytest.raises(UserError) as refused:
        sharding.mesh_for(MeshConfig(**mesh), jax.devices()[:devices])
    assert said in str(refused.value) and "leave config.mesh.data out" in str(refused.value)


def test_answers_take_the_mesh_that_their_devices_make():
    config = MeshConfig(item=4)
    assert dict(sharding.mesh_that_fits(config, jax.devices()).shape) == {"data": 2, "item": 4}
    assert dict(sharding.mesh_that_fits(config, jax.devices()[:3]).shape) == {"data": 3}


def test_a_loss_without_a_form_for_split_tables_is_refused():
    own = dataclasses.replace(softmax.LOSS, name="own", build_sharded=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            registry, "find", lambda kind, name, find=registry.find: own if name == "own" else find(kind, name)
        )
        with pytest.raises(UserError, match="own doesn't support"):
            losses.build(softmax.SoftmaxOptions("own"), ITEMS, placement.ITEM)

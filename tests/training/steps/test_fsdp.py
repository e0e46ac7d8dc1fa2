"""Layers split over the devices that share the rows of a step: the training is the same as with whole layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from some import some
from stepping import ADAM, assert_close, made, states
from trainings import BASE, Killed, killed_at

from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.evaluation.evaluator import Evaluator, validation
from jaxrec.kernels import placement
from jaxrec.models.model import Model
from jaxrec.training import assembly, fit, preflight, setup as setups, sharding, wording
from jaxrec.training.steps import fsdp
from jaxrec.training.workdirs import checkpoint

MODELS = {
    "two-tower": {},
    "sasrec": {"heads": 2},
    "gru4rec": {},
    "bert4rec": {},
    "hstu": {},
    "rg-lru": {},
    "caser": {"window": 3, "users": True},
}
LOSSES = {"softmax": {}, "sampled-softmax": {"negatives": 9, "share": "batch", "sampling": "uniform"}}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.02, "eps": 1e-3}
TRAININGS = {
    "clipped": {"optim": ADAM | {"clip": 0.05}},
    "the average": {"optim": ADAM | {"ema": 0.9}},
    "matrices alone decay": {
        "optim": ADAM | {"name": "adamw", "weight_decay": 0.1, "decayed": "matrices", "clip": 0.05}
    },
    "microbatches from the host": {"microbatch_rows": 1, "feed": "host"},
    "sessions side by side": {
        "model": "gru4rec",
        "stream": "session-parallel",
        "loss": "sampled-softmax",
        "optim": ADAGRAD | {"momentum": 0.3, "sparse": True},
    },
}


def of(devices, item=1, split=True, model="two-tower", loss="softmax", **changes):
    """The Setup on this many devices, with layers whose width is divisible by no number of devices above 2."""
    width = 6 if model == "rg-lru" else 10
    values = {
        "model": {"name": model, "dim": width, "layers": 1, "dropout": 0.2} | MODELS[model],
        "loss": {"name": loss} | LOSSES[loss],
        "objective": "cloze" if model == "bert4rec" else "next-item",
        "mesh": {"item": item} | ({"dense": "split"} if split else {}),
    }
    return made(devices, **values | changes)


@functools.cache
def after_steps(devices, item, model, kind):
    """The State as checkpoints store it, and the StepMetrics, after four steps."""
    setup = of(devices, item, devices > 1, **{"model": model} | TRAININGS[kind])
    state, values = states(setup, [4])[0]
    return assembly.to_save(setup, state), values


LAYOUTS = (3, 1), (8, 2)
OF_EACH = [(*on, model, "clipped") for model in MODELS for on in LAYOUTS]
OF_ONE = [(*on, "two-tower", kind) for kind in TRAININGS for on in LAYOUTS if kind != "clipped"]


@pytest.mark.parametrize(
    ("devices", "item", "model", "kind"),
    some([*OF_EACH, *OF_ONE, (8, 1, "sasrec", "clipped")], (3, 1, "two-tower", "clipped")),
)
def test_a_training_is_that_of_one_device(devices, item, model, kind):
    assert_close(after_steps(devices, item, model, kind), after_steps(1, 1, model, kind))


FORM = {
    "items": jax.ShapeDtypeStruct((7, 4), jnp.float32),
    "layer": {"kernel": jax.ShapeDtypeStruct((1, 5), jnp.float32), "bias": jax.ShapeDtypeStruct((6,), jnp.float32)},
    "scale": jax.ShapeDtypeStruct((), jnp.float32),
}


@pytest.mark.parametrize("size", some([3, 8], 3))
def test_parts_are_put_together_and_gradients_summed_to_parts(size):
    """For padded arrays, arrays that can't be split, and an item table; their norm counts each element once."""
    split, mesh = fsdp.shard(FORM, ["items"], size), placement.mesh_of(jax.devices()[:size])
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), FORM)
    model = Model(
        **dict.fromkeys(["init", "encode", "encode_at", "initial_carry", "head", "output_embedding"]),
        item_tables={"items": ()},
    )

    def program(parts):
        def weighed(whole):
            squares = sum((x**2).sum() for x in jax.tree.leaves(whole))
            return (1.0 + jax.lax.axis_index("data")) * squares / 2, whole

        (_, whole), grads = split.value_and_grad(weighed)(split.local(parts))
        _, grads = split.psum((jnp.float32(0), grads))
        return jax.tree.map(lambda x: x[None], whole), grads, sharding.norm(model, split, grads)

    specs = split.specs(jax.tree.map(lambda _: P(), FORM))
    assert specs["layer"] == {"kernel": P(None, "data"), "bias": P("data")} and specs["items"] == specs["scale"] == P()
    mapped = jax.shard_map(program, mesh=mesh, in_specs=(specs,), out_specs=(P("data"), specs, P()))
    whole, grads, norm = jax.jit(mapped)(split.padded(params))
    wanted = jax.tree.map(lambda x: x * size * (size + 1) / 2, params)
    for (path, x), (_, every), (_, grad), (_, sums) in zip(
        *map(jax.tree.leaves_with_path, (params, whole, split.cropped(grads), wanted)), strict=True
    ):
        np.testing.assert_array_equal(every, np.broadcast_to(x, every.shape), err_msg=str(path))
        np.testing.assert_allclose(grad, sums, rtol=1e-5, err_msg=str(path))
    np.testing.assert_allclose(norm, np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(wanted))), rtol=1e-5)


def test_what_was_put_together_is_put_together_again_for_the_gradient():
    """No product of the backward pass uses a whole param of the forward pass, so none has to be kept."""
    size, dim = 3, 10
    split = fsdp.shard({"kernel": jax.ShapeDtypeStruct((dim, dim), jnp.float32)}, [], size)

    def layers(params, x):
        for _ in range(2):
            x = jnp.tanh(x @ params["kernel"])
        return x.sum(), x

    program = jax.shard_map(
        lambda parts, x: split.value_and_grad(layers)(parts, x)[1],
        mesh=placement.mesh_of(jax.devices()[:size]),
        in_specs=({"kernel": P("data")}, P("data")),
        out_specs={"kernel": P("data")},
    )
    (mapped,) = jax.make_jaxpr(program)({"kernel": jnp.zeros((12, dim))}, jnp.zeros((size * 7, dim))).eqns
    steps, made = mapped.params["jaxpr"].eqns, {}
    for number, each in enumerate(steps):
        made |= dict.fromkeys(each.outvars, number)
    (barrier,) = [number for number, each in enumerate(steps) if each.primitive.name == "optimization_barrier"]
    products = [each for each in steps if each.primitive.name == "dot_general"]
    of_kernel = [var for each in products for var in each.invars if var.aval.shape == (dim, dim)]
    assert len(products) == 5 and [made[var] > barrier for var in of_kernel] == [False, False, True]


def test_what_a_device_holds_is_its_part():
    setup, whole = of(8), of(8, split=False)
    assert "other parameters over 8" in wording.describe(setup)
    params, of_whole = (jax.tree.leaves_with_path(setups.shapes(each).params) for each in (setup, whole))
    for (path, x), (_, y) in zip(params, of_whole, strict=True):
        held = preflight.bytes_on_a_device(x)
        assert held == (
            y.size * 4 if path[0].key in ("items", "bias") else -(-y.shape[0] // 8) * 4 * y.size // y.shape[0]
        )
    jax.tree.map(
        np.testing.assert_array_equal,
        *(jax.device_get(assembly.to_save(each, assembly.first_state(each))) for each in (setup, whole)),
    )
    assert of(1).fsdp is None  # on one device there is nothing to split


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "item"), [(3, 1), (8, 2)])
def test_ranks_are_those_of_whole_layers(devices, item):
    split, alone = of(devices, item, model="sasrec"), of(1, split=False, model="sasrec")
    params = setups.evaluated(split, assembly.first_state(split).params)
    of_each = [
        Evaluator(each.model, each.config, each.split, each.split.valid, each.devices).ranks(params)
        for each, params in ((split, params), (alone, assembly.first_state(alone).params))
    ]
    np.testing.assert_array_equal(*of_each)


@pytest.fixture(scope="module")
def prepare():
    """The Setup of a training on this many devices, split or whole, compiled once."""
    random = np.random.default_rng(0)
    histories = [random.integers(1, 21, random.integers(3, 12)).tolist() for _ in range(60)]
    split = splits.last_item(interactions.from_sequences([list(range(1, 21)), *histories]))

    @functools.cache
    def prepared(devices, kind):
        model = {"name": "two-tower", "dim": 10, "layers": 1, "dropout": 0.2}
        values = BASE | {"model": model, "optim": ADAM, "mesh": {"dense": kind}}
        return setups.setup(configs.from_dict(values), split, jax.devices()[:devices])

    return prepared


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ((4, "split"), (3, "split")),
        ((8, "split"), (1, "replicated")),
        ((2, "replicated"), (5, "split")),
        ((4, "split"), (1, "split")),
    ],
)
def test_a_training_goes_on_however_its_layers_lie(prepare, first, then, tmp_path):
    """Checkpoints hold whole params without padding, whatever devices they were split over."""
    alone = prepare(1, "replicated")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for path in (whole, cut):
        path.mkdir()
    fit.fit(alone, whole, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(4, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            fit.fit(prepare(*first), cut, validation(prepare(*first)))
    assert fit.fit(prepare(*then), cut, None)["step"] == alone.total_steps
    found = []
    for path in (whole, cut):
        checkpoints = checkpoint.Checkpoints(path, read_only=True)
        found.append(checkpoints.restore(checkpoints.latest(), assembly.saved_shapes(alone))[0])
        checkpoints.close()
    assert_close(*map(jax.device_get, found))

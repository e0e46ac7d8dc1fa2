"""Programs for devices that are not there: how their costs are counted, and that every model compiles for them."""

import functools
import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import printed
import pytest
from jax.sharding import PartitionSpec as P

from benchmarks import beyond, compiled, hlo
from jaxrec.config import recipes, registry
from jaxrec.kernels import placement
from jaxrec.training import assembly
from jaxrec.training.steps import packing

STEPS, WIDTH = 7, 16


def counted(function, *args):
    """The cost of one round (see `hlo.Program.round`) of a function's program for this CPU."""
    program = hlo.Program(jax.jit(function).lower(*args).compile().as_text())
    return program.cost(program.round())


def products(function, *args):
    return compiled.products(jax.jit(function).trace(*args).jaxpr.jaxpr)


def chained(x, w, steps):
    """`steps` products in a loop of known length, inside a loop of unknown length."""
    inner = lambda x: jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=steps)[0]
    return jax.lax.while_loop(lambda x: x.sum() < 0, inner, x)


def test_a_loop_counts_as_often_as_it_runs():
    x = jnp.ones((WIDTH, WIDTH))
    loops = [functools.partial(chained, x, x, steps) for steps in (STEPS, 2 * STEPS, 3 * STEPS)]
    assert [products(each) for each in loops] == [2 * WIDTH**3 * steps for steps in (STEPS, 2 * STEPS, 3 * STEPS)]
    for cost in (hlo.kernels, lambda found: found["bytes"]):
        few, more, most = (cost(counted(each)) for each in loops)
        assert most - more == more - few >= STEPS


def test_a_branch_counts_if_it_is_the_dearest():
    x = jnp.ones((WIDTH, WIDTH))
    either = lambda x: jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
    assert products(either, x) == 2 * 2 * WIDTH**3


def test_a_fusion_reads_of_a_table_what_it_looks_up():
    table, rows = jnp.ones((10_000, WIDTH)), jnp.arange(8)
    assert counted(lambda table, rows: jnp.tanh(table[rows]), table, rows)["bytes"] < 4 * table.size / 10


def test_what_devices_exchange_is_counted():
    mesh = placement.mesh_of(jax.devices()[:2])
    total = jax.shard_map(lambda x: jax.lax.psum(x, "data"), mesh=mesh, in_specs=P("data"), out_specs=P())
    found = counted(total, jnp.ones((2, WIDTH)))
    assert found[("collective", "all-reduce")] == 1 and found["collective bytes"] == 4 * WIDTH


def test_a_callback_of_the_host_is_counted():
    tell = lambda x: jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((), jnp.float32), x)
    assert counted(tell, jnp.float32(1))["callbacks"] == 1
    assert counted(lambda x: x + 1, jnp.float32(1))["callbacks"] == 0


# --- for devices that are not there

RECIPE = "sasrec_softmax_ml1m"
BASE = {"dataset": "synthetic:users=2000,items=3000", "length": "200", "row": "200"}
PROGRAM = "import json, sys; from benchmarks.compiled import costs; json.dump(costs(*json.load(sys.stdin)), sys.stdout)"
CHIPS = ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"]
PODS = ["v4:4x8x8", "v5e:16x16", "v5p:4x8x8", "v6e:16x16"]


def costs(target, topology, name, parts=compiled.PARTS, **changes):
    """Like `compiled.costs`, on synthetic histories, in a process that compiles with full optimisation."""
    needed = {"cuda": "jax_cuda12_plugin", "tpu": "libtpu"}[target]
    if not importlib.util.find_spec(needed):
        pytest.skip(f"needs {needed}: pip install -e '.[gpu,tpu]' -c constraints.txt")
    given = name, BASE | {key.replace("__", "."): value for key, value in changes.items()}, target, topology, parts
    env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=printed.ROOT,
        env=env,
        input=json.dumps(given),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def check(topology, found):
    """Checks what holds on every chip: a program fits in its memory, and doesn't call back the host."""
    memory = compiled.MEMORY[topology.partition(":")[0]]
    for row in found.values():
        assert row["temporaries"] + row["arguments"] < memory / 16
        assert not row["callbacks"]
    assert not any(found[part]["collectives"] for part in {"encode", "rank"} & set(found))
    if "train" in found:  # the loss's denominator is summed first, then all gradients together
        assert set(found["train"]["collectives"]) == {"all-reduce"} and found["train"]["collectives"]["all-reduce"] <= 3


def of_model(name):
    """The changes to `RECIPE` for another model, which is not tuned to the log."""
    return {"model__name": name, "model__layers": "1"} | ({"model__input_dropout": "0.2"} if name == "gru4rec" else {})


def parameters(name):
    """The bytes of a model's parameters in `RECIPE`."""
    changes = {key.replace("__", "."): value for key, value in of_model(name).items()}
    config, _ = recipes.load(RECIPE, BASE | changes)
    setup = assembly.assemble(config, devices=jax.devices()[:1])
    return sum(each.nbytes for each in jax.tree.leaves(assembly.first_state(setup).params))


@pytest.mark.slow
@pytest.mark.parametrize("topology", CHIPS)
@pytest.mark.parametrize("name", registry.names("model"))
def test_every_model_compiles_for_every_tpu(name, topology):
    found = costs("tpu", topology, RECIPE, **of_model(name))
    check(topology, found)
    own = parameters(name)  # a few zeros precede the packed ones
    assert own <= found["train"]["collective_bytes"] <= own + 4 * packing.UNUSED + 64


@pytest.mark.slow
@pytest.mark.parametrize("topology", PODS)
def test_a_step_on_many_chips_exchanges_no_more_than_on_few(topology):
    """On 256 chips, each chip does less work per step, and exchanges as many bytes."""
    few = f"{topology.partition(':')[0]}:{'2x2' if topology.count('x') == 1 else '2x2x1'}"
    rows = {"dataset": "synthetic:users=20000,items=3000", "batch": "20000"}  # several per chip
    few, many = (costs("tpu", each, RECIPE, ["train"], model__layers="1", **rows) for each in (few, topology))
    check(topology, many)
    assert many["train"]["collective_bytes"] == few["train"]["collective_bytes"]
    assert many["train"]["flops"] < few["train"]["flops"] / 10


#: {(recipe, precision): the kernels of a step on an H100, its products in 10^9 operations, the gigabytes it moves}
LAUNCHED = {
    ("sasrec_ml1m", "float32"): (117, 6.72, 1.209),
    ("sasrec_ml1m", "bfloat16"): (151, 7.066, 0.993),
    ("sasrec_softmax_ml1m", "float32"): (124, 2.807, 0.478),
    ("sasrec_softmax_ml1m", "bfloat16"): (129, 2.807, 0.413),
    ("sasrec_softmax_beauty_bert4rec", "float32"): (126, 17.053, 1.643),
    ("sasrec_softmax_beauty_bert4rec", "bfloat16"): (150, 17.053, 1.58),
    ("gsasrec_ml1m", "float32"): (124, 2.87, 0.658),
    ("gsasrec_ml1m", "bfloat16"): (131, 2.87, 0.597),
    ("bert4rec_ml1m", "float32"): (162, 1.896, 0.442),
    ("bert4rec_ml1m", "bfloat16"): (166, 1.896, 0.364),
    ("gru4rec_ml1m", "float32"): (48, 2.197, 0.238),
    ("gru4rec_ml1m", "bfloat16"): (50, 2.197, 0.226),
    ("gru4rec_rsc15", "float32"): (43, 0.0516, 0.0559),
    ("gru4rec_rsc15", "bfloat16"): (49, 0.0518, 0.0544),
}
MORE = 1.05  # a cost may be so many times the stored one
BARS = {label.partition(" ")[0]: most for label, most in beyond.BARS.items()}
SHORT = {"dataset": "synthetic:users=2000,items=54542", "length": "50", "row": "50", "batch": "51"}
OTHERWISE = {
    "sasrec_ml1m": {"dataset": "synthetic:users=6040,items=3416", "batch": "1152"},
    "sasrec_softmax_beauty_bert4rec": SHORT,
    "gru4rec_rsc15": {"split": "last-item", "valid_fraction": "0.1"},
    "gru4rec_ml1m": {"model__fused": "True"},
}
#: the most kernels that encoding a batch of rows may launch there
ENCODED = {"sasrec_softmax_ml1m": 28, "gru4rec_ml1m": 510}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), LAUNCHED)
def test_a_step_costs_no_more_than_it_did(name, precision):
    found = costs("cuda", "1x1x1", name, ["train"], precision=precision, **OTHERWISE.get(name, {}))["train"]
    kernels, products, moved = LAUNCHED[name, precision]
    bar = BARS[name]
    assert found["kernels"] <= (min(bar, MORE * kernels) if kernels <= bar else kernels)
    assert found["flops"] <= MORE * 1e9 * products and found["bytes"] <= MORE * 1e9 * moved
    assert not found["callbacks"]


def test_every_recipe_with_a_bar_is_held_in_both_precisions():
    assert set(LAUNCHED) == {(name, precision) for name in BARS for precision in ("float32", "bfloat16")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODED)
def test_all_histories_are_encoded_in_few_kernels(name):
    found = costs("cuda", "1x1x1", name, ["encode"])["encode"]
    assert found["kernels"] <= ENCODED[name] and found["temporaries"] < compiled.MEMORY["cuda"] / 64


@pytest.mark.slow
@pytest.mark.parametrize("items", [3_000, 50_000, 1_000_000])
def test_queries_are_ranked_in_few_kernels_whatever_the_catalogue(items):
    """A block's scores are computed once, fit a share of the memory, and are read at most twice."""
    found = costs("cuda", "1x1x1", RECIPE, ["rank"], dataset=f"synthetic:users=2000,items={items}")["rank"]
    scores, table = 4 * found["at_once"] * items, 4 * 64 * items
    assert found["kernels"] <= 9 and not found["callbacks"]
    assert found["temporaries"] < 1.1 * scores + compiled.GIB / 100 < compiled.MEMORY["cuda"] / 128
    assert found["bytes"] < 1.1 * (3 * scores + table) + 1e7


@pytest.mark.slow
@pytest.mark.parametrize("items", [100_000, 1_000_000])
def test_a_fused_softmax_over_a_large_catalogue_keeps_no_scores(items):
    """All scores of a step's 6,400 slots would take 2.4 and 24 GiB; the table's gradients and copies fit in one GiB."""
    changes = {"precision": "bfloat16", "batch": "408", "dataset": f"synthetic:users=2000,items={items}"}
    found = costs("cuda", "1x1x1", RECIPE, ["train"], loss__fused="True", **changes)["train"]
    scores = 2 * 6400 * items * 64  # floating-point operations to compute all scores once
    assert 4 * scores <= found["flops"] <= 5 * scores
    assert found["temporaries"] <= 0.6 * compiled.GIB and not found["callbacks"]


WIDE = {
    "dataset": "synthetic:users=40000,items=3000",
    "batch": "8600",
    "length": "4096",
    "row": "4096",
    "precision": "bfloat16",
    "model.dim": "1024",
    "model.layers": "8",
    "model.heads": "16",
    "model.norm": "pre",
}
SLOTS = 32 * 4096  # of a step of it


@pytest.mark.slow
def test_a_wide_model_of_long_rows_fits_and_computes_little_twice():
    """All scores of its attention would take 256 GiB in float32, more than three times what the device has."""
    found = costs("cuda", "1x1x1", RECIPE, ["train"], **WIDE | {"model.remat": "products"})["train"]
    dense, scores, table = 8 * 6 * 1024**2, 8 * 2 * 4096 * 1024, 3000 * 1024  # multiplications per slot
    model = 3 * 2 * SLOTS * (dense + scores / 2 + table)  # with causal attention, forward and both gradients
    assert model <= found["flops"] <= 1.1 * model
    assert found["temporaries"] <= 40 * compiled.GIB and found["kernels"] <= 3346
    assert not found["callbacks"]


@pytest.mark.slow
def test_a_recurrence_of_many_kernels_starts_no_more_than_it_did():
    found = costs("cuda", "1x1x1", "gru4rec_ml1m", ["train"])["train"]
    assert found["kernels"] <= 2258 and found["bytes"] <= 1.95e9
    assert not found["callbacks"]

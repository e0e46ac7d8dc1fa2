"""Whether a training fits is known before it begins, and the suggested changes make it fit."""

import dataclasses
import itertools
import re
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest
from some import some
from trainings import BASE

from jaxrec.config import parsing, recipes
from jaxrec.data import sources
from jaxrec.evaluation.evaluator import validation
from jaxrec.kernels import memory
from jaxrec.training import assembly, fit, preflight
from jaxrec.training.feed import Feed

LOG = sources.load("synthetic:users=300,items=200")
ABOUT = pl.DataFrame({"genre": [["A", "B|A", "C"][item % 3] for item in range(len(LOG.catalogue.ids))]})
FLAG = re.compile(r"--config\.([\w.]+)=([\w.-]+)")
SOFTMAX = {"name": "softmax"}
SAMPLED = {"loss.name": "bce", "loss.negatives": 1}


def assembled(devices=1, **changes):
    return assembled_from(recipes.changed(BASE | {"loss": SOFTMAX}, {"length": 30} | changes, "").values, devices)


def assembled_from(values, devices=1):
    config = parsing.from_dict(values | {"dataset": "synthetic"})
    log = dataclasses.replace(LOG, catalogue=LOG.catalogue._replace(about=ABOUT))
    return assembly.assemble(config, assembly.split_of(config, log), jax.devices()[:devices])


def needs_of(setup):
    preflight.check_state(setup)
    return preflight.check(setup, assembly.first_state(setup), Feed(setup), 0, fit.boundary(setup, 0))


@pytest.mark.parametrize(
    "changes", some([{}, {"feed": "host"}, {"optim.name": "adagrad", "model.dim": 24}], {"feed": "host"})
)
def test_what_a_training_takes_is_what_its_arrays_and_its_program_take(changes):
    setup = assembled(**changes)
    needs, state = needs_of(setup), assembly.first_state(setup)
    size = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
    assert needs.state == size(state)
    data, _ = Feed(setup)(0, fit.boundary(setup, 0))
    assert needs.data == size((data, setup.sampler_tables))
    assert needs.work > size(state.params)  # at least the gradients
    said = preflight.describe(setup, needs)
    assert "MiB for parameters and optimiser" in said and f"{setup.total_steps:,} steps in at most 3 epochs" in said


@pytest.mark.parametrize(("dim", "ahead"), some([(12, False), (13, True)], (13, True)))
def test_the_program_is_compiled_once(dim, ahead, caplog, monkeypatch):
    setup = assembled(**{"model.dim": dim})
    state, feed, end = assembly.first_state(setup), Feed(setup), fit.boundary(setup, 0)
    program = f"Compiling jit({setup.run.program.__wrapped__.__name__})"
    with jax.log_compiles(), caplog.at_level("WARNING"):
        if ahead:
            monkeypatch.setattr(preflight, "started", lambda work, **_: partial(lambda found: found, work()))
        needs = preflight.check(setup, state, feed, 0, end, preflight.compiling(setup, feed) if ahead else None)
        assert program in caplog.text
        caplog.clear()
        jax.block_until_ready(assembly.call(setup, feed, state, 0, end))
    assert program not in caplog.text and needs == needs_of(setup)


def test_what_comes_from_the_host_is_not_compiled_ahead():
    """Compiling needs batches, which the host would have to send, and which depend on the first step."""
    setup = assembled(feed="host")
    assert preflight.compiling(setup, Feed(setup)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    some(
        [
            {"model.dim": 64, "batch": 64},
            {"model.dim": 32, "batch": 8, "model.heads": 2},
            {"loss.name": "bce", "loss.negatives": 1, "model.dim": 64, "batch": 64},
        ],
        {"model.dim": 64, "batch": 64},
    ),
)
@pytest.mark.parametrize("share", some([0.3, 0.9], 0.3))
def test_the_cure_that_is_named_cures(changes, share, monkeypatch):
    """With a share of the memory that a training needs, following each message's first suggestion makes it fit."""
    wanted = needs_of(assembled(**changes))
    left = int(share * wanted.work)
    monkeypatch.setattr(memory, "free", lambda device: left)
    with pytest.raises(preflight.TooLarge) as refused:
        needs_of(assembled(**changes))
    said = refused.value
    for _ in range(3):
        key, value = FLAG.search(str(said)).groups()
        assert changes.get(key) != value
        changes = changes | {key: value}
        try:
            needs_of(assembled(**changes))
            return
        except preflight.TooLarge as error:
            said = error
    pytest.fail(f"{changes} does not fit")


def test_what_leaves_items_out_comes_from_the_host_without_that():
    changes = {"loss.seen": "exclude"}
    needs = preflight.Needs(state=0, data=10**9, work=10**6)
    (cure,) = [each for each in preflight._cures(assembled(**changes), needs, 0) if "feed=host" in each]
    assert assembled(**changes | dict(FLAG.findall(cure))).config.feed == "host"


@pytest.mark.parametrize("changes", [{"model.heads": 2, "model.dim": 24}, SAMPLED | {"optim.sparse": True}])
def test_each_cure_asks_for_less_and_the_smallest_change_comes_first(changes):
    setup = assembled(**changes)
    dim, heads, rows = setup.config.model.dim, changes.get("model.heads", 1), setup.microbatch_rows
    for work, left in itertools.product([10**6, 10**9], [0, 10**3, 10**5, 825_000, 10**6 - 1]):
        cures = preflight._cures(setup, preflight.Needs(10**5, 1, work), left)
        asked = [dict(FLAG.findall(cure)) for cure in cures]
        keys = [key for each in asked for key in each]
        assert keys == sorted(keys, key=["microbatch_rows", "model.remat", "model.dim", "model.heads"].index)
        numbers = [each for each in asked if "model.remat" not in each]
        for key, value in (pair for each in numbers for pair in each.items()):
            most, step = {"microbatch_rows": (rows // 2, 1), "model.dim": (dim - 1, 1), "model.heads": (1, 1)}[key]
            step = heads if key == "model.dim" and "model.heads" not in keys else step
            assert 1 <= int(value) <= most and int(value) % step == 0


def test_gradients_of_the_batch_s_items_alone_are_proposed_where_they_are_not_used_yet():
    sparse = lambda **changes: any(
        "optim.sparse" in cure for cure in preflight._cures(assembled(**changes), preflight.Needs(1, 1, 10**9), 10**6)
    )
    assert sparse(**SAMPLED) and not sparse(**SAMPLED, **{"optim.sparse": True})
    assert not sparse(**SAMPLED, **{"optim.name": "adamw"}) and not sparse()


@pytest.mark.parametrize(
    ("more", "sparse"),
    [({}, True), ({"loss.label_smoothing": 0.5}, True), ({"optim.name": "adamw"}, False), ({"optim.ema": 0.5}, False)],
)
def test_a_large_catalogue_s_softmax_is_cured_by_flags_that_any_recipe_takes(more, sparse, monkeypatch):
    """Keys of the softmax alone are left out with it, and negatives come along."""
    monkeypatch.setattr(preflight, "LARGE", len(LOG.catalogue.ids))
    of = BASE | {"loss": SOFTMAX}
    recipe = lambda changes: recipes.changed(recipes.changed(of, {"length": 30} | more, "").values, changes, "").values
    made = lambda changes: assembled_from(recipe(changes))
    (cure,) = [each for each in preflight._cures(made({}), preflight.Needs(1, 1, 10**9), 10**6) if "softmax" in each]
    config = made(dict(FLAG.findall(cure))).config
    assert (config.loss.name, config.optim.sparse, config.loss.negatives > 0) == ("sampled-softmax", sparse, True)
    assert not any("softmax" in each for each in preflight._cures(made({}), preflight.Needs(10**7, 0, 1), 10**6))


def test_a_state_without_gradients_of_all_params_needs_no_room_for_them(monkeypatch):
    asked = []
    monkeypatch.setattr(preflight, "_compare", lambda setup, needs, more: asked.append((needs, more)))
    for changes in (SAMPLED, SAMPLED | {"optim.sparse": True}):
        preflight.check_state(assembled(**changes))
    (dense, all_of_it), (sparse, part) = asked
    assert dense.work > 0 == sparse.work and (all_of_it, part) == (dense.state + dense.work, sparse.state)


def test_what_has_no_room_for_its_params_is_refused_before_they_are_made(monkeypatch, tmp_path):
    setup = assembled()
    monkeypatch.setattr(memory, "free", lambda device: 1000)
    monkeypatch.setattr(assembly, "first_state", lambda setup: pytest.fail("it is made"))
    with pytest.raises(preflight.TooLarge, match=r"this does not fit the memory: it takes .*--config\.model\.dim="):
        fit.fit(setup, tmp_path, None)


@pytest.mark.parametrize(("platform", "most"), [("cpu", 10), ("gpu", 20)])
def test_the_devices_of_a_cpu_have_one_memory_and_others_one_each(platform, most, monkeypatch):
    own = [SimpleNamespace(platform=platform, process_index=0)] * 2
    setup = dataclasses.replace(assembled(), devices=own)
    monkeypatch.setattr(memory, "free", lambda device: 20 << 20)
    preflight._compare(setup, preflight.Needs(0, 0, 0), most << 20)
    with pytest.raises(preflight.TooLarge, match=f"and {most} MiB are left"):
        preflight._compare(setup, preflight.Needs(0, 0, 0), (most << 20) + 1)


def test_several_accelerators_may_share_the_tables_of_items(monkeypatch):
    """This is not suggested for the devices of a CPU, which share one memory."""
    setup = assembled()
    several = dataclasses.replace(setup, devices=[SimpleNamespace(platform="gpu", process_index=0)] * 6)
    monkeypatch.setattr(memory, "free", lambda device: 1000)
    with pytest.raises(preflight.TooLarge, match=r"--config\.mesh\.item=2, which splits the tables of items"):
        preflight.check_state(several)
    with pytest.raises(preflight.TooLarge) as refused:
        preflight.check_state(setup)
    assert "mesh" not in str(refused.value)


@pytest.mark.slow
def test_where_free_memory_is_not_known_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: None)
    assert " free" not in preflight.describe(assembled(), needs_of(assembled()))


def test_trainings_that_differ_by_the_seed_share_a_program():
    lowered = []
    for seed in (1, 2):
        setup = assembled(seed=seed)
        (data, begins), state = Feed(setup)(0, 1), assembly.first_state(setup)
        lowered.append(setup.run.lower(state, data, setup.sampler_tables, np.int32(begins), np.int32(1)).as_text())
    assert lowered[0] == lowered[1]


@pytest.mark.parametrize(
    ("devices", "changes"),
    [
        (1, {}),
        (1, {"features": "genre", "cold_bonus": 0.5}),
        (2, {"features": "genre"}),
        (2, {"features": "genre", "model.name": "gru4rec", "model.input_dropout": 0.0}),
    ],
)
def test_an_evaluation_that_is_compiled_ahead_compiles_nothing(devices, changes, caplog):
    setup = assembled(devices, **changes, **{"model.dim": 20})
    validate, state = validation(setup), assembly.first_state(setup)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        validate.compile_ahead()
        ahead = validate(state.evaluated)
    assert "Compiling jit(" not in caplog.text  # in this thread
    assert ahead == validation(setup)(state.evaluated)

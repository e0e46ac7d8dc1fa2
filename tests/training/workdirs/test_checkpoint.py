"""Checkpoints: what is saved is restored, and only the best and the latest are kept."""

import contextlib
import logging
import random
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import given, settings, strategies as st
from some import some

from jaxrec.kernels.placement import replicated
from jaxrec.system.errors import UserError
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs import managers
from jaxrec.training.workdirs.checkpoint import Checkpoints, Damaged
from jaxrec.training.workdirs.leaves import abstract
from jaxrec.training.workdirs.managers import writer


def state(step):
    params = {"items": jnp.arange(6.0).reshape(3, 2) + step, "deep": {"bias": jnp.full(2, float(step))}}
    return State(jnp.int32(step), params, ((jnp.int32(step), params), ()), None)


def test_the_state_of_a_loop_that_an_earlier_version_saved_has_the_names_of_now(tmp_path):
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(7, jax.device_put(state(7), replicated(jax.devices()[:1])), {"step": 7, "stale": 3})
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints:
        assert checkpoints.loop(7) == {"step": 7, "evals_without_improvement": 3}


def test_a_folder_without_checkpoints_is_opened_without_orbax_until_a_save(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(managers, "writer", lambda *args: made.append(args) or writer(*args))
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.latest() is None and not made
        checkpoints.wait()
        checkpoints.save(7, jax.device_put(state(7), replicated(jax.devices()[:1])), {"step": 7})
        assert len(made) == 1 and checkpoints.latest() == 7
    with contextlib.closing(Checkpoints(tmp_path)):
        assert len(made) == 2


def test_a_state_comes_back_on_another_number_of_devices(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    one, four = replicated(jax.devices()[:1]), replicated(jax.devices()[:4])
    loop = {"step": 7, "best": None, "sums": [0.1, 1e300, 3]}
    checkpoints.save(7, jax.device_put(state(7), one), loop)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, read_only=True)
    restored, same_loop = checkpoints.restore(7, abstract(state(0), four))
    assert same_loop == loop and checkpoints.loop(7) == loop
    assert jax.tree.structure(restored) == jax.tree.structure(state(7))
    jax.tree.map(np.testing.assert_array_equal, restored, state(7))
    params = checkpoints.restore_params(7, abstract(state(0).params, four))
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves((restored, params)))
    jax.tree.map(np.testing.assert_array_equal, params, state(7).params)
    checkpoints.close()


def test_what_all_devices_hold_is_saved_without_a_program(tmp_path, caplog):
    """Orbax would write a slice of each device's copy, and compile a program for each slice and shape."""
    devices = replicated(jax.devices()[:8])
    wide = state(7)._replace(params={"items": jnp.arange(32.0).reshape(16, 2)})
    held = jax.device_put(wide, devices)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints, jax.log_compiles():
        checkpoints.save(7, held, {"step": 7})
        checkpoints.wait()
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints:
        restored, _ = checkpoints.restore(7, abstract(wide, devices))
    jax.tree.map(np.testing.assert_array_equal, restored, wide)


@settings(max_examples=6)
@given(scores=st.lists(st.sampled_from([None, 0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=6))
def test_the_best_and_the_latest_are_kept(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("w")
    checkpoints = Checkpoints(path)
    for step, score in enumerate(scores, 1):
        checkpoints.save(step, state(step), {"step": step}, score)
    checkpoints.wait()
    known = [score for score in scores if score is not None]
    best = 1 + scores.index(max(known)) if known else len(scores)
    assert (checkpoints.best(), checkpoints.latest()) == (best, len(scores))
    assert {int(p.name) for p in (path / "checkpoints").iterdir()} == {best, len(scores)}
    assert checkpoints.choose("best") == best and checkpoints.choose(str(len(scores))) == len(scores)
    checkpoints.close()


def test_trainings_side_by_side_save_at_once_each_its_own(tmp_path):
    def train(path):
        with contextlib.closing(Checkpoints(path)) as checkpoints:
            for step in range(1, 6):
                checkpoints.save(step, jax.device_put(state(step), replicated(jax.devices()[:1])), {"step": step})

    threads = [threading.Thread(target=train, args=(tmp_path / str(number),), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "it waits for another's folder"
    for number in range(8):
        with contextlib.closing(Checkpoints(tmp_path / str(number), read_only=True)) as checkpoints:
            restored, _ = checkpoints.restore(checkpoints.latest(), abstract(state(0), replicated(jax.devices()[:1])))
        jax.tree.map(np.testing.assert_array_equal, restored, state(5))


def test_saving_an_old_step_is_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state(5), {})
    checkpoints.wait()
    with pytest.raises(RuntimeError, match="checkpoint 3 was not saved"):
        checkpoints.save(3, state(3), {})
    checkpoints.close()


def test_what_is_not_there_is_a_message(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoints"):
        Checkpoints(tmp_path, read_only=True)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match="no finished checkpoint"):
        checkpoints.choose("best")
    checkpoints.save(5, state(5), {})
    checkpoints.wait()
    for name in ("4", "newest"):
        with pytest.raises(UserError, match="there are best, latest, 5"):
            checkpoints.choose(name)
    checkpoints.close()


@pytest.mark.parametrize("opt", [{"count": 0}, ((0, {"items": 0}, 0), ())], ids=["another kind", "another length"])
def test_a_state_of_another_form_is_refused_and_its_params_are_read(tmp_path, opt):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state(5), {})
    checkpoints.wait()
    one = replicated(jax.devices()[:1])
    other = state(0)._replace(opt=jax.tree.map(jnp.int32, opt))
    with pytest.raises(UserError, match=r"checkpoint 5 can't be read.*new workdir"):
        checkpoints.restore(5, abstract(other, one))
    params = checkpoints.restore_params(5, abstract(state(0).params, one))
    jax.tree.map(np.testing.assert_array_equal, params, state(5).params)
    checkpoints.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with the checkpoints 5, which is the best, and 7."""
    path = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(path)
    checkpoints.save(5, state(5), {"step": 5}, 0.3, "rows")
    checkpoints.save(7, state(7), {"step": 7}, 0.2)
    checkpoints.close()
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def restored(checkpoints, name="latest"):
    """(step of the State that is taken, the damaged steps that were tried before)."""
    wanted = abstract(state(0), replicated(jax.devices()[:1]))
    (got, loop), step, damaged = checkpoints.take(name, lambda step: checkpoints.restore(step, wanted))
    jax.tree.map(np.testing.assert_array_equal, got, state(step))
    assert loop == {"step": step}
    return step, set(damaged)


DAMAGE = {
    "flipped": lambda content, at: content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :],
    "cut": lambda content, at: content[:at],
    "longer": lambda content, at: content + b"{}",
    "gone": None,
}


def damage(file, kind):
    content = file.read_bytes()
    if DAMAGE[kind] is None:
        file.unlink()
    elif content:
        file.write_bytes(DAMAGE[kind](content, random.Random(file.name).randrange(len(content))))


@pytest.mark.parametrize("kind", some(DAMAGE))
def test_whatever_file_is_damaged_the_state_is_what_was_saved_or_the_one_before(saved, tmp_path, kind):
    for name in [each.relative_to(saved) for each in (saved / "checkpoints" / "7").rglob("*") if each.is_file()]:
        path = shutil.copytree(saved, tmp_path / "copy")
        damage(path / name, kind)
        checkpoints = Checkpoints(path, read_only=True)
        step, _ = restored(checkpoints)
        assert step == 5 or name.parent.name == "7", name  # Orbax's own files beside the arrays may not matter
        if step == 5:
            with pytest.raises(UserError, match=r"checkpoints/7: a damaged|no checkpoint '7'"):
                restored(checkpoints, "7")
        assert restored(checkpoints, "best") == (5, set())
        checkpoints.close()
        assert sorted(each.name for each in (path / "checkpoints").iterdir()) == ["5", "7"]  # a reader renames nothing
        shutil.rmtree(path)


def test_a_training_sets_a_damaged_checkpoint_aside(copy, caplog):
    damage(copy / "checkpoints" / "7" / "loop" / "metadata", "flipped")
    checkpoints = Checkpoints(copy)
    assert checkpoints.latest() == checkpoints.best() == 5 and checkpoints.rows(5) == "rows"
    assert (
        "checkpoints/7: a damaged checkpoint (loop/metadata is not what was saved): set aside as 7.damaged"
        in caplog.text
    )
    checkpoints.save(6, state(6), {"step": 6})
    checkpoints.close()
    assert sorted(each.name for each in (copy / "checkpoints").iterdir()) == ["5", "6", "7.damaged"]


def test_arrays_that_are_not_what_was_saved_are_known_without_their_files(copy):
    """For example if memory was faulty while they were written."""
    checkpoints = Checkpoints(copy, read_only=True)
    checkpoints._known[7][1]["arrays"]["params/items"][-1] = "another"
    with pytest.raises(Damaged, match=r"checkpoints/7: a damaged checkpoint \(params/items is not what was saved\)"):
        restored(checkpoints, "7")
    assert restored(checkpoints) == (5, {7})
    checkpoints.close()


def test_where_none_is_whole_all_are_named_and_none_is_touched(copy):
    for step in ("5", "7"):
        damage(copy / "checkpoints" / step / "loop" / "metadata", "cut")
    before = sorted(copy.rglob("*"))
    with pytest.raises(Damaged, match=r"checkpoints/5: .*checkpoints/7: .*train into a new workdir"):
        Checkpoints(copy)
    reader = Checkpoints(copy, read_only=True)
    with pytest.raises(Damaged, match=r"checkpoints/5: .*checkpoints/7: .*train into a new workdir"):
        reader.choose("best")
    reader.close()
    assert sorted(copy.rglob("*")) == before


def test_what_is_no_checkpoint_is_left_out_of_account(copy, caplog):
    for name in ("123", "notes", "456/mine"):
        (copy / "checkpoints" / name).mkdir(parents=True)
    (copy / "checkpoints" / "789").write_text("a file")
    reader = Checkpoints(copy, read_only=True)
    assert restored(reader) == (7, set()) and not caplog.text
    reader.close()
    checkpoints = Checkpoints(copy)
    checkpoints.save(8, state(8), {"step": 8})
    checkpoints.close()
    names = {each.name for each in (copy / "checkpoints").iterdir()}
    assert names == {"5", "8", "notes", "123.damaged", "456.damaged", "789.damaged"}
    assert (copy / "checkpoints" / "456.damaged" / "mine").is_dir()


def test_a_copy_under_the_name_of_another_step_is_none(copy):
    with contextlib.closing(Checkpoints(copy, read_only=True)) as checkpoints:
        newest = checkpoints.latest()
    shutil.copytree(copy / "checkpoints" / str(newest), copy / "checkpoints" / "99999")
    with contextlib.closing(Checkpoints(copy, read_only=True)) as checkpoints:
        assert checkpoints.latest() == newest
        with pytest.raises(Damaged, match=f"it is a copy of step {newest}"):
            checkpoints.choose("99999")


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path):
    manager = ocp.CheckpointManager(tmp_path / "checkpoints", item_names=("params", "rest", "loop"))
    got = state(3)
    items = {"params": got.params, "rest": {"step": got.step, "opt": got.opt, "carry": got.carry}}
    args = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    manager.save(3, args=ocp.args.Composite(**args, loop=ocp.args.JsonSave({"step": 3})))
    manager.close()
    checkpoints = Checkpoints(tmp_path)
    assert restored(checkpoints) == (3, set()) and checkpoints.rows(3) is None
    checkpoints.close()


NAMES = [
    "".join(char for char in map(chr, range(32, 127)) if char != "/"),
    "a[b]",
    "a**",
    "[!x]?",
    "back\\slash",
    "line\nend",
    " spaces ",
    "🙂 é",
    "שלום \u202eabc",
    "%41#?",
    "n" * 255,
    "not text \udcff",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_workdir_of_any_name_keeps_its_checkpoints(tmp_path, name):
    path = tmp_path / name
    checkpoints = Checkpoints(path)
    checkpoints.save(5, state(5), {"step": 5})
    checkpoints.close()
    reader = Checkpoints(path, read_only=True)
    assert restored(reader) == (5, set())
    reader.close()
    assert [each.name for each in (path / "checkpoints").iterdir()] == ["5"]


def test_logging_is_the_caller_s(saved, capfd):
    before = logging.root.level, list(logging.root.handlers), list(logging.getLogger("absl").filters)
    checkpoints = Checkpoints(saved, read_only=True)
    checkpoints.close()
    assert (logging.root.level, list(logging.root.handlers), list(logging.getLogger("absl").filters)) == before
    assert not capfd.readouterr().err

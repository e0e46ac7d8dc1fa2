"""Checkpoints: what is saved comes back, the best and the latest are kept, nothing else is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.checkpoint import Checkpoints, abstract
from jaxrec.devices import replicated
from jaxrec.errors import UserError
from jaxrec.step import State


def state(step):
    params = {"items": jnp.arange(6.0).reshape(3, 2) + step, "deep": {"bias": jnp.full(2, float(step))}}
    return State(jnp.int32(step), params, ((jnp.int32(step), params), ()), None)


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


def test_a_damaged_state_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state(5), {})
    checkpoints.wait()
    for path in (tmp_path / "checkpoints" / "5" / "rest").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(UserError, match=r"checkpoints/5: a damaged checkpoint"):
        checkpoints.restore(5, abstract(state(0), replicated(jax.devices()[:1])))
    checkpoints.close()

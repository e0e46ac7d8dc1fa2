"""Laws of optim: where schedules begin and end, the textbook's Adam, and clipping.

The trajectories of the references' Adam are in tests/models/test_sasrec.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, strategies as st

from jaxrec.config.parsing import OptimConfig
from jaxrec.training.steps.optim import optimiser, schedule

runs = st.integers(1, 10_000).flatmap(lambda warmup: st.tuples(st.just(warmup), st.integers(warmup + 1, 20_000)))


def config(name="adam", rate=0.01, **more):
    return OptimConfig(name=name, learning_rate=rate, **more)


@given(runs, st.sampled_from(["constant", "linear", "cosine"]))
def test_warm_up_is_linear_and_reaches_the_rate(run, kind):
    warmup, steps = run
    at = schedule(config(schedule=kind, warmup=warmup), steps)
    assert at(0) == 0
    assert at(warmup // 2) == pytest.approx(0.01 * (warmup // 2) / warmup, rel=1e-4)
    assert at(warmup) == pytest.approx(0.01, rel=1e-6)


@given(runs, st.booleans())
def test_linear_and_cosine_fall_to_zero_at_the_end(run, warm):
    warmup, steps = run[0] if warm else 0, run[1]
    for kind, middle in (
        ("linear", lambda share: 1 - share),
        ("cosine", lambda share: (1 + np.cos(np.pi * share)) / 2),
    ):
        at = schedule(config(schedule=kind, warmup=warmup), steps)
        assert at(warmup) == pytest.approx(0.01, rel=1e-6)
        half = (warmup + steps) // 2
        assert at(half) == pytest.approx(0.01 * middle((half - warmup) / (steps - warmup)), rel=1e-3)
        assert at(steps - 1) >= at(steps)
        assert at(steps) == pytest.approx(0, abs=1e-8)
        assert at(steps + 1) == pytest.approx(0, abs=1e-8)


@given(runs)
def test_constant_is_constant(run):
    at = schedule(config(), run[1])
    assert {at(step) for step in (0, run[0], run[1], 2 * run[1])} == {0.01}


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_warm_up_that_outlasts_the_training_is_finite(kind, steps):
    at = schedule(config(schedule=kind, warmup=5), steps)
    assert np.isfinite([at(step) for step in range(7)]).all()


gradients = st.lists(st.floats(-1e3, 1e3, width=32), min_size=6, max_size=6)
PARAMS = {"a": jnp.arange(4.0), "b": jnp.array([[-1.0, 2.0]])}


def tree(values):
    return {"a": jnp.array(values[:4], jnp.float32), "b": jnp.array([values[4:]], jnp.float32)}


def norm_of(grads):
    return np.linalg.norm(np.concatenate([np.ravel(grad).astype(float) for grad in jax.tree.leaves(grads)]))


@given(gradients, st.sampled_from([0.1, 1.0, 50.0]))
def test_clipping_bounds_the_norm_and_keeps_the_direction(values, clip):
    made = optimiser(config(clip=clip, b1=0.5), 10)
    _, state = made.update(tree(values), made.init(PARAMS), PARAMS)
    # Adam's first moment tells what it was given: after one step it is (1 - b1) x gradient
    given = jax.tree.map(lambda moment: 2 * moment, optax.tree_utils.tree_get(state, "mu"))
    norm = norm_of(tree(values))
    scale = min(1, clip / norm) if norm else 1
    assert norm_of(given) <= clip * (1 + 1e-5)
    for got, whole in zip(jax.tree.leaves(given), jax.tree.leaves(tree(values)), strict=True):
        np.testing.assert_allclose(got, scale * whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_steps_are_the_textbook_s(name):
    """As in PyTorch, adamw adds the weight decay to its update, and adam adds it to the gradient."""
    decay, penalty = (0.1, 0.0) if name == "adamw" else (0.0, 0.1)
    chosen = config(name, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.1, schedule="linear", warmup=2)
    made = optimiser(chosen, 6)
    random = np.random.default_rng(0)
    params, state = PARAMS, made.init(PARAMS)
    wanted = jax.tree.map(lambda x: np.asarray(x, float), PARAMS)
    first = second = jax.tree.map(np.zeros_like, wanted)
    for step, rate in enumerate([0, 0.005, 0.01, 0.0075]):
        grads = tree(random.normal(size=6))
        updates, state = made.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        grads = jax.tree.map(lambda g, p: g + penalty * p, grads, wanted)
        first = jax.tree.map(lambda m, g: 0.8 * m + 0.2 * np.asarray(g, float), first, grads)
        second = jax.tree.map(lambda v, g: 0.95 * v + 0.05 * np.asarray(g, float) ** 2, second, grads)
        moved = jax.tree.map(
            lambda m, v, t=step + 1: m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3), first, second
        )
        wanted = jax.tree.map(lambda p, u, rate=rate: p - rate * (u + decay * p), wanted, moved)
    for got, value in zip(jax.tree.leaves(params), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_adagrad_is_the_one_of_gru4rec_s_authors(momentum):
    """With eps inside the root, and momentum over the steps; its trajectories are tested in tests/models/."""
    made = optimiser(config("adagrad", eps=1e-2, momentum=momentum, schedule="linear", warmup=1), 3)
    random = np.random.default_rng(0)
    params, state = PARAMS, made.init(PARAMS)
    wanted = jax.tree.map(lambda x: np.asarray(x, float), PARAMS)
    squares = moved = jax.tree.map(np.zeros_like, wanted)
    for rate in [0, 0.01, 0.005]:
        grads = tree(random.normal(size=6))
        updates, state = made.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        squares = jax.tree.map(lambda acc, g: acc + np.asarray(g, float) ** 2, squares, grads)
        moved = jax.tree.map(
            lambda m, g, acc, rate=rate: momentum * m - rate * np.asarray(g, float) / np.sqrt(acc + 1e-2),
            moved,
            grads,
            squares,
        )
        wanted = jax.tree.map(np.add, wanted, moved)
    for got, value in zip(jax.tree.leaves(params), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6)


def test_without_clip_gradients_are_taken_whole():
    made = optimiser(config(), 10)
    _, state = made.update(tree([1e3] * 6), made.init(PARAMS), PARAMS)
    np.testing.assert_allclose(optax.tree_utils.tree_get(state, "mu")["a"], 100, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_only_matrices_decay_where_they_are_said(name):
    params = {"a": jnp.arange(4.0), "b": jnp.arange(4.0).reshape(2, 2)}
    grads = jax.tree.map(lambda p: jnp.cos(p), params)
    plain, whole, found = (
        made.update(grads, made.init(params), params)[0]
        for made in (
            optimiser(config(name, eps=1e-3, weight_decay=share, decayed=decayed), 9)
            for share, decayed in ((0.0, "all"), (0.1, "all"), (0.1, "matrices"))
        )
    )
    np.testing.assert_array_equal(found["a"], plain["a"])
    np.testing.assert_allclose(found["b"], whole["b"], rtol=1e-6)
    assert (whole["b"] != plain["b"]).any()


@given(gradients, st.sampled_from(["adam", "adamw", "adagrad"]), st.integers(0, 2**5 - 1))
def test_what_is_not_used_stays_and_the_rest_moves_as_if_all_were(values, name, bits):
    made = optimiser(config(name, eps=1e-3, momentum=0.5, weight_decay=0.1), 10)
    used = {"a": np.array([bits >> place & 1 for place in range(4)], bool), "b": np.bool_(bits >> 4 & 1)}
    state = made.update(tree([1.0, -2, 3, -4, 5, -6]), made.init(PARAMS), PARAMS)[1]
    # as are the gradients of rows that are not used
    grads = jax.tree.map(lambda grad, use: jnp.where(use, grad, 0), tree(values), used)
    moved, kept = made.update(grads, state, PARAMS, used=used)
    wanted, whole = made.update(grads, state, PARAMS)
    of_state = optax.tree_utils.tree_map_params(
        made, lambda _, use: use, state, used, transform_non_params=lambda _: True
    )
    for got, new, old, uses in (
        (moved, wanted, jax.tree.map(jnp.zeros_like, wanted), used),
        (kept, whole, state, of_state),
    ):
        chosen = jax.tree.map(lambda new, old, use: jnp.where(use, new, old), new, old, uses)
        jax.tree.map(np.testing.assert_array_equal, got, chosen)

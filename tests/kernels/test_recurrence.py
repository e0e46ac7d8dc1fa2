"""Laws of jaxrec.kernels.recurrence: both implementations equal the defining loop, and so do their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.kernels.recurrence import linear_recurrence

ROWS, WIDTH = 2, 3


def given(slots):
    """Returns decays, some of them 0 or 1, inputs, and an initial state."""
    random = np.random.default_rng(slots)
    decay = random.choice([0.0, 0.3, 0.999, 1.0], (ROWS, slots, WIDTH))
    return decay, random.normal(size=(ROWS, slots, WIDTH)), random.normal(size=(ROWS, WIDTH))


def by_loop(decay, added, before):
    """Returns the states after each slot, and those before it, in float64: [ROWS, slots, WIDTH]."""
    states, slots = [before], decay.shape[1]
    for slot in range(slots):
        states.append(decay[:, slot] * states[-1] + added[:, slot])
    return np.stack(states[1:], axis=1), np.stack(states[:-1], axis=1)


def gradient_by_loop(decay, earlier, weights):
    """Returns the gradients of decays, inputs and the initial state, by a loop from the last slot back."""
    worth, of_added = np.zeros_like(weights[:, 0]), np.zeros_like(weights)
    for slot in reversed(range(decay.shape[1])):
        of_added[:, slot] = weights[:, slot] + worth
        worth = of_added[:, slot] * decay[:, slot]
    return of_added * earlier, of_added, worth


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("slots", [1, 2, 13])
def test_it_is_the_loop_and_so_is_its_gradient(monkeypatch, backend, slots):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    args, weights = given(slots), np.random.default_rng(0).normal(size=(ROWS, slots, WIDTH))
    low = [jnp.asarray(x, jnp.float32) for x in args]
    value_and_pull = lambda weights, *low: (lambda got, pull: (got, pull(weights)))(*jax.vjp(linear_recurrence, *low))
    got, grads = jax.jit(value_and_pull)(jnp.asarray(weights, jnp.float32), *low)
    wanted, earlier = by_loop(*args)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    for a, b in zip(grads, gradient_by_loop(args[0], earlier, weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

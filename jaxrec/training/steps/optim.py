"""Learning rate schedules and optimisers.

The `update` of an optimiser has an extra argument `used`, a tree like the params that broadcasts against them. It marks
the rows of tables that a step used, bool [V, 1, ...]; other rows, and the optimiser's state for them, don't change.
None means all rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec.config.keys import OptimConfig
from jaxrec.kernels import hardware


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step: linear warm-up, then constant, or decay to zero.

    The decay is linear or cosine. For "plateau" the rate is constant; the factor that lowers it is in the optimiser's
    state (see `lower`).
    """
    rate, warmup = config.learning_rate, config.warmup
    after = {
        "constant": lambda: optax.constant_schedule(rate),
        "plateau": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, max(steps - warmup, 1)),
        "cosine": lambda: optax.cosine_decay_schedule(rate, max(steps - warmup, 1)),
    }[config.schedule]()
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup]) if warmup else after


def rates(config: OptimConfig, steps: int) -> Callable[[int], float]:
    """Returns `schedule` for the host: a constant rate as it was given, others computed by one compiled program."""
    if config.schedule in ("constant", "plateau") and not config.warmup:
        return lambda step: config.learning_rate
    moving = jax.jit(schedule(config, steps))
    return lambda step: float(moving(step))


def optimiser(config: OptimConfig, steps: int, norm: Callable | None = None) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) or `adagrad`, with a schedule and gradient clipping.

    Args:
        config: OptimConfig.
        steps: the number of steps of the training, at which a decaying schedule ends.
        norm: (gradients) -> their norm, for clipping, if some are split over devices; by default all are whole.
    """
    rate = schedule(config, steps)
    moments = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    update = {
        "adam": lambda: lazily(_adam(config, rate, moments)),
        "adamw": lambda: lazily(_adamw(config, rate, moments)),
        "adagrad": lambda: adagrad(rate, config.eps, config.momentum, split=norm is not None),
    }[config.name]()
    if config.schedule == "plateau":
        update = optax.chain(update, lowered())
    clip = partial(clip_by, norm) if norm else optax.clip_by_global_norm
    return optax.chain(clip(config.clip), update) if config.clip else update


def clip_by(norm: Callable[[Any], jax.Array], most: float) -> optax.GradientTransformation:
    """Like `optax.clip_by_global_norm`, but by the given norm of the gradients."""

    def update(updates, state, params=None):
        found = norm(updates)
        return jax.tree.map(lambda x: jnp.where(found < most, x, x / found * most), updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


class LoweredState(NamedTuple):
    rate_factor: Any  #: [] float32, the factor of the learning rate


def lowered() -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by a factor, initially 1, that `lower` changes between steps."""

    def update(updates, state, params=None, **extra_args):
        return jax.tree.map(lambda move: state.rate_factor * move, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: LoweredState(jnp.float32(1)), update)


def rate_factor(opt: Any) -> float:
    """Returns the factor by which a plateau has lowered the learning rate; 1 for other schedules."""
    return float(optax.tree_utils.tree_get(opt, "rate_factor", 1.0))


def lower(config: OptimConfig, opt: Any, evals_without_improvement: int) -> Any:
    """Returns the optimiser's state after an evaluation, with the learning rate lowered on a plateau.

    A plateau is `config.plateau` evaluations in a row without improvement.

    Args:
        config: OptimConfig.
        opt: the optimiser's state.
        evals_without_improvement: the number of evaluations since the best one.
    """
    if config.schedule != "plateau" or not evals_without_improvement or evals_without_improvement % config.plateau:
        return opt
    held = optax.tree_utils.tree_get(opt, "rate_factor")
    factor = jax.device_put(np.float32(config.plateau_factor * rate_factor(opt)), held.sharding)
    return optax.tree_utils.tree_set(opt, rate_factor=factor)


def _adam(config, rate, moments):
    adam = optax.adam(rate, **moments)
    if not config.weight_decay:
        return adam
    return optax.chain(optax.add_decayed_weights(config.weight_decay, DECAYED[config.decayed]), adam)


def _adamw(config, rate, moments):
    return optax.adamw(rate, weight_decay=config.weight_decay, mask=DECAYED[config.decayed], **moments)


def _matrices(params):
    return jax.tree.map(lambda value: value.ndim > 1, params)


#: mask of the params that decay: all; or matrices, without biases and scales of norms (Devlin et al. 2019)
DECAYED = {"all": None, "matrices": _matrices}


def lazily(transform: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Restricts a transform to the used rows: other rows have no update, and its state for them doesn't change."""
    transform = optax.with_extra_args_support(transform)

    def update(updates, state, params=None, *, used=None, **extra_args):
        made, kept = transform.update(updates, state, params, **extra_args)
        if used is None:
            return made, kept
        of_kept = optax.tree_utils.tree_map_params(
            transform, lambda _, use: use, kept, used, transform_non_params=lambda _: True
        )
        kept = jax.tree.map(lambda new, old, use: jnp.where(use, new, old), kept, state, of_kept)
        return jax.tree.map(lambda new, use: jnp.where(use, new, 0), made, used), kept

    return optax.GradientTransformationExtraArgs(transform.init, update)


class AdagradState(NamedTuple):
    count: Any  #: [] int32, the number of steps taken
    sum_of_squares: Any  #: a tree like the params, of the sums of squared gradients
    trace: Any  #: a tree like the params, of the last updates; None without momentum


def adagrad(rate: Callable, eps: float, momentum: float, split: bool = False) -> optax.GradientTransformationExtraArgs:
    """Adagrad (Duchi et al. 2011) as in GRU4Rec's code, with momentum over its steps.

    acc <- acc + g^2; mom <- momentum x mom - rate x g / sqrt(acc + eps); p <- p + mom.

    Args:
        rate: a schedule.
        eps: above 0.
        momentum: from 0, below 1.
        split: whether some params are split over devices. Then each array gets a barrier of its own, because all arrays
            of one barrier count as varying over the devices if any of them does.
    """
    barrier = jax.lax.optimization_barrier
    barriers = partial(jax.tree.map, barrier) if split else barrier

    def init(params):
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)
        return AdagradState(jnp.zeros([], jnp.int32), zeros(), zeros() if momentum else None)

    def update(updates, state, params=None, *, used=None, **extra_args):
        # A zero gradient doesn't change the sums, so only the trace needs `used`. Without the barriers, XLA's CPU
        # backend recomputes both for every use, and copies the old ones to do so, which takes twice as long.
        held = barriers if hardware.is_cpu() else lambda tree: tree
        sums = held(jax.tree.map(lambda sums, g: sums + g * g, state.sum_of_squares, updates))
        now = rate(state.count)
        moves = jax.tree.map(lambda g, sums: -now * g * jax.lax.rsqrt(sums + eps), updates, sums)
        if not momentum:
            return moves, AdagradState(state.count + 1, sums, None)
        used = jax.tree.map(lambda _: True, moves) if used is None else used
        goes_on = lambda old, move, use: jnp.where(use, momentum * old + move, old)
        trace = held(jax.tree.map(goes_on, state.trace, moves, used))
        # Not 0, the value that gradients begin with: XLA would compute it once for both, and copy it.
        moves = jax.tree.map(lambda new, use: jnp.where(use, new, -0.0), trace, used)
        return moves, AdagradState(state.count + 1, sums, trace)

    return optax.GradientTransformationExtraArgs(init, update)

"""The schedule and the optimiser of a configuration.

An optimiser's `update` takes `used`, a tree like the params of what broadcasts to each: of a table the rows that a step
used, [V, 1...] bool. The others, and what is kept of them, stay as they are. None: all are used. It takes `decayed`
too, a tree of the same kind: what `decay` decays; None: all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec.config.keys import OptimConfig


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step: linear warm-up, then constant, linear to zero, or cosine to zero.

    That of a plateau is constant: what lowers it is in the optimiser's state (`lower`).
    """
    rate, warmup = config.learning_rate, config.warmup
    after = {
        "constant": lambda: optax.constant_schedule(rate),
        "plateau": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, max(steps - warmup, 1)),
        "cosine": lambda: optax.cosine_decay_schedule(rate, max(steps - warmup, 1)),
    }[config.schedule]()
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup]) if warmup else after


def optimiser(config: OptimConfig, steps: int) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) or `adagrad` by the schedule, after clipping.

    Args:
        config: OptimConfig.
        steps: of the whole training, where a decaying schedule ends.
    """
    rate = schedule(config, steps)
    moments = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    update = {
        "adam": lambda: lazily(_adam(config, rate, moments)),
        "adamw": lambda: lazily(_adamw(config, rate, moments)),
        "adagrad": lambda: adagrad(rate, config.eps, config.momentum),
    }[config.name]()
    if config.schedule == "plateau":
        update = optax.chain(update, lowered())
    return optax.chain(optax.clip_by_global_norm(config.clip), update) if config.clip else update


class LoweredState(NamedTuple):
    rate_factor: Any  #: [] float32, what the learning rate is multiplied by


def lowered() -> optax.GradientTransformationExtraArgs:
    """Updates times a factor, 1 at first, that `lower` changes between steps: as another learning rate."""

    def update(updates, state, params=None, **extra_args):
        return jax.tree.map(lambda move: state.rate_factor * move, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: LoweredState(jnp.float32(1)), update)


def rate_factor(opt: Any) -> float:
    """What the learning rate of an optimiser's state is multiplied by: 1 where no plateau lowers it."""
    return float(optax.tree_utils.tree_get(opt, "rate_factor", 1.0))


def lower(config: OptimConfig, opt: Any, evals_without_improvement: int) -> Any:
    """The optimiser's state after an evaluation: at every so many without a better one the rate is multiplied.

    Args:
        config: OptimConfig.
        evals_without_improvement: up to now; 0: this is the best.
    """
    if config.schedule != "plateau" or not evals_without_improvement or evals_without_improvement % config.plateau:
        return opt
    held = optax.tree_utils.tree_get(opt, "rate_factor")
    factor = jax.device_put(np.float32(config.plateau_factor * rate_factor(opt)), held.sharding)
    return optax.tree_utils.tree_set(opt, rate_factor=factor)


def _adam(config, rate, moments):
    adam = optax.adam(rate, **moments)
    return optax.chain(decay(config.weight_decay, config.decayed), adam) if config.weight_decay else adam


def _adamw(config, rate, moments):
    if config.decayed == "all":
        return optax.adamw(rate, weight_decay=config.weight_decay, **moments)
    decaying = decay(config.weight_decay, config.decayed)
    return optax.chain(optax.scale_by_adam(**moments), decaying, optax.scale_by_learning_rate(rate))


def decay(share: float, which: str) -> optax.GradientTransformationExtraArgs:
    """Adds a share of the params to their updates.

    Args:
        which: "all"; or else only matrices, as BERT's authors do it (Devlin et al. 2019): biases, and the scales of
            norms, whose size means something, are left alone.
    """

    def update(updates, state, params=None, *, decayed=None, **extra_args):
        decayed = jax.tree.map(lambda _: True, params) if decayed is None else decayed
        leaf = lambda move, value, rows: move + share * jnp.where(rows, value, 0) if _decays(value) else move
        return jax.tree.map(leaf, updates, params, decayed), state

    _decays = lambda value: which == "all" or value.ndim > 1
    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def lazily(transform: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The transform; rows that are not used have no update, and what it keeps of them stays."""
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
    count: Any  #: [] int32, steps taken
    sum_of_squares: Any  #: of the gradients, as the params
    trace: Any  #: the last updates, as the params; None without momentum


def adagrad(rate: Callable, eps: float, momentum: float) -> optax.GradientTransformationExtraArgs:
    """Adagrad (Duchi et al. 2011) as in GRU4Rec's code, with momentum over its steps.

    acc <- acc + g^2; mom <- momentum x mom - rate x g / sqrt(acc + eps); p <- p + mom.

    Args:
        rate: a schedule.
        eps: above 0.
    """
    held = jax.lax.optimization_barrier

    def init(params):
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)
        return AdagradState(jnp.zeros([], jnp.int32), zeros(), zeros() if momentum else None)

    def update(updates, state, params=None, *, used=None, **extra_args):
        # A gradient of zero leaves a sum as it is: only the trace needs `used`. Each is held by a barrier: else a CPU
        # computes it again for every reader, and copies the old one to do so, in twice the time.
        sums = held(jax.tree.map(lambda sums, g: sums + g * g, state.sum_of_squares, updates))
        now = rate(state.count)
        moves = jax.tree.map(lambda g, sums: -now * g * jax.lax.rsqrt(sums + eps), updates, sums)
        if not momentum:
            return moves, AdagradState(state.count + 1, sums, None)
        used = jax.tree.map(lambda _: True, moves) if used is None else used
        goes_on = lambda old, move, use: jnp.where(use, momentum * old + move, old)
        trace = held(jax.tree.map(goes_on, state.trace, moves, used))
        moves = jax.tree.map(lambda new, use: jnp.where(use, new, 0), trace, used)
        return moves, AdagradState(state.count + 1, sums, trace)

    return optax.GradientTransformationExtraArgs(init, update)

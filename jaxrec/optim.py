"""The schedule and the optimiser of a configuration."""

import optax


def schedule(config, steps):
    """The learning rate as a function of the step: linear warm-up, then constant, linear to zero, or cosine to zero."""
    rate, warmup = config.rate, config.warmup
    after = {
        "constant": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, max(steps - warmup, 1)),
        "cosine": lambda: optax.cosine_decay_schedule(rate, max(steps - warmup, 1)),
    }[config.schedule]()
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup]) if warmup else after


def optimiser(config, steps):
    """Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) or Adagrad by the schedule, after clipping by the norm.

    Adagrad (Duchi et al. 2011) as in GRU4Rec's code, with momentum over its steps: acc <- acc + g^2;
    mom <- momentum x mom - rate x g / sqrt(acc + eps); p <- p + mom.

    Args:
        config: optim.{name, rate, b1, b2, eps, weight_decay, momentum, schedule, warmup, clip}; clip 0 is none.
        steps: of the whole training, where a decaying schedule ends.
    """
    rate = schedule(config, steps)
    moments = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    adagrad = optax.chain(optax.scale_by_rss(0.0, config.eps), optax.scale_by_learning_rate(rate))
    update = {
        "adam": lambda: optax.adam(rate, **moments),
        "adamw": lambda: optax.adamw(rate, weight_decay=config.weight_decay, **moments),
        "adagrad": lambda: optax.chain(adagrad, optax.trace(config.momentum)) if config.momentum else adagrad,
    }[config.name]()
    return optax.chain(optax.clip_by_global_norm(config.clip), update) if config.clip else update

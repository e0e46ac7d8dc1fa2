"""Checks that the values of a configuration fit together; errors name the key and a cure.

The requirements of models and losses are checked by their entries.
"""

import polars as pl

from jaxrec.config import registry
from jaxrec.config.fields import default
from jaxrec.config.keys import Config, OptimConfig
from jaxrec.system.errors import UserError

TOGETHER = (  # (key, another key, the values of that key that it requires)
    ("num_future_targets", "objective", ("next-item",)),
    ("num_future_targets", "stream", ("packed",)),
    ("overlap", "history", ("windows",)),
    ("overlap", "objective", ("next-item",)),
    ("overlap", "stream", ("packed",)),
    ("target_types", "stream", ("packed",)),
    ("start_prob", "objective", ("next-item",)),
    ("baskets", "objective", ("next-item",)),
    ("baskets", "stream", ("packed",)),
    ("baskets", "split", ("last-basket",)),
    ("baskets", "positions", ("from_start", "rotary")),
    ("baskets", "history", ("newest", "windows")),
    ("mask_prob", "objective", ("cloze",)),
    ("mask_last_prob", "objective", ("cloze",)),
)
OF_SPLITS = ("test_quantile", "valid_fraction")  # keys that only some splits use


def check(config: Config) -> None:
    """Checks that a Config can be trained, and that every key it sets has an effect.

    Raises:
        UserError: if not.
    """
    model, loss = registry.find("model", config.model.name), registry.find("loss", config.loss.name)
    _optim(config.optim)
    _plateau(config)
    _model(config, model)
    if 0 < config.row < config.length:
        raise UserError(f"config.row {config.row} is shorter than config.length {config.length}: raise it, or set 0")
    if config.num_future_targets > config.length:
        raise UserError(
            f"config.num_future_targets is {config.num_future_targets}, and a history has {config.length} items: set "
            f"it to config.length, {config.length}, or less"
        )
    if config.overlap >= config.length:
        raise UserError(
            f"config.overlap is {config.overlap}, and a window has {config.length} items: set it below config.length"
        )
    for key, other, values in TOGETHER:
        if getattr(config, key) != default(Config, key) and getattr(config, other) not in values:
            wanted, value = " or ".join(values), getattr(config, other)
            raise UserError(f"config.{key} is for config.{other}={wanted}: leave it out for {value}")
    _split(config)
    _features(config)
    _context(config, model)
    _baskets(config, model)
    if config.optim.sparse and not loss.sampled:
        raise UserError(
            f"config.optim.sparse is for sampled losses: {loss.name} updates every row of the table; set "
            "config.optim.sparse=False, or a sampled loss"
        )
    if config.loss.seen == "exclude" and config.feed == "host":
        raise UserError(
            "config.loss.seen=exclude keeps the items of all users on the devices, and config.feed=host is for logs "
            "that have no room there: set config.loss.seen=keep, or config.feed=device"
        )
    model.check(config)
    loss.check(config.loss)


def follows_order(kind: str) -> bool:
    """Whether a kind of context depends on the order of a basket's events."""
    return kind in ("gap", "session", "switch") or kind.startswith("asked_")


def _baskets(config, model):
    """Checks, if baskets are used, that the model supports them and nothing depends on the order within a basket."""
    if not config.baskets:
        return
    if not model.reads_baskets:
        raise UserError(
            f"config.baskets is not for {model.name}, which reads the events of a basket one after another: set "
            "config.model.name=sasrec, or leave config.baskets out: config.split=last-basket tests any model alike"
        )
    for key in ("num_future_targets", "overlap", "target_types"):
        if getattr(config, key) != default(Config, key):
            raise UserError(f"config.{key} is for items one after another: leave it out with config.baskets")
    kinds = [kind.strip() for kind in config.context.split(",")]
    for kind in kinds:
        if follows_order(kind):
            raise UserError(
                f"config.context has {kind}, which depends on the order of the events of a basket: leave it out with "
                "config.baskets"
            )


def _context(config, model):
    if config.context and not model.reads_context:
        raise UserError(f"config.context is not for {model.name}, which sees items alone: leave it out")
    if config.user_features and not model.reads_context:
        raise UserError(f"config.user_features is not for {model.name}, which sees items alone: leave it out")
    if config.start_prob and not config.user_features:
        raise UserError("config.start_prob is for config.user_features: name columns of users there, or leave it out")
    timed = model.reads_times(config.model)
    shown = config.context or config.user_features or timed
    if timed and not model.reads_context:
        raise UserError(f"{model.name} reads times but no context: its entry needs reads_context=True too")
    if config.context_dropout != default(Config, "context_dropout") and not shown:
        raise UserError("config.context_dropout is for config.context: leave it out otherwise")
    asked = [kind for kind in config.context.split(",") if kind.strip().startswith("asked_")]
    for key in ("asked_dropout", "valid_query_time"):
        if getattr(config, key) != default(Config, key) and not asked:
            raise UserError(f"config.{key} is for config.context=asked_hour and the like: leave it out otherwise")
    _zone(config)
    if config.loss.weight_clip and config.loss.weight == "none":
        raise UserError("config.loss.weight_clip is for config.loss.weight=linear or log: leave it out otherwise")


def _zone(config):
    zone = config.context_zone
    if zone == default(Config, "context_zone"):
        return
    if not {"hour", "weekday", "month"} & {kind.strip().removeprefix("asked_") for kind in config.context.split(",")}:
        raise UserError("config.context_zone is for hour, weekday or month in config.context: leave it out otherwise")
    try:
        pl.Series([0]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    except pl.exceptions.ComputeError:
        raise UserError(f"config.context_zone: {zone!r} is no time zone: give one such as Europe/Berlin") from None


def _optim(optim):
    for name in ("b1", "b2"):
        if optim.name == "adagrad" and getattr(optim, name) != default(OptimConfig, name):
            raise UserError(f"config.optim.{name} is for adam and adamw: leave it out for adagrad")
    if optim.weight_decay and optim.name == "adagrad":
        raise UserError("config.optim.weight_decay is for adam and adamw: leave it 0 for adagrad")
    if optim.decayed != default(OptimConfig, "decayed") and not optim.weight_decay:
        raise UserError("config.optim.decayed is for config.optim.weight_decay: leave it out otherwise")
    if optim.momentum and optim.name != "adagrad":
        raise UserError("config.optim.momentum is for adagrad: leave it 0 (adam has its own, config.optim.b1)")
    if optim.sparse and (optim.name == "adamw" or optim.weight_decay):
        cure = "adamw decays all of them: take adam or adagrad"
        if optim.name != "adamw":
            cure = "config.optim.weight_decay decays all of them: leave it 0"
        raise UserError(f"config.optim.sparse leaves most rows alone, and {cure}")
    if optim.sparse and optim.ema:
        raise UserError(
            "config.optim.sparse leaves most rows alone, and config.optim.ema averages all of them: leave one out"
        )


def _features(config):
    for key in ("features_only", "id_dropout", "cold_bonus"):
        if getattr(config, key) and not config.features:
            raise UserError(f"config.{key} is for config.features: name columns of items there, or leave it out")
    if config.features_only and config.id_dropout:
        raise UserError("config.features_only leaves no vectors of items to drop: leave config.id_dropout 0")


def _plateau(config):
    optim = config.optim
    if optim.schedule != "plateau":
        for name in ("plateau", "plateau_factor"):
            if getattr(optim, name) != default(OptimConfig, name):
                raise UserError(f"config.optim.{name} is for config.optim.schedule=plateau: leave it out")
        return
    if not optim.plateau:
        raise UserError(
            "config.optim.schedule is plateau: set config.optim.plateau, the number of evaluations without improvement "
            "before the rate is lowered"
        )
    if 0 < config.patience <= optim.plateau:
        raise UserError(
            f"config.patience {config.patience} ends the training before config.optim.plateau {optim.plateau} lowers "
            "its rate: set config.optim.plateau below config.patience"
        )
    if "valid_fraction" in registry.find("split", config.split).keys and not config.valid_fraction:
        raise UserError(
            "config.optim.schedule is plateau, and with config.valid_fraction=0 there is no validation: set "
            "config.valid_fraction=0.1, or another schedule"
        )


def _model(config, model):
    """Checks the keys that depend on the model's capabilities."""
    if config.objective not in model.objectives:
        raise UserError(
            f"config.objective is {config.objective}: {model.name} is trained by {' or '.join(model.objectives)}; set "
            f"config.objective={model.objectives[0]}, or another config.model.name"
        )
    if config.objective == "cloze" and config.length < 2:
        raise UserError(
            f"config.length is 1: a prediction of {model.name} takes a slot after the history; set 2 or more"
        )
    if config.stream == "session-parallel" and not model.carries_state:
        raise UserError(
            f"config.stream is session-parallel, and {model.name} carries no state from step to step (gru4rec does): "
            "set config.stream=packed"
        )
    if config.positions not in model.positions:
        raise UserError(
            f"config.positions is {config.positions}: {model.name} has no positions; leave it {model.positions[0]}"
            if len(model.positions) == 1
            else f"config.positions is {config.positions}: {model.name} has {' or '.join(model.positions)}"
        )
    if model.has_users(config.model) and not registry.find("split", config.split).same_users:
        raise UserError(
            f"config.model.users is not for split={config.split}, whose test sessions are all new: leave it out"
        )


def _split(config):
    takes = {name: registry.find("split", name).keys for name in registry.names("split")}
    takes[config.split] = registry.find("split", config.split).keys
    for key in OF_SPLITS:
        if getattr(config, key) != default(Config, key) and key not in takes[config.split]:
            wanted = " or ".join(sorted(name for name, keys in takes.items() if key in keys))
            raise UserError(f"config.{key} is for config.split={wanted}: leave it out for {config.split}")

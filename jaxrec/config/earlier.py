"""Reads configurations of earlier versions: accepts renamed keys, with a warning, and removed keys without effect."""

import functools
import logging
from typing import Any

from jaxrec.system.errors import UserError

log = logging.getLogger("jaxrec")

RENAMED = {
    "split_q": "test_quantile",
    "valid": "valid_fraction",
    "ahead": "num_future_targets",
    "mask": "mask_prob",
    "mask_last": "mask_last_prob",
    "rows_at_once": "microbatch_rows",
    "model.expand": "model.ffn_multiplier",
    "loss.collisions": "loss.remove_accidental_hits",
    "loss.t": "loss.gbce_t",
    "optim.rate": "optim.learning_rate",
}
#: removed keys, which gained nothing where they were measured, and their values without effect
REMOVED = {"contrast": 0.0, "item_dropout": 0.0, "sequence_dropout": 0.0, "model.transitions": False}
#: {model: its former keys that had no effect, though it has since got a key of the current name}
WITHOUT_EFFECT = {"sasrec": ("expand",)}
VALUES = {  # current key -> {former value: current value}
    "stream": {"lanes": "session-parallel"},
    "loss.share": {"sequence": "row"},
    "loss.remove_accidental_hits": {"mask": True, "keep": False},
}
#: former defaults of all models and losses, accepted for entries without the key, where they have no effect
DEFAULTS = {
    "model": {
        "heads": 1,
        "norm": "query",
        "init": "xavier",
        "ffn_multiplier": 4,
        "window": 5,
        "vertical": 4,
        "horizontal": 16,
        "users": False,
        "transform": True,
        "embedding": "shared",
        "input_dropout": 0.0,
    },
    "loss": {
        "negatives": 0,
        "sampling": "uniform-unseen",
        "share": "slot",
        "remove_accidental_hits": True,
        "alpha": 0.75,
        "logq": 0.0,
        "logq_counts": "targets",
        "gbce_t": 0.75,
        "bpreg": 1.0,
        "elu": 0.0,
    },
}


def renamed(key: str, value: Any) -> tuple[str, Any]:
    """Returns the current names of a key, such as "optim.rate", and of its value."""
    key = RENAMED.get(key, key)
    values = VALUES.get(key, {})
    return key, values[value] if isinstance(value, str) and value in values else value


def modernised(values: dict) -> dict:
    """Returns the nested dict of a configuration with current names of keys and values.

    Raises:
        UserError: if a key is given by both names, or was removed and its value would have an effect.
    """
    new: dict[str, Any] = {}
    changed = []
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    model = values.get("model")
    if isinstance(model, dict):
        values["model"] = {
            key: model[key] for key in model if key not in WITHOUT_EFFECT.get(str(model.get("name")), ())
        }
    for path, nothing in REMOVED.items():
        *groups, last = path.split(".")
        inner = values.get(groups[0]) if groups else values
        if not isinstance(inner, dict) or last not in inner:
            continue
        if str(inner.pop(last)) not in (str(nothing), "0"):
            raise UserError(f"config.{path} was removed, since it gained nothing (docs/recipes.md): leave it out")

    def put(path, value):
        now, given = renamed(path, value)
        *groups, last = now.split(".")
        inner = new
        for group in groups:
            inner = inner.setdefault(group, {})
        if last in inner:
            raise UserError(f"config.{path} is renamed to config.{now}, and both are given: leave out config.{path}")
        inner[last] = given
        if now != path:
            changed.append(f"config.{path} is renamed to config.{now}")
        elif given is not value:
            changed.append(f"config.{path}={value} is renamed to config.{now}={given}")

    # current names first, so that errors name the former one
    for old in (False, True):
        for name, value in values.items():
            if not isinstance(value, dict):
                if (name in RENAMED) == old:
                    put(name, value)
                continue
            new.setdefault(name, {})
            for own, inner in value.items():
                if (f"{name}.{own}" in RENAMED) == old:
                    put(f"{name}.{own}", inner)
    if changed:
        warn("; ".join(changed))
    return new


@functools.cache
def warn(text: str) -> None:
    """Logs a warning about renamed keys, once per text."""
    log.warning("%s: the old names are still read", text)


def without_defaults(group: str, values: dict, own: set[str]) -> dict:
    """Returns the keys of a model or a loss, except keys that it doesn't have at their former defaults."""
    said_nothing = DEFAULTS[group]
    return {
        name: value
        for name, value in values.items()
        if name in own or name not in said_nothing or value != said_nothing[name]
    }

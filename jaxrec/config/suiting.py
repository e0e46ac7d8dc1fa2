"""Adapts a recipe to another model or loss than the one it was written for."""

import dataclasses
from collections.abc import Collection
from typing import Any

from jaxrec.config import registry
from jaxrec.config.keys import AUTO, Config
from jaxrec.config.parsing import flatten
from jaxrec.system.errors import UserError

#: keys of optim that depend on each other
OF_THE_MOMENTS = ("name", "learning_rate", "b1", "b2", "eps", "momentum", "weight_decay")
#: defaults of the optional keys
DEFAULTS = {f.name: f.default for f in dataclasses.fields(Config) if f.default is not dataclasses.MISSING}
MISSING = object()


def suited(values: dict, before: str | None, given: Collection[str]) -> tuple[str, ...]:
    """Adapts a recipe's values in place to its model, if the recipe was written for another.

    Keys that were given stay. Those in the new model's `suits` and `as_published` are set, except where they are
    `auto`; keys that only the old model has are removed. A model without `suits`, such as your own, changes nothing.

    Args:
        values: nested values of a configuration.
        before: the model that the recipe was written for; None if it names none.
        given: keys that the user gave, such as "model.dim".

    Returns:
        A note about the changes; empty if there are none.
    """
    now = values["model"].get("name") if isinstance(values.get("model"), dict) else None
    if not before or before == now or not isinstance(now, str):
        return ()
    old, new = registry.find("model", before), registry.find("model", now)
    if not new.suits:
        return ()
    was = DEFAULTS | flatten(values)
    own = {f.name for f in dataclasses.fields(new.options)}
    _drop(values["model"], [key for key in values["model"] if key not in own and f"model.{key}" not in given])
    for key in old.suits:
        if key not in new.suits and key not in given and key in DEFAULTS:
            values.pop(key, None)
    optim = values.get("optim")
    if isinstance(optim, dict) and "optim.name" not in given and was.get("optim.learning_rate") != AUTO:
        _drop(optim, [key for key in OF_THE_MOMENTS if f"optim.{key}" not in given and optim.get(key) != AUTO])
    for key, value in (*new.suits.items(), *new.as_published.items()):
        if key not in given and was.get(key) != AUTO:
            _put(values, key, value)
    is_now = flatten(values)
    changed = {key: value for key, value in is_now.items() if key not in given and was.get(key, MISSING) != value}
    if not changed:
        return ()
    listed = ", ".join(f"{key}={value}" for key, value in sorted(changed.items()))
    return (f"the recipe is {before}'s: for {now} {listed} (--config.KEY=VALUE changes any)",)


def suited_loss(values: dict, before: str | None, given: Collection[str]) -> tuple[str, ...]:
    """Adapts a recipe's values in place to its loss, if the recipe was written for another, or leaves it open.

    Keys that were given stay, and so do those that both losses have, if the new one takes them. Otherwise what its
    entry `suits` replaces them, such as a number of negatives.

    Args:
        values: nested values of a configuration.
        before: the loss that the recipe was written for, or `auto`; None if it names none.
        given: keys that the user gave, such as "loss.name".

    Returns:
        A note about the keys that were set; empty if there are none.
    """
    loss: Any = values.get("loss")
    now = loss.get("name") if isinstance(loss, dict) else None
    if not before or now in (before, AUTO) or not isinstance(now, str):
        return ()
    new = registry.find("loss", now)
    both = [new] if before == AUTO else [new, registry.find("loss", before)]
    shared = set.intersection(*({f.name for f in dataclasses.fields(entry.options)} for entry in both))
    _drop(loss, [key for key in loss if key not in shared and f"loss.{key}" not in given])
    if _takes(new, loss):
        return ()
    own = {key: value for key, value in loss.items() if key == "name" or f"loss.{key}" in given}
    if not _takes(new, made := {**new.suits, **own}):
        return ()  # what was given doesn't go together: an error will say so
    values["loss"] = made
    listed = ", ".join(f"loss.{key}={value}" for key, value in sorted(made.items()) if key not in own)
    return (f"for {now} {listed} (--config.KEY=VALUE changes any)",)


def _takes(loss: Any, values: dict) -> bool:
    """Whether these keys are all that a loss needs, and go together."""
    try:
        loss.check(loss.options(**values))
    except (TypeError, UserError):
        return False
    return True


def _put(values: dict, key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def _drop(values, keys):
    for key in keys:
        values.pop(key, None)

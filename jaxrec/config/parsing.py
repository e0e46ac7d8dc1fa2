"""Builds a Config from nested dicts; errors name the key and a cure."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from jaxrec.config import checks, earlier, registry
from jaxrec.config.fields import default
from jaxrec.config.keys import AUTO, IN_BATCH, Config, OptimConfig as OptimConfig
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

MOST = (1 << 31) - 1  # maximum integer: steps, slots and ids are int32
ENTRIES = ("model", "loss")  # groups with the keys of an entry


def from_dict(values: dict) -> Config:
    """Returns the Config of nested dicts, as from a configuration file.

    Raises:
        UserError: if a key is unknown, missing or of the wrong type, or a value is invalid.
    """
    config = _build(Config, earlier.modernised(dict(values)), "")
    checks.check(config)
    return _with_metric(config)


def from_stored(values: dict) -> Config:
    """Returns the Config stored in a workdir; keys added since have the value that the training used."""
    values = earlier.modernised(dict(values))
    loss = values.get("loss", {})
    if "logq_counts" not in loss and loss.get("logq") and loss.get("sampling") in IN_BATCH:
        values["loss"] = loss | {"logq_counts": "events"}
    if "select_by" not in values and _validates(values):
        values["select_by"] = "ndcg@10"
    return from_dict(values)


def _validates(values):
    split = registry.find("split", values.get("split", default(Config, "split")))
    fraction = values.get("valid_fraction", default(Config, "valid_fraction"))
    return "valid_fraction" not in split.keys or fraction > 0


def _with_metric(config):
    """Returns the configuration with `select_by` filled in, if there is validation."""
    if not _validates(dataclasses.asdict(config)):
        if config.select_by:
            raise UserError(
                f"config.select_by is {config.select_by}, and with config.valid_fraction=0 there is no validation: "
                "leave select_by out, or set config.valid_fraction=0.1"
            )
        return config
    chosen = config.select_by or registry.find("split", config.split).select_by
    return dataclasses.replace(config, select_by=chosen)


def check_keys(values: dict) -> None:
    """Checks that nested values, possibly `auto`, have valid keys.

    Raises:
        UserError: if a key doesn't exist, with the closest one, or an entry's name is missing.
    """
    _check_keys(Config, values, "")
    _check_keys(OptimConfig, _group(values.get("optim", {}), "optim"), "optim.")
    for group in ENTRIES:
        found = _group(values.get(group, {}), group)
        if found.get("name") != AUTO:
            entry, own = _entry(group, found)
            given = {key: value for key, value in found.items() if value != AUTO}
            _check_keys(entry.options, earlier.without_defaults(group, given, own), f"{group}.", entry.name)


def _check_keys(kind, values, prefix, of=""):
    fields = [f.name for f in dataclasses.fields(kind)]
    for key in values:
        if key not in fields:
            raise UserError(_no_such_key(key, fields, prefix, of))


def to_dict(config: Config) -> dict:
    """Returns the nested dict for `from_dict`."""
    return dataclasses.asdict(config)


def flatten(values: dict, prefix: str = "") -> dict[str, Any]:
    """Flattens a nested dict: {"model.dim": 64, ...}.

    >>> flatten({"seed": 0, "model": {"dim": 64}})
    {'seed': 0, 'model.dim': 64}
    """
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def nested(flat: Mapping[str, Any]) -> dict:
    """Returns the nested dict of {"group.key": value}; the inverse of `flatten`.

    >>> nested({"seed": 0, "optim.name": "adam", "optim.clip": 1.0})
    {'seed': 0, 'optim': {'name': 'adam', 'clip': 1.0}}
    """
    made: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, last = key.split(".")
        inner = made
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return made


def row_width(config: Config) -> int:
    """Returns the slots per row: config.row, or the maximum length of a history."""
    return config.row or config.length


def _build(kind, values, prefix, of=""):
    """Returns an instance of the dataclass `kind`. `of`: name of the entry that the keys belong to."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    _check_keys(kind, values, prefix, of)
    built = {}
    for name, f in fields.items():
        if name not in values:
            if f.default is dataclasses.MISSING:
                raise UserError(f"config.{prefix}{name} is missing: every configuration sets it")
            continue
        built[name] = _value(f, values[name], prefix + name)
    return kind(**built)


def _no_such_key(key, fields, prefix, of):
    group = prefix.rstrip(".")
    others = [name for name in registry.names(group) if _has(group, name, key)] if of else []
    if others:
        return f"config.{prefix}{key} is for {_listed(others)}: leave it out for {of}"
    near = difflib.get_close_matches(key, fields, 1)
    hint = f"did you mean config.{prefix}{near[0]}?" if near else f"the keys are {', '.join(fields)}"
    return f"config.{prefix}{key}: no such key{f' of {of}' if of else ''}; {hint}"


def _listed(names):
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _has(group, name, key):
    return any(f.name == key for f in dataclasses.fields(registry.find(group, name).options))


def _value(f, value, name):
    if name in ENTRIES:
        return _options(name, value)
    if dataclasses.is_dataclass(f.type):
        return _build(f.type, _group(value, name, dataclasses.fields(f.type)[0].name), f"{name}.")
    if f.type is float and type(value) is int:
        value = float(value)
    if f.type is str and type(value) is int:  # a folder's name may be a number
        value = str(value)
    if type(value) is not f.type:
        raise UserError(
            f"config.{name} is {value!r}, of type {type(value).__name__}: it must be of type {f.type.__name__}"
        )
    if isinstance(value, int) and name != "seed" and value > MOST:
        raise UserError(f"config.{name} is {arguments.shown(value)}: at most {MOST:,}")
    choices, rule = f.metadata.get("choices"), f.metadata.get("rule")
    if choices and value not in choices:
        raise UserError(f"config.{name} is {value!r}: choose one of {', '.join(choices)}")
    if rule and (said := rule(value)):
        raise UserError(f"config.{name} is {value}: {said}")
    return value


def _group(value, name, key="name"):
    if not isinstance(value, dict):
        raise UserError(f"config.{name} is {value!r}: it is a group of keys, as in config.{name}.{key}")
    return value


def _options(group, value):
    """Returns the options of the entry named in a group of keys."""
    entry, own = _entry(group, _group(value, group))
    return _build(entry.options, earlier.without_defaults(group, value, own), f"{group}.", entry.name)


def _entry(group, values):
    """Returns the entry named in a group of keys, and the names of its keys."""
    name = values.get("name")
    if not isinstance(name, str):
        raise UserError(f"config.{group}.name is missing: choose one of {', '.join(registry.names(group))}")
    entry = registry.find(group, name)
    return entry, {f.name for f in dataclasses.fields(entry.options)}

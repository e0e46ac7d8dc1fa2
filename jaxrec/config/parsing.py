"""A configuration, built once from nested dicts; an error names the key and the cure."""

import dataclasses
import difflib

from jaxrec.config import checks
from jaxrec.config.keys import IN_BATCH, Config, default
from jaxrec.config.keys import LossConfig as LossConfig
from jaxrec.config.keys import ModelConfig as ModelConfig
from jaxrec.config.keys import OptimConfig as OptimConfig
from jaxrec.system.errors import UserError


def from_dict(values):
    """Config from nested dicts, as a config file gives them.

    Raises:
        UserError: an unknown, missing or ill-typed key, or a value that can't be.
    """
    config = _build(Config, dict(values), "")
    checks.check(config)
    return _with_metric(config)


def from_stored(values):
    """Config from what a workdir keeps: keys that came later have the value by which it was trained."""
    values = dict(values)
    loss = values.get("loss", {})
    if "logq_counts" not in loss and loss.get("logq") and loss.get("sampling") in IN_BATCH:
        values["loss"] = loss | {"logq_counts": "events"}
    if "select_by" not in values and _validates(values):
        values["select_by"] = "ndcg@10"
    return from_dict(values)


def _validates(values):
    return values.get("split") != "sessions" or values.get("valid", default(Config, "valid")) > 0


def _with_metric(config):
    """The configuration with the metric that chooses the checkpoint, where anything validates."""
    if not _validates(dataclasses.asdict(config)):
        if config.select_by:
            raise UserError(f"config.select_by is {config.select_by}, and with config.valid=0 nothing validates")
        return config
    chosen = config.select_by or ("mrr@20" if config.split == "sessions" else "ndcg@10")
    return dataclasses.replace(config, select_by=chosen)


def to_dict(config):
    """The nested dict that `from_dict` takes."""
    return dataclasses.asdict(config)


def flatten(values, prefix=""):
    """Nested dict -> {"model.dim": 64, ...}.

    >>> flatten({"seed": 0, "model": {"dim": 64}})
    {'seed': 0, 'model.dim': 64}
    """
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def row_width(config):
    """Slots a row: config.row, or the longest history."""
    return config.row or config.length


def _build(kind, values, prefix):
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean config.{prefix}{near[0]}?" if near else f"the keys are {', '.join(fields)}"
            raise UserError(f"config.{prefix}{key}: no such key; {hint}")
    built = {}
    for name, f in fields.items():
        if name not in values:
            if f.default is dataclasses.MISSING:
                raise UserError(f"config.{prefix}{name} is missing: every configuration sets it")
            continue
        built[name] = _value(f, values[name], prefix + name)
    return kind(**built)


def _value(f, value, name):
    if dataclasses.is_dataclass(f.type):
        if not isinstance(value, dict):
            raise UserError(f"config.{name} is {value!r}: it is a group of keys, as in config.{name}.name")
        return _build(f.type, value, f"{name}.")
    if f.type is float and type(value) is int:
        value = float(value)
    if f.type is str and type(value) is int:  # a folder may be named by a number
        value = str(value)
    if type(value) is not f.type:
        raise UserError(
            f"config.{name} is {value!r}, of type {type(value).__name__}: it must be of type {f.type.__name__}"
        )
    choices = f.metadata.get("choices")
    if choices and value not in choices:
        raise UserError(f"config.{name} is {value!r}: choose one of {', '.join(choices)}")
    return value

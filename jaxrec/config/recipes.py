"""Loads configurations by file or shipped name, with overrides."""

import ast
import copy
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.config import earlier, parsing as configs, suiting
from jaxrec.config.keys import AUTO, Config
from jaxrec.system.errors import UserError

FOLDERS = [Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs"]  # installed, or in a checkout
PARTS = ("model", "loss")  # groups of keys that depend on their `name`
TEXTS = ("dataset", "init_from")  # keys whose values are always text


class Recipe(NamedTuple):
    """An unchecked configuration. Values may be `auto`, to be determined from the log (training/auto.py)."""

    values: dict  #: nested values of a file, with the changes
    name: str  #: file name without its suffix
    notes: tuple[str, ...]  #: what else was changed, for the user to read


def load(name: str, overrides: Mapping[str, Any]) -> tuple[Config, str]:
    """Returns the Config of a file or a shipped name with overrides, and its name.

    Raises:
        UserError: if there is no such configuration, it has an error, or an override has no key.
    """
    recipe = read(name, overrides)
    return configs.from_dict(recipe.values), recipe.name


def read(name: str, overrides: Mapping[str, Any]) -> Recipe:
    """Returns the Recipe of a file or a shipped name with overrides: {"model.dim": a value, or its text}.

    Raises:
        UserError: if there is no such configuration, it has an error, or an override's group is a value.
    """
    path = find(name)
    try:
        module = runpy.run_path(str(path))
        values = module["get_config"]().to_dict() if "get_config" in module else None
    except Exception as error:
        raise UserError(f"{path}: {type(error).__name__}: {error} (--debug shows where)") from error
    if values is None:
        raise UserError(f"{path}: a configuration file defines get_config(), which returns a ConfigDict")
    return changed(values, overrides, path.stem)


def changed(values: dict, overrides: Mapping[str, Any], name: str) -> Recipe:
    """Returns the Recipe of nested values with changed keys. Another model or loss brings the keys in its `suits`."""
    values = copy.deepcopy(earlier.modernised(values))
    model, loss = (values[part].get("name") if isinstance(values.get(part), dict) else None for part in PARTS)
    given = set()
    for key, text in overrides.items():
        now, value = earlier.renamed(key, literal(text))
        *groups, last = now.split(".")
        inner = values
        for at, group in enumerate(groups, 1):
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise UserError(f"--config.{key}: config.{'.'.join(groups[:at])} is a value, not a group of keys")
        # text stays text, since a folder may be named 1_000, 1.50 or True
        as_it_stands = (isinstance(inner.get(last), str) and inner[last] != AUTO) or now in TEXTS
        inner[last] = text if as_it_stands else value
        given.add(now)
        if now != key:
            earlier.warn(f"config.{key} is renamed to config.{now}")
    notes = (*suiting.suited(values, model, given), *suiting.suited_loss(values, loss, given))
    return Recipe(values, name, notes)


def literal(text: Any) -> Any:
    """Returns the number or boolean that a text represents, otherwise the text.

    >>> literal("64"), literal("0.1"), literal("windows")
    (64, 0.1, 'windows')
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # raised for text that isn't a literal
        return text
    return value if isinstance(value, bool | int | float | str) else text


def find(name: str) -> Path:
    """Returns the file of a configuration: a path, or a name in ./configs or among the shipped ones.

    Raises:
        UserError: if there is none; lists the shipped ones.
    """
    stem = name.removesuffix(".py")
    for path in (Path(name), *(folder / f"{stem}.py" for folder in (Path("configs"), *FOLDERS))):
        if path.is_file():
            return path
    names = ", ".join(path.stem for path in shipped())
    raise UserError(f"no configuration {name!r}: give a file, or one of the shipped: {names}")


def shipped() -> list[Path]:
    """Returns the files of the shipped configurations, sorted by name."""
    found = {path.stem: path for folder in reversed(FOLDERS) for path in folder.glob("*.py")}
    return [found[name] for name in sorted(found)]

"""Configurations by file or shipped name, with what the command line changes in them."""

import ast
import copy
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.config import earlier, parsing as configs, suiting
from jaxrec.config.keys import AUTO, Config
from jaxrec.system.errors import UserError

FOLDERS = [Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs"]  # installed, and in a checkout
TEXTS = ("dataset", "init_from")  # keys whose value is never a number
KEYS = Path(__file__).with_name("keys.py")  # which says of every key what it means


class Recipe(NamedTuple):
    """A configuration before it is checked: its values may be `auto`, which a log resolves (training/auto.py)."""

    values: dict  #: nested, as a file gives them, with the changes
    name: str  #: the file's, without its ending
    notes: tuple[str, ...]  #: what else had to change, for people


def load(name: str, overrides: Mapping[str, Any]) -> tuple[Config, str]:
    """The Config of a file or a shipped name, with the overrides. Returns it and the config's own name.

    Raises:
        UserError: no such config, an error in it, or an override that fits no key.
    """
    recipe = read(name, overrides)
    return configs.from_dict(recipe.values), recipe.name


def read(name: str, overrides: Mapping[str, Any]) -> Recipe:
    """The Recipe of a file or a shipped name, with the overrides: {"model.dim": a value, or its text}.

    Raises:
        UserError: no such config, an error in it, or an override of a key within a key.
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
    """The Recipe of nested values with some keys changed; with another model, what suits that one is changed too."""
    values = copy.deepcopy(earlier.modernised(values))
    model = values.get("model", {}).get("name") if isinstance(values.get("model"), dict) else None
    given = set()
    for key, text in overrides.items():
        now, value = earlier.renamed(key, literal(text))
        *groups, last = now.split(".")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise UserError(f"--config.{key}: config.{group} is a value, not a group of keys")
        # a text stays as it stands: a folder may be named 1_000, 1.50 or True
        as_it_stands = (isinstance(inner.get(last), str) and inner[last] != AUTO) or now in TEXTS
        inner[last] = text if as_it_stands else value
        given.add(now)
        if now != key:
            earlier.warn(f"config.{key} is renamed to config.{now}")
    return Recipe(values, name, suiting.suited(values, model, given))


def literal(text: Any) -> Any:
    """A number or boolean where the text reads as one, else the text.

    >>> literal("64"), literal("0.1"), literal("windows")
    (64, 0.1, 'windows')
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that it raises of what is none
        return text
    return value if isinstance(value, bool | int | float | str) else text


def find(name: str) -> Path:
    """The file of a configuration: a path, or a name in ./configs or among the shipped.

    Raises:
        UserError: none; the message lists the shipped ones.
    """
    stem = name.removesuffix(".py")
    for path in (Path(name), *(folder / f"{stem}.py" for folder in (Path("configs"), *FOLDERS))):
        if path.is_file():
            return path
    names = ", ".join(path.stem for path in shipped())
    raise UserError(f"no configuration {name!r}: give a file, or one of the shipped: {names}")


def shipped() -> list[Path]:
    """The files of the shipped configurations, by name."""
    found = {path.stem: path for folder in reversed(FOLDERS) for path in folder.glob("*.py")}
    return [found[name] for name in sorted(found)]

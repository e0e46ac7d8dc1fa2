"""Every key of a configuration, with its values, default and meaning, read from the dataclasses that define them."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

from jaxrec.config import registry
from jaxrec.config.keys import Config, LossOptions, MeshConfig, ModelOptions, OptimConfig

MARK = "#:"  # begins a comment that says what a field means
KINDS = {"int": "whole number", "float": "number", "str": "text", "bool": "True or False"}


@dataclass(frozen=True)
class Key:
    """A key of a configuration."""

    name: str  #: "model.dim"
    values: str  #: its valid values, in words
    default: str  #: "required" if there is none
    meaning: str
    of: tuple[str, ...] = ()  #: the models or losses that have it; empty: all


def listed() -> list[Key]:
    """Returns all keys: those of every training, then those of each model and loss.

    >>> found = {key.name: key for key in listed()}
    >>> found["mask_prob"].default, found["model.norm_type"].of
    ('0.2', ('sasrec',))
    """
    plain = [key for key in _of(Config) if key.name not in ("model", "loss", "optim", "mesh")]
    nested = [*_of(OptimConfig, "optim."), *_of(MeshConfig, "mesh.")]
    return [*plain, *_of_entries("model", ModelOptions), *_of_entries("loss", LossOptions), *nested]


def _of_entries(kind: str, base: type) -> Iterator[Key]:
    """Yields the keys of all entries of a kind; keys that are equal in everything only once."""
    names = registry.names(kind)
    shared = list(_of(base, f"{kind}."))
    yield from shared
    found: dict[Key, list[str]] = {}
    for name in names:
        for key in _of(registry.find(kind, name).options, f"{kind}."):
            if key not in shared:
                found.setdefault(key, []).append(name)
    for key, having in sorted(found.items(), key=lambda each: each[0].name):
        yield replace(key, of=tuple(having))


def _of(kind: type, prefix: str = "") -> Iterator[Key]:
    """Yields the keys of a dataclass."""
    told = {name: text for each in reversed(kind.__mro__[:-1]) for name, text in meanings(each).items()}
    for field in fields(kind):
        yield Key(prefix + field.name, _values(field), _default(field.default), told.get(field.name, ""))


def _values(field: Field) -> str:
    if choices := field.metadata.get("choices"):
        return ", ".join(choices)
    kind = KINDS.get(getattr(field.type, "__name__", str(field.type)), "")
    rule = field.metadata.get("rule")
    said = (rule.__doc__ or "").partition(";")[0].rstrip(".") if rule else ""
    return f"{kind}, {said[:1].lower()}{said[1:]}" if kind and said else kind


def _default(value: Any) -> str:
    if value is MISSING:
        return "required"
    return '""' if value == "" else str(value)


def meanings(kind: type) -> dict[str, str]:
    """Returns the meanings of a class's own fields, from comments that begin with `#:` before or beside a field."""
    try:
        text = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):  # no source: the class was defined interactively, or by a program
        return {}
    rows, said = text.splitlines(), {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and MARK in token.string:
            said[token.start[0]] = token.string.partition(MARK)[2].strip()
    alone = {line for line in said if rows[line - 1].lstrip().startswith(MARK)}
    found = {}
    for field in ast.walk(ast.parse(text)):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        first, last = field.lineno, field.end_lineno or field.lineno
        while first - 1 in alone:
            first -= 1
        if lines := sorted(said.keys() & {*range(first, last + 1)}):
            found[field.target.id] = " ".join(said[line] for line in lines)
    return found


def matching(words: Iterable[str]) -> list[Key]:
    """Returns the keys that have all these words in their names, or in those of their models or losses.

    >>> [key.name for key in matching(["mask"])]
    ['mask_prob', 'mask_last_prob']
    """
    return [key for key in listed() if all(word.lower() in " ".join([key.name, *key.of]) for word in words)]

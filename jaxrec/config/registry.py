"""A registry of models, losses, readers, protocols and splits by name, loaded on demand.

An entry is an object with its own rules. jaxrec's entries are found in the modules of their kind; your own by import
path, such as "mypackage.pooling:MODEL", or by name once registered.
"""

import importlib
import pkgutil
import sys
from typing import Any, ClassVar, TypeVar

from jaxrec.system.errors import UserError


class Entry:
    """Something to look up by name. Subclasses are frozen dataclasses with a field `name`."""

    kind: ClassVar[str]  #: "model", "loss", "reader", "protocol" or "split"
    name: str


T = TypeVar("T", bound=Entry)

#: modules of jaxrec's entries: a package with an entry per module, or a module with all of them
PLACES = {
    "model": "jaxrec.models",
    "loss": "jaxrec.training.losses",
    "reader": "jaxrec.data.readers",
    "protocol": "jaxrec.evaluation.protocols",
    "split": "jaxrec.data.splits",
}
WORDS = {"reader": "format"}  #: the term for a kind in messages, if it differs
_registered: dict[tuple[str, str], Entry] = {}


def register(entry: T) -> T:
    """Registers an entry by its name, in this process. Returns it, so it can be used as a decorator.

    Args:
        entry: a model, loss, reader, protocol or split.

    Raises:
        UserError: if it isn't an entry, or jaxrec has one of this kind and name.
    """
    if not isinstance(entry, Entry):
        raise UserError(f"{entry!r} is not an entry: register a Model, Loss, Reader, Protocol or Split of jaxrec")
    if entry.name in _own(entry.kind):
        raise UserError(f"jaxrec has a {entry.kind} {entry.name!r} of its own: give yours another name")
    _registered[entry.kind, entry.name] = entry
    return entry


def find(kind: str, name: str) -> Any:
    """Returns the entry of this kind and name, or at this import path.

    Raises:
        UserError: if there is none; lists the names.
    """
    if ":" in name:
        return _imported(kind, name)
    if found := _registered.get((kind, name)) or _direct(kind, name) or _own(kind).get(name):
        return found
    raise UserError(
        f"no {WORDS.get(kind, kind)} {name!r}: choose one of {', '.join(names(kind))}; or one of your own, by its "
        "import path as package.module:NAME, or after jaxrec.register"
    )


def names(kind: str) -> list[str]:
    """Returns the names of a kind's entries: jaxrec's own, then the registered ones."""
    return [*_own(kind), *(name for of, name in _registered if of == kind)]


def _direct(kind, name):
    """Returns jaxrec's entry from the module of this name, without importing the others."""
    place = f"{PLACES[kind]}.{name.replace('-', '_')}"
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or PLACES[kind] == error.name):
            return None
        raise
    return _entries(kind, module).get(name)


def _own(kind):
    """Returns jaxrec's entries of a kind, {name: entry}."""
    place = importlib.import_module(PLACES[kind])
    found = _entries(kind, place)
    for module in pkgutil.iter_modules(getattr(place, "__path__", ())):
        found |= _entries(kind, importlib.import_module(f"{PLACES[kind]}.{module.name}"))
    return found


def _entries(kind, module):
    values = [value for value in vars(module).values() if isinstance(value, Entry) and value.kind == kind]
    return {value.name: value for value in values}


def _imported(kind, path):
    """Returns the entry at an import path, which may be in the current folder."""
    module, _, attribute = path.partition(":")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no {kind} at {path!r}: {error}: give an import path, as package.module:NAME") from None
    finally:
        sys.path.remove("")
    if not isinstance(found, Entry) or found.kind != kind:
        raise UserError(f"{path!r} is a {type(found).__name__}, where a {kind} is expected")
    return found

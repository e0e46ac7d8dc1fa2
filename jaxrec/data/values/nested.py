"""Nested values: `events.aid` is the field "aid" of the records in the list column "events"."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

DEPTH = 8  # maximum nesting depth; deeper values are text


def is_opaque(dtype: pl.DataType) -> bool:
    """Returns whether a type holds no plain values: lists, records, or types of other libraries, as pandas' Period."""
    return dtype.is_nested() or isinstance(dtype, getattr(pl, "BaseExtension", ()))


def paths(schema: Mapping) -> list[str]:
    """Returns the column names of a schema {name: type}, followed by the paths of nested fields."""
    within = [f"{name}.{path}" for name, dtype in schema.items() for path in _fields(dtype)]
    return [*schema, *(path for path in within if path not in schema)]


def lists(schema: Mapping) -> list[str]:
    """Returns the paths that are lists of plain values."""
    types = pl.DataFrame(schema=schema).select(**{name: column(schema, name) for name in paths(schema)}).schema
    return [name for name, dtype in types.items() if dtype.is_nested() and not _inner(dtype).is_nested()]


def root(schema: Mapping, name: str) -> str:
    """Returns the column that a path begins with."""
    return _parted(schema, name)[0]


def column(schema: Mapping, name: str) -> pl.Expr:
    """Returns an expression for the values at a path; they are lists if the path leads through a list."""
    root, path = _parted(schema, name)
    return _reach(pl.col(root), schema[root], path)


def shape(objects: Iterable[dict], names: Iterable[str] | None = None) -> dict[str, pl.DataType]:
    """Returns the schema {key: type} of JSON objects, with types text, list and record, merged over the objects.

    Args:
        objects: the objects.
        names: the paths to keep, as text if no object has them; None for all.
    """
    found = {}
    for each in objects:
        for key, value in each.items():
            found[key] = _merged(found.get(key), _type(value))
    types: dict[str, pl.DataType] = {key: _known(kind) for key, kind in found.items()}
    if names is None:
        return types
    wanted = {}
    known = paths(types)
    for root, path in (_parted(types, name) for name in names if name in known):
        wanted.setdefault(root, []).append(path)
    pruned: dict[str, pl.DataType] = {root: _pruned(types[root], some) for root, some in wanted.items()}
    return pruned | {name: pl.String() for name in names if name not in known}


def value(schema: Mapping, record: dict, name: str, token: Callable) -> Any:
    """Returns the value at a path in a JSON object, with `token` applied to scalars.

    Raises:
        ValueError: if it doesn't match the schema.
    """
    root, path = _parted(schema, name)
    return _follow(record.get(root), schema[root], path, name, token)


def _parted(schema, name: str) -> tuple[str, str]:
    """Splits a path into its column and the path within the column."""
    root = max((each for each in schema if name == each or name.startswith(f"{each}.")), key=len)
    return root, name[len(root) + 1 :]


def _inner(dtype):
    return dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype


def _fields(dtype) -> list[str]:
    """Returns the paths to the fields of a record type, or of a list of records."""
    dtype = _inner(dtype)
    return paths(dict(dtype)) if isinstance(dtype, pl.Struct) else []


def _reach(values: pl.Expr, dtype, path: str) -> pl.Expr:
    if isinstance(dtype, pl.Array):
        values, dtype = values.arr.to_list(), pl.List(dtype.inner)
    if not path:
        return values
    if isinstance(dtype, pl.List):
        return values.list.eval(_reach(pl.element(), dtype.inner, path))
    field, rest = _parted(dict(dtype), path)
    return _reach(values.struct.field(field), dict(dtype)[field], rest)


def _type(value, depth: int = 0):
    """Returns the type of a JSON value: a dict for a record, [type] for a list, otherwise text; None for null."""
    if isinstance(value, dict) and depth < DEPTH:
        return {key: _type(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list) and depth < DEPTH:
        kind = None
        for each in value:
            kind = _merged(kind, _type(each, depth + 1))
        return [kind]
    return None if value is None else pl.String


def _merged(one, other):
    """Returns the common type of two values: the first known one, with the fields of both if they are records."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _merged(one.get(key), other.get(key)) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(one[0], other[0])]
    return one


def _known(kind):
    if isinstance(kind, dict):
        return pl.Struct({key: _known(each) for key, each in kind.items()}) if kind else pl.String()
    if isinstance(kind, list):
        return pl.List(_known(kind[0]))
    return pl.String()


def _pruned(dtype, wanted: list[str]):
    """Returns a type without the fields that aren't wanted."""
    if "" in wanted:
        return dtype
    if isinstance(dtype, pl.List):
        return pl.List(_pruned(dtype.inner, wanted))
    fields, some = dict(dtype), {}
    for field, rest in (_parted(fields, path) for path in wanted):
        some.setdefault(field, []).append(rest)
    return pl.Struct({field: _pruned(fields[field], rest) for field, rest in some.items()})


def _follow(value, dtype, path: str, name: str, token: Callable):
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        if not isinstance(value, list):
            raise ValueError(f"{name} is not a list, unlike in the first rows: write lists in all rows, or in none")
        return [_follow(each, dtype.inner, path, name, token) for each in value]
    if path:
        if not isinstance(value, dict):
            raise ValueError(
                f"{name.removesuffix('.' + path)} is not an object, unlike in the first rows: mend the line"
            )
        field, rest = _parted(dict(dtype), path)
        return _follow(value.get(field), dict(dtype)[field], rest, name, token)
    if isinstance(value, dict | list):
        what = "an object" if isinstance(value, dict) else "a list"
        raise ValueError(f"{name} is {what}: a string or a number is expected")
    return token(value)

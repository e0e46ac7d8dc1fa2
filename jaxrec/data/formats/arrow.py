"""In-memory tables with the Arrow stream interface, such as those of polars, pandas (2.2 or newer) and pyarrow."""

import os
from collections import Counter
from typing import Any

import polars as pl

from jaxrec.system.errors import UserError


class _Stream:
    """A frame reduced to its Arrow stream, since polars converts the frames of some libraries in other ways."""

    def __init__(self, frame: Any):
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self._frame.__arrow_c_stream__(requested_schema)


def is_frame(data: Any) -> bool:
    """Returns whether `data` is an in-memory table."""
    return hasattr(data, "__arrow_c_stream__")


def name_of(frame: Any) -> str:
    """Returns the type of a frame for messages, such as "pandas DataFrame"."""
    return f"{type(frame).__module__.partition('.')[0]} {type(frame).__name__}"


def to_polars(frame: Any) -> pl.DataFrame:
    """Returns the frame as a polars DataFrame; shares the memory of columns that both libraries store alike.

    Raises:
        UserError: if two columns have the same name, or the frame can't be converted to an Arrow stream.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    name = name_of(frame)
    names = getattr(frame, "column_names", None)
    names = names if isinstance(names, list | tuple) else getattr(frame, "columns", ())
    if not callable(names) and (twice := [each for each, times in Counter(map(str, names)).items() if times > 1]):
        raise UserError(f"{name}: two columns are called {twice[0]}: rename one, or leave it out")
    if unordered := _sets(frame):
        raise UserError(f"{name}: column {unordered} holds sets, which have no order: give lists, in order")
    try:
        return pl.DataFrame(_Stream(frame))
    except MemoryError:
        raise
    except ImportError as error:
        library = error.name or "pyarrow"
        raise UserError(f"{name}: reading it needs {library}: pip install {library}") from error
    except Exception as error:  # each library raises its own exceptions
        why = "; ".join(map(str, error.args)).partition("\n")[0]
        raise UserError(
            f"{name}: no Arrow table can be made of it ({why}): give every column one type, as by .astype(str)"
        ) from error


def _sets(frame: Any) -> str:
    """Returns the name of a column of Python sets, which pandas may hold; "" if there is none."""
    types: Any = getattr(frame, "dtypes", None)
    for name, kind in types.items() if hasattr(types, "items") else ():
        if str(kind) == "object" and isinstance(next(iter(frame[name].dropna()), None), set | frozenset):
            return str(name)
    return ""


def place(name: str, data: Any) -> Any:
    """Returns an in-memory table unchanged, and a path as text. `name`: the argument's name, for messages.

    Raises:
        UserError: if `data` is neither; says what to give.
    """
    if is_frame(data):
        return data
    if isinstance(data, str | os.PathLike):
        return os.fspath(data)
    if isinstance(data, pl.LazyFrame):
        raise UserError(f"{name} is a polars LazyFrame, which has no rows yet: collect() the LazyFrame")
    kind = name_of(data).removeprefix("builtins ")
    raise UserError(
        f"{name} is of the type {kind}: give a path, or a table in memory, of polars, pandas (2.2 or newer) or pyarrow"
    )

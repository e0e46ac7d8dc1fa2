"""Tables in memory: anything with the Arrow stream interface, as of polars, pandas (2.2 or newer) and pyarrow."""

from typing import Any

import polars as pl

from jaxrec.system.errors import UserError


class _Stream:
    """A frame as its Arrow stream alone: polars would take some libraries' frames by ways of their own."""

    def __init__(self, frame: Any):
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self._frame.__arrow_c_stream__(requested_schema)


def is_frame(data: Any) -> bool:
    """Whether data is a table in memory."""
    return hasattr(data, "__arrow_c_stream__")


def name_of(frame: Any) -> str:
    """What messages call a frame: "pandas DataFrame"."""
    return f"{type(frame).__module__.partition('.')[0]} {type(frame).__name__}"


def to_polars(frame: Any) -> pl.DataFrame:
    """The same table; its columns are shared where both libraries store them alike.

    Raises:
        UserError: the frame's library can't give it as an Arrow stream.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    name = name_of(frame)
    try:
        return pl.DataFrame(_Stream(frame))
    except MemoryError:
        raise
    except ImportError as error:
        library = error.name or "pyarrow"
        raise UserError(f"{name}: reading it needs {library}: pip install {library}") from error
    except Exception as error:  # each library has exceptions of its own
        why = "; ".join(map(str, error.args)).partition("\n")[0]
        raise UserError(
            f"{name}: no Arrow table can be made of it ({why}): give every column one type, as by .astype(str)"
        ) from error

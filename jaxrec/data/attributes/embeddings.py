"""Vectors of items, such as embeddings of texts or images, in NumPy files beside a table of items."""

import glob
from pathlib import Path

import numpy as np
import polars as pl

from jaxrec.data.files.text import File
from jaxrec.data.interactions import ID
from jaxrec.system.errors import UserError

SUFFIX = ".npy"


def with_vectors(file: File, about: pl.DataFrame) -> pl.DataFrame:
    """Returns a table of items with a column of vectors for each NumPy file beside it.

    Beside `items.csv` or `items.csv.gz`, the file `items.NAME.npy` becomes the column NAME. Row i of its array,
    [rows, D], belongs to row i of the table.

    Args:
        file: the file of the table; arrays beside a member of an archive are not looked for.
        about: the table.

    Raises:
        UserError: if an array can't be read or isn't a matrix of numbers with one row for each row of the table, or if
            the table already has a column of that name.
    """
    stem = file.path.name.partition(".")[0]
    found = [] if file.member else sorted(file.path.parent.glob(f"{glob.escape(stem)}.*{SUFFIX}"))
    for path in found:
        name = path.name[len(stem) + 1 : -len(SUFFIX)]
        if name in (*about.columns, ID):
            raise UserError(f"{path}: {file} has a column {name} already: rename one of them")
        vectors = _read(path)
        if len(vectors) != len(about):
            raise UserError(
                f"{path}: {len(vectors):,} rows where {file} has {len(about):,}: write one row for each row of the "
                "table, in the same order"
            )
        about = about.with_columns(pl.Series(name, vectors, pl.Array(pl.Float32, vectors.shape[1])))
    return about


def _read(path: Path) -> np.ndarray:
    """Returns the matrix in a NumPy file as float32."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: can't be read as an array of numbers ({error}): use numpy.save") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu" or not found.shape[1]:
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "several arrays"
        raise UserError(f"{path}: holds {what}: write one matrix of numbers, [rows of the table, D]")
    return found.astype(np.float32)

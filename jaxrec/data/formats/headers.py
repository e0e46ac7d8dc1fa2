"""Leaves out rows that repeat the header in any spelling, as in concatenated tables."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.files.oddities import Oddities
from jaxrec.data.files.text import short
from jaxrec.data.log import Batch
from jaxrec.system.errors import UserError

ROW = "row in the batch"
BETWEEN = r'[\s_\-\p{Cf}"]'  # characters that `columns.plain` ignores, and the quotes after a byte order mark
MORE = 64  # maximum characters of a spelling beside the name itself: its type, blanks, quotes
MARK = "\ufeff"


def left_out(
    batch: Batch,
    names: dict[str, str],
    odd: Oddities,
    every: Sequence[str] = (),
    fields: Callable[[int], Sequence] | None = None,
) -> Batch:
    """Returns a batch without the rows in which every value is the name of its column, compared by `columns.plain`.

    Args:
        batch: rows of a table that has a header.
        names: {role: column name} of the batch.
        odd: records the rows left out.
        every: names of all columns of the table; by default those in `names`.
        fields: index of a row -> its values in all columns of the table; by default those of the batch.

    Raises:
        UserError: if a row has the column names in another order.
    """
    plain = {role: cols.plain(name) for role, name in names.items()}
    is_text = all(batch.frame[role].dtype == pl.String for role in names)
    if not is_text or not all(any(map(str.isalpha, name)) for name in plain.values()):
        return batch
    near = batch.frame.select(list(names)).with_row_index(ROW)
    spelled = _spelling({*map(cols.plain, every), *plain.values()} - {""})
    for role in names:  # few rows are left after the first column
        near = near.filter(near[role].is_in(spelled(near[role]).implode()))
        if near.is_empty():
            return batch
    near = near.with_columns(_plain(near[role]) for role in names)
    same = pl.all_horizontal(pl.col(role) == name for role, name in plain.items())
    _check_order(batch, near.filter(~same)[ROW].to_list(), every or [*names.values()], fields or batch.frame.row)
    again = near.filter(same)[ROW].to_numpy()
    if not len(again):
        return batch
    odd.headers(batch.file, len(again), lambda index: batch.row(int(again[index]))[0])
    kept = np.delete(np.arange(len(batch.frame)), again)
    why = lambda index: batch.why(int(kept[index]))
    return Batch(batch.frame[kept], batch.file, lambda index: batch.row(int(kept[index])), why)


def _spelling(plain: set[str]) -> Callable[[pl.Series], pl.Series]:
    """Returns a function that selects the distinct values that may be spellings of these plain names."""
    first = "".join(sorted({re.escape(name[0]) for name in plain}))
    longest = max(map(len, plain)) + MORE

    def spelled(values):
        may = values.str.contains(f"(?i)^{BETWEEN}*[{first}]") & (values.str.len_chars() <= longest)
        found = values.filter(may.fill_null(False)).unique()
        bare = found.str.replace_all(BETWEEN, "").str.replace(":.*$", "").str.to_lowercase()
        return found.filter(bare.is_in(plain))

    return spelled


def _plain(values: pl.Series) -> pl.Series:
    found = values.unique()
    bare = (value.strip(MARK + '"') if value.startswith(MARK) else value for value in found)
    return values.replace_strict(found, list(map(cols.plain, bare)), return_dtype=pl.String)


def _check_order(batch: Batch, rows: list[int], names: Sequence[str], fields: Callable[[int], Sequence]) -> None:
    """Checks that no row is the header in another column order.

    Raises:
        UserError: if one is.
    """
    plain = sorted(map(cols.plain, names))
    for index in rows:
        if sorted(cols.plain(str(value)) for value in fields(index)) == plain:
            place, text = batch.row(index)
            raise UserError(
                f"{batch.file}, {place}: {short(text)}: the header again, with its columns in another order: the "
                "rows below would be read as other columns. Split the file there, and prepare the folder of its parts"
            )

"""Reads any model's scores: vectors of users and items, or lists of the best items, by external ids.

Files are never unpickled.
"""

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import polars as pl

from jaxrec.data import discover
from jaxrec.data.columns import KNOWN, plain
from jaxrec.data.files.text import EXAMPLES, BadRows, File, some
from jaxrec.data.formats import arrow, columnar, dialects, tables
from jaxrec.data.ids import EXACT
from jaxrec.data.log import Batch
from jaxrec.system.errors import UserError

ARRAYS = {"users": 2, "user_ids": 1, "items": 2, "item_ids": 1, "bias": 1}  # {array of an .npz: number of its axes}
FOLDER = ("items.parquet", "users.parquet")  # written by `jaxrec vectors`
ROLES = {"user": KNOWN["user"].split(), "item": KNOWN["item"].split(), "rank": ["rank"], "score": ["score", "scores"]}
INEXACT = "is a float that is not an integer, or is too large to be exact"
FORMS = (
    "name an .npz of users, user_ids, items and item_ids, a folder that jaxrec vectors wrote, or a .csv or .parquet of "
    "user, item and rank or score"
)


class Vectors(NamedTuple):
    """User and item vectors; a score is their product plus the item's bias."""

    name: str
    users: np.ndarray  #: [U, D] float32
    user_ids: pl.Series  #: [U] external ids as text
    items: np.ndarray  #: [V, D] float32
    item_ids: pl.Series  #: [V]
    bias: np.ndarray | None  #: [V] float32


class Lists(NamedTuple):
    """The best items of users, a row per item, in any order."""

    name: str
    users: pl.Series  #: [N] external ids as text
    items: pl.Series  #: [N]
    order: np.ndarray  #: [N] float64, the rank or the negative score; lower is better


def load(scores: Any) -> Vectors | Lists:
    """Loads scores from a file, a folder, a mapping of arrays or an in-memory table.

    Raises:
        UserError: if it is none of these, or a column, an array or a value is missing or invalid.
    """
    if isinstance(scores, Mapping):
        return _vectors("the vectors", scores)
    if arrow.is_frame(scores):
        name, frame = arrow.name_of(scores), arrow.to_polars(scores)
        chosen = _columns(name, frame.columns)
        columns = {role: frame.columns[at] for role, at in chosen.items()}
        row = lambda index: (f"row {index + 1}", str(frame.row(index)))
        return _lists(name, columns, iter([Batch(frame.select(**columns), name, row)]))
    if not isinstance(scores, str | os.PathLike):
        raise UserError(f"scores of type {type(scores).__name__}: {FORMS}; or give a mapping of arrays, or a table")
    path = Path(scores)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of scores: {FORMS}")
    return _archive(path) if path.suffix.lower() == ".npz" else _table(path)


def _archive(path: Path) -> Vectors:
    arrays: dict[str, np.ndarray] = {}
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UserError(f"{path}: a single array, saved by np.save: write it by np.savez with {_wanted()}")
            held = archive.files
            for name in set(ARRAYS) & set(held):
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    if "pickle" not in str(error):
                        raise
                    raise UserError(
                        f"{path}: {name} holds Python objects, which are not unpickled: save it as numbers, or ids as "
                        "text by np.array(ids, dtype=str)"
                    ) from None
    except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a readable .npz ({error}): write it again by np.savez") from None
    return _vectors(str(path), arrays, held)


def _folder(path: Path) -> Vectors:
    if missing := [name for name in FOLDER if not (path / name).is_file()]:
        raise UserError(f"{path}: a folder without {some(missing)}, which jaxrec vectors writes: {FORMS}")
    arrays = {}
    for name, kind in zip(FOLDER, ("item", "user"), strict=True):
        frame = _frame(path / name)
        if lacking := [column for column in ("id", "vector") if column not in frame.columns]:
            raise UserError(f"{path / name}: no column {some(lacking)}: write it again by jaxrec vectors")
        arrays |= {f"{kind}_ids": frame["id"], f"{kind}s": _matrix(path / name, frame["vector"])}
        if kind == "item" and "bias" in frame.columns:
            arrays["bias"] = frame["bias"].to_numpy()
    return _vectors(str(path), arrays)


def _frame(path: Path) -> pl.DataFrame:
    try:
        with open(path, "rb") as file:  # polars would read a path as a glob pattern
            return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read ({why}): write it again") from None


def _matrix(path: Path, vectors: pl.Series) -> np.ndarray:
    kind = vectors.dtype
    if not (isinstance(kind, pl.List | pl.Array) and kind.inner is not None and kind.inner.is_numeric()):
        raise UserError(f"{path}: vector holds {kind}: give every row a list of numbers")
    lengths = vectors.cast(pl.List(pl.Float32), strict=False).list.len().unique()
    if lengths.null_count() or len(lengths) != 1:
        raise UserError(
            f"{path}: vector holds lists of several lengths, or none: give every row a vector of one length"
        )
    return np.stack(vectors.to_list()).astype(np.float32)


def _vectors(name: str, arrays: Mapping[str, Any], held: Iterable[str] = ()) -> Vectors:
    """Returns Vectors after checking them. `held`: the names of all arrays, for messages."""
    if missing := [each for each in ARRAYS if each not in arrays and each != "bias"]:
        raise UserError(
            f"{name}: no array {some(missing)} among {some(held or arrays)}: write it by np.savez with {_wanted()}"
        )
    found = {}
    for each, axes in ARRAYS.items():
        if arrays.get(each) is None:
            continue
        array = arrays[each]
        if each.endswith("_ids"):
            found[each] = _texts(_ids(name, each, array), name)
            continue
        array = _numbers(name, each, array)
        if array.ndim != axes or array.dtype.kind not in "fiu":
            raise UserError(f"{name}: {each} is {array.dtype} with {array.ndim} axes: give numbers with {axes}")
        with np.errstate(over="ignore"):  # rejected below
            found[each] = array.astype(np.float32)
        if (wrong := ~np.isfinite(found[each])).any():
            row = int(np.nonzero(wrong)[0][0])
            raise UserError(f"{name}: {each} row {row} holds a number that is not finite: leave such rows out")
    _check_vectors(name, found)
    return Vectors(name, **{"bias": None, **found})


def _numbers(name: str, each: str, rows: Any) -> np.ndarray:
    try:
        return np.asarray(rows)
    except ValueError:
        raise UserError(f"{name}: {each} has rows of several lengths: give all rows the same length") from None


def _ids(name: str, each: str, ids: Any) -> pl.Series:
    """Returns ids in their order as a Series named `each`.

    Raises:
        UserError: if they have several axes or unsuitable types, or one is missing or a float that may be another id.
    """
    values = ids if isinstance(ids, pl.Series) else np.asarray(ids)
    if len(values.shape) != 1:  # a set, which has no order, has 0 axes
        raise UserError(f"{name}: {each} has {len(values.shape)} axes: give one id per row, in the vectors' order")
    try:  # a column of pandas may hold its strings and integers as objects
        made = values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values
        series = pl.Series(each, made)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise UserError(f"{name}: {each} is {values.dtype}, or of mixed types: give integers, or text") from None
    for wrong, why in ((series.is_null(), "is missing"), (_inexact(series), INEXACT)):
        if wrong.any():
            raise UserError(f"{name}: {each} row {wrong.arg_true()[0]} {why}: give its id, or leave the row out")
    return series


def _inexact(ids: pl.Series) -> pl.Series:
    """Returns whether each id is a float that isn't exactly one integer: NaN, 0.5, or one that may have lost digits."""
    if not ids.dtype.is_float():
        return pl.repeat(False, len(ids), eager=True)
    return ((ids == ids.floor()) & (ids.abs() < EXACT.get(ids.dtype, 2**11))).fill_null(True).not_()


def _check_vectors(name: str, found: dict) -> None:
    """Checks that the shapes agree."""
    users, items = found["users"], found["items"]
    if users.shape[1] != items.shape[1] or not users.shape[1]:
        raise UserError(
            f"{name}: vectors of users have {users.shape[1]} numbers and those of items {items.shape[1]}: "
            "give both the same length, at least 1"
        )
    for values, ids in (("users", "user_ids"), ("items", "item_ids"), ("bias", "item_ids")):
        if values in found and len(found[values]) != len(found[ids]):
            raise UserError(
                f"{name}: {values} has {len(found[values]):,} rows and {ids} {len(found[ids]):,}: give one id per row"
            )


def _wanted() -> str:
    return "users [U, D], user_ids [U], items [V, D], item_ids [V] and, where there is one, bias [V]"


def _texts(ids: pl.Series, where: str) -> pl.Series:
    """Returns ids as text, with floats as integers: null for a float that is not one, which the callers refuse."""
    if ids.dtype.is_float():
        ids = ids.cast(pl.Int64, strict=False)
    if not (ids.dtype.is_integer() or ids.dtype in (pl.String, pl.Categorical) or isinstance(ids.dtype, pl.Enum)):
        raise UserError(f"{where}: column {ids.name} holds {ids.dtype}: an id is an integer or text")
    return ids.cast(pl.String)


def _table(path: Path) -> Lists:
    """Returns the lists of a delimited or Parquet file."""
    file, kind = File(path), discover.kind(File(path))
    if kind in ("parquet", "arrow"):
        names = list(columnar.schema(file))
        chosen = _columns(str(file), names)
        return _lists(str(file), *_read(names, chosen, lambda columns: columnar.read(file, columns)))
    if kind == "json":
        raise UserError(f"{file}: JSON is not read here: {FORMS}")
    found = dialects.find(file, {})
    chosen = _columns(str(file), found.names)
    options = {"quote": found.quote, "before": found.before}
    batches = tables.delimited(file, found.separator, len(found.names), chosen, found.header, **options)
    return _lists(str(file), {role: found.names[at] for role, at in chosen.items()}, batches)


def _read(names, chosen, read):
    columns = {role: names[at] for role, at in chosen.items()}
    return columns, read(columns)


def _columns(name: str, names: list[str]) -> dict[str, int]:
    """Returns {role: index of the column} for user, item, and rank or score."""
    plainly = [plain(each) for each in names]
    found: dict[str, int] = {}
    for role, known in ROLES.items():
        if name_of_it := next((each for each in known if each in plainly), None):
            found[role] = plainly.index(name_of_it)
    if "rank" in found:
        found.pop("score", None)
    for role, at in found.items():
        if len(same := [own for own, each in zip(names, plainly, strict=True) if each == plainly[at]]) > 1:
            raise UserError(f"{name}: columns {some(same)} could all be the {role}: rename all but one")
    missing = [role for role in ("user", "item") if role not in found]
    missing += ["rank or score"] * (not found.keys() & {"rank", "score"})
    if missing:
        raise UserError(f"{name}: no column {some(missing)} among {some(names)}: name the columns user, item and rank")
    return found


def _lists(name: str, columns: dict[str, str], batches) -> Lists:
    """Returns Lists from batches of rows, after checking them."""
    bad = BadRows(cure="Correct such rows, and give the file again")
    by = "rank" if "rank" in columns else "score"
    users, items, orders = [], [], []
    for batch in batches:
        order, ids = _order(name, columns[by], batch.frame[by]), ("user", "item")
        wrong = [(batch.frame[role].is_null(), f"no {role}: give its id") for role in ids]
        wrong += [(_inexact(batch.frame[role]), f"{columns[role]} {INEXACT}: give its id") for role in ids]
        wrong.append((~order.is_finite().fill_null(False), f"{columns[by]} is not a finite number: give one"))
        _refuse(bad, batch, wrong)
        users.append(_texts(batch.frame["user"], name))
        items.append(_texts(batch.frame["item"], name))
        orders.append(order.to_numpy() * (1 if by == "rank" else -1))
    bad.close()
    if not sum(map(len, users)):
        raise UserError(f"{name}: no rows: give the best items of every user, one per row")
    return Lists(name, pl.concat(users), pl.concat(items), np.concatenate(orders))


def _order(name: str, column: str, values: pl.Series) -> pl.Series:
    """Returns ranks or scores as floats; null where the value is not a number."""
    if not (values.dtype.is_numeric() or values.dtype == pl.String):
        raise UserError(f"{name}: column {column} holds {values.dtype}: give each row one item and one number")
    return values.cast(pl.Float64, strict=False)


def _refuse(bad: BadRows, batch: Batch, wrong: list[tuple[pl.Series, str]]) -> None:
    """Records the invalid rows of a batch, each with its first reason."""
    reasons = {row: why for mask, why in reversed(wrong) for row in mask.arg_true().to_list()}
    for row in sorted(reasons)[:EXAMPLES]:
        bad.add(batch.file, *batch.row(row), batch.why(row) or reasons[row])
    bad.add_number(max(len(reasons) - EXAMPLES, 0))


def numbers(ids: pl.Series, own: np.ndarray) -> np.ndarray:
    """Returns the number of each id among a log's own, from 1; 0 if unknown. [N] int32

    If the log's ids are integers, 7.0 is 7, since tables with gaps store integers as floats.

    >>> numbers(pl.Series(["7", "9"]), np.array([7, 8])).tolist()
    [1, 0]
    """
    if own.dtype.kind == "i":
        ids = ids.str.replace(r"^(-?\d+)\.0+$", "$1")
    known = pl.Series(own.tolist()).cast(pl.String)
    table = pl.DataFrame({"id": known, "number": np.arange(1, len(known) + 1, dtype=np.int32)})
    found = ids.rename("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return found["number"].fill_null(0).to_numpy().astype(np.int32)


def check_known(found: np.ndarray, ids: pl.Series, own: np.ndarray, what: str, name: str) -> None:
    """Checks that at least one id belongs to the log.

    Raises:
        UserError: if none does.
    """
    if not found.any():
        theirs, ours = some(ids.unique(maintain_order=True)[:3]), some(own[:3].tolist())
        raise UserError(
            f"{name}: none of its {what}s is asked for in the data: it has {theirs}, and the data have {ours}: give "
            "the ids of the data, not the model's own numbers"
        )


def check_once(found: np.ndarray, ids: pl.Series, name: str) -> None:
    """Checks that no two ids stand for the same id of the log, as 7 and 7.0 do if its ids are integers.

    Raises:
        UserError: if two are.
    """
    known, times = np.unique(found[found > 0], return_counts=True)
    if (times > 1).any():
        same = some(ids.filter(pl.Series(found == known[times.argmax()])))
        raise UserError(f"{name}: {ids.name} holds {same}, which are the same id: give each id one vector")


def unlisted(what: str, name: str) -> NoReturn:
    """Raises UserError for a measure that lists don't determine."""
    raise UserError(f"{name}: {what}: give vectors, from which every score is known")

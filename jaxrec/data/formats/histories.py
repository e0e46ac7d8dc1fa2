"""Expands rows that hold whole histories as lists of items to one row per item."""

import ast
import json
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import polars as pl

from jaxrec.data.files.text import short
from jaxrec.data.log import Batch
from jaxrec.system.errors import UserError

OWNERS = "user", "session"
BEFORE = "before "  # prefix of the role of lists that precede the row's own value
SAMPLE = 1000  # cells examined to decide whether text holds lists
MOST = 0.9  # minimum share of the cells that must be lists
CARRIED_ON = 0.9, 10  # minimum share and number of rows that an adjacent row must extend by one item
ENCLOSED = r"^\s*[\[({][^\[\](){}]*[\])}]\s*$"  # a list in brackets
TEXTS = pl.List(pl.String)


def rows(
    make: Callable[[], Iterator[Batch]], names: dict[str, str], say: Callable[[str], None], grows: bool = False
) -> Iterator[Batch]:
    """Yields batches with one row per list entry; batches without lists are unchanged.

    Next-item data sets often have a row for every prefix of a history. If all rows of a user (or session) are prefixes
    of the longest, only the longest is used.

    Args:
        make: returns an iterator over the batches; called several times.
        names: {role: column name} of the batches' columns.
        say: receives notes: that the cells are lists, and how many prefixes are left out.
        grows: whether adjacent rows of different users may be prefixes of one history.
    """
    batches = make()
    first = next((batch for batch in batches if len(batch.frame)), None)
    if first is None:
        return
    texts = [role for role in names if role != "user" and are_lists(first.frame[role])]
    lists = [role for role in names if isinstance(first.frame[role].dtype, pl.List | pl.Array)]
    if "item" not in texts + lists:
        yield first
        yield from batches
        return
    alone = [names[role] for role in ("time", "weight", "type") if role in names and role not in texts + lists]
    say(
        f"{names['item']}: lists, each a history in its order"
        + (f"; the {' and '.join(alone)} of a row applies to each of its items" if alone else "")
    )
    listed = lambda: map(partial(_listed, texts, names), make())
    dtype = _listed(texts, names, first).frame["item"].dtype
    odd = isinstance(dtype, pl.List | pl.Array) and dtype.inner.is_nested()  # lists of lists, which the log rejects
    kept, note = (None, "") if odd else _longest(listed, names, grows)
    if note:
        say(f"{first.file}: {note}")
    done = 0
    for batch in listed():
        number = len(batch.frame)
        yield _unrolled(batch, names, None if kept is None else kept[done : done + number])
        done += number


def split(batch: Batch, roles: list[str]) -> Batch:
    """Returns a batch with the space-separated text of these roles as lists, each joined to the end of its BEFORE list.

    Raises:
        UserError: if the lists are enclosed in brackets.
    """
    for role in roles:
        cells = batch.frame[role].drop_nulls()
        enclosed = cells.filter(cells.str.contains(ENCLOSED))
        told = len(cells.filter(cells.str.strip_chars() != ""))
        if enclosed.str.contains(r"\S[,\s]+\S").any() and len(enclosed) >= MOST * told:
            raise UserError(
                f"{batch.file}: lists in brackets, as {short(enclosed[0])}, where a .inter separates the entries by "
                "spaces alone: write it as 1 2 3"
            )
    frame = batch.frame.with_columns(pl.col(role).str.extract_all(r"[^ ]+") for role in roles)
    joined = [
        pl.concat_list(pl.col(role).fill_null([]), role.removeprefix(BEFORE)).alias(role.removeprefix(BEFORE))
        for role in roles
        if role.startswith(BEFORE)
    ]
    return batch._replace(frame=frame.with_columns(joined).select(pl.exclude(f"^{BEFORE}.*$")))


def are_lists(cells: pl.Series) -> bool:
    """Returns whether nearly all cells are lists written as text, some of several entries, since an id may be "[1]"."""
    if cells.dtype != pl.String:
        return False
    cells = cells.drop_nulls().head(SAMPLE)
    looking = cells.filter(cells.str.contains(r"(?s)^\s*\[.*\]\s*$"))
    if not len(looking) or len(looking) < MOST * len(cells):
        return False
    found = [entries for entries in map(_entries, looking) if entries is not None]
    return len(found) >= MOST * len(cells) and any(len(entries) > 1 for entries in found)


def _entries(cell: str | None) -> list[str | None] | None:
    """Parses a list written by JSON, Python or NumPy; keeps numbers as text. None if the cell is not a list."""
    if cell is None:
        return None
    try:
        found = json.loads(cell, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        words = cell.strip()[1:-1].split()
        if words and all(map(_is_number, words)):  # as NumPy writes lists, without commas
            return [*words]
        try:
            found = ast.literal_eval(cell)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(found, list) or not all(each is None or type(each) in (str, int, float) for each in found):
        return None
    return [each if each is None else str(each) for each in found]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _listed(texts: list[str], names: dict[str, str], batch: Batch) -> Batch:
    """Returns a batch with the text of these roles parsed into lists."""
    frame, wrong = batch.frame, {}
    for role in texts:
        found = [_entries(cell) for cell in frame[role]]
        missing = frame[role].is_null()
        why = f"{names[role]} is not a list, unlike in other rows: mend it"
        wrong |= {at: why for at, each in enumerate(found) if each is None and not missing[at]}
        frame = frame.with_columns(pl.Series(role, found, TEXTS))
    frame = frame.with_columns(pl.col(role).arr.to_list() for role, kind in frame.schema.items() if _is_array(kind))
    return batch._replace(frame=frame, why=lambda index: batch.why(index) or wrong.get(index))


def _is_array(dtype) -> bool:
    return isinstance(dtype, pl.Array)


def _unrolled(batch: Batch, names: dict[str, str], kept: np.ndarray | None) -> Batch:
    """Returns a batch with one row per list entry; a row of nulls for lists that are empty or differ in length."""
    frame = batch.frame.with_row_index("row")
    lists = ["item", *(role for role in names if role not in ("user", "item") and frame[role].dtype.is_nested())]
    lists = [role for role in lists if isinstance(frame[role].dtype, pl.List)]
    lengths = {role: frame[role].list.len() for role in lists}
    items = lengths["item"]
    wrong = items.is_null() | (items == 0).fill_null(True)
    for role in lists[1:]:
        wrong |= lengths[role].ne_missing(items)
    frame = frame.with_columns(
        pl.when(~wrong).then(pl.col(role)).otherwise(pl.lit([None], frame.schema[role])) for role in lists
    )
    if kept is not None:
        frame = frame.filter(pl.Series(kept))
    frame = frame.explode(lists)
    places = frame["row"].to_numpy()

    def why(index):
        at = int(places[index])
        if (told := batch.why(at)) or not wrong[at]:
            return told
        if not items[at]:
            return f"{names['item']} is empty: give it items, or leave the row out"
        role = next(role for role in lists if lengths[role][at] != items[at])
        found = f"{lengths[role][at] or 0} where {names['item']} has {items[at]}"
        return f"{names[role]} has another number of entries: {found}: write one for every item"

    return Batch(frame.drop("row"), batch.file, lambda index: batch.row(int(places[index])), why)


def _longest(make, names: dict[str, str], grows: bool) -> tuple[np.ndarray | None, str]:
    """Returns which rows to keep, bool [rows] or None for all, and a note. `make`: returns the batches with lists."""
    roles = [role for role in OWNERS if role in names]
    found = [batch.frame.select(pl.struct(roles).hash(), pl.col("item").list.len().fill_null(0)) for batch in make()]
    hashed, lengths = (column.to_numpy() for column in pl.concat(found))
    _, owner = np.unique(hashed, return_inverse=True)
    counts = np.bincount(owner[lengths > 0], minlength=len(hashed))  # empty lists don't count
    name = names[roles[-1]]
    if (counts <= 1).all():
        begins, whose = _carried_on(make) if grows else np.zeros(len(owner), bool), "the row beside them"
    else:
        begins, whose = _beginnings(make, owner, counts > 1), f"another row of the same {name}"
        if (np.bincount(owner[~begins & (lengths > 0)]) > 1).any():
            several = int((counts > 1).sum())
            verb = "1 has" if several == 1 else f"{several:,} have"
            return None, f"{name}: {verb} several rows, whose lists are joined in their order"
    if not begins.any():
        return None, ""
    number = int(begins.sum())
    return ~begins, f"{number:,} of {len(begins):,} rows hold the beginning of {whose}, and are left out"


def _texts(batch: Batch) -> pl.Series:
    """Returns the item lists of a batch as lists of text."""
    lists = batch.frame["item"]
    try:
        return lists.cast(TEXTS, strict=False)
    except pl.exceptions.PolarsError:  # durations, or bytes that are not UTF-8
        raise UserError(f"{batch.file}: the items are {lists.dtype}: write ids as integers or as text") from None


def _beginnings(make, owner: np.ndarray, several: np.ndarray) -> np.ndarray:
    """Returns whether each row is a proper prefix of its owner's longest list, the only such row of its length. [rows]

    Args:
        make: returns the batches with lists.
        owner: [rows] number of each row's user or session.
        several: [owners] whether an owner has several rows.
    """
    parts, done = [], 0
    for batch in make():
        mine = owner[done : done + len(batch.frame)]
        lists = _texts(batch)
        rows = pl.DataFrame({"row": np.arange(done, done + len(mine)), "owner": mine, "list": lists})
        parts.append(rows.filter(pl.Series(several[mine])))
        done += len(mine)
    rows = pl.concat(parts).with_columns(length=pl.col("list").list.len().fill_null(0))
    longest = rows.sort("length", descending=True, maintain_order=True).unique("owner", keep="first")
    rows = rows.join(longest.select("owner", longest="list", most="length"), on="owner")
    length = pl.col("length")
    same = pl.col("list").eq_missing(pl.col("longest").list.head(length)) & (length > 0) & (length < pl.col("most"))
    rows = rows.filter(same & ~pl.struct("owner", "length").is_duplicated())
    begins = np.zeros(len(owner), bool)
    begins[rows["row"].to_numpy()] = True
    return begins


def _carried_on(make) -> np.ndarray:
    """Returns whether each row equals an adjacent row without its last item. [rows] All False if too few rows do."""
    parts = []
    for batch in make():
        lists = pl.col("item")
        without = lists.list.head(lists.list.len().cast(pl.Int64) - 1)
        hashed = {"whole": lists, "without": without}
        parts.append(
            batch.frame.with_columns(_texts(batch)).select(
                *(values.list.join("\x1f").hash().alias(name) for name, values in hashed.items()),
                length=lists.list.len().fill_null(0),
            )
        )
    rows = pl.concat(parts)
    whole, without, length = (rows[name].to_numpy() for name in ("whole", "without", "length"))
    begins = np.zeros(len(rows), bool)
    begins[:-1] |= (without[1:] == whole[:-1]) & (length[:-1] > 0)
    begins[1:] |= (without[:-1] == whole[1:]) & (length[1:] > 0)
    share, least = CARRIED_ON
    enough = begins.sum() >= max(share * (length > 2).sum(), least)
    return begins if enough else np.zeros(len(rows), bool)

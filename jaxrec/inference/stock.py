"""A catalogue that changes while it is in use: items are added to it, and retired from it.

The tables have spare rows, so that adding an item compiles nothing. Spare rows, and those of retired items, have the
score -inf, and are never part of an answer. An index of candidates keeps the items that it was built from; items added
later are scored in addition to its candidates.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from jaxrec.config.keys import Config
from jaxrec.data.attributes import newcomers
from jaxrec.data.interactions import COUNT, Catalogue
from jaxrec.inference import placed
from jaxrec.inference.engine import Engine
from jaxrec.inference.numbering import Numbering
from jaxrec.inference.padding import padded, power
from jaxrec.inference.placed import OFFERED
from jaxrec.models import likeness
from jaxrec.models.features import folded
from jaxrec.models.model import Model
from jaxrec.system import arguments
from jaxrec.system.errors import UserError
from jaxrec.training.building import model_with

ROOM = 1024  # tables have a multiple of this number of rows


class AlreadyThere(UserError):
    """An item to be added is already in the catalogue."""


class NewItem(NamedTuple):
    """An item to be added. Its vectors are typical of the items in `like`, or without any, those of its features."""

    id: Any  #: external id
    like: Sequence = ()  #: ids of similar items, in the catalogue or added before
    about: Mapping[str, Any] = {}  #: attributes, by column of the table of items


class Stock(NamedTuple):
    """A catalogue as it is now, and the engine that answers with it."""

    catalogue: Catalogue
    engine: Engine
    offered: np.ndarray  #: [V] bool, whether each item of the catalogue can be recommended


def roomy(items: int) -> int:
    """Returns the number of rows for tables that hold this number of items, with room for more."""
    return -(-(items + ROOM) // ROOM) * ROOM


def with_room(stock: Stock, added: int = 0, rows: int = 0) -> Stock:
    """Returns a Stock whose tables have room for this number of new items; the same Stock if they have it already.

    Args:
        stock: the Stock.
        added: the number of items to be added.
        rows: the minimum number of rows of the tables.
    """
    engine, used = stock.engine, len(stock.offered)
    if OFFERED in engine.params and max(used + added, rows) <= engine.items:
        return stock
    rows = max(-(-(used + added) // ROOM) * ROOM, rows)
    tables = _tables(engine)
    if OFFERED not in engine.params:
        tables[OFFERED] = _scores(stock.offered)
    tables = {name: jax.tree.map(lambda leaf: _lengthened(leaf[:used], rows), table) for name, table in tables.items()}
    tables[OFFERED][used:] = -np.inf
    model = engine.model if OFFERED in engine.params else _offering(engine.model)
    params = engine.put(engine.params | tables)
    other = Engine(model, engine.objective, params, rows, engine.length, kinds=engine.kinds, mesh=engine.mesh)
    other.rows, other.index = min(other.rows, engine.rows), engine.index
    return stock._replace(engine=other)


def changed(
    stock: Stock,
    numbering: Numbering,
    trained: tuple[Config, Model, Any],
    added: Sequence[NewItem] = (),
    retired: Sequence = (),
    rows: int = 0,
) -> Stock:
    """Returns the Stock with items added, and then others retired. Adding a retired item offers it again.

    Args:
        stock: the Stock.
        numbering: the Numbering of its catalogue.
        trained: (config, model, params) of the training, before features are folded.
        added: new or retired items, as NewItem or mappings of its fields.
        retired: ids; histories may still contain them.
        rows: the minimum number of rows of the tables.

    Raises:
        AlreadyThere: an item is already in the catalogue, or is added twice.
        UserError: a new item has neither `like` nor features, or an item to be retired isn't in the catalogue.
    """
    added, retired = [_checked(item) for item in added], _listed(retired, "retire")
    ids = numbering.new([item.id for item in added], "add")
    added = [item._replace(id=id) for item, id in zip(added, ids.tolist(), strict=True)]
    if twice := [id for id, times in Counter(ids.tolist()).items() if times > 1]:
        raise AlreadyThere(f"add: {arguments.some(twice[:1])} is given twice: add it once")
    known = [numbering.numbers([item.id], "id: ")[0] for item in added]
    for item, number in zip(added, known, strict=True):
        if number and stock.offered[number[0] - 1]:
            raise AlreadyThere(f"add: {arguments.some([item.id])} is in the catalogue already: leave it out")
    new = [item for item, number in zip(added, known, strict=True) if not number]
    first, catalogue = len(stock.offered), stock.catalogue
    if new:
        catalogue = _with(catalogue, new)
        numbering = numbering.extended(catalogue.ids[first:])
    offered = np.append(stock.offered, np.ones(len(new), bool))
    offered[[number[0] - 1 for number in known if number]] = True
    offered[[number - 1 for number in numbering.known(retired, "retire")]] = False
    stock = with_room(stock, len(new), rows)
    tables = _with_rows(stock.engine, numbering, trained, stock.catalogue, new, first) if new else {}
    tables[OFFERED] = _scores(np.append(offered, np.zeros(stock.engine.items - len(offered), bool)))
    engine = stock.engine.renewed(stock.engine.params | stock.engine.put(tables), stock.engine.index)
    jax.block_until_ready(engine.params)  # so that the first answer need not wait
    return Stock(catalogue, engine, offered)


def _checked(item):
    """Returns an item to be added, which may be a mapping of the fields of NewItem."""
    if isinstance(item, Mapping) and "id" in item and {*item} <= {*NewItem._fields}:
        item = NewItem(**item)
    if not isinstance(item, NewItem):
        raise UserError(f"add: {arguments.shown(item)} is no NewItem: give them in a list, as NewItem(id, like=[ids])")
    return item._replace(like=_listed(item.like, "like"))


def _listed(ids, name):
    if isinstance(ids, str | bytes):
        raise UserError(f"{name}: {arguments.shown(ids)} is a text: give a list of ids")
    return list(ids)


def sharing(engine: Engine, other: Engine) -> Engine:
    """Returns the Engine with the compiled programs of another one, if that has tables of the same size."""
    return other.renewed(engine.params, engine.index) if engine.items == other.items else engine


def _with_rows(engine, numbering, trained, catalogue, new, first):
    """Returns the tables of an engine with the vectors of new items, from row `first` on, on their devices."""
    tables = {name: table for name, table in _tables(engine).items() if name != OFFERED}
    leaves, structure = jax.tree.flatten(tables)
    rows = [np.zeros((len(new), *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
    by_features = [row for row, item in enumerate(new) if not item.like]
    if by_features:
        found = _by_features(trained, catalogue, [new[row] for row in by_features], list(tables))
        for own, vectors in zip(rows, found, strict=True):
            own[by_features] = vectors
    likes = _likes(numbering, new, first)
    there = np.unique(np.concatenate([like[like < first] for like in likes]))
    for own, leaf in zip(rows, leaves, strict=True):
        known = dict(zip(there, np.asarray(_taken(leaf, _padded(there, 0))), strict=False))
        for place, like in enumerate(likes):
            if len(like):
                own[place] = likeness.typical(np.stack([known[row] for row in like]))
            known[first + place] = own[place]
    at = _padded(np.arange(first, first + len(new)), engine.items)
    written = [_written(leaf, at, padded(own, len(at))) for leaf, own in zip(leaves, rows, strict=True)]
    return jax.tree.unflatten(structure, written)


def _likes(numbering, new, first):
    """Returns the rows of the items that each new item is like: existing ones, or new ones that come before it."""
    likes = [np.array(numbering.known(item.like, "like"), int) - 1 for item in new]
    for row, (item, like) in enumerate(zip(new, likes, strict=True), first):
        if (like >= row).any():
            later = item.like[int((like >= row).argmax())]
            raise UserError(f"like: {arguments.some([later])} is added after {arguments.some([item.id])}: put it first")
    return likes


@jax.jit
def _taken(leaf, rows):
    return leaf[rows]


@jax.jit
def _written(leaf, rows, values):
    return leaf.at[rows].set(values, mode="drop")


def _padded(rows, filler):
    """Pads row numbers with `filler` to a power of two, so that few programs are compiled."""
    return np.append(rows, np.full(power(len(rows)) - len(rows), filler)).astype(np.int32)


def _by_features(trained, catalogue, items, names):
    """Returns the rows of items that only their attributes describe, for each leaf of these tables."""
    config, model, params = trained
    if not config.features:
        said = arguments.some([items[0].id])
        raise UserError(
            f"add: {said} is like no item, and the training has no features to describe it: name similar items in like"
        )
    base = catalogue.take(np.arange(1, len(model.folding.items.named) + 1))
    wider = model_with(config, model, _with(base, items))
    _, tables = folded(wider, params)
    return [np.asarray(leaf[-len(items) :]) for leaf in jax.tree.leaves({name: tables[name] for name in names})]


def _with(catalogue, items):
    """Returns the catalogue with new items, whose ids are of its type."""
    types = {} if catalogue.about is None else dict(catalogue.about.drop(COUNT, strict=False).schema)
    for item in items:
        if unknown := [name for name in item.about if name not in types]:
            there = f"there are {arguments.some([*types])}" if types else "the catalogue has none"
            raise UserError(f"about: items have no attribute {arguments.some(unknown[:1])}: {there}")
    told = [name for name in types if any(name in item.about for item in items)]
    columns = [newcomers.column(name, [item.about.get(name) for item in items], types[name]) for name in told]
    ids = np.array([item.id for item in items], catalogue.ids.dtype)
    return newcomers.extended(catalogue, ids, pl.DataFrame(columns))


def _tables(engine):
    """Returns the params of an engine with a row per item."""
    return {name: engine.params[name] for name in placed.per_item(engine.model, engine.params)}


def _offering(model):
    """Returns the model, with a score of -inf for rows that are not offered."""

    def embedding(params):
        table_VD, bias_V = model.output_embedding(params)
        return table_VD, params[OFFERED] if bias_V is None else bias_V + params[OFFERED]

    return dataclasses.replace(model, output_embedding=embedding)


def _scores(offered):
    """Returns the numbers to add to the scores of items: 0 if an item is offered, or else -inf. [V] float32"""
    return np.where(offered, 0, -np.inf).astype(np.float32)


def _lengthened(leaf, rows):
    """Returns a leaf lengthened to this many rows with zeros, on the host."""
    return np.concatenate([np.asarray(leaf), np.zeros((rows - len(leaf), *leaf.shape[1:]), leaf.dtype)])

"""Begins a training with what an earlier one learned, on a log whose items and users may differ: `init_from`.

Items are matched by their external ids. Their rows in every table, and the optimiser's moments of these rows, are
carried over. A new item begins like its neighbours, the items next to it in the training histories; where items have
features, it begins with its features alone. The size of its gradients, by which Adam and Adagrad divide, begins as the
mean of its neighbours': if it began at 0, the first updates would be steps of full size, which move the new item away
from everything that it is not next to. Params that belong to no item are carried over as they are.
"""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import polars as pl

from jaxrec.batches.context import USER
from jaxrec.config.keys import AUTO, Config
from jaxrec.config.parsing import flatten, to_dict
from jaxrec.data.attributes import features, user_columns
from jaxrec.data.interactions import Catalogue
from jaxrec.data.splits import Split, training_counts
from jaxrec.data.storage.ragged import slices
from jaxrec.kernels import processes
from jaxrec.models import likeness
from jaxrec.models.context import NAME as CONTEXT
from jaxrec.models.features import FEATURES, VALUES
from jaxrec.system import arguments
from jaxrec.system.errors import UserError
from jaxrec.system.files import is_address
from jaxrec.training.building import model_for
from jaxrec.training.setup import Setup, state_of
from jaxrec.training.steps import optim
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs import fetching, workdir
from jaxrec.training.workdirs.checkpoint import Checkpoints
from jaxrec.training.workdirs.leaves import on_host

#: the optimiser states that hold trees like the params; the others, of schedules, are not carried over
MOMENTS = (optax.ScaleByAdamState, optim.AdagradState)
TYPE = "type"  # the kind of context whose table depends on the log
#: the keys besides the model's that determine the form of the params
FORM = (
    "length",
    "positions",
    "objective",
    "stream",
    "features",
    "features_only",
    "context",
    "user_features",
    "start_prob",
)


class Matched(NamedTuple):
    """The rows of the items, users or values of features that two trainings share."""

    old: np.ndarray  #: [M] their rows in the earlier training
    new: np.ndarray  #: [M] their rows in this one
    size: int  #: number of all rows in this one

    @property
    def added(self) -> np.ndarray:
        """[N] the rows of this training that the earlier one lacks, ascending."""
        return np.setdiff1d(np.arange(self.size), self.new)


def earlier(path: Any, begun: Any = None) -> Config:
    """Returns the configuration of the earlier training, whose workdir, or its address, `init_from` names.

    Args:
        path: the value of `init_from`.
        begun: a workdir that may have begun with that training: if the earlier workdir is gone, the configuration of
            `begun` is returned.
    """
    is_gone = not is_address(path) and not (Path(path) / workdir.CONFIG).exists()
    if is_gone and begun is not None and not is_address(begun) and workdir.has_begun(Path(begun)):
        own = workdir.read(Path(begun)).config
        if own.init_from == _absolute(path):
            return own
    return workdir.read(fetching.here(path, None)).config


def settled(values: Mapping[str, Any], begun: Any = None) -> tuple[dict, list[str]]:
    """Resolves `auto` by trainings before: `precision` by what the workdir itself holds, so that it is resumed on any
    device; and with `init_from`, the keys that determine the form of the params by the earlier training.

    Args:
        values: the nested values of the configuration.
        begun: a workdir that may have begun with this training, or its address.

    Returns:
        The nested values, and lines to print.
    """
    lines, path = [], values.get("init_from")
    asks = values.get("precision") == AUTO and begun is not None  # without a workdir not all processes may be here
    if asks and (kept := processes.from_first(_precision(begun) if processes.leads() else None)):
        values = {**values, "precision": kept}
        lines.append(f"precision={kept}: as this training began")
    if not path:
        return dict(values), lines
    then = flatten(to_dict(earlier(path, begun)))
    taken = {
        key: then[key] for key, value in flatten(dict(values)).items() if value == AUTO and _shapes(key) and key in then
    }
    made: dict = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    made["init_from"] = _absolute(path)
    for key, value in taken.items():
        group, _, last = key.rpartition(".")
        (made[group] if group else made)[last] = value
    said = ", ".join(f"{key}={value}" for key, value in taken.items())
    return made, [*lines, f"{said}: as in {path}"] if taken else lines


def _precision(begun):
    """The precision of the training that a workdir holds; None if there is none that can be read."""
    with contextlib.suppress(UserError):  # there is nothing yet, or what is wrong with it is said when it is claimed
        return workdir.read(fetching.here(begun, None)).config.precision
    return None


def describe(config: Config, catalogue: Catalogue) -> str:
    """Says how many items of a training are carried over from the earlier one, how many are new, and how many gone."""
    path = fetching.here(config.init_from, None)
    known = workdir.catalogue(path, workdir.read(path))
    items = match(known.ids, catalogue.ids)
    gone = len(known.ids) - len(items.old)
    parts = [f"{len(items.old):,} items are carried over", f"{len(items.added):,} are new", f"{gone:,} are gone"]
    return f"begins with {config.init_from}: {', '.join(parts)}"


def carried(fresh: State, setup: Setup) -> State:
    """Returns the first State of a training, with what is carried over from the workdir of `config.init_from`.

    Args:
        fresh: the State that the training would begin with otherwise, on the host.
        setup: the Setup of the training.

    Returns:
        State, on the host. Step, schedule, carry and average begin anew.

    Raises:
        AnotherModel: the earlier training has a different model.
        UserError: there is no such workdir, or the trainings have no item in common.
    """
    config, path, split = setup.config, fetching.here(setup.config.init_from, whole=True), setup.split
    stored = workdir.read(path)
    catalogue, now = workdir.catalogue(path, stored), split.interactions.catalogue
    types, own = stored.data.get(workdir.TYPES, []), split.interactions.types
    columns = user_columns.restored(stored.data.get(workdir.COLUMNS))
    model = model_for(stored.config, catalogue, stored.data["users"], len(types), columns)
    then = _restored(path, stored.config, model)
    users, counted = workdir.users(path, stored), now.counted(training_counts(split))
    items = match(catalogue.ids, now.ids)
    if not len(items.old):
        then, here = (arguments.some(ids.ids[:3].tolist()) for ids in (catalogue, now))
        raise UserError(
            f"config.init_from: {config.init_from} and {split.interactions.name} have no item in common ({then} there, "
            f"{here} here): prepare both logs with the same column of items, or leave init_from out"
        )
    matched = (
        dict.fromkeys(setup.model.item_tables, items)
        | dict.fromkeys(setup.model.user_tables, match(users.ids if users else [], split.interactions.users))
        | {(FEATURES, VALUES): match(_values(stored.config, catalogue), _values(config, counted))}
        | {(CONTEXT, TYPE): match(types, own.names if own else [])}
        | _columns(columns, split.interactions.user_columns)
    )
    near = neighbours(split, items)
    means, typical = partial(_means, near), partial(_typical, near)
    of_items = partial(dict.fromkeys, setup.model.item_tables)
    try:
        begin = of_items((lambda rows: 0) if config.features else typical)
        params = _moved(matched, then.evaluated, fresh.params, begin)
        opt = _with_moments(then.opt, fresh.opt, partial(_moved, matched), of_items(means))
    except _Unlike as unlike:
        before, after = flatten(to_dict(stored.config)), flatten(to_dict(config))
        keys = [key for key in after if _shapes(key) and before.get(key) != after[key]]
        differ = [f"config.{key} was {before.get(key)!r} and is {after[key]!r}" for key in keys]
        raise AnotherModel(
            f"config.init_from: the model of {config.init_from} is different ({'; '.join([*differ, str(unlike)])}): "
            "set these keys as they were, or leave init_from out"
        ) from None
    return fresh._replace(params=params, opt=opt)


def match(old: Sequence | np.ndarray, new: Sequence | np.ndarray) -> Matched:
    """Returns the ids that two sequences share, as rows.

    >>> match([2, 5, 7], [5, 6, 7, 9])
    Matched(old=array([1, 2]), new=array([0, 2]), size=4)
    """
    texts = lambda ids: ids if isinstance(ids, np.ndarray) else list(map(str, ids))
    as_text = lambda ids: pl.Series(texts(ids), dtype=pl.String, strict=False)
    own, other = (pl.DataFrame({"id": as_text(ids)}).with_row_index() for ids in (old, new))
    pairs = other.join(own, on="id", maintain_order="left")
    of_old, of_new = (pairs[name].to_numpy().astype(np.int64) for name in ("index_right", "index"))
    return Matched(of_old, of_new, len(new))


def neighbours(split: Split, items: Matched) -> Any:
    """Counts how often each item is next to each new one in the training histories: sparse [N, M + N], see Matched.

    The columns are the carried items, then the new ones.
    """
    import scipy.sparse  # the import changes the warning filters

    at, user = slices(split.start, split.stop), np.repeat(np.arange(len(split.start)), split.stop - split.start)
    row = np.asarray(split.interactions.items[at]) - 1
    together = user[1:] == user[:-1]
    left, right = row[:-1][together], row[1:][together]
    place = np.empty(items.size, np.int64)
    place[np.append(items.new, items.added)] = np.arange(items.size)
    pairs = place[np.stack([np.append(left, right), np.append(right, left)])] - [[len(items.new)], [0]]
    pairs = pairs[:, (pairs[0] >= 0) & (pairs[0] != pairs[1] - len(items.new))]
    shape = len(items.added), items.size
    return scipy.sparse.csr_array((np.ones(pairs.shape[1], np.float32), pairs), shape=shape)


class AnotherModel(UserError):
    """The model of the earlier training is a different one."""


class _Unlike(Exception):
    """The params of two trainings don't have the same form."""


def _restored(path, config, model):
    """The State of the best checkpoint of a workdir, on the host."""
    optimiser = optim.optimiser(config.optim, 1)  # its state has the same form for any number of steps
    with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:

        def restore(step):
            rows = checkpoints.loop(step).get("rows", 1)
            shapes = jax.eval_shape(partial(state_of, config, model, optimiser, rows), jax.random.key(0))
            return checkpoints.restore(step, jax.tree.map(on_host, shapes))[0]

        return checkpoints.take("best", restore)[0]


def _absolute(path):
    """The value of `init_from` to store, so that the training can be resumed from any directory."""
    return str(path) if is_address(path) else str(Path(path).absolute())


def _shapes(key):
    """Whether a key of a configuration determines the form of the params."""
    return key.startswith("model.") or key in FORM


def _values(config, catalogue):
    """The (column, value) of each row of the features' tables."""
    return features.build(catalogue, features.parse(config.features)).names if config.features else []


def _columns(before, now):
    """{(CONTEXT, name): Matched} of the user columns in both trainings, matched by their values or the ends of bins."""
    now = {column.name: column for column in now.chosen} if now else {}
    pairs = ((column, now[column.name]) for column in before if column.name in now)
    return {(CONTEXT, USER + old.name): match(old.values or old.ends, new.values or new.ends) for old, new in pairs}


def _moved(matched, old, new, begin=None, otherwise=None):
    """A tree like the params of this training, with the rows of the earlier one.

    Args:
        matched: {name of a param, or (name, name within it): Matched} of tables with a row per item, user, value of a
            feature, or type of event.
        old: a tree like the params of the earlier training.
        new: the tree to begin with: rows that the earlier training lacks stay as they are here, unless stated below.
        begin: {name of a param: (rows that are carried over) -> the rows that the earlier training lacks}.
        otherwise: the same for the tables that `begin` doesn't name, but given all rows of the earlier training.
    """
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise _Unlike("its params have a different structure")

    def leaf(path, old, new):
        names, old, found = [getattr(part, "key", None) for part in path], np.asarray(old), np.array(new)
        by = matched.get(names[0], matched.get((names[0], names[-1])))
        if old.shape[by is not None :] != found.shape[by is not None :]:
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise _Unlike(f"{where} has the shape {old.shape} there and {found.shape} here")
        if by is None:
            return old
        found[by.new] = old[by.old]
        if begin and names[0] in begin:
            found[by.added] = begin[names[0]](found[by.new])
        elif otherwise and len(old):
            found[by.added] = otherwise(old)
        return found

    return jax.tree_util.tree_map_with_path(leaf, old, new)


def _typical(near, rows):
    """The rows that new items begin with: `likeness.typical` of their neighbours, or of all items if there are none."""
    means = _means(near, rows)
    return means if rows.ndim == 1 else likeness.as_long(means, _means(near, np.linalg.norm(rows, axis=-1)))


def _means(near, rows):
    """The mean row of each new item's neighbours, or of all items if there are none.

    New items that are next to each other only, such as the songs of a new album, get theirs from the carried items
    around them.
    """
    flat, reached = rows.reshape(len(rows), -1), np.zeros(near.shape[0], bool)
    found = np.broadcast_to(flat.mean(0), (len(reached), flat.shape[1]))
    while True:
        has = np.append(np.ones(len(flat), bool), reached)
        counts = (near @ has.astype(np.float32))[:, None]
        sums = near @ (np.concatenate([flat, found]) * has[:, None])
        found = np.where(counts > 0, sums / np.maximum(counts, 1), found)
        if not (counts[:, 0] > 0)[~reached].any():
            return found.reshape(-1, *rows.shape[1:])
        reached = counts[:, 0] > 0


def _with_moments(old, new, move, begin):
    """The optimiser's state `new` with the moments of `old`; unchanged if the optimisers differ.

    Args:
        old: the state of the earlier training.
        new: the state to begin with otherwise.
        move: `_moved` for these trainings.
        begin: as in `_moved`, for the sizes of the gradients of rows that the earlier training lacks.
    """
    is_moments = lambda part: isinstance(part, MOMENTS)
    kept = {type(part): part for part in jax.tree.leaves(old, is_leaf=is_moments) if is_moments(part)}

    def part(new):
        if (old := kept.get(type(new))) is None:
            return new
        sizes = partial(move, begin=begin, otherwise=partial(np.mean, axis=0))
        if isinstance(new, optax.ScaleByAdamState):
            return optax.ScaleByAdamState(old.count, move(old.mu, new.mu), sizes(old.nu, new.nu))
        trace = new.trace if old.trace is None or new.trace is None else move(old.trace, new.trace)
        return new._replace(sum_of_squares=sizes(old.sum_of_squares, new.sum_of_squares), trace=trace)

    return jax.tree.map(part, new, is_leaf=is_moments)

"""Answers for all users of a log: a stream of frames in bounded memory, whatever the number of users.

Users are taken in blocks, and within a block in the order of the lengths of their histories: so few programs serve all,
and the slots of a batch are nearly full. Batches are dealt out to all devices of the process; what is in a
batch does not depend on how many there are, so the answers don't either.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxrec.batches import context
from jaxrec.batches.context import is_asked, is_steady
from jaxrec.data import event_types
from jaxrec.data.attributes import user_columns
from jaxrec.data.files.text import some
from jaxrec.data.interactions import ID, Catalogue, Interactions
from jaxrec.data.storage.ragged import slices, within
from jaxrec.inference.engine import SLOTS, Engine
from jaxrec.inference.events import microseconds
from jaxrec.inference.numbering import Numbering
from jaxrec.inference.padding import bucket
from jaxrec.inference.popularity import Popularity
from jaxrec.inference.programs import START, hidden
from jaxrec.inference.spread import Spread
from jaxrec.kernels import best, placement, processes
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

BLOCK = 1 << 15  # users whose answers make one frame
BATCH = 256  # histories that a device answers at once, where they are short
BATCH_SLOTS = 1 << 14  # slots of them all: of the longest histories, fewer are answered at once, as caches are full
SEEN_SLOTS = 1 << 24  # slots of the items that they have had
REPEATING = 4096  # events of a history from which on its repeated items are looked for


class Bulk:
    """The users of a log, asked of one model.

    Args:
        engine: of the model.
        catalogue: its own.
        log: whose users are meant; its items are known by their external ids.
        vectors: [users of the log] the row of each user's vector in the model; -1 for who has none.
        now: when the next items are asked for, as in a Query.
        zone: of the training's `context_zone`.
        types: the names of the types of events that the model knows, by their numbers from 1.
        topics: of the catalogue's items, as of `topics.values`.
        columns: of users, that the model is shown.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        log: Interactions,
        vectors: np.ndarray | None = None,
        now: object = None,
        zone: str = "UTC",
        types: Sequence[str] = (),
        topics: np.ndarray | None = None,
        columns: Sequence[user_columns.Column] = (),
    ):
        self._engine, self._catalogue, self._log = engine, catalogue, log
        self._numbers = numbers_in(catalogue, log)
        if len(log.items) and not self._numbers.any() and not engine.model.starts:
            theirs, own = some(log.catalogue.ids[:3].tolist()), some(catalogue.ids[:3].tolist())
            said = f"{log.name}: none of its items is known to the model: it has {theirs}, and the training {own}"
            warnings.warn(f"{said}: give a log with the ids of the training", stacklevel=2)
        self._context, self._told = None, is_asked(engine.kinds) | is_steady(engine.kinds)
        if engine.kinds:
            own = None if log.types is None else event_types.translation(log.types.names, types)[log.types.numbers]
            events = context.of_log(log, zone)._replace(types=own, items=self._numbers[log.items], topics=topics)
            events = events._replace(users=user_columns.per_event(log, columns))
            self._context = context_in(engine.kinds, events, log.name, engine.num_mask_slots > 0)
        self._now, self._zone = microseconds(now, "now: "), zone
        self._alone = self._of_users(columns) if engine.model.starts else None
        self._vectors = np.full(len(log.users), -1, np.int32) if vectors is None else vectors

    def recommend(
        self, users: np.ndarray, k: int, exclude_seen: bool, together: bool = False
    ) -> Iterator[pl.DataFrame]:
        """The best next items of these users, numbers of the log, in their order.

        Args:
            k: items a user, at most as many as the catalogue has.
            exclude_seen: leave out the items of the history.
            together: whether all processes of the job ask: each answers some batches, and all have all answers.

        Yields:
            Frames of the columns user, rank (from 1), item and score. Of a user without one known item these are the
            most popular items, and the scores their shares of training; unless the model answers by their columns.
        """
        own = self._engine.model, self._engine.objective
        program = partial(_best, *own, k=k, items=self._engine.items, exclude=exclude_seen)
        popular = Popularity(self._catalogue.counts).best(self._engine.offered[: len(self._catalogue.ids)], k)
        forms = ((k, np.int32), (k, np.float32))
        for here, found, answered in self._answers(users, ("best", k, exclude_seen), program, forms, together):
            if together:
                found, answered = processes.merged(found, answered)
            for into, values in zip(found, popular, strict=True):
                into[np.flatnonzero(~answered)[:, None], np.arange(len(values))] = values
            yield self._frame(here, *found)

    def hidden(self, users: np.ndarray) -> Iterator[pl.DataFrame]:
        """Frames of the columns id and vector, [D] float32 after the whole history, of these users in their order.

        Users without a known item are left out.
        """
        program = partial(_hidden, self._engine.model, self._engine.objective)
        forms = ((self._engine.output_table[0].shape[1], np.float32),)
        for here, (vectors,), answered in self._answers(users, ("hidden",), program, forms):
            ids = _series(self._log.users[here])
            yield pl.DataFrame({ID: ids, "vector": vectors}).filter(pl.Series(answered))

    def _answers(self, users, name, program, forms, together=False):
        """(users of a block, what the program answers for them, who is answered), of every block.

        As many blocks as there are devices are worked on at a time, so that a call has a batch for each of them.

        Args:
            name: of the program; it is kept, so that another log compiles nothing.
            forms: (length, dtype) of the rows of what the program answers.
            together: as for `recommend`.

        Raises:
            UserError: they are asked before the newest event of some of them.
        """
        self._check_now(users)
        engine = self._engine
        devices = engine.mesh or tuple(placement.local())
        run = engine.programs.setdefault((name, devices), Spread(program, devices, engine.specs))
        width = placement.data_size(devices)
        params, share = engine.params_on(devices), processes.shared_out if together else lambda these: these
        blocks = [users[at : at + BLOCK] for at in range(0, max(len(users), 1), BLOCK)]  # one if nobody is asked
        for first in range(0, len(blocks), width):
            here = blocks[first : first + width]
            found = [tuple(np.zeros((len(block), length), dtype) for length, dtype in forms) for block in here]
            answered = [np.zeros(len(block), bool) for block in here]
            of_block = lambda number, block: (((number, rows), batch) for rows, batch in self._batches(block, share))
            batches = chain.from_iterable(of_block(*each) for each in enumerate(here))
            for (number, rows), values in run(params, batches):
                answered[number][rows] = True
                for into, value in zip(found[number], values, strict=True):
                    into[rows] = value[: len(rows)]
            yield from zip(here, found, answered, strict=True)

    def _check_now(self, users):
        """Checks that users are asked after their newest events, as of a Query, if that is shown to the model."""
        times, now = self._log.times, self._now
        if times is None or self._log.relative or now == context.UNKNOWN or not is_asked(self._engine.kinds).any():
            return
        users = users[self._log.offsets[users + 1] > self._log.offsets[users]]
        newest = np.asarray(times[self._log.offsets[users + 1] - 1])
        if (late := newest > now).any():
            whom, last = some(self._log.users[users[late][:1]].tolist()), np.datetime64(int(newest.max()), "us")
            raise UserError(
                f"now: before the newest event of {late.sum():,} of the {len(users):,} users, as of {whom}: give a "
                f"time from {last}Z on, or leave such users out"
            )

    def _batches(self, users, share):
        """(places among the users, as `_batch`) of all users who have a known item, or of the `share` of the batches.

        Of several processes together each has a part of them, which are the same as alone.
        """
        start, stop = self._log.offsets[users], self._log.offsets[users + 1]
        at = slices(start, stop)
        numbers = self._numbers[self._log.items[at]]
        shown = None if self._context is None else self._context[at][numbers > 0]
        length = np.bincount(np.repeat(np.arange(len(users)), stop - start)[numbers > 0], minlength=len(users))
        flat, stop = numbers[numbers > 0], np.cumsum(length)
        asked = self._asked(at[numbers > 0], shown, length, stop)
        order = np.argsort(length, kind="stable")
        order = order[length[order] > 0]
        yield from self._without_events(users, np.flatnonzero(length == 0), share)
        for rows in share(list(self._together(order, length))):
            here = None if asked is None else asked[rows]
            begin, end = stop[rows] - length[rows], stop[rows]
            yield rows, self._batch(flat, shown, begin, end, self._vectors[users[rows]], here)

    def _together(self, order, length):
        """The histories of each batch: the longest first, so that a batch that is not full is a short one."""
        last = len(order)
        while last > 0:
            first = max(last - self._rows(int(length[order[last - 1]])), 0)
            yield order[first:last]
            last = first

    def _slots(self, longest):
        """Of the histories in a batch, by its longest."""
        engine = self._engine
        shown = min(longest, engine.length - engine.num_mask_slots)
        return min(bucket(int(shown) + engine.num_mask_slots, SLOTS), engine.length)

    def _rows(self, longest):
        """So many histories are one batch, by its longest: a power of two."""
        most = min(BATCH_SLOTS // self._slots(longest), SEEN_SLOTS // bucket(min(longest, self._engine.items), SLOTS))
        return min(BATCH, 1 << max(most, 1).bit_length() - 1)

    def _of_users(self, columns):
        """What a model is shown of each user without events, [U, K] int32."""
        kinds, users = self._engine.kinds, len(self._log.users)
        known = user_columns.per_user(self._log, columns) or {}
        unknown = np.full(users, context.UNKNOWN)
        found = context.asked_at(kinds, unknown, np.full(users, self._now), self._zone)
        for column, kind in enumerate(kinds):
            if (name := kind.removeprefix(context.USER)) in known and kind.startswith(context.USER):
                found[:, column] = known[name]
        return found

    def _without_events(self, users, places, share):
        """(places among the users, as `_batch`) of those of whom columns are known, if the model answers by them."""
        if self._alone is None:
            return
        steady = is_steady(self._engine.kinds)
        places = places[self._alone[users[places]][:, steady].any(1)]
        for first in share(range(0, len(places), BATCH)):
            rows = places[first : first + BATCH]
            shown = np.zeros((BATCH, min(SLOTS, self._engine.length)), np.int32)
            events = np.zeros((*shown.shape, len(steady)), np.int32)
            shown[: len(rows), 0], events[: len(rows), 0] = START, self._alone[users[rows]]
            yield rows, (shown, np.zeros_like(shown), np.full(BATCH, -1, np.int32), events)

    def _asked(self, at, shown, length, stop):
        """Of the histories at these events what they are shown where they are asked, [U, K]; None where nothing."""
        kinds = self._engine.kinds
        if shown is None or not self._told.any():
            return None
        times, newest = self._log.times, np.maximum(stop - 1, 0)
        last = np.full(len(length), context.UNKNOWN)
        if times is not None and not self._log.relative and len(at):
            last = np.where(length > 0, np.asarray(times[at[newest]]), last)
        asked, steady = context.asked_at(kinds, last, np.full(len(length), self._now), self._zone), is_steady(kinds)
        if len(shown):
            asked[:, steady] = shown[newest][:, steady]
        return asked

    def _batch(self, flat, context, start, stop, vectors, asked):
        """(items [B, T], seen [B, S], vectors [B], context [B, T, K] or None) of some histories, int32,

        T and S in their buckets, B as the longest history has it. Of a history longer than REPEATING, `seen` has each
        item once.
        """
        engine, longest = self._engine, int((stop - start).max())
        newest = np.maximum(start, stop - (engine.length - engine.num_mask_slots))
        slots = self._slots(longest)
        shown = np.zeros((self._rows(longest), slots), np.int32)
        row = np.repeat(np.arange(len(newest)), stop - newest)
        shown[row, within(stop - newest)] = flat[slices(newest, stop)]
        row, items = np.repeat(np.arange(len(start)), stop - start), flat[slices(start, stop)]
        if longest > REPEATING:
            row, items = np.divmod(np.unique(row * (engine.items + 1) + items), engine.items + 1)
        counts = np.bincount(row, minlength=len(start))
        seen = np.zeros((len(shown), bucket(int(counts.max()), SLOTS)), np.int32)
        seen[row, within(counts)] = items
        events = None
        if context is not None:
            events = np.zeros((*shown.shape, context.shape[1]), np.int32)
            row = np.repeat(np.arange(len(newest)), stop - newest)
            events[row, slices(np.zeros_like(newest), stop - newest)] = context[slices(newest, stop)]
        if events is not None and asked is not None:
            rows, at = np.arange(len(newest)), stop - newest - 1 + engine.num_mask_slots
            events[rows, at] = np.where(self._told, asked, events[rows, at])
        return shown, seen, np.append(vectors, np.full(len(shown) - len(vectors), -1)).astype(np.int32), events

    def _frame(self, users, items, scores):
        """The rows of these users' items, without those that are none."""
        user, rank = np.nonzero(items > 0)
        columns = {
            "user": _series(self._log.users[users])[user],
            "rank": (rank + 1).astype(np.int32),
            "item": _series(self._catalogue.ids)[items[user, rank] - 1],
            "score": scores[user, rank],
        }
        return pl.DataFrame(columns)


def rows_of(log: Interactions, users: Any) -> np.ndarray:
    """The numbers of these users in a log.

    Args:
        users: external ids, or "all".

    Raises:
        UserError: the log lacks one of them.
    """
    if isinstance(users, str) and users == "all":
        return np.arange(len(log.users))
    own = Numbering(log.users)
    return np.array(own.known(arguments.id_list(users, "users"), "users", f"a user of {log.name}"), np.int64) - 1


def numbers_in(catalogue: Catalogue, log: Interactions) -> np.ndarray:
    """The catalogue's number of each of the log's items, 0 for one that it lacks. [items of the log + 1] int32"""
    ids, theirs = catalogue.ids, log.catalogue.ids
    numbers = np.zeros(len(theirs) + 1, np.int32)
    if ids.dtype.kind == theirs.dtype.kind:
        order = np.argsort(ids, kind="stable")
        place = order[np.minimum(np.searchsorted(ids, theirs, sorter=order), len(ids) - 1)]
        numbers[1:] = np.where(ids[place] == theirs, place + 1, 0)
        return numbers
    known = Numbering(ids)
    for row, id in enumerate(theirs.tolist(), 1):
        numbers[row] = (known.numbers([id])[0] or [0])[0]
    return numbers


def context_in(kinds: Sequence[str], events: context.Events, name: str, masks: bool = False) -> np.ndarray:
    """The context of a log's events, [N, K], as a model is shown it: 0 of a kind that the log lacks, with a warning.

    Events of items that are not known are none to the model, and have 0.

    Args:
        kinds: of the model.
        events: of the log; types and items by the numbers of the model.
        name: of the log.
        masks: whether the model is asked by masks: as of `context.numbers`.
    """
    own = [kind for kind in kinds if not is_asked([kind])[0]]
    if lacks := [kind for kind in own if context.LACKS[context.kind_of(kind).needs](events)]:
        said = f"{name} does not say the {', '.join(lacks)} of its events, which the model is shown"
        warnings.warn(said, stacklevel=3)
    if (is_known := np.asarray(events.items) > 0).all():
        return context.partly(events, kinds, name, masks)
    found = context.partly(context.of_known_items(events), kinds, name, masks)
    shown = np.zeros((len(is_known), len(kinds)), found.dtype)
    shown[is_known] = found
    return shown


def _hidden(model, objective, params, items_BT, seen_BS, user_B, context_BTK):
    return (hidden(model, objective, params, items_BT, user_B, context_BTK),)


def _best(model, objective, params, items_BT, seen_BS, user_B, context_BTK, *, k, items, exclude):
    """(items [B, k], scores [B, k]): what is best after each history, without what it has where that is excluded."""
    hidden_BD = hidden(model, objective, params, items_BT, user_B, context_BTK)
    seen_BS = seen_BS if exclude else jnp.zeros_like(seen_BS[:, :1])
    return best.top_k_unseen(model.output_embedding(params), hidden_BD, seen_BS, k=k, items=items, axis=model.item_axis)


def _series(ids):
    return pl.Series(ids) if ids.dtype.kind == "i" else pl.Series(ids.tolist(), dtype=pl.String)

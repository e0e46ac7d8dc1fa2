"""Answers for all users of a log, as a stream of frames: memory is bounded, whatever the number of users.

Users are processed in blocks, and sorted by history length within a block, so that few programs are compiled and
batches have little padding. Batches are dealt out to all devices of the process. The contents of a batch don't depend
on the number of devices, so neither do the answers.
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
from jaxrec.kernels import best, placement, processes, sizes
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

BLOCK = 1 << 15  # users per block; the answers of a block make one frame
BATCH = 256  # maximum number of histories that a device answers at once
SEEN_SLOTS = 1 << 24  # maximum slots for the items of a batch's users
REPEATING = 4096  # repeated items are removed if the longest history of a batch has more events


class Bulk:
    """Answers of one model for the users of a log.

    Args:
        engine: the model's Engine.
        catalogue: the model's Catalogue.
        log: the log of the users; its items are matched by external id.
        vectors: [users of the log] the row of each user's vector in the model; -1 for users without one.
        now: when the next items are requested, as in a Query.
        zone: the training's `context_zone`.
        types: the names of the event types that the model knows, in the order of their numbers from 1.
        topics: topics of the catalogue's items, as returned by `topics.values`.
        columns: the user columns that the model uses.
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
            said = f"{log.name}: the model knows none of its items: the log has {theirs}, and the training {own}"
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
        """Yields the best next items of these users, given by their numbers in the log, in this order.

        Args:
            k: items per user, at most the number of items in the catalogue.
            exclude_seen: leave out the items of the history.
            together: whether all processes of the job call this: each computes some batches, and all get all answers.

        Yields:
            Frames with the columns user, rank (from 1), item and score. Users without a known item get the most popular
            items, scored by their shares of the training data, unless the model can answer from the users' columns.
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
        """Yields frames with the columns id and vector, [D] float32 after the whole history, of these users in order.

        Users without a known item are left out.
        """
        program = partial(_hidden, self._engine.model, self._engine.objective)
        forms = ((self._engine.output_table[0].shape[1], np.float32),)
        for here, (vectors,), answered in self._answers(users, ("hidden",), program, forms):
            ids = _series(self._log.users[here])
            yield pl.DataFrame({ID: ids, "vector": vectors}).filter(pl.Series(answered))

    def _answers(self, users, name, program, forms, together=False):
        """Yields (users of a block, the program's answers for them, which of them are answered) for every block.

        As many blocks are processed at a time as there are devices, so that a call has a batch for each device.

        Args:
            name: the key under which the program is kept, so that it is not compiled again for another log.
            forms: (length, dtype) of a row of each array that the program returns.
            together: as for `recommend`.

        Raises:
            UserError: `now` is before the newest event of some of the users.
        """
        self._check_now(users)
        engine = self._engine
        devices = engine.mesh or tuple(placement.local())
        run = engine.programs.setdefault((name, devices), Spread(program, devices, engine.specs))
        width = placement.data_size(devices)
        params, share = engine.params_on(devices), processes.shared_out if together else lambda these: these
        blocks = [users[at : at + BLOCK] for at in range(0, max(len(users), 1), BLOCK)]  # one even without users
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
        """Checks that `now` is not before the newest event of a user, as for a Query, if the model uses `now`."""
        times, now = self._log.times, self._now
        if times is None or self._log.relative or now == context.UNKNOWN or not is_asked(self._engine.kinds).any():
            return
        users = users[self._log.offsets[users + 1] > self._log.offsets[users]]
        newest = np.asarray(times[self._log.offsets[users + 1] - 1])
        if (late := newest > now).any():
            whom, last = some(self._log.users[users[late][:1]].tolist()), np.datetime64(int(newest.max()), "us")
            raise UserError(
                f"now: it is before the newest event of {late.sum():,} of the {len(users):,} users, such as {whom}: "
                f"give a time from {last}Z on, or leave such users out"
            )

    def _batches(self, users, share):
        """Yields (places in `users`, the arrays of `_batch`) for all users whom the model can answer.

        `share` selects the batches of this process if several answer together; batches are the same as with one.
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
        """Yields the histories of each batch, longest first, so that a batch that is not full has short histories."""
        last = len(order)
        while last > 0:
            first = max(last - self._rows(int(length[order[last - 1]])), 0)
            yield order[first:last]
            last = first

    def _slots(self, longest):
        """Returns the number of slots per history in a batch, given its longest history."""
        engine = self._engine
        shown = min(longest, engine.length - engine.num_mask_slots)
        return min(bucket(int(shown) + engine.num_mask_slots, SLOTS), engine.length)

    def _rows(self, longest):
        """Returns the number of histories in a batch, given its longest history: a power of two."""
        seen = bucket(min(longest, self._engine.items), SLOTS)
        most = min(sizes.answered_slots() // self._slots(longest), SEEN_SLOTS // seen)
        return min(BATCH, 1 << max(most, 1).bit_length() - 1)

    def _of_users(self, columns):
        """Returns the context that the model is given for each user if they have no events, [U, K] int32."""
        kinds, users = self._engine.kinds, len(self._log.users)
        known = user_columns.per_user(self._log, columns) or {}
        unknown = np.full(users, context.UNKNOWN)
        found = context.asked_at(kinds, unknown, np.full(users, self._now), self._zone)
        for column, kind in enumerate(kinds):
            if (name := kind.removeprefix(context.USER)) in known and kind.startswith(context.USER):
                found[:, column] = known[name]
        return found

    def _without_events(self, users, places, share):
        """Like `_batches`, for users without known items but with known columns, if the model can answer from those."""
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
        """Returns the context at the time of asking for each history of these events, [U, K]; None if there is none."""
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
        """Returns (items [B, T], seen [B, S], vectors [B], context [B, T, K] or None) of some histories, all int32.

        T and S are rounded up to buckets, and B depends on the longest history. If that is longer than REPEATING,
        `seen` has each item once.
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
        """Returns the frame of these users' items, without empty places."""
        user, rank = np.nonzero(items > 0)
        columns = {
            "user": _series(self._log.users[users])[user],
            "rank": (rank + 1).astype(np.int32),
            "item": _series(self._catalogue.ids)[items[user, rank] - 1],
            "score": scores[user, rank],
        }
        return pl.DataFrame(columns)


def rows_of(log: Interactions, users: Any) -> np.ndarray:
    """Returns the numbers of these users in a log.

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
    """Returns the catalogue's number of each of the log's items, 0 if it lacks it. [items of the log + 1] int32"""
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
    """Returns the context of a log's events for a model, [N, K]. Kinds that the log lacks are 0, with a warning.

    Events of unknown items are 0, and the context of the others is computed as if they had not happened.

    Args:
        kinds: the kinds of context of the model.
        events: the log's events, with types and items by the model's numbers.
        name: the log's name.
        masks: whether the model predicts at mask slots, as for `context.numbers`.
    """
    own = [kind for kind in kinds if not is_asked([kind])[0]]
    if lacks := [kind for kind in own if context.LACKS[context.kind_of(kind).needs](events)]:
        said = f"{name} lacks some of the context that the model uses: {', '.join(lacks)}"
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
    """Returns the best (items [B, k], scores [B, k]) after each history, without its own items if `exclude`."""
    hidden_BD = hidden(model, objective, params, items_BT, user_B, context_BTK)
    seen_BS = seen_BS if exclude else jnp.zeros_like(seen_BS[:, :1])
    return best.top_k_unseen(model.output_embedding(params), hidden_BD, seen_BS, k=k, items=items, axis=model.item_axis)


def _series(ids):
    return pl.Series(ids) if ids.dtype.kind == "i" else pl.Series(ids.tolist(), dtype=pl.String)

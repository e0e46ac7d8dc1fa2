"""Draws negatives: uniformly outside a user's history, uniformly, by popularity, from the batch's targets, or mixed."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.config.keys import LossOptions, SampledOptions
from jaxrec.data import splits
from jaxrec.data.splits import Split
from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import distinct, slices, spans
from jaxrec.kernels.collectives import all_gather
from jaxrec.kernels.random import randint, random_bits
from jaxrec.system.errors import UserError

SITE = 2**31 - 1  # of the draws, for site_keys; models count their sites from 0, and no batch has as many rows
SharedBy = Literal["slot", "row", "batch"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Negatives:
    """The negatives of N slots in R rows. Item 0 stands for none."""

    items: Any  #: int32; [N, K], [R, K] or [K] if shared by "slot", "row" or "batch" (of all devices)
    _: KW_ONLY
    shared_by: SharedBy = field(metadata={"static": True})  #: the scope of the slots that share negatives
    shift: Any = None  #: as items, what logQ subtracts from their scores; None for nothing
    own_shift: Any = None  #: [N], what logQ subtracts from the targets' scores; None for nothing
    own_column: Any = None  #: [N] the column of the slot's own target, if items are the batch's targets

    def of_each_slot(self, slots: int) -> "Negatives":
        """Returns the Negatives with a separate copy of the items for each of `slots` slots."""

        def repeat(x):
            x = x.reshape(-1, x.shape[-1])
            return jnp.repeat(x, slots // len(x), axis=0)

        items, shift = jax.tree.map(repeat, (self.items, self.shift))
        return dataclasses.replace(self, items=items, shift=shift, shared_by="slot")

    def split(self, number: int) -> "Negatives":
        """Splits the rows into `number` equal parts, on a new leading axis; negatives of a whole batch are repeated."""
        cut = lambda tree: jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), tree)
        if self.shared_by != "batch":
            return cut(self)
        repeat = lambda x: jnp.broadcast_to(x, (number, *x.shape))
        items, shift = jax.tree.map(repeat, (self.items, self.shift))
        return dataclasses.replace(cut(dataclasses.replace(self, items=None, shift=None)), items=items, shift=shift)


class Seen(NamedTuple):
    """Each user's distinct training items in ascending order, concatenated."""

    items: Any  #: [M] int32
    offsets: Any  #: [U + 1]


def seen(
    items: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    catalogue: int,
    users: np.ndarray | None = None,
    drawn: bool = True,
) -> Seen:
    """Returns the Seen of the training histories items[start:stop], in NumPy: sorts all once, some users at a time.

    Args:
        items: [N] int, the flat histories.
        start: [U] the index at which each user's history begins.
        stop: [U] the index at which it ends.
        catalogue: V, the number of items.
        users: [U] external ids, for messages.
        drawn: whether negatives will be drawn outside these sets.

    Raises:
        UserError: a user's history has all items of the catalogue, so that there are no negatives to draw.
    """
    start, stop = np.asarray(start), np.asarray(stop)
    counts, found = np.zeros(len(start), np.int64), [np.zeros(0, np.int32)]
    for first, last in spans(np.append(0, np.cumsum(stop - start)), maps.ROWS):
        lengths = stop[first:last] - start[first:last]
        user = np.repeat(np.arange(last - first, dtype=np.int64), lengths)
        user, item = np.divmod(
            distinct(user * (catalogue + 1) + items[slices(start[first:last], stop[first:last])]), catalogue + 1
        )
        maps.release(items)
        counts[first:last] = np.bincount(user, minlength=last - first)
        found.append(item.astype(np.int32))
    if drawn and len(counts) and counts.max() >= catalogue:
        worst = counts.argmax()
        raise UserError(
            f"user {worst + 1 if users is None else users[worst]} has all {catalogue} items of the catalogue in the "
            "training history: no negative can be drawn. Use loss.name=softmax, or leave such users out"
        )
    return Seen(np.concatenate(found), np.append(0, np.cumsum(counts)))


def seen_in_training(split: Split, drawn: bool = True) -> Seen:
    """Returns the Seen of a split, with int32 offsets. drawn, Raises: as in `seen`."""
    log = split.interactions
    found = seen(log.items, split.start, split.stop, len(log.catalogue.ids), log.users, drawn)
    return found._replace(offsets=found.offsets.astype(np.int32))


def nth_unseen(nth: Any, low: Any, high: Any, items: Any, steps: int) -> Any:
    """Returns the nth item (from 0) outside a sorted set items[low:high], by bisection, for NumPy or JAX arrays.

    items[low + j] - 1 - j items outside the set precede its j-th item, and this is a non-decreasing sequence. If j of
    them are at most nth, the answer is nth + 1 + j.

    Args:
        nth: [K] int.
        low: [K] or broadcast to it, the index at which the set begins.
        high: [K] or broadcast to it, the index at which it ends.
        items: [M] int.
        steps: bisection steps, at least ceil(log2(longest set + 1)).

    Returns:
        [K] int.
    """
    xp = jnp if isinstance(nth, jax.Array) else np
    left, right = xp.zeros_like(nth), xp.zeros_like(nth) + (high - low)
    for _ in range(steps):
        middle = (left + right) // 2
        before = items[xp.minimum(low + middle, len(items) - 1)] - 1 - middle
        go_right = (before <= nth) & (left < right)
        left, right = xp.where(go_right, middle + 1, left), xp.where(go_right, right, middle)
    return nth + 1 + left


def uniform(key: jax.Array, user_index: jax.Array, number: int, seen: Seen, catalogue: int, steps: int) -> jax.Array:
    """Draws negatives for the slots of one row, uniformly from the items that each slot's user hasn't seen in training.

    Args:
        key: the key of the row.
        user_index: [T] int, the users.
        number: negatives per slot.
        seen: Seen, on the device.
        catalogue: V, the number of items.
        steps: bisection steps, at least ceil(log2(longest set + 1)).

    Returns:
        [T, number] int32 in 1..V.
    """
    low, high = seen.offsets[user_index][:, None], seen.offsets[user_index + 1][:, None]
    nth = randint(key, (len(user_index), number), catalogue - (high - low))
    return nth_unseen(nth, low, high, seen.items, steps)


# --- by popularity


class Popular(NamedTuple):
    """An alias table to draw items in proportion to weights, and their probabilities for logQ. Fields are [V]."""

    keep: Any  #: uint32, the probability that a column gives its own item, in units of 2^-32
    alias: Any  #: int32, the row of the item that it gives otherwise
    share: Any  #: float32, the probability of the item
    log_weight: Any  #: float32, the log of the item's weight


def popular(counts: np.ndarray, alpha: float) -> Popular:
    """Returns the Popular for weights counts^alpha, by the method of Vose 1991 for alias tables (Walker 1977).

    An item whose count is 0 is never drawn, whatever alpha is. This is a Python loop over the V items, which takes
    seconds per million.
    """
    with np.errstate(over="ignore"):
        weights = np.where(np.asarray(counts) > 0, np.asarray(counts, float) ** alpha, 0)  # 0^0 must not count as 1
    if not np.isfinite(weights.sum()):
        raise UserError(
            f"config.loss.alpha is {alpha:g}: the counts of the items to that power are too large; 0 to 1 is usual"
        )
    share = weights / weights.sum()
    scaled = (share * len(share)).tolist()
    keep, alias = np.ones(len(share)), np.arange(len(share), dtype=np.int32)
    small = [row for row, of in enumerate(scaled) if of < 1]
    large = [row for row, of in enumerate(scaled) if of >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        keep[low], alias[low] = scaled[low], high
        scaled[high] -= 1 - scaled[low]
        if scaled[high] < 1:
            small.append(large.pop())
    # The rest is 1 up to rounding, and is its own alias.
    keep = np.minimum(keep * 2**32, 2**32 - 1).astype(np.uint32)
    log_weight = alpha * np.log(np.where(np.asarray(counts) > 0, counts, 1))
    return Popular(keep, alias, share.astype(np.float32), log_weight.astype(np.float32))


def draw_popular(key: jax.Array, shape: Sequence[int], table: Popular) -> jax.Array:
    """Draws items in 1..V of this shape from an alias table, with two lookups per draw."""
    for_column, coin = random_bits(key, (2, *shape))  # probabilities differ by a relative V / 2^32 at most
    column = (for_column % jnp.uint32(len(table.keep))).astype(jnp.int32)
    stays = coin < table.keep[column]
    return jnp.where(stays, column, table.alias[column]) + 1


# --- by configuration


class SamplerTables(NamedTuple):
    """The tables that a step draws from, on the devices. What it doesn't need is None."""

    seen: Any = None  #: Seen
    sampled: Any = None  #: Popular of the drawn items
    batch: Any = None  #: Popular of the targets in a batch
    items: Any = None  #: models.features.Items, of a model whose items have features


def sampler(
    loss: LossOptions, split: Split, axis: str, targets: Callable[[], np.ndarray]
) -> tuple[Callable | None, SamplerTables | None]:
    """Returns how the loss of a configuration draws negatives.

    Args:
        loss: the options of the loss.
        split: Split, whose training histories are used.
        axis: the name of the device axis.
        targets: () -> [V], how often each item is a target in an epoch (objectives.expected_targets). Only logQ of
            in-batch negatives uses it; popularity is the number of occurrences in training.

    Returns:
        (draw, SamplerTables on the host). If the loss has no negatives, `draw` is None, and there are only tables if
        the loss leaves out the users' own items (otherwise None). `draw` is
        (key, keys_R, Targets of R rows, SamplerTables) -> Negatives of their N = R x M slots, with the key of the step
        and the keys of the rows, so that the result doesn't depend on the number of devices.
    """
    if not isinstance(loss, SampledOptions):
        return None, SamplerTables(seen_in_training(split, drawn=False)) if loss.seen == "exclude" else None
    catalogue = len(split.interactions.catalogue.ids)
    if loss.sampling == "uniform-unseen":
        sets = seen_in_training(split)
        steps = int(np.diff(sets.offsets).max()).bit_length()
        return partial(_unseen, number=loss.negatives, catalogue=catalogue, steps=steps), SamplerTables(sets)
    corrected = loss.sampling in ("in-batch", "mixed") and loss.logq
    counts = targets if corrected and loss.logq_counts == "targets" else partial(splits.training_counts, split)
    sampler_tables = SamplerTables(
        sampled=popular(splits.training_counts(split), loss.alpha)
        if loss.sampling in ("popularity", "mixed")
        else None,
        batch=popular(counts(), 1.0) if corrected else None,
    )
    if loss.sampling in ("in-batch", "mixed"):
        return partial(_in_batch, loss=loss, axis=axis), sampler_tables
    return partial(_sampled, loss=loss, catalogue=catalogue), sampler_tables


def _unseen(key, keys, targets, sampler_tables, *, number, catalogue, steps):
    row = partial(uniform, number=number, seen=sampler_tables.seen, catalogue=catalogue, steps=steps)
    return Negatives(jax.vmap(row)(keys, targets.user_index).reshape(-1, number), shared_by="slot")


def _sampled(key, keys, targets, sampler_tables, *, loss, catalogue):
    if loss.sampling == "popularity":
        draw = partial(draw_popular, table=sampler_tables.sampled)
    else:
        draw = lambda key, shape: 1 + randint(key, shape, catalogue)
    if loss.share == "batch":
        items = draw(key, (loss.negatives,))
    elif loss.share == "row":
        items = jax.vmap(lambda key: draw(key, (loss.negatives,)))(keys)
    else:
        slots = targets.items.shape[1]
        items = jax.vmap(lambda key: draw(key, (slots, loss.negatives)))(keys).reshape(-1, loss.negatives)
    made = partial(Negatives, items, shared_by=loss.share)
    if not loss.logq:
        return made()
    if loss.remove_accidental_hits:
        popular = sampler_tables.sampled
        share = popular.share[items - 1] if popular else jnp.full(items.shape, 1 / catalogue)
        return made(shift=loss.logq * jnp.log(loss.negatives * share))
    log_weight = sampler_tables.sampled.log_weight
    own = log_weight[jnp.maximum(targets.items.reshape(-1), 1) - 1]
    return made(shift=loss.logq * log_weight[items - 1], own_shift=loss.logq * own)


def _in_batch(key, keys, targets, sampler_tables, *, loss, axis):
    """The targets of all devices' rows, in the order of the rows, followed by drawn items if `mixed`."""
    own = targets.items.reshape(-1)
    batch_items = all_gather(own, axis)
    column = jax.lax.axis_index(axis) * len(own) + jnp.arange(len(own))
    items = batch_items
    if loss.sampling == "mixed":
        items = jnp.append(batch_items, draw_popular(key, (loss.negatives,), sampler_tables.sampled))
    made = partial(Negatives, items, shared_by="batch", own_column=column)
    if not loss.logq:
        return made()
    row, own_row = jnp.maximum(items, 1) - 1, jnp.maximum(own, 1) - 1
    if loss.remove_accidental_hits:
        expected = ((batch_items > 0).sum() - 1) * sampler_tables.batch.share[row]
        if loss.sampling == "mixed":
            expected += loss.negatives * sampler_tables.sampled.share[row]
        return made(shift=loss.logq * jnp.log(jnp.maximum(expected, 1e-30)))
    log_weight = sampler_tables.batch.log_weight[row]
    if loss.sampling == "mixed":
        sampled = jnp.arange(len(items)) >= len(batch_items)
        log_weight = jnp.where(sampled, sampler_tables.sampled.log_weight[row], log_weight)
    return made(shift=loss.logq * log_weight, own_shift=loss.logq * sampler_tables.batch.log_weight[own_row])

"""Negatives: uniform outside a user's history, exactly; uniform; by popularity; the batch's own targets; and mixed."""

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
from jaxrec.data.ragged import distinct, slices
from jaxrec.data.splits import Split
from jaxrec.kernels.collectives import all_gather
from jaxrec.kernels.random import randint, random_bits
from jaxrec.system.errors import UserError

SharedBy = Literal["slot", "row", "batch"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Negatives:
    """What a sampled loss compares the targets of N slots, of R rows, with. Item 0 is none."""

    items: Any  #: int32; by `shared_by`: [N, K] of each slot, [R, K] of each row, or [K] of the batch of all devices
    _: KW_ONLY
    shared_by: SharedBy = field(metadata={"static": True})  #: which slots have the same items: each has its own, or
    shift: Any = None  #: as items: what logQ subtracts from their scores; None is nothing
    own_shift: Any = None  #: [N], and from the targets' scores
    own_column: Any = None  #: [N] the column that is the slot's own target, where items are the batch's targets

    def of_each_slot(self, slots: int) -> "Negatives":
        """The Negatives of so many slots, each with a copy of its own of those that it shares."""

        def repeat(x):
            x = x.reshape(-1, x.shape[-1])
            return jnp.repeat(x, slots // len(x), axis=0)

        items, shift = jax.tree.map(repeat, (self.items, self.shift))
        return dataclasses.replace(self, items=items, shift=shift, shared_by="slot")

    def split(self, number: int) -> "Negatives":
        """The Negatives of equal parts of the rows: an axis of them in front; what the batch shares is repeated."""
        cut = lambda tree: jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), tree)
        if self.shared_by != "batch":
            return cut(self)
        repeat = lambda x: jnp.broadcast_to(x, (number, *x.shape))
        items, shift = jax.tree.map(repeat, (self.items, self.shift))
        return dataclasses.replace(cut(dataclasses.replace(self, items=None, shift=None)), items=items, shift=shift)


class Seen(NamedTuple):
    """Each user's distinct training items in ascending order, back to back."""

    items: Any  #: [M] int32
    offsets: Any  #: [U + 1]


def seen(
    items: np.ndarray, start: np.ndarray, stop: np.ndarray, catalogue: int, users: np.ndarray | None = None
) -> Seen:
    """Seen of the training histories items[start:stop]. Host; one sort of all of them.

    Args:
        users: [U] external ids, for messages.

    Raises:
        UserError: a user has met the whole catalogue, so that no negative exists.
    """
    lengths = np.asarray(stop) - np.asarray(start)
    user = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    pairs = distinct(user * (catalogue + 1) + items[slices(start, stop)])
    counts = np.bincount(pairs // (catalogue + 1), minlength=len(lengths))
    if len(counts) and counts.max() >= catalogue:
        worst = counts.argmax()
        raise UserError(
            f"user {worst + 1 if users is None else users[worst]} has all {catalogue} items of the catalogue in the "
            "training history: no negative can be drawn. Use loss.name=softmax, or leave such users out"
        )
    return Seen((pairs % (catalogue + 1)).astype(np.int32), np.append(0, np.cumsum(counts)))


def nth_unseen(nth: jax.Array, low: jax.Array, high: jax.Array, items: jax.Array, steps: int) -> jax.Array:
    """The nth (from 0) item outside a sorted set items[low:high], by bisection; all [K] but items [M].

    items[low + j] - 1 - j unseen items precede the set's j-th, a non-decreasing sequence: with j of them at most nth,
    the answer is nth + 1 + j.
    """
    left, right = jnp.zeros_like(nth), jnp.zeros_like(nth) + (high - low)
    for _ in range(steps):
        middle = (left + right) // 2
        before = items[jnp.minimum(low + middle, len(items) - 1)] - 1 - middle
        go_right = (before <= nth) & (left < right)
        left, right = jnp.where(go_right, middle + 1, left), jnp.where(go_right, right, middle)
    return nth + 1 + left


def uniform(key: jax.Array, user_index: jax.Array, number: int, seen: Seen, catalogue: int, steps: int) -> jax.Array:
    """Negatives for the slots of one row, uniform over what each slot's user has not met in training.

    Args:
        key: the row's.
        user_index: [T] user.
        number: negatives a slot.
        seen: Seen on the device.
        catalogue: V.
        steps: bisection steps, enough for the longest set: ceil(log2(longest + 1)).

    Returns:
        [T, number] int32 in 1..V.
    """
    low, high = seen.offsets[user_index][:, None], seen.offsets[user_index + 1][:, None]
    nth = randint(key, (len(user_index), number), catalogue - (high - low))
    return nth_unseen(nth, low, high, seen.items, steps)


# --- by popularity


class Popular(NamedTuple):
    """What draws items in proportion to their weights, and the shares by which logQ corrects. Of V items each."""

    keep: Any  #: uint32, in units of 2^-32: how often a column stays with itself
    alias: Any  #: int32, the row of the item that a column goes to otherwise
    share: Any  #: float32, the probability of an item in a draw
    log_weight: Any  #: float32, log of the item's weight


def popular(counts: np.ndarray, alpha: float) -> Popular:
    """Popular of weights counts^alpha, as an alias table (Walker 1977, by Vose's method of 1991). Host; V steps."""
    with np.errstate(over="ignore"):
        weights = np.asarray(counts, float) ** alpha
    if not np.isfinite(weights.sum()):
        raise UserError(
            f"config.loss.alpha is {alpha:g}: to that power the counts of the items are too large; 0 to 1 are usual"
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
    # What is left over is 1 but for rounding, and is its own alias.
    keep = np.minimum(keep * 2**32, 2**32 - 1).astype(np.uint32)
    log_weight = alpha * np.log(np.where(np.asarray(counts) > 0, counts, 1))
    return Popular(keep, alias, share.astype(np.float32), log_weight.astype(np.float32))


def draw_popular(key: jax.Array, shape: Sequence[int], table: Popular) -> jax.Array:
    """Items in 1..V of this shape, by an alias table: two gathers a draw, whatever the catalogue."""
    for_column, coin = random_bits(key, (2, *shape))  # of a column more or less often by V / 2^32
    column = (for_column % jnp.uint32(len(table.keep))).astype(jnp.int32)
    stays = coin < table.keep[column]
    return jnp.where(stays, column, table.alias[column]) + 1


# --- by configuration


class SamplerTables(NamedTuple):
    """The tables that negatives are drawn by, on the devices; None where a way of sampling does without."""

    seen: Any = None  #: Seen
    sampled: Any = None  #: Popular of the items drawn
    batch: Any = None  #: Popular of the training's targets, as a batch holds them


def sampler(
    loss: LossOptions, split: Split, axis: str, targets: Callable[[], np.ndarray]
) -> tuple[Callable | None, SamplerTables | None]:
    """How a configuration's loss draws negatives for the training histories of a split.

    Args:
        loss: its options.
        split: splits.Split.
        axis: name of the axis over which the devices hold the rows of a batch.
        targets: () -> [V], how often each item is a target in an epoch (objectives.expected_targets). By these a
            batch's targets are expected; items are drawn by their counts in training, whatever the targets are.

    Returns:
        (draw, SamplerTables on the host), or (None, None) where the loss takes no negatives. `draw` is
        (key, keys_R, objectives.Targets of R rows, tables) -> Negatives for their N = R x M slots; the key is the
        step's, keys_R the rows', so that one device and eight draw the same.
    """
    if not isinstance(loss, SampledOptions):
        return None, None
    catalogue = len(split.interactions.catalogue.ids)
    if loss.sampling == "uniform-unseen":
        sets = seen(split.interactions.items, split.start, split.stop, catalogue, split.interactions.users)
        steps = int(np.diff(sets.offsets).max()).bit_length()
        sampler_tables = SamplerTables(Seen(sets.items, sets.offsets.astype(np.int32)))
        return partial(_unseen, number=loss.negatives, catalogue=catalogue, steps=steps), sampler_tables
    counts = splits.training_counts(split)
    corrected = loss.sampling in ("in-batch", "mixed") and loss.logq
    expected = targets() if corrected and loss.logq_counts == "targets" else counts
    sampler_tables = SamplerTables(
        sampled=popular(counts, loss.alpha) if loss.sampling in ("popularity", "mixed") else None,
        batch=popular(expected, 1.0) if corrected else None,
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
    """The targets of the batch of all devices, in the order of its rows; where mixed, then those drawn."""
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

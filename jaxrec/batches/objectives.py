"""A batch's targets: the next item at every slot, or the masked items of a cloze; and where answers are read."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches import dropout
from jaxrec.batches import stream as streams
from jaxrec.data.ragged import slices
from jaxrec.kernels.masks import from_end, same_sequence
from jaxrec.kernels.random import site_keys

MASK = -1  # in a stream's items: something is here, and is not shown
SITE = 2**31 - 2  # of the cloze's draws, beyond the sites of any model's dropouts


class Targets(NamedTuple):
    """The items to be predicted, and the slots of a batch of rows at which they are."""

    items: Any  #: [R, M] int32; 0 where there is none
    user_index: Any  #: [R, M] int32, whose slot it is
    slots: Any  #: [R, M] int32, where in the row; None where these are all T slots in their order
    weights: Any = None  #: [R, M] float32, by which their losses count; None: all alike


class Objective(NamedTuple):
    """How histories become questions."""

    subsequences: Callable  #: (start, stop, length, history) -> stream.Subsequences of the training histories
    stream_targets: bool  #: whether the stream's targets are the items that come next
    count: Callable  #: (lengths of subsequences) -> how many targets each has
    expected: Callable  #: (stream.Subsequences) -> (places in the items, their expected times as a target in an epoch)
    make_targets: Callable  #: (stream, keys_R, most targets of a row) -> (the Stream as models see it, Targets)
    num_mask_slots: int  #: masked slots that follow a history, where the answer is read
    mask_inputs: Callable  #: (stream of histories) -> as a model sees them to answer at their last slots
    room: Callable = lambda lengths: 0  #: (lengths of subsequences) -> slots of one at least, for packing_layout


def next_item(ahead=1, newest=None, overlap=0):
    """At every slot the item that comes next (Kang & McAuley 2018), or the next few (Tang & Wang 2018).

    Args:
        newest: how many slots of a subsequence have a target, the others are context; all if None.
        overlap: of windows, as `stream.next_item_subsequences` takes it.
    """
    context = lambda lengths: 0 if newest is None else np.maximum(lengths - newest, 0)
    return Objective(
        subsequences=partial(streams.next_item_subsequences, overlap=overlap),
        stream_targets=True,
        count=lambda lengths: sum(np.maximum(lengths - np.maximum(context(lengths), n), 0) for n in range(ahead)),
        expected=partial(_expect_next, ahead=ahead, context=context),
        make_targets=lambda stream, keys, most: (stream, _next_targets(stream, ahead, newest, most)),
        room=lambda lengths: _room(lengths, context(lengths)),
        num_mask_slots=0,
        mask_inputs=lambda stream: stream,
    )


def cloze(rate, last):
    """Some items of every sequence are masked, and are the targets (Sun et al. 2019, after Devlin et al. 2019).

    Args:
        rate: share of the slots: round(rate x length) of a sequence, at least one, drawn without replacement.
        last: share of the sequences whose newest item is always among them, since inference reads an answer there.
    """
    return Objective(
        subsequences=streams.whole_subsequences,
        stream_targets=False,
        count=lambda lengths: masked(rate, max(lengths))[lengths],
        expected=partial(_expect_masked, rate=rate, last=last),
        make_targets=partial(_mask, rate=rate, last=last),
        num_mask_slots=1,
        mask_inputs=_mask_last,
    )


def build(config):
    """The Objective of a configuration."""
    if config.objective == "cloze":
        objective = cloze(config.mask_prob, config.mask_last_prob)
    else:
        newest = config.length - config.overlap if config.overlap else None
        objective = next_item(config.num_future_targets, newest, config.overlap)
    return dropping(objective, config.item_dropout, config.sequence_dropout, config.context and config.context_dropout)


def dropping(objective, item_rate, sequence_rate, context_rate=0):
    """The objective, its targets as they are, for models that are shown less (see `dropout`)."""
    if not item_rate and not sequence_rate and not context_rate:
        return objective

    def make_targets(stream, keys, most):
        shown, targets = objective.make_targets(stream, keys, most)
        shown = dropout.drop_context(shown, keys, context_rate) if context_rate else shown
        shown = dropout.cut_sequences(shown, keys, sequence_rate) if sequence_rate else shown
        return dropout.drop_items(shown, keys, item_rate) if item_rate else shown, targets

    return objective._replace(make_targets=make_targets)


def expected_targets(objective, subsequences, items, catalogue):
    """How often each item is a target in an epoch: [V] float64; of a cloze its expectation.

    Args:
        objective: Objective.
        subsequences: stream.Subsequences of the training.
        items: [N] flat.
        catalogue: V.
    """
    places, times = objective.expected(subsequences)
    return np.bincount(items[places], times, minlength=catalogue + 1)[1:]


def _expect_next(subsequences, ahead, context):
    """The item after slot j of a subsequence is a target there and at as many slots before as `ahead` allows."""
    places = slices(subsequences.start + 1, subsequences.start + 1 + subsequences.length)
    slot, length = _slot(subsequences), np.repeat(subsequences.length, subsequences.length)
    return places, np.where(slot >= context(length), np.minimum(slot + 1, ahead), 0)


def _room(lengths, context):
    """The slots that a subsequence has at least: their mean length, where most slots are context.

    The loss is computed for as many slots of each row as the row with the most targets has. That is one of many short
    subsequences; with room for fewer of them the loss has less to do for nothing.
    """
    return round(lengths.mean()) if np.sum(context) > lengths.sum() / 2 else 0


def _expect_masked(subsequences, rate, last):
    """Of a sequence of n slots m are masked: with probability `last` the newest and m - 1 others, else any m."""
    length = np.repeat(subsequences.length, subsequences.length)
    number = masked(rate, subsequences.length.max())[length]
    newest = _slot(subsequences) == length - 1
    forced = np.where(newest, 1.0, (number - 1) / np.maximum(length - 1, 1))
    places = slices(subsequences.start, subsequences.start + subsequences.length)
    return places, last * forced + (1 - last) * number / length


def _slot(subsequences):
    """The slot of each place within its subsequence: [sum of lengths]."""
    ends = np.cumsum(subsequences.length)
    return np.arange(subsequences.length.sum()) - np.repeat(ends - subsequences.length, subsequences.length)


def masked(rate, length):
    """How many slots of a sequence are masked, by its length: [length + 1] int32."""
    return np.maximum(np.round(rate * np.arange(length + 1)), 1).astype(np.int32)


def _next_targets(stream, ahead, newest, most):
    if newest is None:
        return _all_targets(stream, ahead)
    asked = jax.vmap(from_end)(stream.segments) < newest
    targets = _all_targets(stream._replace(targets=jnp.where(asked, stream.targets, 0)), ahead)
    if most >= stream.items.shape[1]:
        return targets
    first = jnp.argsort(targets.items == 0, axis=1, stable=True)[:, :most]
    pick = lambda values: None if values is None else jnp.take_along_axis(values, first, axis=1)
    picked = Targets(*map(pick, targets))
    return picked._replace(slots=first) if ahead == 1 else picked


def _all_targets(stream, ahead):
    if ahead == 1:
        return Targets(stream.targets, stream.user_index, None, stream.weights)
    shift = lambda values, n: jnp.pad(values, ((0, 0), (0, n)))[:, n:]
    same = lambda n: shift(stream.segments, n) == stream.segments
    shifted = lambda values: jnp.concatenate([jnp.where(same(n), shift(values, n), 0) for n in range(ahead)], axis=1)
    slots = jnp.broadcast_to(jnp.arange(stream.items.shape[1]), stream.items.shape)
    repeated = lambda values: jnp.concatenate([values] * ahead, axis=1)
    weights = None if stream.weights is None else shifted(stream.weights)
    return Targets(shifted(stream.targets), repeated(stream.user_index), repeated(slots), weights)


def _mask(stream, keys, most, *, rate, last):
    number = jnp.asarray(masked(rate, stream.items.shape[1]))
    row = partial(_mask_row, number=number, last=last, most=most)
    hidden, slots = jax.vmap(row)(site_keys(keys, SITE), stream.items, stream.segments)
    real = jnp.take_along_axis(hidden, slots, 1)
    pick = lambda values: jnp.where(real, jnp.take_along_axis(values, slots, 1), 0)
    weights = None if stream.weights is None else pick(stream.weights)
    return _masked(stream, hidden), Targets(pick(stream.items), pick(stream.user_index), slots, weights)


def _masked(stream, hidden_BT):
    """The stream without the events of some slots: that something is there is all that is shown."""
    context = None if stream.context is None else jnp.where(hidden_BT[..., None], 0, stream.context)
    return stream._replace(items=jnp.where(hidden_BT, MASK, stream.items), context=context)


def _mask_row(key, items, segments, *, number, last, most):
    """Which slots of a row are masked [T] bool, and those slots first among `most` [most]."""
    order, force = jax.random.split(key)
    bits = jax.random.bits(order, items.shape, jnp.uint32)
    newest = jax.vmap(from_end)(segments[None])[0] == 0
    forced = jax.random.uniform(force, (len(items) + 1,))[segments] < last
    bits = jnp.where(forced & newest, jnp.uint32(0), bits | 1)
    same = same_sequence(segments)
    slot = jnp.arange(len(items))
    before = (bits[None, :] < bits[:, None]) | ((bits[None, :] == bits[:, None]) & (slot[None, :] < slot[:, None]))
    rank = (same & before).sum(1)
    hidden = (rank < number[same.sum(1)]) & (items > 0)
    return hidden, jnp.argsort(~hidden, stable=True)[:most]


def _mask_last(stream):
    newest = jax.vmap(from_end)(stream.segments) == 0
    return _masked(stream, newest & (stream.segments > 0))

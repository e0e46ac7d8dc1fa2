"""Training objectives: which items of a history are predicted, at which slots, and what the model sees of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches import baskets, context, dropout, stream as streams
from jaxrec.batches.stream import Subsequences
from jaxrec.config.keys import Config
from jaxrec.data.storage.ragged import slices, within
from jaxrec.kernels.masks import from_end, same_sequence
from jaxrec.kernels.random import site_keys

MASK = -1  # a masked item in Stream.items
SITE = 2**31 - 2  # the site of cloze's draws, for site_keys; models count theirs from 0


class Targets(NamedTuple):
    """The items to predict in a batch of R rows, at most M per row."""

    items: Any  #: [R, M] int32; 0 where there is no target
    user_index: Any  #: [R, M] int32, the user each target belongs to
    slots: Any  #: [R, M] int32, the slot of the row at which each is predicted; None if M = T and they are in order
    weights: Any = None  #: [R, M] float32, the weights of their losses; None: all equal
    negatives: Any = None  #: [R, M x K] int32, their negatives, if the host has drawn them


class Objective(NamedTuple):
    """A training objective: how histories become inputs and targets."""

    subsequences: Callable  #: (start, stop, length, history) -> stream.Subsequences of the training histories
    stream_targets: bool  #: whether it needs Stream.targets (the next items)
    count: Callable  #: (subsequence lengths [P]) -> the number of targets of each [P]
    expected: Callable  #: (stream.Subsequences) -> (indices into the flat items, expected targets of each per epoch)
    make_targets: Callable  #: (stream, keys_R, maximum targets per row) -> (the Stream that models see, Targets)
    num_mask_slots: int  #: masked slots appended to a history at inference, where the prediction is read
    mask_inputs: Callable  #: (stream of histories) -> the Stream that models see at inference
    reserved_slots: Callable = lambda lengths: 0  #: (subsequence lengths [P]) -> `reserved` of stream.packing_layout


def next_item(ahead: int = 1, newest: int | None = None, overlap: int = 0, some: bool = False) -> Objective:
    """Predicts at every slot the next item (Kang & McAuley 2018), or the next few (Tang & Wang 2018).

    Args:
        ahead: the number of next items that are targets of a slot.
        newest: only the next items of this many newest slots of a subsequence are targets; with `ahead`, earlier slots
            predict them too. All other items are context. None: all slots.
        overlap: extra overlap of windows in slots, as in `stream.next_item_subsequences`.
        some: whether only some events may be targets; see `target_types`.
    """
    context = lambda lengths: 0 if newest is None else np.maximum(lengths - newest, 0)
    return Objective(
        subsequences=partial(streams.next_item_subsequences, overlap=overlap),
        stream_targets=True,
        count=lambda lengths: sum(np.maximum(lengths - np.maximum(context(lengths), n), 0) for n in range(ahead)),
        expected=partial(_expect_next, ahead=ahead, context=context),
        make_targets=lambda stream, keys, most: (stream, _next_targets(stream, ahead, newest, most, some)),
        reserved_slots=lambda lengths: _reserved(lengths, context(lengths)),
        num_mask_slots=0,
        mask_inputs=lambda stream: stream,
    )


def cloze(
    rate: float,
    last: float,
    asked_K: np.ndarray | None = None,
    some: bool = False,
    steady_K: np.ndarray | None = None,
) -> Objective:
    """Masks some items of every sequence and predicts them (Sun et al. 2019, after Devlin et al. 2019).

    Args:
        rate: the share of slots to mask: round(rate * length) of a sequence, at least one, drawn without replacement.
        last: the probability with which a sequence's newest item is always masked, as it is at inference.
        asked_K: bool, which columns of the context hold the query time, which is shown at masked slots only; None:
            no column does.
        some: whether only some events may be targets: the share is masked among these, and no other event is; see
            `target_types`.
        steady_K: bool, which columns of the context describe the user, which masked slots show too; None: no column
            does.
    """
    return Objective(
        subsequences=streams.whole_subsequences,
        stream_targets=False,
        count=lambda lengths: masked(rate, max(lengths))[lengths],
        expected=partial(expect_masked, rate=rate, last=last),
        make_targets=partial(_mask, rate=rate, last=last, asked_K=asked_K, some=some, steady_K=steady_K),
        num_mask_slots=1,
        mask_inputs=partial(_mask_last, asked_K=asked_K, steady_K=steady_K),
    )


def next_basket(length: int) -> Objective:
    """Predicts at every basket each event of the next one; see `baskets`.

    Its subsequences are whole histories; `baskets.over` replaces them by subsequences of whole baskets of a split.

    Args:
        length: the maximum length of a history.
    """

    def make_targets(stream, keys, most):
        placed = baskets.placed(stream)
        return placed, Targets(*baskets.targets(placed, most))

    return Objective(
        subsequences=streams.whole_subsequences,
        stream_targets=False,
        count=lambda lengths: lengths - 1,
        expected=lambda found: _expect_next(found._replace(length=found.length - 1), 1, lambda lengths: 0),
        make_targets=make_targets,
        num_mask_slots=0,
        mask_inputs=partial(baskets.shown, length=length),
    )


def build(config: Config) -> Objective:
    """Returns the Objective of a configuration."""
    kinds, asked_K = [kind for kind in context.kinds_of(config) if kind != context.BASKET], asked_of(config)
    if config.baskets:
        objective = next_basket(config.length)
    elif config.objective == "cloze":
        steady_K, some = context.is_steady(kinds), bool(config.target_types)
        steady_K = steady_K if steady_K.any() else None
        objective = cloze(config.mask_prob, config.mask_last_prob, asked_K, some, steady_K)
    else:
        newest = config.length - config.overlap if config.overlap else None
        objective = next_item(config.num_future_targets, newest, config.overlap, bool(config.target_types))
    if asked_K is not None and config.asked_dropout:
        drop_asked = partial(dropout.drop_asked, rate=config.asked_dropout, asked_K=asked_K)
        objective = _showing(objective, drop_asked)
    if config.start_prob:
        kept_K = context.is_asked(kinds) | context.is_steady(kinds)
        objective = _showing(objective, partial(dropout.start_bare, rate=config.start_prob, kept_K=kept_K))
    if kinds and config.context_dropout:
        objective = _showing(objective, partial(dropout.drop_context, rate=config.context_dropout))
    return objective


def asked_of(config: Config) -> np.ndarray | None:
    """Returns which columns of a configuration's context hold the query time, [K] bool; None if no column does."""
    asked_K = context.is_asked(context.kinds_of(config))
    return asked_K if asked_K.any() else None


def without_query_time(objective: Objective, asked_K: np.ndarray | None) -> Objective:
    """Returns the objective with histories that don't show when their next item is asked for.

    Args:
        objective: Objective.
        asked_K: as from `asked_of`.
    """
    if asked_K is None:
        return objective

    def mask_inputs(stream):
        shown = objective.mask_inputs(stream)
        newest = jax.vmap(from_end)(shown.segments) == 0
        return shown._replace(context=jnp.where(newest[..., None] & asked_K, 0, shown.context))

    return objective._replace(mask_inputs=mask_inputs)


def _showing(objective, change):
    """Returns the objective that applies `change`, (stream, keys) -> stream, to what models see in training."""

    def make_targets(stream, keys, most):
        shown, targets = objective.make_targets(stream, keys, most)
        return change(shown, keys), targets

    return objective._replace(make_targets=make_targets)


def expected_targets(objective: Objective, subsequences: Subsequences, items: np.ndarray, catalogue: int) -> np.ndarray:
    """Returns the expected number of times that each item is a target in an epoch.

    Args:
        objective: Objective.
        subsequences: stream.Subsequences of the training data.
        items: [N] int, the flat histories.
        catalogue: V, the number of items.

    Returns:
        [V] float64; element i - 1 belongs to item i.
    """
    indices, times = objective.expected(subsequences)
    return np.bincount(items[indices], times, minlength=catalogue + 1)[1:]


def _expect_next(subsequences, ahead, context):
    """`Objective.expected` of next_item: an item is the target of up to `ahead` slots before it."""
    indices = slices(subsequences.start + 1, subsequences.start + 1 + subsequences.length)
    slot, length = within(subsequences.length), np.repeat(subsequences.length, subsequences.length)
    return indices, np.where(slot >= context(length), np.minimum(slot + 1, ahead), 0)


def _reserved(lengths, context):
    """The minimum slots to reserve per subsequence: the mean length if most slots are context, else none.

    The loss computes as many slots for every row as the row with the most targets has, which is a row of many short
    subsequences. With fewer subsequences in such a row, less of this work is wasted.
    """
    return round(lengths.mean()) if np.sum(context) > lengths.sum() / 2 else 0


def expect_masked(
    subsequences: Subsequences, rate: float, last: float, may: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`Objective.expected` of cloze.

    Of n slots that may be masked, m are. With probability `last` these are the newest slot and m - 1 others, provided
    that the newest slot may be masked.

    Args:
        subsequences: the subsequences.
        rate: `config.mask_prob`.
        last: `config.mask_last_prob`.
        may: [N] bool, which events may be masked; None: all.
    """
    length = subsequences.length
    owner, slot = np.repeat(np.arange(len(length)), length), within(length)
    indices = np.repeat(subsequences.start, length) + slot
    allowed = np.ones(len(indices), bool) if may is None else may[indices]
    free = np.bincount(owner[allowed], minlength=len(length))
    number = masked(rate, int(free.max(initial=0)))[free][owner]
    newest, others = slot == length[owner] - 1, np.maximum(free - 1, 1)[owner]
    plain = number / np.maximum(free, 1)[owner]
    forced = np.where(newest, 1.0, (number - 1) / others)
    forces = np.bincount(owner[newest & allowed], minlength=len(length))[owner] > 0
    return indices, np.where(allowed, np.where(forces, last * forced + (1 - last) * plain, plain), 0)


def masked(rate: float, length: int) -> np.ndarray:
    """The number of masked slots for sequences of 0, 1, ..., `length` slots: [length + 1] int32."""
    return np.maximum(np.round(rate * np.arange(length + 1)), 1).astype(np.int32)


def _next_targets(stream, ahead, newest, most, some=False):
    if newest is None and not some:
        return _all_targets(stream, ahead)
    if newest is not None:
        has_target = jax.vmap(from_end)(stream.segments) < newest
        stream = stream._replace(targets=jnp.where(has_target, stream.targets, 0))
    targets = _all_targets(stream, ahead)
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


def _mask(stream, keys, most, *, rate, last, asked_K=None, some=False, steady_K=None):
    number = jnp.asarray(masked(rate, stream.items.shape[1]))
    row = partial(_mask_row, number=number, last=last, most=most)
    may = (stream.targets > 0,) if some else ()
    hidden, slots = jax.vmap(row)(site_keys(keys, SITE), stream.items, stream.segments, *may)
    real = jnp.take_along_axis(hidden, slots, 1)
    pick = lambda values: jnp.where(real, jnp.take_along_axis(values, slots, 1), 0)
    weights = None if stream.weights is None else pick(stream.weights)
    return _masked(stream, hidden, asked_K, steady_K), Targets(
        pick(stream.items), pick(stream.user_index), slots, weights
    )


def _masked(stream, hidden_BT, asked_K, steady_K=None):
    """Hides the events of some slots, which still show that there is an event, its query time and its user."""
    context = stream.context
    if context is not None:
        hides = hidden_BT[..., None] if asked_K is None else hidden_BT[..., None] != asked_K
        context = jnp.where(hides if steady_K is None else hides & ~steady_K, 0, context)
    return stream._replace(items=jnp.where(hidden_BT, MASK, stream.items), context=context)


def _mask_row(key, items, segments, may=None, *, number, last, most):
    """Draws the masked slots of a row from those that may be masked. -> ([T] bool, [most] slots, masked ones first)"""
    order, force = jax.random.split(key)
    bits = jax.random.bits(order, items.shape, jnp.uint32)
    newest = jax.vmap(from_end)(segments[None])[0] == 0
    forced = jax.random.uniform(force, (len(items) + 1,))[segments] < last
    bits = jnp.where(forced & newest, jnp.uint32(0), bits | 1)
    same = same_sequence(segments)
    if may is not None:
        bits = jnp.where(may, bits >> 1, jnp.uint32(2**32 - 1))  # the others come last
    slot = jnp.arange(len(items))
    before = (bits[None, :] < bits[:, None]) | ((bits[None, :] == bits[:, None]) & (slot[None, :] < slot[:, None]))
    rank = (same & before).sum(1)
    counted = same if may is None else same & may
    hidden = (rank < number[counted.sum(1)]) & (items > 0 if may is None else may)
    return hidden, jnp.argsort(~hidden, stable=True)[:most]


def _mask_last(stream, asked_K=None, steady_K=None):
    newest = jax.vmap(from_end)(stream.segments) == 0
    return _masked(stream, newest & (stream.segments > 0), asked_K, steady_K)

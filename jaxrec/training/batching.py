"""Batches of a training: how histories are laid out in rows, what else a step takes from the log, how it reads both."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches import context, session_parallel, stream
from jaxrec.config import registry
from jaxrec.config.keys import Config, LossOptions
from jaxrec.config.parsing import row_width
from jaxrec.data import event_types, splits
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits import Split
from jaxrec.system.errors import UserError


class Batches(NamedTuple):
    """Which subsequences of the histories are trained on, and how they are laid out in the rows of an epoch's steps."""

    subsequences: stream.Subsequences
    layout: Any  #: stream.PackingLayout, or session_parallel.Schedule
    order_of: np.ndarray | None  #: [P] as from stream.packing_layout; None if all epochs have the same order
    gather: Callable  #: (data, order, rows, with_targets) -> Stream; rows are counted from the first of the epoch
    rows: int  #: rows per step, whatever the number of devices
    most: int  #: the largest number of targets in a row

    @property
    def epoch_steps(self) -> int:
        return self.layout.rows // self.rows


def batches(config: Config, split: Split, objective: Any) -> Batches:
    """Returns the Batches of the training histories.

    Raises:
        UserError: nothing is left to train on, or there are too many events or steps.
    """
    subsequences = objective.subsequences(split.start, split.stop, config.length, config.history)
    if not len(subsequences.length):
        raise UserError(_nothing_to_train(config, split.interactions))
    if len(split.interactions.items) >= 2**31 and config.feed == "device":
        raise UserError(
            f"{split.interactions.name}: 2^31 interactions or more can't be held on a device: set config.feed=host, "
            "which sends their batches from the host, or train on a part of the users"
        )
    if config.stream == "session-parallel":
        subsequences = session_parallel.oldest_first(subsequences, split.interactions)
        rows = session_parallel.rows_of(config.batch)
        layout = session_parallel.schedule(subsequences.length, config.batch, rows)
        gather = partial(session_parallel.gather, step_rows=rows)
        found = Batches(subsequences, layout, None, gather, rows, most=1)
    else:
        lengths, width = subsequences.length, row_width(config)
        reserved = objective.reserved_slots(lengths)
        packed = stream.pack(np.maximum(lengths, reserved), width)
        rows = stream.rows_per_step(config.batch, len(lengths), packed[1])
        layout, order_of = stream.packing_layout(lengths, width, rows, reserved, config.feed == "host", packed)
        row_of = np.searchsorted(layout.first, np.arange(len(order_of)), side="right") - 1
        most = int(np.bincount(row_of, objective.count(lengths[order_of])).max())
        found = Batches(subsequences, layout, order_of, stream.gather, rows, most)
    if config.epochs * found.epoch_steps >= 2**31:
        of_steps = f"{config.epochs:,}, of {found.epoch_steps:,} steps each"
        raise UserError(
            f"config.epochs is {of_steps}, which makes 2^31 steps or more: at most "
            f"{(2**31 - 1) // found.epoch_steps:,} epochs fit"
        )
    return found


def _nothing_to_train(config, interactions):
    before = "".join(f" {name} with an event before it" for name in event_types.asked(interactions)[:1])
    has = f"a{before}" if before else "two items to train on"
    cures = ["a longer log"]
    if "test_quantile" in registry.find("split", config.split).keys:
        cures.insert(0, "a larger config.test_quantile")
    for name in ("last-item", "by-time"):
        if name != config.split and _trains(interactions, name, config):
            cures.append(f"config.split={name}")
    cure = f"{', or '.join(cures)} leaves some"
    return f"{interactions.name}: no user has {has} outside of what the split holds out: {cure}"


def _trains(interactions, name, config):
    """Whether any user has two events to train on with the split of this name."""
    try:
        found = splits.split(interactions, name, config.test_quantile, config.valid_fraction)
    except UserError:
        return False
    return bool((found.stop - found.start > 1).any())


def data_of(config: Config, split: Split, batches: Batches) -> stream.Data:
    """Returns all the data that steps read, on the host.

    Raises:
        UserError: the log lacks what the configuration names.
    """
    return stream.Data(
        split.interactions.items,
        batches.subsequences.start,
        batches.subsequences.user_index,
        batches.layout,
        context.shown(split.interactions, config),
        target_weights(split.interactions, config.loss),
        event_types.targets(split.interactions),
    )


def reader(config: Config, objective: Any, batches: Batches, padded_rows: int) -> Callable:
    """Returns (data, index, share) -> Stream, by which a program reads a device's share of the rows of a step.

    With feed=device, `data` is (Data, Order), `index` is the step in the epoch, and `share` holds the numbers of the
    device's rows, below `padded_rows`. With feed=host, `data` are batches as `feed.Feed` sends them, and `index` is the
    step among these batches.
    """
    rows, gather = batches.rows, partial(batches.gather, with_targets=objective.stream_targets)

    def gathered(data, index, share):
        if padded_rows == rows:
            return gather(*data, index * rows + share)
        return stream.emptied(gather(*data, index * rows + jnp.minimum(share, rows - 1)), share < rows)

    def sent(data, index, share):
        found = jax.tree.map(lambda kept: kept.reshape(-1, len(share), kept.shape[-1])[index], data)
        if found.context is None:
            return found
        return found._replace(context=found.context.reshape(*found.items.shape, -1))  # Feed flattens all but rows

    return gathered if config.feed == "device" else sent


def target_weights(interactions: Interactions, options: LossOptions) -> np.ndarray | None:
    """Returns the weight of each event's loss as a target, [N] float32, by LossOptions.weight; None if all are equal.

    Raises:
        UserError: the log has no weights, one is negative, or all are 0.
    """
    if options.weight == "none":
        return None
    if interactions.weights is None:
        raise UserError(
            f"{interactions.name} has no weights, and config.loss.weight is {options.weight}: name their column to "
            "prepare.py with --weight COLUMN, or leave config.loss.weight out"
        )
    weights = np.asarray(interactions.weights)
    if (lowest := weights.min(initial=0)) < 0:
        raise UserError(
            f"{interactions.name} has weights below 0 (one is {lowest:g}), which can't weight a loss: leave these "
            "events out (prepare.py --min-rating 0), or set config.loss.weight=none"
        )
    if not weights.any():
        raise UserError(
            f"{interactions.name}: all weights are 0, so nothing would be trained: name another column to prepare.py "
            "with --weight COLUMN, or set config.loss.weight=none"
        )
    weights = np.minimum(weights, options.weight_clip) if options.weight_clip else weights
    return (np.log1p(weights) if options.weight == "log" else weights).astype(np.float32)

"""The registry entry of a loss: its keys, their rules, and how its total is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxrec.config import registry
from jaxrec.config.fields import default
from jaxrec.config.keys import IN_BATCH, LossOptions, SampledOptions
from jaxrec.config.registry import Entry
from jaxrec.system.errors import UserError
from jaxrec.training.losses.totals import total

#: negatives for losses that compare a target with many: a batch's other targets, and items drawn by popularity
MANY: Mapping[str, Any] = {"negatives": 2_048, "sampling": "mixed", "share": "batch", "alpha": 0.5}


def _agreed(options: Any) -> None:
    """Accepts all options: the check of a loss that has no rules of its own."""


@dataclass(frozen=True, kw_only=True)
class LossEntry(Entry):
    """A loss with its name, its options and its total."""

    kind: ClassVar[str] = "loss"
    name: str
    build: Callable[[Any, int], Callable]  #: (options, number of items) -> its total, as described in `totals`
    #: (options, number of items, mesh axis that the rows of the tables are split over) -> its total; None: unsupported
    build_sharded: Callable[[Any, int, str], Callable] | None = None
    options: type[LossOptions] = LossOptions  #: a frozen dataclass of its keys
    check: Callable[[Any], None] = _agreed  #: (options) -> None; raises UserError if they don't go together
    slot: Callable[[Any, int], Callable] | None = None  #: (options, items) -> the loss of a slot, if it is sampled
    #: {key of `loss`: value} for recipes that were written for another loss and say nothing of it
    suits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether it uses negatives."""
        return issubclass(self.options, SampledOptions)


def sampled(
    name: str,
    slot: Callable[[Any, int], Callable],
    options: type[SampledOptions] = SampledOptions,
    check: Callable[[Any], None] = _agreed,
    suits: Mapping[str, Any] | None = None,
) -> LossEntry:
    """Returns the entry of a loss that compares a target with sampled negatives.

    Args:
        name: the name of the loss.
        slot: (options, number of items) -> the loss of one slot, (positive [], negative_K, valid_K) -> [].
        options: the dataclass of its keys, in addition to those of sampling.
        check: raises UserError if its options are invalid.
        suits: as in LossEntry.
    """

    def build(options, items, axis=None):
        return total(slot(options, items), keep=not options.remove_accidental_hits, axis=axis)

    def check_all(options):
        check_sampling(options)
        check(options)

    made = {"build": build, "build_sharded": build, "check": check_all, "slot": slot}
    return LossEntry(name=name, options=options, suits=suits or {}, **made)


def build(options: LossOptions, items: int, axis: str | None = None) -> Callable:
    """Returns the total of a configuration's loss over a catalogue.

    Args:
        options: the options of the loss.
        items: the number of items of the catalogue.
        axis: the mesh axis that the rows of the tables are split over; None if they are whole.

    Raises:
        UserError: the catalogue is too small for the loss, or the loss doesn't support split tables.
    """
    entry = registry.find("loss", options.name)
    if axis is None:
        return entry.build(options, items)
    if entry.build_sharded is None:
        raise UserError(
            f"config.mesh.item splits the tables of items, which {entry.name} doesn't support (its entry has no "
            "build_sharded): leave config.mesh.item at 1"
        )
    return entry.build_sharded(options, items, axis)


def check_sampling(loss: SampledOptions) -> None:
    """Checks that the options of sampling go together."""
    if not loss.remove_accidental_hits and loss.sampling == "uniform-unseen":
        raise UserError(
            "config.loss.remove_accidental_hits is for negatives that may be the target, and uniform-unseen draws "
            "none: leave it out, or set config.loss.sampling=uniform"
        )
    if loss.alpha != default(SampledOptions, "alpha") and loss.sampling not in ("popularity", "mixed"):
        raise UserError(f"config.loss.alpha is for loss.sampling=popularity or mixed: leave it out for {loss.sampling}")
    if loss.sampling == "in-batch" and loss.negatives:
        raise UserError(
            "config.loss.negatives must be 0 for loss.sampling=in-batch; mixed adds drawn ones to the batch"
        )
    if loss.sampling != "in-batch" and loss.negatives < 1:
        raise UserError(f"config.loss.negatives must be at least 1 for {loss.name}")
    if loss.sampling == "uniform-unseen" and loss.share != "slot":
        raise UserError(
            f"config.loss.share is {loss.share}, but uniform-unseen draws negatives for each slot's own user. Set "
            "config.loss.sampling=uniform, or share=slot"
        )
    if loss.sampling in IN_BATCH and loss.share != "batch":
        raise UserError(f"config.loss.sampling={loss.sampling} takes the batch's targets: set config.loss.share=batch")

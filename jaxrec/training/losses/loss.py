"""Losses by name."""

from jaxrec.system.errors import UserError
from jaxrec.training.losses.bce import bce
from jaxrec.training.losses.bpr import bpr
from jaxrec.training.losses.bpr_max import bpr_max
from jaxrec.training.losses.gbce import gbce
from jaxrec.training.losses.sampled_softmax import sampled_softmax
from jaxrec.training.losses.softmax import softmax_total
from jaxrec.training.losses.top1_max import top1_max
from jaxrec.training.losses.totals import total

SLOTS = {
    "bce": lambda loss, items: bce,
    "gbce": lambda loss, items: gbce(items, loss.t),
    "sampled-softmax": lambda loss, items: sampled_softmax,
    "bpr": lambda loss, items: bpr,
    "bpr-max": lambda loss, items: bpr_max(loss.bpreg, loss.elu),
    "top1-max": lambda loss, items: top1_max,
}


def build(loss, items):
    """The total of a config.LossConfig over a catalogue of so many items.

    Raises:
        UserError: gBCE's negatives are more than there are.
    """
    if loss.name == "softmax":
        return softmax_total
    if loss.name == "gbce" and loss.negatives >= items:
        raise UserError(
            f"config.loss.negatives is {loss.negatives} of a catalogue of {items} items: gbce takes a share of them. "
            f"Set it to {items - 1} or less, or config.loss.name=softmax"
        )
    return total(SLOTS[loss.name](loss, items), loss.collisions == "keep")

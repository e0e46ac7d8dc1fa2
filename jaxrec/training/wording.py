"""Messages about a training and its validation."""

import numpy as np

from jaxrec.batches import context
from jaxrec.config import registry
from jaxrec.config.checks import follows_order
from jaxrec.config.keys import Config
from jaxrec.config.parsing import row_width
from jaxrec.data import splits
from jaxrec.data.files.text import some
from jaxrec.data.interactions import Interactions
from jaxrec.kernels import hardware, sizes
from jaxrec.kernels.placement import data_size
from jaxrec.models.gru4rec import GRU4RecOptions
from jaxrec.training.losses.softmax import SoftmaxOptions
from jaxrec.training.metric_writer import clock
from jaxrec.training.setup import Setup

WORDS = {context.MOMENT: "times in attention", context.BASKET: "baskets"}  # names of kinds in messages
FAR = 4  # a length above this many times the longest history gets a message
CHECKED = ("hr@10", "ndcg@10", "mrr")  # validation metrics that metrics.jsonl always has


def describe(setup: Setup) -> str:
    """Describes the split, the values resolved from the configuration, and what is known of events, in lines."""
    config, split, batches = setup.config, setup.split, setup.batches
    lengths = batches.subsequences.length
    shown, targets = int(lengths.sum()), int(setup.objective.count(lengths).sum())
    if config.target_types or config.baskets:  # their count is only a bound
        targets = round(setup.objective.expected(batches.subsequences)[1].sum())
    width = 1 if config.stream == "session-parallel" else row_width(config)
    slots = setup.epoch_steps * batches.rows * width
    shares = data_size(setup.mesh)
    rows = f"{config.batch} lanes" if config.stream == "session-parallel" else f"{batches.rows} rows of {width} slots"
    of = f" ({config.target_types} only)" if config.target_types else ""
    rows += f", {setup.microbatch_rows} at once" if setup.microbatch_rows < setup.padded_rows // shares else ""
    if empty := setup.padded_rows - batches.rows:
        rows += f", {empty} more that are empty so that all devices have equally many"
    item = len(setup.devices) // shares
    split_tables = f", tables of items split over {item}" if item > 1 else ""
    split_tables += f", other parameters over {shares}" if setup.fsdp else ""
    return (
        f"{split.interactions.name}, {len(split.interactions.catalogue.ids):,} items, split {config.split}: "
        f"{splits.in_words(split)}\n"
        f"{config.model.name}: {targets:,} targets{of} per epoch in {setup.epoch_steps:,} steps "
        f"of {rows}, {shown / slots:.0%} full; "
        f"{len(setup.devices)} {setup.devices[0].platform} device(s){split_tables}"
        + of_length(config, split.interactions)
        + of_kernels(config, -(-len(split.interactions.catalogue.ids) // item))
        + _of_events(config, split.interactions)
        + _of_users(config, split.interactions)
    )


def of_length(config: Config, interactions: Interactions) -> str:
    """Suggests a shorter length if the length is far beyond the longest history; empty otherwise."""
    longest = int(np.diff(interactions.offsets).max(initial=1))
    if config.length <= FAR * longest:
        return ""
    row = f" and config.row={longest}" if config.row > longest else ""
    return (
        f"\nthe longest history has {longest:,} items, and config.length={config.length}: "
        f"config.length={longest}{row} shows the model as much, in shorter rows"
    )


def of_kernels(config: Config, items: int) -> str:
    """Lines on hand-written kernels that a configuration asks for, but that its training can't use; empty if none.

    Args:
        config: Config.
        items: the number of items per device.
    """
    said, dim, one_slot = "", config.model.dim, config.stream == "session-parallel"
    nothing = f"changes nothing here: its kernels are for GPUs (this is a {hardware.current().platform}), "
    if isinstance(config.model, GRU4RecOptions) and config.model.fused and (one_slot or not sizes.fuses_gru(dim)):
        said += f"\nconfig.model.fused {nothing}config.model.dim up to {sizes.FUSED_GRU_WIDTH} and config.stream=packed"
    if isinstance(config.loss, SoftmaxOptions) and config.loss.fused and not sizes.fuses_softmax(items, dim):
        most = f"{sizes.fused_softmax_rows(dim):,} items per device"
        said += f"\nconfig.loss.fused {nothing}config.model.dim up to {sizes.FUSED_SOFTMAX_WIDTH} and at most {most}"
    return said


def _of_events(config, interactions):
    """A line on what the log knows of events besides their items, and how much of it is used; empty if nothing."""
    if not (known := context.known(context.of_log(interactions, topic=config.topic))):
        return ""
    shown = [kind for kind in context.kinds_of(config) if not kind.startswith(context.USER)]
    weighed = f", and the loss has {config.loss.weight} weights" if config.loss.weight != "none" else ""
    named, rest = context.named(config.context), [kind for kind in known if kind not in shown]
    rest = [kind for kind in rest if not (config.baskets and follows_order(kind))]
    words = [WORDS.get(kind, kind) for kind in shown]
    used = f"the model sees {', '.join(words) or 'items only'}{weighed}"
    more = f"; config.context={','.join([*named, *rest])} shows it all" if rest else ""
    return f"\nknown of events: {', '.join(known)}; {used}{more}"


def _of_users(config, interactions):
    """A line on what the log knows of users, and how much of it is used; empty if it knows nothing."""
    if interactions.user_columns is None:
        return ""
    unused = "the model sees none of it; config.user_features=COLUMN,... shows some"
    shown = f"the model sees {config.user_features}" if config.user_features else unused
    return f"\nknown of users: {some(interactions.user_columns.about.columns, 30)}; {shown}"


def drawn(config: Config) -> tuple[str, ...]:
    """Returns the validation metrics to show: the usual ones of the split, and the one that selects the checkpoint."""
    published = registry.find("split", config.split).metrics
    return tuple(dict.fromkeys([*published, config.select_by] if config.select_by else published))


def kept(config: Config) -> tuple[str, ...]:
    """Returns the validation metrics to store in metrics.jsonl."""
    return tuple(dict.fromkeys([*CHECKED, *drawn(config)]))


def validation(config: Config, valid: dict) -> str:
    """Returns the result of a validation in words, by protocol if there are two."""
    shown = lambda found: "  ".join(f"{name} {found[name]:.4f}" for name in drawn(config))
    named = "validation with query time" if config.valid_query_time else "validation"
    if "also" not in valid:
        return f"{named} {shown(valid)}"
    return f"{named}  " + "; ".join(f"{name}: {shown(found)}" for name, found in valid["by"].items())


def best_so_far(setup: Setup, loop: dict) -> str:
    """Returns the best validation so far in words; empty before the first."""
    best, name = loop["best"], setup.config.select_by
    return f"best {name} {best['score']:.4f} at epoch {best['step'] / setup.epoch_steps:g}" if best else ""


def estimate(setup: Setup, steps: int, seconds: float, now: int) -> str:
    """Returns the maximum remaining time in words, estimated from the first steps including their evaluation."""
    each = seconds / steps
    left = each * (setup.total_steps - now)
    return f"{clock(each * setup.epoch_steps)} per epoch with its evaluation; at most {clock(left)} left"


def stopped_early(setup: Setup, loop: dict) -> str:
    """Says that patience has run out."""
    config, best = setup.config, loop["best"]
    epoch = lambda at: f"{at / setup.epoch_steps:g}"
    return (
        f"stopped early at epoch {epoch(loop['step'])} of {config.epochs}: "
        f"{loop['evals_without_improvement']} validations in a row "
        f"(config.patience={config.patience}) without a better {config.select_by} than {best['score']:.4f} at epoch "
        f"{epoch(best['step'])}"
    )

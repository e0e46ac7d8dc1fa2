"""Resolves `auto` in a configuration: a few rules that derive the value of a key from the log, each with its reason."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, NamedTuple

import numpy as np

from jaxrec.batches import context
from jaxrec.config import registry
from jaxrec.config.keys import AUTO
from jaxrec.config.parsing import check_keys, flatten, nested
from jaxrec.data import event_types, splits
from jaxrec.data.interactions import Interactions
from jaxrec.kernels import hardware
from jaxrec.models.entry import ModelEntry
from jaxrec.system.errors import UserError
from jaxrec.training.counting import Counted, count

LENGTHS = 16, 64  # the shortest and the longest that histories are cut to
STEPS = 80  # about as many per epoch; four times as many with a cloze, which predicts only a fifth of the slots
BATCHES = 32, 512  # the smallest and the largest
WIDTHS = ((0, 64), (150_000, 128), (500_000, 256))  # (smallest number of training events, width)
CLOZE_WIDTH = 128  # the largest width with a cloze
SOFTMAX_ITEMS = 100_000  # the largest catalogue that is scored whole for every target
WHOLE, SAMPLED = "softmax", "sampled-softmax"
SMOOTHED = {"label_smoothing": 0.1}  # keys to set along with a full softmax that a rule chose
DRAWN = {"negatives": 2_048, "share": "batch", "logq": 1.0}
#: keys to set along with a sampled softmax, by its sampling; the default, mixed, takes the batch's other targets, and
#: draws items in proportion to the square root of their counts
SAMPLINGS = {
    "mixed": DRAWN | {"alpha": 0.5},
    "popularity": DRAWN | {"alpha": 0.5},
    "uniform": DRAWN,
    "in-batch": DRAWN | {"negatives": 0},
    "uniform-unseen": {"negatives": 256},
}
SPARSE = 8  # mean events per item below which the largest width and few epochs are best, given enough steps per epoch
LONG = 20  # mean events per history from which a target is not compared to its user's other items
AT_ONCE = 0.02  # if this share of last items equals the item just before, repeating an item is a good answer
IN_BFLOAT16 = ("sasrec",)  # models that lose nothing in bfloat16, by three seeds (docs/accelerators.md)
FIRST = ("gated", "pre")  # norms at the start of a block, which allow a higher learning rate
NUMBERS = ("length", "model.dim")  # keys whose values other keys' rules use
NEEDED = ("split", *NUMBERS)


class Found(NamedTuple):
    """A resolved value."""

    value: Any
    why: str


Rule = Callable[[Counted, Mapping[str, Any]], Found]  #: (the counts, all keys resolved so far) -> Found


def _split(counted, _):
    if counted.sessions:
        return Found("sessions", "the log says which of its sessions are for training")
    if counted.anonymous:
        return Found(
            "last-item",
            "each history is taken to be that of a returning user; if each is a session of its own, "
            "--config.split=sessions trains on the older sessions and tests on the newer",
        )
    return Found("last-item", "the users in training are the ones to be served")


def _of_model(key: str, otherwise: Callable[[ModelEntry], Any]) -> Rule:
    """A rule that takes what the model's entry suggests for a key, or else `otherwise(entry)`."""
    return lambda counted, _: Found(counted.suits(key, otherwise(counted.model)), f"suits {counted.model.name}")


def _seen(counted, _):
    if counted.repeats > splits.MANY:
        return Found("keep", f"{counted.repeats:.0%} of the last items repeat an item of the history")
    return Found("exclude", "last items hardly ever repeat an item of the history")


def _embedding(counted, chosen):
    if chosen.get("seen") == "keep" and counted.at_once < AT_ONCE:
        share = f"items come again, but only {counted.at_once:.1%} of them immediately"
        why = f"{share}; without the projection a model recommends the item just read"
        return Found(counted.suits("model.embedding", "projected"), why)
    return Found(counted.suits("model.embedding", "shared"), f"suits {counted.model.name}")


def _length(counted, _):
    long = float(np.quantile(counted.lengths, 0.99)) if counted.sequences else 0.0
    least, most = LENGTHS
    value = int(np.clip(8 * np.ceil((long - 1) / 8), least, most))
    longer = float((counted.lengths > value + 1).mean()) if counted.sequences else 0.0
    return Found(value, f"{longer:.0%} of the histories are longer")


def _history(counted, chosen):
    most = chosen["length"] + 1
    lost = np.maximum(counted.lengths - most, 0).sum() / max(counted.events, 1)
    why = f"{lost:.0%} of the events are older than the newest {most} of their history"
    return Found("windows" if lost > 0.01 else "newest", why)


def _batch(counted, chosen):
    windows = -(-np.maximum(counted.lengths - 1, 1) // chosen["length"]) if chosen["history"] == "windows" else 1
    parts = int(np.broadcast_to(windows, counted.lengths.shape).sum())
    least, most = BATCHES
    steps = 4 * STEPS if _is_cloze(chosen) else STEPS
    value = int(np.clip(2 ** round(np.log2(max(parts / steps, 1))), least, most))
    return Found(value, f"{-(-parts // value):,} steps per epoch")


def _is_cloze(chosen):
    return chosen["objective"] == "cloze"


def _is_sparse(counted, chosen):
    return counted.each < SPARSE and counted.sequences >= STEPS * BATCHES[0] and not _is_cloze(chosen)


def _dim(counted, chosen):
    if _is_sparse(counted, chosen):
        return Found(WIDTHS[-1][1], f"only {counted.each:.1f} training events per item")
    value = max(width for least, width in WIDTHS if counted.events >= least)
    if _is_cloze(chosen) and value > CLOZE_WIDTH:
        return Found(CLOZE_WIDTH, "wide enough for a cloze")
    return Found(value, f"{counted.events:,} training events")


def _layers(counted, chosen):
    value = counted.suits("model.layers", 3 if chosen["model.dim"] >= 256 else 2)
    return Found(value, f"suits {counted.model.name} of width {chosen['model.dim']}")


def _heads(counted, chosen):
    width = chosen["model.dim"]
    most = counted.suits("model.heads", max(width // 64, 1))
    value = max(n for n in range(1, most + 1) if width % n == 0)
    return Found(value, f"{width // value} features per head")


def _dropout(counted, chosen):
    if _is_cloze(chosen):
        return Found(counted.suits("model.dropout", 0.1), "masking already leaves out part of the input")
    return Found(counted.suits("model.dropout", 0.3 if counted.each >= 100 else 0.5), _each(counted))


def _each(counted):
    events = f"{counted.each:,.0f}"
    return f"{events} event{'' if events == '1' else 's'} per item"


def _input_dropout(counted, _):
    return Found(0.1 if counted.each >= 100 else 0.3, _each(counted))


def _loss(counted, chosen):
    name = WHOLE if counted.items <= SOFTMAX_ITEMS else SAMPLED
    why = "all {} items can be scored" if name == WHOLE else "{} items are too many to score for every target"
    also = ", ".join(f"loss.{key}={value}" for key, value in _also(name, counted, chosen).items())
    return Found(name, why.format(f"{counted.items:,}") + (f"; with {also}" if also else ""))


def _also(name, counted, chosen):
    """The keys to set along with a loss that a rule chose, except those that are given."""
    keys: dict[str, Any] = dict(SMOOTHED)
    if name == SAMPLED:
        shared = chosen.get("loss.share", "batch") == "batch"
        sampling = chosen.get("loss.sampling", "mixed" if shared else "popularity")
        keys = {"sampling": sampling} | SAMPLINGS.get(sampling, {})
    elif counted.events >= LONG * max(counted.sequences, 1) and _leaves_out(chosen):
        keys["seen"] = "exclude"
    return {key: value for key, value in keys.items() if f"loss.{key}" not in chosen}


def _leaves_out(chosen):
    """Whether ranking leaves out the items of the history, and a softmax can do the same."""
    can = not chosen.get("loss.fused") and chosen.get("feed") != "host"
    return can and chosen.get("seen", "exclude") == "exclude" and ranks_new(chosen["split"])


def ranks_new(split: str) -> bool:
    """Whether the items of the history are left out when a split's questions are answered, unless `seen` keeps them."""
    return registry.find("protocol", registry.find("split", split).protocol).filtered


def _sparse(counted, chosen):
    of_all = [chosen["loss.name"]] if not registry.find("loss", chosen["loss.name"]).sampled else []
    of_all += ["adamw"] if chosen.get("optim.name") == "adamw" else []
    of_all += [f"optim.{key}" for key in ("weight_decay", "ema") if chosen.get(f"optim.{key}")]
    if of_all:
        return Found(False, f"{of_all[0]} updates every row")
    return Found(True, "a step updates only the rows of its own items")


def _rate(counted, chosen):
    value, falls = counted.suits("optim.learning_rate", 1e-3), chosen.get("optim.schedule") in ("cosine", "linear")
    value *= 2 if falls and chosen.get("model.norm") in FIRST and not _is_cloze(chosen) else 1
    width = chosen["model.dim"]
    return Found(value / 2 if width >= 256 else value, f"suits {counted.model.name} of width {width}")


def _epochs(counted, chosen):
    value = 24 if counted.events < WIDTHS[-1][0] and not _is_cloze(chosen) else 40
    if chosen.get("optim.schedule", "constant") in ("constant", "plateau"):
        return Found(200, "at most; patience ends the training")
    why = f"the learning rate decays to 0 by then; {counted.events:,} events per epoch"
    if _is_sparse(counted, chosen):
        return Found(12, f"{why}, only {counted.each:.1f} per item")
    return Found(value, why)


def _block(key: str, value: Any) -> Rule:
    """A rule for a key of transformer blocks: the value that gained most where it was measured."""
    return lambda counted, _: Found(counted.suits(key, value), "the best where it was measured (docs/recipes.md)")


def _features(counted, _):
    if counted.telling:
        return Found(",".join(counted.telling), "columns of the table of items with values that items share")
    return Found("", "no table of items has values that items share")


def _id_dropout(_, chosen):
    if chosen.get("features") and not chosen.get("features_only"):
        return Found(0.1, "so that the vectors of shared values describe an item even without its own")
    return Found(
        0.0,
        "items have only vectors of their own" if not chosen.get("features") else "items have no vectors of their own",
    )


def _precision(counted, _):
    if hardware.is_cpu():
        return Found("float32", "a CPU gains nothing from less")
    if counted.model.name in IN_BFLOAT16:
        return Found("bfloat16", f"{counted.model.name} learns as much by the faster products of this device")
    return Found("float32", f"whether {counted.model.name} learns as much with less was not measured enough")


def _patience(*_):
    return Found(10, "this many evaluations without improvement end the training")


#: rules by key, in the order in which they are resolved
RULES: dict[str, Rule] = {
    "split": _split,
    "seen": _seen,
    "objective": _of_model("objective", lambda model: model.objectives[0]),
    "stream": _of_model("stream", lambda model: "packed"),
    "positions": _of_model("positions", lambda model: model.positions[0]),
    "length": _length,
    "history": _history,
    "batch": _batch,
    "model.dim": _dim,
    "model.embedding": _embedding,
    "model.layers": _layers,
    "model.heads": _heads,
    "model.dropout": _dropout,
    "model.input_dropout": _input_dropout,
    "model.norm": _block("model.norm", "gated"),
    "model.ffn": _block("model.ffn", "swiglu"),
    "model.ffn_multiplier": _block("model.ffn_multiplier", 2),
    "loss.name": _loss,
    "optim.name": _of_model("optim.name", lambda model: "adam"),
    "optim.sparse": _sparse,
    "optim.learning_rate": _rate,
    "epochs": _epochs,
    "patience": _patience,
    "features": _features,
    "id_dropout": _id_dropout,
    "precision": _precision,
}


def resolve(values: Mapping[str, Any], interactions: Interactions) -> tuple[dict, list[str]]:
    """Resolves every `auto` of a configuration: returns the nested values, and the reasons in words.

    Given values stay, and the values that depend on them follow them.

    >>> from jaxrec.config import recipes
    >>> from jaxrec.data import sources
    >>> values = recipes.read("default", {"model.dim": 32}).values
    >>> made, why = resolve(values, sources.load("synthetic:users=50"))
    >>> made["model"]["dim"], made["length"], [line for line in why if "length" in line]
    (32, 24, ['length=24: 0% of the histories are longer'])

    Raises:
        UserError: a key is `auto`, and no rule resolves it, or one that rules depend on is unknown, missing or invalid.
    """
    chosen = flatten(dict(values))
    asked = [key for key, value in chosen.items() if value == AUTO]
    if not asked:
        return dict(values), []
    check_keys(dict(values))
    model = registry.find("model", chosen["model.name"])
    own = {f"model.{each.name}": each.default for each in fields(model.options)}
    for key in [key for key in asked if key.startswith("model.") and _says_nothing(key, own, model)]:
        asked.remove(key)
        del chosen[key]
    _check(asked, chosen, model)
    interactions = event_types.asking(interactions, chosen.get("target_types", ""))
    counted, found = count(interactions, model), {}
    known = {"objective": model.objectives[0], "history": "newest"} | chosen
    for key in [*(key for key in asked if key not in RULES), *(key for key in RULES if key in asked)]:
        found[key] = RULES.get(key, _of_model(key, lambda model: None))(counted, known)
        chosen[key] = known[key] = found[key].value
    if "loss.name" in found:
        also = _also(chosen["loss.name"], counted, known)
        chosen |= {f"loss.{key}": value for key, value in also.items()}
    reasons = dict.fromkeys(each.why for each in found.values())
    told = {why: ", ".join(f"{key}={each.value}" for key, each in found.items() if each.why == why) for why in reasons}
    return nested(chosen), [f"{keys}: {why}" for why, keys in told.items()]


def of_events(interactions: Interactions) -> str:
    """Returns what a model can be shown of a log's events, such as times and weights, as a `config.context`."""
    return ",".join(context.known(context.of_log(interactions)))


def _says_nothing(key, own, model):
    """Whether `auto` of a model's key means its default: the model lacks the key, or no rule or entry mentions it.

    The latter holds for the keys of your own model.
    """
    told = key in model.suits or (key in RULES and model.suits)
    return key not in own or (not told and own[key] is not MISSING)


def _check(asked, chosen, model):
    for key in asked:
        if key not in RULES and model.suits.get(key, AUTO) == AUTO:
            can = ", ".join(dict.fromkeys([*RULES, *model.suits]))
            raise UserError(f"config.{key} is auto, and no rule resolves it: set a value. These can be auto: {can}")
    for key in NEEDED:
        if key not in chosen:
            raise UserError(f"config.{key} is missing, and other keys that are auto depend on it: set it, or set auto")
    for key in NUMBERS:
        value = chosen[key]
        if value != AUTO and not (type(value) is int and value > 0):
            raise UserError(f"config.{key} is {value!r}: it must be a whole number above 0, or auto")

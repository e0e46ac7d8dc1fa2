"""A configuration as frozen dataclasses, built once; an error names the key and the cure."""

import dataclasses
import difflib
import math
import struct
from dataclasses import dataclass, field

from jaxrec.errors import UserError
from jaxrec.metrics import NAMES


def among(*choices):
    """A field whose value is one of these; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class ModelConfig:
    name: str = field(metadata={"choices": ("sasrec", "gru4rec", "bert4rec", "caser", "two-tower")})
    dim: int  #: width of the embeddings and of every layer
    layers: int  #: blocks
    dropout: float
    heads: int = 1
    norm: str = among("query", "post", "pre")  #: of bert4rec post or pre
    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02) (bert4rec: cut at ±.04), or uniform
    expand: int = 4  #: width of bert4rec's feed-forward, in dims
    window: int = 5  #: caser: the newest items that it sees
    vertical: int = 4  #: caser: filters over all of them
    horizontal: int = 16  #: caser: filters of each height
    users: bool = False  #: caser: whether users have vectors; a new user's is zero
    transform: bool = True  #: whether bert4rec's output has a dense layer, GELU and LayerNorm before the table
    embedding: str = among("shared", "separate")  #: of gru4rec: whether its input's table is also the output's
    input_dropout: float = 0.0  #: of gru4rec, on the embeddings; `dropout` is on the output of every layer


@dataclass(frozen=True)
class LossConfig:
    name: str = field(metadata={"choices": ("bce", "gbce", "softmax", "sampled-softmax", "bpr", "bpr-max", "top1-max")})
    negatives: int  #: drawn for a slot, or for those that share them; 0 for the full softmax and in-batch
    sampling: str = among("uniform-unseen", "uniform", "popularity", "in-batch", "mixed")
    share: str = among("slot", "sequence", "batch")  #: who has a set of negatives: a slot, a row's sequences, a batch
    collisions: str = among("mask", "keep")  #: whether a negative that is the slot's target counts
    alpha: float = 0.75  #: of popularity and mixed: items are drawn in proportion to (training count)^alpha
    logq: float = 0.0  #: of sampled-softmax: share of the log of its expected count that a score is corrected by
    logq_counts: str = among("targets", "events")  #: what a batch's targets are expected by: trained targets, or events
    t: float = 0.75  #: of gbce: calibration, from 0 to 1
    bpreg: float = 1.0  #: of bpr-max: weight of the squared scores of the negatives
    elu: float = 0.0  #: of bpr-max: scores below 0 become elu (exp s - 1); 0 leaves them


@dataclass(frozen=True)
class OptimConfig:
    name: str = field(metadata={"choices": ("adam", "adamw", "adagrad")})
    rate: float
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  #: of adamw
    momentum: float = 0.0  #: of adagrad
    sparse: bool = False  #: update only the rows of tables whose items are in the batch
    schedule: str = among("constant", "linear", "cosine")
    warmup: int = 0  #: steps
    clip: float = 0.0  #: global norm; 0 is none


@dataclass(frozen=True)
class Config:
    dataset: str  #: a path, a folder under $JAXREC_DATA, or the name of a public data set
    seed: int
    epochs: int
    batch: int  #: sequences a step, on average
    length: int  #: the longest history that the model sees
    eval_every: float  #: epochs
    patience: int  #: evaluations without a better validation by `select_by` before stopping; 0 is never
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    split: str = among("last-item", "sessions", "by-time")
    split_q: float = 0.9  #: the quantile of the times at which the test begins, where they decide
    valid: float = 0.1  #: under sessions, the share of the training sessions that validates; 0 is none: all train
    select_by: str = ""  #: the validation's metric that chooses the checkpoint; "": ndcg@10, of sessions mrr@20
    seen: str = among("exclude", "keep")  #: whether items of the history may be the answer, in choosing and in serving
    stream: str = among("packed", "lanes")  #: sequences packed into rows, or one step of each lane at a time
    objective: str = among("next-item", "cloze")
    ahead: int = 1  #: next-item: how many of the items to come are asked for at a slot
    mask: float = 0.2  #: share of a sequence's slots that the cloze asks for; at least one
    mask_last: float = 0.1  #: share of the sequences whose newest item is always among them
    positions: str = among("from_start", "from_end", "relative")
    history: str = among("newest", "oldest", "windows")  #: which `length` + 1 items train; or windows over all of them
    row: int = 0  #: slots a row; 0 is `length`
    save_every: float = 1.0  #: epochs
    steps_per_call: int = 64
    rows_at_once: int = 0  #: of a device's rows of a step, at most so many at a time; 0: what its kind does fastest
    precision: str = among("float32", "bfloat16")  #: of the compute; parameters, softmax and sums are float32
    launcher: str = among("pmap", "shard_map")
    feed: str = among("device", "host")  #: data on the device; or on the host, sent a call ahead


OF_MODELS = {  # the models that use a key, where not all do
    "heads": ("sasrec", "bert4rec"),
    "norm": ("sasrec", "bert4rec"),
    "expand": ("bert4rec",),
    "transform": ("bert4rec",),
    "window": ("caser",),
    "vertical": ("caser",),
    "horizontal": ("caser",),
    "users": ("caser",),
    "embedding": ("gru4rec",),
    "input_dropout": ("gru4rec",),
}
IN_BATCH = ("in-batch", "mixed")  # ways of sampling that take the batch's targets
OF_OTHERS = (  # a key, and the values of another that it goes with
    ("ahead", "objective", ("next-item",)),
    ("ahead", "stream", ("packed",)),
    ("mask", "objective", ("cloze",)),
    ("mask_last", "objective", ("cloze",)),
    ("split_q", "split", ("by-time", "sessions")),
    ("valid", "split", ("sessions",)),
)


def from_dict(values):
    """Config from nested dicts, as a config file gives them.

    Raises:
        UserError: an unknown, missing or ill-typed key, or a value that can't be.
    """
    config = _build(Config, dict(values), "")
    positive = {
        "epochs": config.epochs,
        "batch": config.batch,
        "length": config.length,
        "eval_every": config.eval_every,
        "save_every": config.save_every,
        "steps_per_call": config.steps_per_call,
        "model.dim": config.model.dim,
        "model.layers": config.model.layers,
        "model.heads": config.model.heads,
        "model.expand": config.model.expand,
        "model.window": config.model.window,
        "model.vertical": config.model.vertical,
        "model.horizontal": config.model.horizontal,
        "ahead": config.ahead,
        "optim.rate": config.optim.rate,
        "optim.eps": config.optim.eps,
    }
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise UserError(f"config.{name} is {value}: it must be above 0 and finite")
    for name in ("optim.rate", "optim.eps"):
        if not 0 < _as_float32(positive[name]) < math.inf:
            raise UserError(f"config.{name} is {positive[name]}: as a float32 it is {_as_float32(positive[name])}")
    optim = config.optim
    not_negative = {
        "seed": config.seed,
        "patience": config.patience,
        "row": config.row,
        "rows_at_once": config.rows_at_once,
        "optim.warmup": optim.warmup,
        "optim.clip": optim.clip,
        "optim.weight_decay": optim.weight_decay,
    }
    for name, value in not_negative.items():
        if not 0 <= value < math.inf:
            raise UserError(f"config.{name} is {value}: it must not be negative, and finite")
    for name, value in {"b1": optim.b1, "b2": optim.b2, "momentum": optim.momentum}.items():
        _check_below_one(f"optim.{name}", value)
    for name in ("b1", "b2"):
        if optim.name == "adagrad" and getattr(optim, name) != _default(OptimConfig, name):
            raise UserError(f"config.optim.{name} is for adam and adamw: leave it out for adagrad")
    if optim.weight_decay and optim.name != "adamw":
        raise UserError("config.optim.weight_decay is for adamw: set config.optim.name=adamw, or leave it 0")
    if optim.momentum and optim.name != "adagrad":
        raise UserError("config.optim.momentum is for adagrad: leave it 0 (adam has its own, config.optim.b1)")
    if optim.sparse and optim.name == "adamw":
        raise UserError(
            "config.optim.sparse leaves most rows alone, and adamw decays all of them: take adam or adagrad"
        )
    if optim.sparse and config.loss.name == "softmax":
        raise UserError(
            "config.optim.sparse is for sampled losses: softmax moves every row of the table; set config.optim.sparse="
            "False, or a sampled loss"
        )
    if config.seed >= 2**32:
        raise UserError(f"config.seed is {config.seed}: it must be below 2^32")
    for name, value in {"mask": config.mask, "mask_last": config.mask_last}.items():
        if not 0 <= value <= 1:
            raise UserError(f"config.{name} is {value}: a share, from 0 to 1")
    if (config.model.name == "bert4rec") != (config.objective == "cloze"):
        raise UserError(
            f"config.model.name is {config.model.name} and config.objective {config.objective}: bert4rec, which sees "
            "both sides, goes with cloze, and the others with next-item"
        )
    if config.model.users and config.split == "sessions":
        raise UserError("config.model.users is not for split=sessions, whose test sessions are all new: leave it out")
    if config.objective == "cloze" and config.length < 2:
        raise UserError("config.length is 1: an answer of bert4rec takes a slot after the history; set 2 or more")
    if config.stream == "lanes" and config.model.name != "gru4rec":
        raise UserError(
            f"config.stream is lanes and config.model.name {config.model.name}: only gru4rec carries a state from step "
            "to step; set config.stream=packed"
        )
    if config.positions != "from_start" and config.model.name not in ("sasrec", "bert4rec"):
        raise UserError(
            f"config.positions is {config.positions}: {config.model.name} has no positions; leave it from_start"
        )
    if config.model.name == "bert4rec" and config.model.norm == "query":
        raise UserError("config.model.norm is query: bert4rec has post or pre")
    for name, value in {"dropout": config.model.dropout, "input_dropout": config.model.input_dropout}.items():
        _check_below_one(f"model.{name}", value)
    if not 0 < config.split_q < 1:
        raise UserError(f"config.split_q is {config.split_q}: it must be above 0 and below 1")
    if not 0 <= config.valid < 1:
        raise UserError(f"config.valid is {config.valid}: it must be at least 0 and below 1")
    if config.model.dim % config.model.heads:
        raise UserError(f"config.model.heads {config.model.heads} does not divide config.model.dim {config.model.dim}")
    if 0 < config.row < config.length:
        raise UserError(f"config.row {config.row} is shorter than config.length {config.length}: raise it, or set 0")
    _check_loss(config.loss)
    _check_used(config)
    return _with_metric(config)


def from_stored(values):
    """Config from what a workdir keeps: keys that came later have the value by which it was trained."""
    values = dict(values)
    loss = values.get("loss", {})
    if "logq_counts" not in loss and loss.get("logq") and loss.get("sampling") in IN_BATCH:
        values["loss"] = loss | {"logq_counts": "events"}
    if "select_by" not in values and _validates(values):
        values["select_by"] = "ndcg@10"
    return from_dict(values)


def _validates(values):
    return values.get("split") != "sessions" or values.get("valid", _default(Config, "valid")) > 0


def _with_metric(config):
    """The configuration with the metric that chooses the checkpoint, where anything validates."""
    if not _validates(dataclasses.asdict(config)):
        if config.select_by:
            raise UserError(f"config.select_by is {config.select_by}, and with config.valid=0 nothing validates")
        return config
    chosen = config.select_by or ("mrr@20" if config.split == "sessions" else "ndcg@10")
    if chosen not in NAMES:
        raise UserError(f"config.select_by is {chosen!r}: choose one of {', '.join(NAMES)}")
    return dataclasses.replace(config, select_by=chosen)


def _check_below_one(name, value):
    if not 0 <= value < 1:
        raise UserError(f"config.{name} is {value}: it must be at least 0 and below 1")
    if _as_float32(value) == 1:
        raise UserError(f"config.{name} is {value}: as a float32 it is 1; it must be below 1: .9999999 is")


def _as_float32(value):
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf


def _check_used(config):
    """That nothing is set which would do nothing."""
    if config.model.name == "caser" and config.model.layers != 1:
        raise UserError(f"config.model.layers is {config.model.layers}: caser has one layer; set it to 1")
    for key, names in OF_MODELS.items():
        if getattr(config.model, key) != _default(ModelConfig, key) and config.model.name not in names:
            raise UserError(f"config.model.{key} is for {' and '.join(names)}: leave it out for {config.model.name}")
    for key, other, values in OF_OTHERS:
        if getattr(config, key) != _default(Config, key) and getattr(config, other) not in values:
            wanted, value = " or ".join(values), getattr(config, other)
            raise UserError(f"config.{key} is for config.{other}={wanted}: leave it out for {value}")


def _check_loss(loss):
    for key, name in {"t": "gbce", "bpreg": "bpr-max", "elu": "bpr-max", "logq": "sampled-softmax"}.items():
        if getattr(loss, key) != _default(LossConfig, key) and loss.name != name:
            raise UserError(f"config.loss.{key} is for {name}: leave it out for {loss.name}")
    for key in ("sampling", "share", "collisions"):
        if loss.name == "softmax" and getattr(loss, key) != _default(LossConfig, key):
            raise UserError(f"config.loss.{key} is for sampled losses: leave it out for softmax")
    if loss.collisions == "keep" and loss.sampling == "uniform-unseen" and loss.name != "softmax":
        raise UserError(
            "config.loss.collisions is for negatives that may be the target, and uniform-unseen draws none: leave it "
            "out, or set config.loss.sampling=uniform"
        )
    if loss.alpha != _default(LossConfig, "alpha") and loss.sampling not in ("popularity", "mixed"):
        raise UserError(f"config.loss.alpha is for loss.sampling=popularity or mixed: leave it out for {loss.sampling}")
    if loss.logq_counts != _default(LossConfig, "logq_counts") and not (loss.logq and loss.sampling in IN_BATCH):
        raise UserError(
            "config.loss.logq_counts is for loss.logq with loss.sampling=in-batch or mixed: leave it out without"
        )
    for key in ("alpha", "logq", "bpreg", "elu"):
        if not 0 <= getattr(loss, key) < math.inf:
            raise UserError(f"config.loss.{key} is {getattr(loss, key)}: it must not be negative, and finite")
    if not 0 <= loss.t <= 1:
        raise UserError(f"config.loss.t is {loss.t}: it must be from 0 (plain bce) to 1 (calibrated)")
    if loss.name == "softmax" and loss.negatives:
        raise UserError("config.loss.negatives must be 0 for softmax, which asks the whole catalogue")
    if loss.sampling == "in-batch" and loss.negatives:
        raise UserError(
            "config.loss.negatives must be 0 for loss.sampling=in-batch; mixed adds drawn ones to the batch"
        )
    if loss.name != "softmax" and loss.sampling != "in-batch" and loss.negatives < 1:
        raise UserError(f"config.loss.negatives must be at least 1 for {loss.name}")
    if loss.sampling == "uniform-unseen" and loss.share != "slot":
        raise UserError(
            f"config.loss.share is {loss.share}: what a user has not met can't be shared with others. Set "
            "config.loss.sampling=uniform, or share=slot"
        )
    if loss.sampling in IN_BATCH and loss.share != "batch":
        raise UserError(f"config.loss.sampling={loss.sampling} takes the batch's targets: set config.loss.share=batch")
    if loss.name == "gbce" and loss.sampling not in ("uniform-unseen", "uniform"):
        raise UserError(
            f"config.loss.sampling is {loss.sampling}: gbce is calibrated for uniform negatives. Set "
            "config.loss.sampling=uniform or uniform-unseen"
        )
    if loss.logq and loss.sampling == "uniform-unseen":
        raise UserError(
            "config.loss.logq corrects for how often an item of the whole catalogue is drawn, and uniform-unseen "
            "leaves some out: set config.loss.sampling=uniform"
        )
    if loss.logq and loss.sampling == "uniform" and loss.collisions == "keep":
        raise UserError(
            "config.loss.logq would change all scores alike, as uniform negatives that may be the target are drawn as "
            "often as it: leave it 0, or set config.loss.collisions=mask"
        )


def _default(kind, key):
    return next(f.default for f in dataclasses.fields(kind) if f.name == key)


def to_dict(config):
    """The nested dict that `from_dict` takes."""
    return dataclasses.asdict(config)


def flatten(values, prefix=""):
    """Nested dict -> {"model.dim": 64, ...}."""
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def row_width(config):
    """Slots a row: config.row, or the longest history."""
    return config.row or config.length


def _build(kind, values, prefix):
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean config.{prefix}{near[0]}?" if near else f"the keys are {', '.join(fields)}"
            raise UserError(f"config.{prefix}{key}: no such key; {hint}")
    built = {}
    for name, f in fields.items():
        if name not in values:
            if f.default is dataclasses.MISSING:
                raise UserError(f"config.{prefix}{name} is missing: every configuration sets it")
            continue
        built[name] = _value(f, values[name], prefix + name)
    return kind(**built)


def _value(f, value, name):
    if dataclasses.is_dataclass(f.type):
        if not isinstance(value, dict):
            raise UserError(f"config.{name} is {value!r}: it is a group of keys, as in config.{name}.name")
        return _build(f.type, value, f"{name}.")
    if f.type is float and type(value) is int:
        value = float(value)
    if f.type is str and type(value) is int:  # a folder may be named by a number
        value = str(value)
    if type(value) is not f.type:
        raise UserError(
            f"config.{name} is {value!r}, of type {type(value).__name__}: it must be of type {f.type.__name__}"
        )
    choices = f.metadata.get("choices")
    if choices and value not in choices:
        raise UserError(f"config.{name} is {value!r}: choose one of {', '.join(choices)}")
    return value

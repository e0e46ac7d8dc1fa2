"""Which values of a configuration's keys can be, alone and together; an error names the key and the cure."""

import dataclasses
import math
import struct

from jaxrec.config.keys import IN_BATCH, Config, LossConfig, ModelConfig, OptimConfig, default
from jaxrec.system import arguments
from jaxrec.system.errors import UserError

MOST = (1 << 31) - 1
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
OF_OTHERS = (  # a key, and the values of another that it goes with
    ("ahead", "objective", ("next-item",)),
    ("ahead", "stream", ("packed",)),
    ("mask", "objective", ("cloze",)),
    ("mask_last", "objective", ("cloze",)),
    ("split_q", "split", ("by-time", "sessions")),
    ("valid", "split", ("sessions",)),
)


def check(config):
    """That a Config can be trained, and holds nothing that would do nothing.

    Raises:
        UserError: it can't, or does.
    """
    _integers(config)
    _numbers(config)
    _optim(config.optim, config.loss)
    _together(config)
    _loss(config.loss)
    _used(config)


def _integers(config):
    """That every integer is an int32, as steps, slots and ids are."""
    for prefix, group in {"": config, "model.": config.model, "loss.": config.loss, "optim.": config.optim}.items():
        for f in dataclasses.fields(group):
            if f.type is int and f.name != "seed" and getattr(group, f.name) > MOST:
                raise UserError(
                    f"config.{prefix}{f.name} is {arguments.shown(getattr(group, f.name))}: at most {MOST:,}"
                )


def _numbers(config):
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
    not_negative = {
        "seed": config.seed,
        "patience": config.patience,
        "row": config.row,
        "rows_at_once": config.rows_at_once,
        "optim.warmup": config.optim.warmup,
        "optim.clip": config.optim.clip,
        "optim.weight_decay": config.optim.weight_decay,
    }
    for name, value in not_negative.items():
        if not 0 <= value < math.inf:
            raise UserError(f"config.{name} is {value}: it must not be negative, and finite")


def _optim(optim, loss):
    for name, value in {"b1": optim.b1, "b2": optim.b2, "momentum": optim.momentum}.items():
        _below_one(f"optim.{name}", value)
    for name in ("b1", "b2"):
        if optim.name == "adagrad" and getattr(optim, name) != default(OptimConfig, name):
            raise UserError(f"config.optim.{name} is for adam and adamw: leave it out for adagrad")
    if optim.weight_decay and optim.name != "adamw":
        raise UserError("config.optim.weight_decay is for adamw: set config.optim.name=adamw, or leave it 0")
    if optim.momentum and optim.name != "adagrad":
        raise UserError("config.optim.momentum is for adagrad: leave it 0 (adam has its own, config.optim.b1)")
    if optim.sparse and optim.name == "adamw":
        raise UserError(
            "config.optim.sparse leaves most rows alone, and adamw decays all of them: take adam or adagrad"
        )
    if optim.sparse and loss.name == "softmax":
        raise UserError(
            "config.optim.sparse is for sampled losses: softmax moves every row of the table; set config.optim.sparse="
            "False, or a sampled loss"
        )


def _together(config):
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
        _below_one(f"model.{name}", value)
    if not 0 < config.split_q < 1:
        raise UserError(f"config.split_q is {config.split_q}: it must be above 0 and below 1")
    if not 0 <= config.valid < 1:
        raise UserError(f"config.valid is {config.valid}: it must be at least 0 and below 1")
    if config.model.dim % config.model.heads:
        raise UserError(f"config.model.heads {config.model.heads} does not divide config.model.dim {config.model.dim}")
    if 0 < config.row < config.length:
        raise UserError(f"config.row {config.row} is shorter than config.length {config.length}: raise it, or set 0")


def _used(config):
    """That nothing is set which would do nothing."""
    if config.model.name == "caser" and config.model.layers != 1:
        raise UserError(f"config.model.layers is {config.model.layers}: caser has one layer; set it to 1")
    for key, names in OF_MODELS.items():
        if getattr(config.model, key) != default(ModelConfig, key) and config.model.name not in names:
            raise UserError(f"config.model.{key} is for {' and '.join(names)}: leave it out for {config.model.name}")
    for key, other, values in OF_OTHERS:
        if getattr(config, key) != default(Config, key) and getattr(config, other) not in values:
            wanted, value = " or ".join(values), getattr(config, other)
            raise UserError(f"config.{key} is for config.{other}={wanted}: leave it out for {value}")


def _loss(loss):
    for key, name in {"t": "gbce", "bpreg": "bpr-max", "elu": "bpr-max", "logq": "sampled-softmax"}.items():
        if getattr(loss, key) != default(LossConfig, key) and loss.name != name:
            raise UserError(f"config.loss.{key} is for {name}: leave it out for {loss.name}")
    for key in ("sampling", "share", "collisions"):
        if loss.name == "softmax" and getattr(loss, key) != default(LossConfig, key):
            raise UserError(f"config.loss.{key} is for sampled losses: leave it out for softmax")
    if loss.collisions == "keep" and loss.sampling == "uniform-unseen" and loss.name != "softmax":
        raise UserError(
            "config.loss.collisions is for negatives that may be the target, and uniform-unseen draws none: leave it "
            "out, or set config.loss.sampling=uniform"
        )
    if loss.alpha != default(LossConfig, "alpha") and loss.sampling not in ("popularity", "mixed"):
        raise UserError(f"config.loss.alpha is for loss.sampling=popularity or mixed: leave it out for {loss.sampling}")
    if loss.logq_counts != default(LossConfig, "logq_counts") and not (loss.logq and loss.sampling in IN_BATCH):
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


def _below_one(name, value):
    if not 0 <= value < 1:
        raise UserError(f"config.{name} is {value}: it must be at least 0 and below 1")
    if _as_float32(value) == 1:
        raise UserError(f"config.{name} is {value}: as a float32 it is 1; it must be below 1: .9999999 is")


def _as_float32(value):
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf

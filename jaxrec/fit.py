"""The loop: resume, call, report, evaluate, save, stop."""

import contextlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import compiler, losses, negatives, objectives, optim, report, step
from jaxrec import devices as dev
from jaxrec.checkpoint import Checkpoints, Damaged, abstract
from jaxrec.config import row_width
from jaxrec.data import lanes, splits, stream
from jaxrec.errors import UserError
from jaxrec.evaluation import FULL, KEPT
from jaxrec.models import build
from jaxrec.signals import Signals
from jaxrec.workdir import Place

CHECKED = ("hr@10", "ndcg@10", "mrr")  # of the validation, kept in metrics.jsonl
SESSIONS = ("recall@20", "mrr@20")  # and by session these, which are published


class Stopped(Exception):
    """Training was asked to stop by a signal; a checkpoint is saved."""

    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


class NotFinite(UserError):
    """A loss or gradient that is not a number: training can't go on from here."""


class Setup(NamedTuple):
    """Everything that training is made of, and that is not state: a function of config, split and devices."""

    config: Any
    split: Any
    devices: list
    pieces: stream.Pieces
    order_of: np.ndarray | None  #: [P] the piece behind each place of the template; None: one order in all epochs
    data: stream.Data  #: on the devices, or on the host
    gather: Any  #: (data, order, rows, asked) -> Stream, of rows counted from an epoch's first on
    aside: Any  #: what negatives are drawn by, on the devices
    objective: Any
    model: Any
    optimiser: Any
    run: Any  #: (state, data, aside, start, end) -> (state, step.Report)
    rows: int  #: a step
    at_once: int  #: of a device's rows
    epoch_steps: int

    @property
    def total_steps(self):
        return self.config.epochs * self.epoch_steps


def setup(config, split, devices):
    """Pack the training histories, place them, and build the program of a call."""
    interactions, items = split.interactions, len(split.interactions.catalogue.ids)
    width = row_width(config)
    objective = objectives.build(config)
    pieces = objective.pieces(split.start, split.stop, config.length, config.history)
    if not len(pieces.length):
        raise UserError(f"{interactions.name}: no user has two items to train on after the split: nothing to learn")
    if len(interactions.items) >= 2**31:
        raise UserError(
            f"{interactions.name}: 2^31 interactions or more are not supported: train on a part of the users"
        )
    if config.stream == "lanes":
        pieces, most, order_of = lanes.oldest_first(pieces, interactions), 1, None
        rows = lanes.rows_of(config.batch, len(devices))
        template = lanes.schedule(pieces.length, config.batch, rows)
        gather = partial(lanes.gather, step_rows=rows)
    else:
        packed = stream.pack(pieces.length, width)[1]
        rows, gather = stream.rows_per_step(config.batch, len(pieces.length), packed, len(devices)), stream.gather
        template, order_of = stream.template(pieces.length, width, rows)
        row_of = np.searchsorted(template.first, np.arange(len(order_of)), side="right") - 1
        most = int(np.bincount(row_of, objective.count(pieces.length[order_of])).max())
    epoch_steps = len(template.place) // rows
    ask = partial(objective.ask, most=most)
    dtype = jnp.dtype(config.precision)
    model = build(config, items, len(interactions.users))
    at_once = dev.rows_at_once(config, model, items, rows // len(devices), devices[0].platform)
    optimiser = optim.optimiser(config.optim, config.epochs * epoch_steps)
    targets = partial(objectives.expected_targets, objective, pieces, interactions.items, items)
    draw, aside = negatives.sampler(config.loss, split, step.AXIS, targets)
    aside = dev.put(aside, devices)
    data = stream.Data(interactions.items, pieces.start, pieces.source, template)
    if config.feed == "device":
        data = dev.put(data._replace(start=pieces.start.astype(np.int32)), devices)

        def batch(data, index, share):
            return gather(*data, index * rows + share, asked=objective.nexts)
    else:

        def batch(batches, index, share):
            return jax.tree.map(lambda kept: kept.reshape(-1, len(share), kept.shape[-1])[index], batches)

    parts = step.Parts(
        model,
        losses.build(config.loss, items),
        ask,
        draw,
        optimiser,
        config.optim.sparse,
        batch,
        rows,
        at_once,
        config.batch if config.stream == "lanes" else None,
        config.seed,
        dtype,
    )
    options = compiler.cpu_options() if draw else None
    call, apart = step.call(parts, config.steps_per_call), config.feed == "host"
    run = dev.LAUNCHERS[config.launcher](call, devices, options, apart)
    return Setup(
        config,
        split,
        devices,
        pieces,
        order_of,
        data,
        gather,
        aside,
        objective,
        model,
        optimiser,
        run,
        rows,
        at_once,
        epoch_steps,
    )


def initial(setup):
    """The State before the first step, on the default device."""
    return jax.jit(partial(_initial, setup))(jax.random.key(setup.config.seed))


def _initial(setup, key):
    params = setup.model.init(key)
    carry = setup.model.carry0(params, setup.rows) if setup.config.stream == "lanes" else None
    return step.State(jnp.int32(0), params, setup.optimiser.init(params), carry)


def order(setup, epoch):
    """The plan of an epoch, on the host; None where all epochs are alike."""
    if setup.order_of is None:
        return None
    rows = len(setup.data.template.place)
    return stream.plan(setup.pieces.length, setup.order_of, rows, setup.config.seed, epoch)


class Feed:
    """What the program reads for the steps of a call: the plan on the device, or batches sent from the host."""

    def __init__(self, setup):
        self.setup, self.epoch, self.order = setup, None, None

    def __call__(self, start, end):
        """For steps start to end of one epoch: (data, the step at which the data begin)."""
        s = self.setup
        epoch = start // s.epoch_steps
        if epoch != self.epoch:
            self.epoch, self.order = epoch, order(s, epoch)
            if s.config.feed == "device":
                self.order = dev.put(self.order, s.devices)
        if s.config.feed == "device":
            return (s.data, self.order), epoch * s.epoch_steps
        size = s.config.steps_per_call * s.rows
        rows = (start - epoch * s.epoch_steps) * s.rows + np.arange(size)
        rows = rows.reshape(s.config.steps_per_call, len(s.devices), -1).swapaxes(0, 1)  # those of a device together
        batches = s.gather(s.data, self.order, rows.ravel() % len(s.data.template.place), s.objective.nexts)
        return dev.spread(jax.tree.map(lambda x: x.reshape(*rows.shape, -1), batches), s.devices), start


def boundary(setup, now):
    """The next step at which a call must end: an epoch's end, a save, an evaluation, or the call's full size."""
    config, epoch = setup.config, setup.epoch_steps
    every = (epoch, interval(setup, config.eval_every), interval(setup, config.save_every))
    ends = [now + config.steps_per_call, setup.total_steps, *((now // n + 1) * n for n in every)]
    return min(ends)


def interval(setup, epochs):
    """Epochs in steps, at least one."""
    return max(round(epochs * setup.epoch_steps), 1)


def users_of(setup, at):
    """The external ids of the users whose sequences are in the batch of a step."""
    epoch, index = divmod(at, setup.epoch_steps)
    data = setup.data if setup.config.feed == "host" else jax.device_get(setup.data)
    batch = setup.gather(data, order(setup, epoch), index * setup.rows + np.arange(setup.rows))
    return setup.split.interactions.users[np.unique(batch.source[batch.items > 0])].tolist()


def fit(setup, workdir, validate, console=None):
    """Train to the end, or to the end of patience, from the workdir's latest checkpoint.

    Args:
        setup: Setup. workdir: Path, locked by the caller.
        validate: (params) -> {"ndcg@10": …} on the validation questions, and as "also" {protocol: the same} by other
            protocols than the one that chooses; None where there are none.

    Returns:
        The loop's state at the end, {"step", "best": {"step", "score"}, "stale", "seconds", …}, with the rows of
        metrics.jsonl as "rows" and this run's real targets a second, a row each, as "rates".

    Raises:
        Stopped: on SIGTERM or SIGINT, a checkpoint saved. NotFinite: naming step, users, last good checkpoint.
    """
    config, held = setup.config, Place(workdir)
    with held.named(), contextlib.ExitStack() as opened:
        checkpoints = opened.enter_context(contextlib.closing(Checkpoints(workdir)))
        state, loop = resume(setup, workdir, checkpoints)
        rows = checkpoints.rows(loop["step"]) if loop["step"] else None
        told = report.Report(workdir, loop["step"], setup.total_steps, loop["seconds"], console, rows)
        opened.enter_context(contextlib.closing(told))
        told.best = best_so_far(setup, loop)
        feed, signals = Feed(setup), Signals()
        schedule = optim.schedule(config.optim, setup.total_steps)

        def read(pending):
            """The host's share of a call that has run: its sums, in the order of its steps."""
            first, last, values = pending
            values = jax.device_get(values)
            done = last - first
            for index, (loss, count, norm) in enumerate(zip(*(value[:done].tolist() for value in values), strict=True)):
                if not (np.isfinite(loss) and np.isfinite(norm)):
                    raise not_finite(setup, checkpoints, first + index)
                sums = loop["sums"]
                loop["sums"] = [sums[0] + loss * count, sums[1] + count, sums[2] + norm, sums[3] + 1]
            told.progress(last, float(values.loss[:done].mean()), float(values.count[:done].sum()))

        def save(now, score=None):
            if checkpoints.latest() != now:
                held.check()
                checkpoints.save(now, state, loop | {"seconds": told.seconds()}, score, told.checksum())

        with signals:
            if loop["step"]:
                told.say(f"resumed at step {loop['step']:,}")
            pending = None
            while loop["step"] < setup.total_steps and not exhausted(config, loop):
                now = loop["step"]
                end = boundary(setup, now)
                data, begins = feed(now, end)
                state, values = setup.run(state, data, setup.aside, np.int32(begins), np.int32(end))
                if pending:
                    read(pending)
                pending = now, end, values
                loop["step"] = end
                evaluates = end % interval(setup, config.eval_every) == 0 or end == setup.total_steps
                row_ends = evaluates or end % setup.epoch_steps == 0
                saves = evaluates or end % interval(setup, config.save_every) == 0
                stop = signals.caught
                if not (row_ends or saves or stop):
                    continue
                read(pending)
                pending = None
                score = None
                if row_ends:
                    valid = validate(state.params) if evaluates and validate else None
                    score = close_row(setup, loop, told, valid, float(schedule(end - 1)))
                if saves or stop:
                    save(end, score)
                if stop:
                    raise Stopped(stop)
                told.skip()
            if exhausted(config, loop) and loop["step"] < setup.total_steps:
                told.say(stopped_early(setup, loop))
            checkpoints.wait()
            held.check()
            if signals.caught:  # the training is complete, but what comes after it was not asked for
                raise Stopped(signals.caught)
    return loop | {"seconds": told.seconds(), "rows": told.rows, "rates": told.rates}


def resume(setup, workdir, checkpoints):
    """(state, the loop's state) to go on from: of the newest checkpoint that is whole, or those before the first step.

    Damaged ones that are newer, and a damaged best, are set aside.
    """
    if checkpoints.latest() is None:
        state = jax.device_put(initial(setup), dev.placed(setup.devices))
        loop = {"step": 0, "best": None, "stale": 0, "sums": [0.0, 0.0, 0.0, 0], "seconds": 0.0}
        return state, loop | {"rows": setup.rows, "epoch_steps": setup.epoch_steps}
    wanted = _shapes(setup)
    (state, loop), at, damaged = checkpoints.take("latest", partial(_restore, setup, workdir, checkpoints, wanted))
    if (best := checkpoints.best()) != at and best not in damaged:
        try:
            checkpoints.restore_params(best, wanted.params)
        except Damaged as why:
            damaged[best] = why
    for newer, why in damaged.items():
        checkpoints.set_aside(newer, why)
    return state, loop | {"rows": setup.rows, "epoch_steps": setup.epoch_steps}


def _restore(setup, workdir, checkpoints, wanted, at):
    before = checkpoints.loop(at)
    resolved = before.get("rows", setup.rows), before.get("epoch_steps", setup.epoch_steps)
    if resolved != (setup.rows, setup.epoch_steps):
        raise UserError(
            f"{workdir} was trained with {resolved[0]} rows a step, and {len(setup.devices)} devices make it "
            f"{setup.rows}: go on with 1, 2, 4 or 8 devices, or as many as before"
        )
    return checkpoints.restore(at, wanted)


def _shapes(setup):
    shapes = jax.eval_shape(partial(_initial, setup), jax.random.key(setup.config.seed))
    return step.State(*map(abstract, shapes, dev.placed(setup.devices)))


def close_row(setup, loop, told, valid, rate):
    """Write a row of metrics for the steps since the last; with a validation, update the best. Returns its score.

    Args:
        valid: by `validate` of `fit`, or None. rate: the learning rate of the last step.
    """
    loss, count, norm, steps = loop["sums"]
    now = loop["step"]
    row = {
        "step": now,
        "epoch": now / setup.epoch_steps,
        "loss": loss / count,
        "norm": norm / steps,
        "targets": int(count),
        "rate": rate,
        "seconds": round(told.seconds(), 3),
    }
    loop["sums"] = [0.0, 0.0, 0.0, 0]
    words = f"epoch {row['epoch']:g}/{setup.config.epochs}  loss {row['loss']:.4f}  "
    if valid is None:
        told.row(row)
        if not len(setup.split.valid.source):  # else the next validation speaks for this row too
            told.say(words + report.clock(told.seconds()))
        return None
    also = valid.get("also", {})
    row["valid"] = {name: valid[name] for name in kept(setup.config)}
    row |= (
        {"also": {by: {name: found[name] for name in kept(setup.config)} for by, found in also.items()}} if also else {}
    )
    score, best = valid[setup.config.select_by], loop["best"]
    better = best is None or score > best["score"]
    loop["best"] = {"step": now, "score": score} if better else best
    loop["stale"] = 0 if better else loop["stale"] + 1
    told.best = best_so_far(setup, loop)
    told.row(row)
    told.say(f"{words}{validation_in_words(setup.config, valid)}  {told.best}  {report.clock(told.seconds())}")
    return score


def drawn(config):
    """The validation's metrics that are shown to people: those that are published, and the one that chooses."""
    published = SESSIONS if config.split == "sessions" else CHECKED
    return tuple(dict.fromkeys([*published, config.select_by] if config.select_by else published))


def kept(config):
    """The validation's metrics that metrics.jsonl keeps."""
    return tuple(dict.fromkeys([*CHECKED, *drawn(config)]))


def validation_in_words(config, valid):
    """What a validation found: by each protocol where it is by two, `full, seen kept` first."""
    shown = lambda found: "  ".join(f"{name} {found[name]:.4f}" for name in drawn(config))
    if "also" not in valid:
        return f"validation {shown(valid)}"
    (other,) = valid["also"]
    found = {KEPT if other == FULL else FULL: valid} | valid["also"]
    return "validation  " + "; ".join(f"{name}: {shown(found[name])}" for name in (KEPT, FULL))


def best_so_far(setup, loop):
    """The best validation, in words; empty before the first."""
    best, name = loop["best"], setup.config.select_by
    return f"best {name} {best['score']:.4f} at epoch {best['step'] / setup.epoch_steps:g}" if best else ""


def stopped_early(setup, loop):
    """That patience has run out, in words."""
    config, best = setup.config, loop["best"]
    epoch = lambda at: f"{at / setup.epoch_steps:g}"
    return (
        f"stopped early at epoch {epoch(loop['step'])} of {config.epochs}: {loop['stale']} validations in a row "
        f"(config.patience={config.patience}) without a better {config.select_by} than {best['score']:.4f} at epoch "
        f"{epoch(best['step'])}"
    )


def complete(setup, workdir):
    """Whether the workdir's latest checkpoint is whole and the last one: of the last epoch, or of patience run out."""
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        wanted = _shapes(setup)
        (_, loop), _, damaged = checkpoints.take("latest", partial(_restore, setup, workdir, checkpoints, wanted))
    return not damaged and (exhausted(setup.config, loop) or loop["step"] >= setup.total_steps)


def describe(setup):
    """What the split made of the data, and what was resolved from the configuration, a line each."""
    config, split = setup.config, setup.split
    shown, targets = int(setup.pieces.length.sum()), int(setup.objective.count(setup.pieces.length).sum())
    width = 1 if config.stream == "lanes" else row_width(config)
    slots = setup.epoch_steps * setup.rows * width
    rows = f"{config.batch} lanes" if config.stream == "lanes" else f"{setup.rows} rows of {width} slots"
    rows += f", {setup.at_once} at once" if setup.at_once < setup.rows // len(setup.devices) else ""
    return (
        f"{split.interactions.name}, {len(split.interactions.catalogue.ids):,} items, split {config.split}: "
        f"{splits.in_words(split)}\n"
        f"{config.model.name}: {targets:,} targets an epoch in {setup.epoch_steps:,} steps "
        f"of {rows}, {shown / slots:.0%} full; "
        f"{len(setup.devices)} {setup.devices[0].platform} device(s)"
    )


def exhausted(config, loop):
    """Whether patience has run out."""
    return 0 < config.patience <= loop["stale"]


def not_finite(setup, checkpoints, at):
    """The error for a step whose loss or gradient is not finite."""
    users = users_of(setup, at)
    shown = ", ".join(map(str, users[:10])) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
    good = checkpoints.latest()
    return NotFinite(
        f"the loss or its gradient is not finite at step {at} (epoch {at // setup.epoch_steps}); "
        f"the batch holds users {shown}. "
        + (f"The last good checkpoint is step {good}. " if good is not None else "There is no checkpoint yet. ")
        + "Lower config.optim.rate, or set config.optim.clip, and train into a new workdir"
    )

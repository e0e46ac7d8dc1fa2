"""A training under way: runs its calls, and writes its rows of metrics and its checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.kernels import processes
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, metric_writer, wording
from jaxrec.training.feed import Feed, users_of
from jaxrec.training.setup import Setup, evaluated
from jaxrec.training.steps import optim
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs.checkpoint import Checkpoints
from jaxrec.training.workdirs.workdir import Place


class NotFinite(UserError):
    """The loss or a gradient is not finite, so training can't continue."""


class Ongoing:
    """A training under way: its State on the devices, the loop's state, and where both are written.

    The metrics of a call are read while the devices work on the next one.
    """

    def __init__(
        self,
        setup: Setup,
        held: Place,
        checkpoints: Checkpoints,
        logger: metric_writer.MetricWriter,
        state: State,
        loop: dict,
        on_checkpoint: Callable[[int, Path], None] | None,
    ):
        self.setup, self.held, self.checkpoints, self.logger = setup, held, checkpoints, logger
        self.state, self.loop, self.on_checkpoint = state, loop, on_checkpoint
        self._pending: tuple[int, int, Any] | None = None  # (first step, end, StepMetrics) of an unread call
        self._rate_of = optim.rates(setup.config.optim, setup.total_steps)

    def call(self, feed: Feed, end: int) -> None:
        """Starts the steps up to `end`, and then reads the metrics of the previous call."""
        now = self.loop["step"]
        self.state, values = assembly.call(self.setup, feed, self.state, now, end)
        self.read()
        self._pending, self.loop["step"] = (now, end, values), end

    def read(self) -> None:
        """Adds the metrics of the last call to the sums in the loop's state, in the order of its steps.

        Raises:
            NotFinite: one of its losses or gradients is not finite.
        """
        if self._pending is None:
            return
        first, last, values = self._pending
        self._pending, values, done = None, jax.device_get(values), last - first
        for index, of_step in enumerate(zip(*(value[:done].tolist() for value in values), strict=True)):
            loss, count, weight, norm = of_step
            if not (np.isfinite(loss) and np.isfinite(norm)):
                raise _not_finite(self.setup, self.checkpoints, first + index)
            more = loss * weight, count, norm, 1, weight
            self.loop["sums"] = [before + of for before, of in zip(_sums_of(self.loop), more, strict=True)]
        self.logger.progress(last, float(values.loss[:done].mean()), float(values.count[:done].sum()))

    def end_row(self, validate: Callable | None) -> float | None:
        """Ends a row of metrics, with a validation unless `validate` is None; on a plateau, lowers the learning rate.

        Returns:
            The validation score, or None.
        """
        valid = validate(evaluated(self.setup, self.state.evaluated)) if validate else None
        rate = self._rate_of(self.loop["step"] - 1) * optim.rate_factor(self.state.opt)
        score = _close_row(self.setup, self.loop, self.logger, valid, rate)
        if valid:
            opt = optim.lower(self.setup.config.optim, self.state.opt, self.loop["evals_without_improvement"])
            self.state = self.state._replace(opt=opt)
        return score

    def save(self, score: float | None) -> None:
        """Saves a checkpoint of the current step, unless there is one."""
        now, kept = self.loop["step"], assembly.to_save(self.setup, self.state)  # all processes take part in it
        if not processes.leads() or self.checkpoints.latest() == now:
            return
        self.held.check()
        loop = self.loop | {"seconds": self.logger.seconds()}
        self.checkpoints.save(now, kept, loop, score, self.logger.checksum())
        if self.on_checkpoint:
            self.checkpoints.wait()
            self.on_checkpoint(now, self.held.path / "checkpoints" / str(now))


def _sums_of(loop: dict) -> list:
    """The sums over the steps since the last row: [loss x weight, targets, norm, steps, weight]."""
    sums = loop["sums"]
    return sums if len(sums) > 4 else [*sums, sums[1]]  # an earlier version's weight was the number of targets


def _close_row(
    setup: Setup, loop: dict, logger: metric_writer.MetricWriter, valid: dict | None, rate: float
) -> float | None:
    """Writes a row of metrics for the steps since the last row, and updates the best checkpoint. Returns the score.

    Args:
        setup: Setup.
        loop: the loop's state, which is updated.
        logger: MetricWriter.
        valid: the result of `validate` as in `fit`; None if this step was not evaluated.
        rate: the learning rate of the last step.
    """
    loss, count, norm, steps, weight = _sums_of(loop)
    now = loop["step"]
    row = {
        "step": now,
        "epoch": now / setup.epoch_steps,
        "loss": loss / weight,
        "norm": norm / steps,
        "targets": int(count),
        "rate": rate,
        "seconds": round(logger.seconds(), 3),
    }
    loop["sums"] = [0.0] * 5
    words = f"epoch {row['epoch']:g}/{setup.config.epochs}  loss {row['loss']:.4f}  "
    if valid is None:
        logger.row(row)
        if not len(setup.split.valid.source):  # otherwise the next validation reports this row too
            logger.log(words + metric_writer.clock(logger.seconds()))
        return None
    names = wording.kept(setup.config)
    row["valid"] = {name: valid[name] for name in names}
    if "also" in valid:
        row["also"] = {by: {name: found[name] for name in names} for by, found in valid["also"].items()}
    score, best = valid[setup.config.select_by], loop["best"]
    better = best is None or score > best["score"]
    loop["best"] = {"step": now, "score": score} if better else best
    loop["evals_without_improvement"] = 0 if better else loop["evals_without_improvement"] + 1
    logger.best = wording.best_so_far(setup, loop)
    logger.row(row)
    found = wording.validation(setup.config, valid)
    logger.log(f"{words}{found}  {logger.best}  {metric_writer.clock(logger.seconds())}")
    return score


def _not_finite(setup: Setup, checkpoints: Checkpoints, at: int) -> NotFinite:
    """Returns the error for a step whose loss or gradient is not finite."""
    users = users_of(setup, at)
    shown = ", ".join(map(str, users[:10])) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
    good = checkpoints.latest()
    clip = "Set config.loss.weight_clip, a highest weight, l" if setup.config.loss.weight != "none" else "L"
    return NotFinite(
        f"the loss or its gradient is not finite at step {at} (epoch {at // setup.epoch_steps}); "
        f"the batch holds users {shown}. "
        + (f"The last good checkpoint is step {good}. " if good is not None else "There is no checkpoint yet. ")
        + f"{clip}ower config.optim.learning_rate, or set config.optim.clip, and train into a new workdir"
    )

"""The training loop: resumes, calls the program, logs, evaluates, saves and stops."""

import contextlib
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from jaxrec.config.keys import Config
from jaxrec.kernels import processes
from jaxrec.system.errors import UserError
from jaxrec.system.signals import Signals
from jaxrec.system.stopwatch import Stopwatch
from jaxrec.training import assembly, metric_writer, preflight, wording
from jaxrec.training.feed import Feed
from jaxrec.training.ongoing import Ongoing
from jaxrec.training.setup import Setup
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs.checkpoint import Checkpoints, Damaged
from jaxrec.training.workdirs.workdir import Place


class Stopped(Exception):
    """Training was stopped by a signal, after a checkpoint was saved."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class OutOfTime(Exception):
    """Training reached its deadline, or `on_evaluate` ended it, after a checkpoint was saved."""


def boundary(setup: Setup, now: int) -> int:
    """Returns the step at which the next call ends: the next end of an epoch, save or evaluation, or a full call."""
    config, epoch = setup.config, setup.epoch_steps
    every = (epoch, interval(setup, config.eval_every), interval(setup, config.save_every))
    ends = [now + config.steps_per_call, setup.total_steps, *((now // n + 1) * n for n in every)]
    return min(ends)


def interval(setup: Setup, epochs: float) -> int:
    """Converts a number of epochs to steps: at least one, at most those of the whole training."""
    return max(round(min(epochs, setup.config.epochs) * setup.epoch_steps), 1)


def fit(
    setup: Setup,
    workdir: Path,
    validate: Callable | None,
    console: Console | None = None,
    held: Place | None = None,
    on_evaluate: Callable[[dict], None] | None = None,
    on_checkpoint: Callable[[int, Path], None] | None = None,
    deadline: float | None = None,
    watch: Stopwatch | None = None,
    signals: Signals | None = None,
) -> dict:
    """Trains from the workdir's latest checkpoint until the last epoch, or until patience runs out.

    Args:
        setup: Setup.
        workdir: Path of the workdir, locked by the caller.
        validate: (params) -> {"ndcg@10": …, …} for the validation questions; "also" has {protocol: metrics} for the
            protocols other than the one that selects the checkpoint. None if there are no validation questions. Its
            method `compile_ahead`, if it has one, is called once the training's program is compiled.
        console: for progress; a new one by default.
        held: the workdir.Place from when the workdir was locked; by default that of the path now.
        on_evaluate: (row) -> None, called after each evaluation with a copy of the row of metrics.jsonl; to end the
            training, it raises OutOfTime.
        on_checkpoint: (step, folder) -> None, called when a checkpoint is complete; a later save may remove the folder.
        deadline: the time.monotonic() after which no further call starts. With several processes, that of the first
            one counts, and one more call starts, as after a signal: they agree on it while their devices work.
        watch: Stopwatch of the start so far, which is logged with the first evaluation.
        signals: the Signals that the caller has received so far; by default this training handles signals itself.

    Returns:
        The loop's state at the end, {"step", "best": {"step", "score"}, "evals_without_improvement", "seconds", …},
        with the rows of metrics.jsonl as "rows", and this run's targets per second for each row as "rates".

    Raises:
        Stopped: on SIGTERM or SIGINT, after a checkpoint was saved.
        OutOfTime: at the deadline, or raised by `on_evaluate`, after a checkpoint was saved. It is Stopped instead if a
            signal came meanwhile, for example during a long evaluation.
        NotFinite: a loss or gradient is not finite; the message has the step, the users of the batch and the last good
            checkpoint.
    """
    config, held, watch = setup.config, held or Place(workdir), watch or Stopwatch()
    with held.named(), contextlib.ExitStack() as opened:
        checkpoints = opened.enter_context(contextlib.closing(Checkpoints(workdir)))
        preflight.check_state(setup)
        feed = Feed(setup)
        latest = checkpoints.latest()
        is_left = latest is None or not is_over(setup, checkpoints.loop(latest))
        compiled = preflight.compiling(setup, feed) if is_left else None
        state, loop = resume(setup, workdir, checkpoints)
        rows = checkpoints.rows(loop["step"]) if loop["step"] and processes.leads() else None
        logger = metric_writer.MetricWriter(workdir, loop["step"], setup.total_steps, loop["seconds"], console, rows)
        opened.enter_context(contextlib.closing(logger))
        logger.best = wording.best_so_far(setup, loop)
        run = Ongoing(setup, held, checkpoints, logger, state, loop, on_checkpoint)
        del state  # its buffers are donated to the first call
        with contextlib.nullcontext(signals) if signals else Signals() as signals:
            if loop["step"]:
                logger.log(f"resumed at step {loop['step']:,}")
            if not is_over(setup, loop):
                needs = preflight.check(setup, run.state, feed, loop["step"], boundary(setup, loop["step"]), compiled)
                watch.lap("compiling")
                if not processes.several():  # each would start it at a different time
                    getattr(validate, "compile_ahead", lambda: None)()  # while the first steps run
                logger.log(preflight.describe(setup, needs))
                logger.skip()
            begun, seconds, has_row, said = loop["step"], logger.seconds(), False, processes.Latest()
            while not is_over(setup, loop):
                end = boundary(setup, loop["step"])
                run.call(feed, end)
                evaluates = end % interval(setup, config.eval_every) == 0 or end == setup.total_steps
                row_ends = evaluates or end % setup.epoch_steps == 0
                saves = evaluates or end % interval(setup, config.save_every) == 0
                late = processes.leads() and deadline is not None and time.monotonic() >= deadline
                stop, late = divmod(said.after(2 * (signals.caught or 0) + late), 2)
                if not (row_ends or saves or stop or late):
                    continue
                run.read()
                if is_first := row_ends and not has_row:  # of this run
                    watch.lap("first steps")
                score = run.end_row(validate if evaluates else None) if row_ends else None
                if is_first:
                    watch.lap("first evaluation")
                    what = "the first evaluation" if evaluates and validate else "the end of the first epoch"
                    logger.log(watch.said(what))
                    if not is_over(setup, loop):
                        logger.log(wording.estimate(setup, end - begun, logger.seconds() - seconds, end))
                    has_row = True
                if saves or stop or late:
                    run.save(score)
                ends = OutOfTime() if late and not is_over(setup, loop) else None
                if on_evaluate and evaluates:
                    try:
                        on_evaluate(copy.deepcopy(logger.rows[-1]))
                    except OutOfTime as asked:
                        ends = asked
                if stop := stop or (processes.largest(signals.caught or 0) if ends else 0):
                    raise Stopped(stop)
                if ends:
                    raise ends
                logger.skip()
            if out_of_patience(config, loop) and loop["step"] < setup.total_steps:
                logger.log(wording.stopped_early(setup, loop))
            checkpoints.wait()
            held.check()
            if stop := processes.largest(signals.caught or 0):  # the training is complete, but nothing may follow it
                raise Stopped(stop)
    return loop | {"seconds": logger.seconds(), "rows": logger.rows, "rates": logger.rates}


def resume(setup: Setup, workdir: Path, checkpoints: Checkpoints) -> tuple[State, dict]:
    """Returns the State and the loop's state of the latest intact checkpoint, or those before the first step.

    Newer damaged checkpoints, and a damaged best one, are set aside.
    """
    if processes.from_first(checkpoints.latest()) is None:
        state = assembly.first_state(setup)
        loop = {"step": 0, "best": None, "evals_without_improvement": 0, "sums": [0.0] * 5, "seconds": 0.0}
        return state, loop | {"rows": setup.batches.rows, "epoch_steps": setup.epoch_steps}
    wanted = assembly.saved_shapes(setup)
    if not processes.leads():
        return assembly.saved(setup, processes.arrays_from_first(None, wanted)), processes.from_first(None)
    (state, loop), at, damaged = checkpoints.take("latest", partial(_restore, setup, workdir, checkpoints, wanted))
    best = checkpoints.best()
    if best is not None and best != at and best not in damaged:
        try:
            checkpoints.restore_params(best, wanted.params)
        except Damaged as why:
            damaged[best] = why
    for newer, why in damaged.items():
        checkpoints.set_aside(newer, why)
    loop |= {"rows": setup.batches.rows, "epoch_steps": setup.epoch_steps}
    if processes.several():
        state, loop = processes.arrays_from_first(state, wanted), processes.from_first(loop)
    return assembly.saved(setup, state), loop


def _restore(setup, workdir, checkpoints, wanted, at):
    before = checkpoints.loop(at)
    resolved = before.get("rows", setup.batches.rows), before.get("epoch_steps", setup.epoch_steps)
    if resolved != (setup.batches.rows, setup.epoch_steps):
        raise UserError(
            f"{workdir} was trained with {resolved[0]} rows per step and {resolved[1]} steps per epoch, but this "
            f"version of jaxrec has {setup.batches.rows} rows and {setup.epoch_steps} steps: go on with the version "
            "that began this training, or train into a new workdir"
        )
    return checkpoints.restore(at, wanted)


def complete(setup: Setup, workdir: Path) -> bool:
    """Whether the workdir's latest checkpoint is intact and is the training's last one."""
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        wanted = assembly.saved_shapes(setup)
        (_, loop), _, damaged = checkpoints.take("latest", partial(_restore, setup, workdir, checkpoints, wanted))
    return not damaged and is_over(setup, loop)


def is_over(setup: Setup, loop: dict) -> bool:
    """Whether the last epoch is done, or patience has run out."""
    return loop["step"] >= setup.total_steps or out_of_patience(setup.config, loop)


def out_of_patience(config: Config, loop: dict) -> bool:
    """Whether patience has run out."""
    return 0 < config.patience <= loop["evals_without_improvement"]

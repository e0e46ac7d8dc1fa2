"""The command line: parses flags and runs a command. Mistakes of the user are reported without a traceback."""

import argparse
import contextlib
import difflib
import functools
import importlib
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from jaxrec.commands.flags import COMMANDS
from jaxrec.system import background, collecting, console
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError
from jaxrec.system.files import local
from jaxrec.system.signals import Interrupt
from jaxrec.system.version import VERSION

BEGAN = time.monotonic()  # start of the process, except for that of the interpreter
PEER = "Gloo", "Connection closed", "Connection reset", "coordination service", "NCCL", "heartbeat"
LEAST = 2 << 30  # bytes of address space
JOB = "coordinator", "processes", "process"  # flags of jobs of several processes
#: flags that may differ between the processes of a job; where they name data, these are compared later
OWN = {"coordinator", "process", "distributed", "debug", "began", "workdir", "init_from", "output", "json", "ranks"}
OWN |= {"scores", "stock", "config", "dataset", "histories", "users", "items", "ahead"}


def run(command: str | None = None) -> None:
    """Entry point of launchers: runs this command, or the first argument, with the process's arguments."""
    signal.signal(signal.SIGINT, Interrupt())
    collecting.pause()
    sys.excepthook = _hook
    sys.unraisablehook = _unraisable
    warnings.formatwarning = functools.partial(_warned, warnings.formatwarning)
    status = main([*([command] if command else []), *sys.argv[1:]], BEGAN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # the error is reported; a failed save would print tracebacks at exit, and a log that is still read might crash
    if status == 2 or background.is_unfinished():
        with contextlib.suppress(OSError):  # of a closed pipe
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


CLOSED = "Event loop is closed"  # error of tensorstore's threads after a failed save, which is reported already


def _hook(kind, error, trace):
    if str(error) != CLOSED:
        sys.__excepthook__(kind, error, trace)


def _unraisable(what):
    if str(what.exc_value) != CLOSED:
        sys.__unraisablehook__(what)


def _warned(plain, message, category, *place):
    """Formats a warning. A UserWarning, which is for the user, becomes one line without the place in the code."""
    return f"warning: {printable(str(message))}\n" if category is UserWarning else plain(message, category, *place)


def main(argv: Sequence[str] | None = None, began: float | None = None) -> int:
    """Parses and runs a command. Returns the exit status. `began`: time.monotonic() of the process's start."""
    arguments, overrides = parse(sys.argv[1:] if argv is None else argv)
    arguments.began = began
    try:
        command = COMMANDS[arguments.command]
        for path in (value for value in vars(arguments).values() if isinstance(value, Path)):
            local(path, f"what {arguments.command} works on")
        module = functools.partial(importlib.import_module, f"jaxrec.commands.{command.module}")
        if command.starts_jax:  # after --help
            check_memory()
            if command.begins:
                module().begin(arguments, overrides)
            from jaxrec.data.sources import cache
            from jaxrec.kernels import compiler, processes

            compiler.keep_programs(cache())
            compiler.trim_after_compiling()
            job = [getattr(arguments, name, None) for name in JOB]
            if getattr(arguments, "distributed", False) and job != [None] * 3:
                raise UserError(
                    "--distributed finds out what --coordinator, --processes and --process say: leave it out"
                )
            if getattr(arguments, "distributed", False) or job != [None] * 3:
                processes.join(*job)
                console.quiet = not processes.leads()
                processes.check_same({"version": VERSION, **_asked(arguments)})
        function = getattr(module(), arguments.command)
        if not command.begins:  # a command with `begin` still has modules to import
            collecting.resume()
        return function(arguments, overrides)
    except BaseException as error:
        if (said := _said(error, arguments.command)) is None:
            raise
        if arguments.debug:
            traceback.print_exc()
        else:
            with contextlib.suppress(OSError):  # of a closed pipe
                print(f"jaxrec {arguments.command}: {printable(said)}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2


def _asked(arguments):
    """Returns the flags that all processes of a job must have in common, {name: text}."""
    return {f"--{name.replace('_', '-')}": str(value) for name, value in vars(arguments).items() if name not in OWN}


def check_memory() -> None:
    """Checks that the process has enough address space; without it, JAX's libraries abort without explanation.

    Raises:
        UserError: if ulimit -v is too low.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < LEAST:
        raise UserError(
            f"this process is limited to {allowed / 2**30:.1f} GiB of address space, and needs {LEAST >> 30} GiB "
            "before any data or model: raise the limit by ulimit -v"
        )


def _said(error, command):
    """Returns the message of a command for an error that isn't a bug; None for other errors."""
    if isinstance(error, BrokenPipeError):
        goes_on = ": run the same command again, which resumes a training" if COMMANDS[command].trains else ""
        return f"its output was closed before it had ended{goes_on}"
    if isinstance(error, UserError | OSError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    first = str(error).partition("\n")[0]
    if _is_of_a_peer(first):
        return (
            f"another process of this job has ended or can't be reached ({printable(first, 200)}): if it said why, fix "
            "that; then start all processes again, as many as now: a training resumes from its last checkpoint"
        )
    # the last two are from XLA
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in first or "Out of memory" in first:
        what = printable(first, 200) or type(error).__name__
        return f"out of memory ({what}): give it more, or use a smaller model or batch, or fewer microbatch_rows"
    return None


def _is_of_a_peer(first):
    """Returns whether an error comes from another process of the job having ended."""
    import jax

    return jax.process_count() > 1 and any(word in first for word in PEER)


@functools.cache
def _parser():
    """Returns the parser and its subparsers. Cached, since a program may call `main` often."""
    top = argparse.ArgumentParser(prog="jaxrec", description="Sequential recommendation in JAX.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"jaxrec {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        parser = commands.add_parser(name, help=command.about, description=command.about, allow_abbrev=False)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.flags(parser)
    return top, commands


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Parses argv into (arguments, {"model.dim": "64", ...}). Exits with a usage message on errors."""
    argv, overrides = split_overrides(argv)
    top, commands = _parser()
    arguments, unknown = top.parse_known_args(argv)
    if unknown:
        known = [flag for action in commands.choices[arguments.command]._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"jaxrec {arguments.command} --help lists its flags"
        if unknown[0].partition("=")[0] in ("--distributed", *(f"--{name}" for name in JOB)):
            shared = [name for name, parser in commands.choices.items() if "--process" in parser.format_usage()]
            hint = f"it is the work of one process; {', '.join(shared)} are shared by several"
        top.error(f"{arguments.command} takes no {unknown[0]}: {hint}")
    if overrides and arguments.command != "train":
        top.error(f"--config.{next(iter(overrides))} goes with train only")
    return arguments, overrides


def split_overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Splits --config.KEY=VALUE and --config.KEY VALUE off argv. -> (the rest, {KEY: VALUE})"""
    rest, overrides, words = [], {}, iter(argv)
    for word in words:
        if not word.startswith("--config."):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix("--config.").partition("=")
        overrides[key] = value if equals else next(words, "")
    return rest, overrides

"""The command line: flags -> config -> one call. A person's mistake is a message, not a traceback."""

import argparse
import contextlib
import difflib
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

from jaxrec.system.console import printable
from jaxrec.system.errors import UserError
from jaxrec.system.signals import Interrupt

LEAST = 2 << 30  # bytes of addresses
EPILOGUE = "--config.KEY=VALUE changes one key of the configuration, as in --config.model.dim=64"


def run(command=None):
    """A launcher's whole body: this command, or the one that is named first, with the process's arguments."""
    signal.signal(signal.SIGINT, Interrupt())
    sys.excepthook = _hook
    sys.unraisablehook = _unraisable
    status = main([*([command] if command else []), *sys.argv[1:]])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if status == 2:  # told in a line: what a failed save has left undone would be tracebacks of its own
        with contextlib.suppress(OSError):  # of a closed pipe
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


CLOSED = "Event loop is closed"  # what tensorstore's threads fail with when a save has failed, which is told already


def _hook(kind, error, trace):
    if str(error) != CLOSED:
        sys.__excepthook__(kind, error, trace)


def _unraisable(what):
    if str(what.exc_value) != CLOSED:
        sys.__unraisablehook__(what)


def main(argv=None):
    """Parse and carry out one command. Returns the exit status."""
    arguments, overrides = parse(sys.argv[1:] if argv is None else argv)
    try:
        if arguments.command == "prepare":
            from jaxrec.commands.prepare import prepare  # without jax

            return prepare(arguments, overrides)
        check_memory()
        from jaxrec.data.sources import cache
        from jaxrec.kernels import compiler  # jax starts here, after --help has been answered

        compiler.keep_programs(cache())
        compiler.trim_after_compiling()
        if arguments.command == "serve":
            return _serve(arguments, overrides)
        if arguments.command == "train":
            from jaxrec.commands.train import train

            return train(arguments, overrides)
        from jaxrec.commands.evaluate import evaluate

        return evaluate(arguments, overrides)
    except BaseException as error:
        if (said := _said(error)) is None:
            raise
        if arguments.debug:
            traceback.print_exc()
        else:
            with contextlib.suppress(OSError):  # of a closed pipe
                print(f"jaxrec {arguments.command}: {printable(said)}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2


def check_memory():
    """That this process may have the address space without which jax's libraries abort, with no word of what to do.

    Raises:
        UserError: ulimit -v leaves it less.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < LEAST:
        raise UserError(
            f"this process may have {allowed / 2**30:.1f} GiB of addresses, and needs {LEAST >> 30} GiB before any "
            "data or model: raise that by ulimit -v"
        )


def _said(error):
    """The line for an error that is no fault of the program; None for one that is."""
    if isinstance(error, BrokenPipeError):
        return "its output was closed before it had ended: run the same command again, which goes on with a training"
    if isinstance(error, UserError | OSError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error).partition("\n")[0]:  # the latter is XLA's
        what = printable(str(error).partition("\n")[0], 200) or type(error).__name__
        return f"out of memory ({what}): give it more, or take a smaller model or batch, or fewer rows_at_once"
    return None


def parse(argv):
    """argv -> (arguments, {"model.dim": "64", …}). Exits with a usage message where it can't."""
    argv, overrides = split_overrides(argv)
    top = argparse.ArgumentParser(prog="jaxrec", description="Sequential recommendation in JAX.", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, about):
        parser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return parser

    train = command("train", "Train by a configuration, or go on with a training that was cut off.")
    train.epilog = EPILOGUE
    train.add_argument("--config", required=True, help="a file, or the name of a shipped configuration")
    train.add_argument("--workdir", type=Path, help="where the training lies (default: runs/<config name>)")

    evaluate = command("evaluate", "Evaluate a training, or a baseline, on the held-out items.")
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--workdir", type=Path, help="of a training")
    what.add_argument("--baseline", help="popularity, transitions, item-knn, als or bpr, with --dataset")
    evaluate.add_argument("--dataset", help="the data (default: those of the training)")
    evaluate.add_argument("--checkpoint", help="of a workdir: best, latest or a step (default: best)")
    evaluate.add_argument("--split", default="test", choices=["test", "valid"])
    evaluate.add_argument(
        "--split-by", choices=["last-item", "sessions", "by-time"], help="for a baseline (default: last-item)"
    )
    evaluate.add_argument("--split-q", type=float, help="where times split: the share before the test (default: .9)")
    evaluate.add_argument(
        "--protocol",
        help="full, full-seen-kept, sessions, uniform-100 or popularity-100 "
        "(default: full; sessions after such a split)",
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the result there")

    prepare = command("prepare", "Read interactions of any format, and write a folder that training maps.")
    prepare.add_argument("--input", required=True, help="a file, folder, zip or glob, or the name of a public data set")
    prepare.add_argument("--output", required=True, type=Path, help="the folder to write")
    prepare.add_argument("--format", help="of the input (default: found by looking)")
    for role in ("user", "item", "time", "weight", "session"):
        prepare.add_argument(
            f"--{role}", metavar="COLUMN", help=f"the column of the {role}: its name, or number from 1; none for none"
        )
    prepare.add_argument(
        "--items", metavar="FILE", help="titles, prices and the like (default: items.csv or the like beside the input)"
    )
    prepare.add_argument("--ids", default="", choices=["integer", "text"], help="take 1.0 for 1, or all as they stand")
    prepare.add_argument("--keep-na-ids", action="store_true", help="take NA, null, None and the like for ids")
    prepare.add_argument("--time-format", metavar="FORMAT", help="how dates are written, as in '%%d/%%m/%%Y %%H:%%M'")
    prepare.add_argument("--separator", help="of text: one character, '::', tab or space (default: found by looking)")
    prepare.add_argument(
        "--quote", default='"', choices=['"', "none"], help="of text: none where quotes are plain characters"
    )
    prepare.add_argument(
        "--only", action="append", default=[], metavar="COLUMN=VALUE[,...]", help="read such rows alone; !=: all others"
    )
    prepare.add_argument("--on-bad-row", default="error", choices=["error", "skip"])
    prepare.add_argument(
        "--allow-large", action="store_true", help="read what unpacks to over 200 times its compressed size"
    )
    prepare.add_argument("--drop-duplicates", action="store_true", help="leave out rows that equal another")
    prepare.add_argument("--since", metavar="DATE", help="leave out what was before")
    prepare.add_argument("--until", metavar="DATE", help="leave out what was from then on")
    prepare.add_argument("--min-rating", type=float, metavar="X", help="leave out rows of a lower weight")
    prepare.add_argument("--sample", type=float, metavar="SHARE", help="of the users, by a hash of their ids")
    prepare.add_argument("--collapse-repeats", action="store_true", help="count an item again at once as one")
    prepare.add_argument("--session-gap", type=float, metavar="MINUTES", help="of silence begin a new session")
    prepare.add_argument("--max-length", type=int, metavar="N", help="leave out users with more rows")
    prepare.add_argument("--min-length", type=int, metavar="N", help="leave out users with fewer rows")
    prepare.add_argument("--k-core", type=int, metavar="N", help="until every user and item has N rows")
    prepare.add_argument("--plots", action="store_true", help="draw lengths, popularity and times: plots.png")

    serve = command("serve", "Answer requests over HTTP from a training, and show a page to try it.")
    serve.add_argument("--workdir", required=True, type=Path, help="of a training")
    serve.add_argument("--port", type=int, default=8000, help="(default: 8000; 0: any that is free)")
    serve.add_argument("--host", default="127.0.0.1", help="to listen at (default: 127.0.0.1, this machine alone)")
    serve.add_argument("--checkpoint", default="best", help="best, latest or a step (default: best)")
    serve.add_argument(
        "--approximate", action="store_true", help="for large catalogues on a CPU: score only the likely best items"
    )
    serve.add_argument("--watch", action="store_true", help="go on with a new checkpoint when there is one")
    serve.add_argument("--events", type=Path, metavar="FILE", help="keep what users did there, in SQLite")
    serve.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="history, histories, k, ids, body, batch, queue, deadline, connections, transfer or idle "
        "(docs/serving.md)",
    )
    serve.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="that requests may be for, such as a proxy's"
    )
    serve.add_argument("--log", default="text", choices=["text", "json"], help="how log lines are written")
    serve.epilog = "JAXREC_TOKEN in the environment is the bearer token that requests must bear."

    arguments, unknown = top.parse_known_args(argv)
    if unknown:
        known = [flag for action in commands.choices[arguments.command]._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"jaxrec {arguments.command} --help lists what there is"
        top.error(f"{arguments.command} takes no {unknown[0]}: {hint}")
    if overrides and arguments.command != "train":
        top.error(f"--config.{next(iter(overrides))} goes with train alone")
    return arguments, overrides


def _serve(arguments, overrides):
    try:
        from jaxrec.serve.server import serve
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'jaxrec[serve]'") from error
    return serve(arguments, overrides)


def split_overrides(argv):
    """Take --config.KEY=VALUE and --config.KEY VALUE out of argv. -> (the rest, {KEY: VALUE})."""
    rest, overrides, words = [], {}, iter(argv)
    for word in words:
        if not word.startswith("--config."):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix("--config.").partition("=")
        overrides[key] = value if equals else next(words, "")
    return rest, overrides

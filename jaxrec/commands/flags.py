"""The flags of every command. The module that runs a command is imported when it runs, so that --help is quick."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxrec.commands import training_flags as training
from jaxrec.system.errors import UserError
from jaxrec.system.files import path_or_address


class Command(NamedTuple):
    """A command of `jaxrec`."""

    about: str  #: one sentence for --help
    flags: Callable[[argparse.ArgumentParser], None]  #: adds the flags to the parser
    module: str  #: in jaxrec.commands; its function with the command's name is (arguments, overrides) -> exit status
    starts_jax: bool = True
    begins: bool = False  #: whether its module has `begin`, which does what is possible before JAX is imported
    trains: bool = False  #: whether running the same command again resumes its trainings


def evaluate(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `evaluate`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--workdir", type=path_or_address, help="folder of a training; with --scores, the training to compare them with"
    )
    what.add_argument(
        "--baseline", help="popularity, transitions, item-knn, als, bpr or item-features; needs --dataset"
    )
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="output of any other model; needs --dataset or --workdir. An .npz of vectors, a folder written by jaxrec "
        "vectors, or a .csv or .parquet with the columns user, item, and rank or score (docs/evaluation.md)",
    )
    parser.add_argument("--dataset", help="the data (default: the data of the training)")
    parser.add_argument("--checkpoint", help="best, latest or a step (default: best)")
    parser.add_argument("--split", default="test", choices=["test", "valid"])
    parser.add_argument(
        "--split-by",
        choices=["last-item", "sessions", "by-time", "last-basket"],
        help="how to split, for a baseline or scores (default: last-item)",
    )
    parser.add_argument(
        "--test-quantile",
        "--split-q",
        type=float,
        help="with by-time, the fraction of events before the test (default: .9)",
    )
    parser.add_argument(
        "--target-types",
        default="",
        metavar="TYPE[,...]",
        help="for a baseline or scores: only events of these types are targets, such as purchase (default: all)",
    )
    parser.add_argument(
        "--protocol",
        help="full, full-seen-kept, sessions, uniform-100 or popularity-100 "
        "(default: full, or sessions where the split is by sessions)",
    )
    parser.add_argument(
        "--beyond-accuracy",
        type=int,
        nargs="?",
        const=10,
        metavar="K",
        help="also report coverage, Gini index, novelty, diversity and MAP of the top K items, and metrics by segment "
        "(default K: 10)",
    )
    parser.add_argument(
        "--query-time",
        action="store_true",
        help="tell the model the time of each target, if it uses the time of asking; the protocol's name then says so",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file")
    parser.add_argument(
        "--ranks", type=Path, metavar="FILE.parquet", help="write the rank of every user's target to this file"
    )
    training.job(parser)


def prepare(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `prepare`."""
    parser.add_argument(
        "--input", required=True, help="file, folder, zip or glob pattern, or the name of a public data set"
    )
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--format", help="format of the input (default: detected)")
    for role in ("user", "item", "time", "weight", "type", "session"):
        parser.add_argument(
            f"--{role}",
            metavar="COLUMN",
            help=f"column of the {role}: its name, its number from 1, or none to ignore it",
        )
    parser.add_argument(
        "--items",
        metavar="FILE",
        help="table of items: titles, prices, ... (default: items.csv or similar next to the input)",
    )
    parser.add_argument(
        "--users",
        metavar="FILE",
        help="table of users: countries, ages, ... (default: users.csv or similar next to it)",
    )
    parser.add_argument(
        "--ids",
        default="",
        metavar="KIND",
        help="integer: read 1.0 as 1; text: keep ids as written; of some columns: user=integer",
    )
    parser.add_argument(
        "--keep-na-ids", action="store_true", help="read NA, null, None and similar as ids, not as missing"
    )
    parser.add_argument("--time-format", metavar="FORMAT", help="format of dates, such as '%%d/%%m/%%Y %%H:%%M'")
    parser.add_argument(
        "--separator", help="separator of a text file: one character, '::', tab or space (default: detected)"
    )
    parser.add_argument(
        "--quote",
        default='"',
        choices=['"', "none"],
        help="quote character of a text file; none: quotes are ordinary characters",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="COLUMN=VALUE[,...]",
        help="read only rows with these values; with != all other rows",
    )
    parser.add_argument(
        "--on-bad-row", default="error", choices=["error", "skip"], help="stop, or skip it and report it"
    )
    parser.add_argument(
        "--allow-large", action="store_true", help="read files that unpack to over 200 times their size"
    )
    parser.add_argument("--drop-duplicates", action="store_true", help="drop rows that are equal to another")
    parser.add_argument("--since", metavar="DATE", help="drop events before this date")
    parser.add_argument("--until", metavar="DATE", help="drop events on or after this date")
    parser.add_argument("--min-rating", type=float, metavar="X", help="drop rows with a lower weight")
    parser.add_argument(
        "--sample", type=float, metavar="SHARE", help="keep this fraction of the users, chosen by a hash of their ids"
    )
    parser.add_argument("--collapse-repeats", action="store_true", help="merge consecutive events of the same item")
    parser.add_argument(
        "--session-gap",
        type=float,
        metavar="MINUTES",
        help="begin a new session after this many minutes without an event",
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="drop users with more rows")
    parser.add_argument("--min-length", type=int, metavar="N", help="drop users with fewer rows")
    parser.add_argument(
        "--k-core", type=int, metavar="N", help="drop users and items until every one has at least N rows"
    )
    parser.add_argument(
        "--memory",
        metavar="AMOUNT",
        help="for a log larger than memory: use about this much (4GiB), and files beside the output (docs/prepare.md)",
    )
    parser.add_argument("--plots", action="store_true", help="plot lengths, popularity and times to plots.png")


def serve(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `serve`."""
    _training(parser)
    parser.add_argument("--port", type=int, default=8000, help="port (default: 8000; 0: any free port)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument(
        "--approximate", action="store_true", help="score only likely candidates: faster with large catalogues on a CPU"
    )
    _catalogue(parser)
    parser.add_argument("--watch", action="store_true", help="switch to new checkpoints as they appear")
    parser.add_argument(
        "--histories",
        metavar="training|DATA",
        help="answer for users by their ids: those of the training, or of other data",
    )
    parser.add_argument("--events", type=Path, metavar="FILE", help="store users' events in this SQLite file")
    parser.add_argument(
        "--stock", type=Path, metavar="FILE", help="let POST /items add and retire items; keep the changes in this file"
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a limit: history, histories, k, ids, body, batch, queue, states, deadline, connections, transfer or "
        "idle (docs/serving.md)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept requests for this host name, such as a proxy's",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="answer by N processes that share the port and the cores (default: 1)",
    )
    parser.add_argument("--log", default="text", choices=["text", "json"], help="format of log lines")
    parser.epilog = "If the environment variable JAXREC_TOKEN is set, requests need it as their bearer token."


def configs(parser: argparse.ArgumentParser) -> None:
    """Adds no flags: `configs` has none."""


def keys(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `keys`."""
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="list only keys that have these words in their names, models or losses"
    )


def export(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `export`."""
    _training(parser)
    parser.add_argument("--format", required=True, choices=["onnx", "stablehlo"])
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    parser.add_argument("--k", type=int, default=10, help="number of recommended items (default: 10)")


def recommend(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `recommend`."""
    _training(parser)
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--users", metavar="all|FILE", help="users of the training: all, or a file with one id per line")
    whom.add_argument(
        "--histories", metavar="PATH", help="histories of any users: a log in any format that prepare reads"
    )
    parser.add_argument("--dataset", help="where the training data are now (default: where they were)")
    parser.add_argument("--k", type=int, default=10, help="items per user (default: 10)")
    _catalogue(parser)
    parser.add_argument("--stock", type=Path, metavar="FILE", help="a service's file of added and retired items")
    parser.add_argument("--now", metavar="DATE", help="time of asking, such as 2026-03-02T08:00:00Z (docs/context.md)")
    _held_out(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="file to write: .parquet or .csv")
    training.job(parser)


def vectors(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `vectors`."""
    _training(parser)
    parser.add_argument("--dataset", help="data whose users to take (default: the data of the training)")
    _held_out(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")


def _catalogue(parser):
    parser.add_argument("--items", metavar="FILE", help="table of items, including items that were not in training")
    parser.add_argument(
        "--item-devices",
        type=int,
        default=1,
        metavar="N",
        help="split the tables of items over N devices, for a catalogue that one does not hold (docs/scale.md)",
    )


def _training(parser):
    """Adds the flags that name a checkpoint of a training."""
    parser.add_argument("--workdir", required=True, type=path_or_address, help="folder of a training")
    parser.add_argument("--checkpoint", default="best", help="best, latest or a step (default: best)")


def _held_out(parser):
    """Adds the flag for the histories that an evaluation uses."""
    parser.add_argument(
        "--split",
        choices=["test", "valid"],
        help="use the histories that the test or validation of the training uses (default: whole histories)",
    )


def assigned(flag: str, texts: list[str], but: tuple[str, ...] = ()) -> dict[str, str]:
    """Returns the values of a flag, each KEY=VALUE, as {KEY: VALUE}.

    Raises:
        UserError: if one doesn't have that form, or its key is in `but`.
    """
    if wrong := [text for text in texts if not text.partition("=")[2]]:
        raise UserError(f"{flag} {wrong[0]}: write it as KEY=VALUE, as in model.dim=64")
    found = dict(text.split("=", 1) for text in texts)
    if wrong := [key for key in found if key in but]:
        raise UserError(f"{flag} {wrong[0]}: not a key that can be set here for every configuration")
    return found


#: in the order in which --help lists them
COMMANDS = {
    "train": Command(
        "Train with a configuration, or resume a training.", training.train, "train", begins=True, trains=True
    ),
    "evaluate": Command(
        "Evaluate a training, a baseline, or the scores of any model, on held-out items.", evaluate, "evaluate"
    ),
    "prepare": Command(
        "Read interactions in any format, and write a prepared folder for training.", prepare, "prepare", False
    ),
    "serve": Command("Serve a training over HTTP, with a page to try it.", serve, "serve"),
    "compare": Command(
        "Train several models on the same data, and compare them in one table.",
        training.compare,
        "compare",
        trains=True,
    ),
    "tune": Command(
        "Search for the best configuration for these data, and train it.", training.tune, "tune", trains=True
    ),
    "backtest": Command(
        "Train and test on rolling windows of time: metrics by date and by age of the model.",
        training.backtest,
        "backtest",
        trains=True,
    ),
    "recommend": Command("Write recommendations for many users to a file.", recommend, "recommend"),
    "vectors": Command("Write the vectors of items and users to files.", vectors, "vectors"),
    "export": Command("Export a training as one file that runs without Python.", export, "export"),
    "configs": Command("List the shipped configurations, with their purpose and result.", configs, "configs", False),
    "keys": Command("List the keys of a configuration, with their defaults and meanings.", keys, "keys", False),
}

"""The flags of every command; what carries a command out is imported when it runs, so that --help answers at once."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxrec.config import recipes
from jaxrec.system.errors import UserError


class Command(NamedTuple):
    """A command of `jaxrec`."""

    about: str  #: a sentence
    flags: Callable[[argparse.ArgumentParser], None]  #: adds them
    module: str  #: of jaxrec.commands: its function of the command's name runs it, (arguments, overrides) -> status
    starts_jax: bool = True


def train(parser: argparse.ArgumentParser) -> None:
    """Of a training."""
    parser.epilog = (
        f"--config.KEY=VALUE changes one key of the configuration, as in --config.model.dim=64. The keys are listed in "
        f"{recipes.KEYS}; jaxrec configs lists the shipped configurations."
    )
    parser.add_argument("--config", required=True, help="a file, or the name of a shipped configuration")
    parser.add_argument("--workdir", type=Path, help="where the training lies (default: runs/<config name>)")


def evaluate(parser: argparse.ArgumentParser) -> None:
    """Of an evaluation."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--workdir", type=Path, help="of a training; with --scores, to test them against")
    what.add_argument("--baseline", help="popularity, transitions, item-knn, als or bpr, with --dataset")
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="of anybody's model, with --dataset or --workdir: an .npz of vectors, a folder of jaxrec vectors, or "
        "lists, a .csv or .parquet of user, item and rank or score (docs/evaluation.md)",
    )
    parser.add_argument("--dataset", help="the data (default: those of the training)")
    parser.add_argument("--checkpoint", help="of a workdir: best, latest or a step (default: best)")
    parser.add_argument("--split", default="test", choices=["test", "valid"])
    parser.add_argument(
        "--split-by", choices=["last-item", "sessions", "by-time"], help="for a baseline or scores (default: last-item)"
    )
    parser.add_argument(
        "--test-quantile", "--split-q", type=float, help="where times split: the share before the test (default: .9)"
    )
    parser.add_argument(
        "--target-types",
        default="",
        metavar="TYPE[,...]",
        help="for a baseline or scores: ask for events of these types alone, as purchase (default: all)",
    )
    parser.add_argument(
        "--protocol",
        help="full, full-seen-kept, sessions, uniform-100 or popularity-100 "
        "(default: full; sessions after such a split)",
    )
    parser.add_argument(
        "--beyond-accuracy",
        type=int,
        nargs="?",
        const=10,
        metavar="K",
        help="also coverage, Gini, novelty, diversity and MAP of the K best items, and the metrics by segment "
        "(default K: 10)",
    )
    parser.add_argument(
        "--query-time",
        action="store_true",
        help="tell a model that is shown the time of asking when its targets were; the result is named so",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument(
        "--ranks", type=Path, metavar="FILE.parquet", help="write the rank of every user's target there"
    )


def prepare(parser: argparse.ArgumentParser) -> None:
    """Of reading a log."""
    parser.add_argument("--input", required=True, help="a file, folder, zip or glob, or the name of a public data set")
    parser.add_argument("--output", required=True, type=Path, help="the folder to write")
    parser.add_argument("--format", help="of the input (default: found by looking)")
    for role in ("user", "item", "time", "weight", "type", "session"):
        parser.add_argument(
            f"--{role}", metavar="COLUMN", help=f"the column of the {role}: its name, or number from 1; none for none"
        )
    parser.add_argument(
        "--items", metavar="FILE", help="titles, prices and the like (default: items.csv or the like beside the input)"
    )
    parser.add_argument("--ids", default="", choices=["integer", "text"], help="take 1.0 for 1, or all as they stand")
    parser.add_argument("--keep-na-ids", action="store_true", help="take NA, null, None and the like for ids")
    parser.add_argument("--time-format", metavar="FORMAT", help="how dates are written, as in '%%d/%%m/%%Y %%H:%%M'")
    parser.add_argument("--separator", help="of text: one character, '::', tab or space (default: found by looking)")
    parser.add_argument(
        "--quote", default='"', choices=['"', "none"], help="of text: none where quotes are plain characters"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="COLUMN=VALUE[,...]", help="read such rows alone; !=: all others"
    )
    parser.add_argument("--on-bad-row", default="error", choices=["error", "skip"])
    parser.add_argument(
        "--allow-large", action="store_true", help="read what unpacks to over 200 times its compressed size"
    )
    parser.add_argument("--drop-duplicates", action="store_true", help="leave out rows that equal another")
    parser.add_argument("--since", metavar="DATE", help="leave out what was before")
    parser.add_argument("--until", metavar="DATE", help="leave out what was from then on")
    parser.add_argument("--min-rating", type=float, metavar="X", help="leave out rows of a lower weight")
    parser.add_argument("--sample", type=float, metavar="SHARE", help="of the users, by a hash of their ids")
    parser.add_argument("--collapse-repeats", action="store_true", help="count an item again at once as one")
    parser.add_argument("--session-gap", type=float, metavar="MINUTES", help="of silence begin a new session")
    parser.add_argument("--max-length", type=int, metavar="N", help="leave out users with more rows")
    parser.add_argument("--min-length", type=int, metavar="N", help="leave out users with fewer rows")
    parser.add_argument("--k-core", type=int, metavar="N", help="until every user and item has N rows")
    parser.add_argument("--plots", action="store_true", help="draw lengths, popularity and times: plots.png")


def serve(parser: argparse.ArgumentParser) -> None:
    """Of the HTTP service."""
    parser.add_argument("--workdir", required=True, type=Path, help="of a training")
    parser.add_argument("--port", type=int, default=8000, help="(default: 8000; 0: any that is free)")
    parser.add_argument("--host", default="127.0.0.1", help="to listen at (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--checkpoint", default="best", help="best, latest or a step (default: best)")
    parser.add_argument(
        "--approximate", action="store_true", help="for large catalogues on a CPU: score only the likely best items"
    )
    parser.add_argument("--items", metavar="FILE", help="a table of items: those that never trained are among them")
    parser.add_argument("--watch", action="store_true", help="go on with a new checkpoint when there is one")
    parser.add_argument(
        "--histories", metavar="training|DATA", help="know the users of the training, or of other data, by their ids"
    )
    parser.add_argument("--events", type=Path, metavar="FILE", help="keep what users did there, in SQLite")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="history, histories, k, ids, body, batch, queue, deadline, connections, transfer or idle "
        "(docs/serving.md)",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="that requests may be for, such as a proxy's"
    )
    parser.add_argument("--log", default="text", choices=["text", "json"], help="how log lines are written")
    parser.epilog = "JAXREC_TOKEN in the environment is the bearer token that requests must bear."


def compare(parser: argparse.ArgumentParser) -> None:
    """Of a comparison of models."""
    parser.add_argument("--dataset", required=True, help="a path, or the name of a public data set")
    parser.add_argument(
        "--models", type=_listed, metavar="NAME,NAME", help="of models or configurations (default: one of each kind)"
    )
    parser.add_argument(
        "--baselines", type=_listed, default=["popularity", "transitions"], metavar="NAME,NAME", help="or none"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of each (default: 1)")
    parser.add_argument("--vary", metavar="KEY=VALUE,VALUE", help="train each model with each value of a key")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every configuration")
    parser.add_argument("--workdir", type=Path, help="where trainings lie, and are gone on with (default: a fresh one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")


def tune(parser: argparse.ArgumentParser) -> None:
    """Of a search for the recipe that suits a log."""
    parser.add_argument("--dataset", required=True, help="a path, or the name of a public data set")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="of the whole search (default: 60)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every configuration")
    parser.add_argument("--workdir", type=Path, help="where trials lie, and are gone on with (default: a fresh one)")


def backtest(parser: argparse.ArgumentParser) -> None:
    """Of rolling tests."""
    parser.add_argument("--dataset", required=True, help="a path, or the name of a public data set, with dates")
    parser.add_argument(
        "--models", "--configs", type=_listed, default=["default"], metavar="NAME,NAME",
        help="of models, which default trains, or of configurations; or none (default: default)",
    )  # fmt: skip
    parser.add_argument("--train-days", default=28, metavar="N|all", help="before each test, that train (default: 28)")
    parser.add_argument("--test-days", type=float, default=7, metavar="N", help="of each test (default: 7)")
    parser.add_argument("--folds", type=int, default=6, metavar="N", help="tests, up to the log's end (default: 6)")
    parser.add_argument(
        "--retrain-every",
        default=1,
        metavar="N|Nd",
        help="tests, or days with a d, until the next training (default: 1)",
    )
    parser.add_argument(
        "--baselines", type=_listed, default=["popularity", "transitions"], metavar="NAME,NAME", help="or none"
    )
    parser.add_argument("--targets", default="all", help="all events of a test, or the last of each user in it")
    parser.add_argument(
        "--valid-fraction",
        type=float,
        default=0.1,
        metavar="X",
        help="of a window's events, which validate (default: .1)",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of each (default: 1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every configuration")
    parser.add_argument("--workdir", type=Path, help="where trainings lie, and are gone on with (default: a fresh one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")


def configs(parser: argparse.ArgumentParser) -> None:
    """Of the list of configurations."""


def export(parser: argparse.ArgumentParser) -> None:
    """Of an export."""
    parser.add_argument("--workdir", required=True, type=Path, help="of a training")
    parser.add_argument("--checkpoint", default="best", help="best, latest or a step (default: best)")
    parser.add_argument("--format", required=True, choices=["onnx", "stablehlo"])
    parser.add_argument("--output", required=True, type=Path, help="the file to write")
    parser.add_argument("--k", type=int, default=10, help="how many items it recommends (default: 10)")


def recommend(parser: argparse.ArgumentParser) -> None:
    """Of recommendations for many users."""
    parser.add_argument("--workdir", required=True, type=Path, help="of a training")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument(
        "--users", metavar="all|FILE", help="of the training: all, or those that a file lists, one a line"
    )
    whom.add_argument("--histories", metavar="PATH", help="of anybody: a log of any format that prepare reads")
    parser.add_argument("--dataset", help="where the data of the training are now (default: where they were)")
    parser.add_argument("--k", type=int, default=10, help="items a user (default: 10)")
    parser.add_argument("--items", metavar="FILE", help="a table of items: those that never trained are among them")
    parser.add_argument(
        "--now", metavar="DATE", help="when items are asked for, as 2026-03-02T08:00:00Z (docs/context.md)"
    )
    _held_out(parser)
    parser.add_argument("--checkpoint", default="best", help="best, latest or a step (default: best)")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="to write: .parquet or .csv")


def vectors(parser: argparse.ArgumentParser) -> None:
    """Of the vectors of a training."""
    parser.add_argument("--workdir", required=True, type=Path, help="of a training")
    parser.add_argument("--dataset", help="whose users are meant (default: the data of the training)")
    _held_out(parser)
    parser.add_argument("--checkpoint", default="best", help="best, latest or a step (default: best)")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the folder to write")


def _held_out(parser):
    """The flag by which users are asked as an evaluation asks them."""
    parser.add_argument(
        "--split",
        choices=["test", "valid"],
        help="of the training's users, with the histories that its test or validation gives (default: whole ones)",
    )


def assigned(flag: str, texts: list[str], but: tuple[str, ...] = ()) -> dict[str, str]:
    """{KEY: VALUE} of the values of a flag, KEY=VALUE each.

    Raises:
        UserError: one is not of that form, or its key is one of `but`.
    """
    if wrong := [text for text in texts if not text.partition("=")[2]]:
        raise UserError(f"{flag} {wrong[0]}: write it as KEY=VALUE, as in model.dim=64")
    found = dict(text.split("=", 1) for text in texts)
    if wrong := [key for key in found if key in but]:
        raise UserError(f"{flag} {wrong[0]}: no key of every configuration that may be set here")
    return found


def _listed(text):
    return [] if text == "none" else text.split(",")


#: in the order in which --help lists them
COMMANDS = {
    "train": Command("Train by a configuration, or go on with a training that was cut off.", train, "train"),
    "evaluate": Command(
        "Evaluate a training, a baseline, or anybody's scores, on held-out items.", evaluate, "evaluate"
    ),
    "prepare": Command(
        "Read interactions of any format, and write a folder that training maps.", prepare, "prepare", False
    ),
    "serve": Command("Answer requests over HTTP from a training, and show a page to try it.", serve, "serve"),
    "compare": Command("Which model is better on these data? All of them, in one table.", compare, "compare"),
    "tune": Command("Find the recipe that suits these data, and leave its training ready.", tune, "tune"),
    "backtest": Command("How good by date, and how fast stale? Rolling trainings and tests.", backtest, "backtest"),
    "recommend": Command("Write the best items of many users to a file.", recommend, "recommend"),
    "vectors": Command("Write the vectors of items and users to files.", vectors, "vectors"),
    "export": Command("Write a training as one file that runs without Python.", export, "export"),
    "configs": Command("List the shipped configurations: what for, and the number reached.", configs, "configs", False),
}

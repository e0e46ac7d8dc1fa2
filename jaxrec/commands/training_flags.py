"""The flags of commands that train."""

import argparse
from pathlib import Path

from jaxrec.system.files import path_or_address


def train(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `train`."""
    parser.epilog = (
        "--config.KEY=VALUE changes one key of the configuration, as in --config.model.dim=64. jaxrec keys lists the "
        "keys, and jaxrec configs the shipped configurations."
    )
    parser.add_argument(
        "--config", help="configuration file, or the name of a shipped configuration (default: that of --init-from)"
    )
    parser.add_argument(
        "--init-from",
        type=path_or_address,
        metavar="WORKDIR",
        help="begin with the params of this training, matched by item ids",
    )
    parser.add_argument("--workdir", type=path_or_address, help="folder of the training (default: runs/<config name>)")
    job(parser)


def job(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of commands that several processes run together."""
    parser.add_argument(
        "--distributed", action="store_true", help="work with the other processes of this SLURM, JobSet or TPU job"
    )
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="likewise, with the first process at this address")
    parser.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    parser.add_argument("--process", type=int, metavar="I", help="the number of this one, from 0; the first one writes")


def compare(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `compare`."""
    parser.add_argument("--dataset", required=True, help="path, or the name of a public data set")
    parser.add_argument(
        "--models", type=_listed, metavar="NAME,NAME",
        help="models (trained by the configuration default) or configurations (default: "
        "gru4rec,sasrec,bert4rec,caser,two-tower)",
    )  # fmt: skip
    parser.add_argument(
        "--vary", metavar="KEY=VALUE,VALUE", help="train every model with each of these values of a key"
    )
    _compared(parser)


def tune(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `tune`."""
    parser.add_argument("--dataset", required=True, help="path, or the name of a public data set")
    parser.add_argument(
        "--minutes", type=float, default=60, metavar="N", help="time for the whole search (default: 60)"
    )
    job(parser)
    _trainings(parser)


def backtest(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `backtest`."""
    parser.add_argument("--dataset", required=True, help="path, or the name of a public data set; needs dates")
    parser.add_argument(
        "--models", "--configs", type=_listed, default=["default"], metavar="NAME,NAME",
        help="models (trained by the configuration default) or configurations, or none (default: default)",
    )  # fmt: skip
    parser.add_argument(
        "--train-days", default=28, metavar="N|all", help="days of training data before each test (default: 28)"
    )
    parser.add_argument("--test-days", type=float, default=7, metavar="N", help="days of each test (default: 7)")
    parser.add_argument(
        "--folds", type=int, default=6, metavar="N", help="number of tests; the last ends with the log (default: 6)"
    )
    parser.add_argument(
        "--retrain-every", default=1, metavar="N|Nd", help="tests, or days with a d, between trainings (default: 1)"
    )
    parser.add_argument("--targets", default="all", help="evaluate all events of a test, or the last of each user")
    parser.add_argument(
        "--valid-fraction",
        type=float,
        default=0.1,
        metavar="X",
        help="fraction of a window's events used for validation (default: .1)",
    )
    parser.add_argument(
        "--continue",
        dest="continued",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="also continue each model from its previous training, with this key, as in epochs=2",
    )
    _compared(parser)


def _trainings(parser):
    """Adds the flags of commands that train many times."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of every configuration"
    )
    parser.add_argument(
        "--workdir",
        type=path_or_address,
        help="folder of the trainings; existing ones are continued (default: a new folder)",
    )


def _compared(parser):
    """Adds the flags of commands that compare trainings, with each other and with baselines."""
    parser.add_argument(
        "--baselines",
        type=_listed,
        default=["popularity", "transitions"],
        metavar="NAME,NAME",
        help="popularity, transitions, item-knn, als, bpr or item-features, or none (default: popularity,transitions)",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="number of trainings of each (default: 1)")
    _trainings(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file")


def _listed(text):
    return [] if text == "none" else text.split(",")

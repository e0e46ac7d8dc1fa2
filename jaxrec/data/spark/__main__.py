"""The command `python -m jaxrec.data.spark`, which prepares tables that a Spark cluster reads."""

import argparse
import dataclasses
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from jaxrec.data import columns as cols, filters, summary
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError

NUMBERS = {"sample": float, "min_rating": float, "session_gap": float, "max_length": int, "min_length": int}
NUMBERS |= {"k_core": int}
INSTALL = "pip install 'jaxrec[spark]', and a Java version that Spark supports"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags: those of `prepare`, and a few of its own."""
    made = argparse.ArgumentParser(
        prog="python -m jaxrec.data.spark", description="Prepares a log with Spark.", allow_abbrev=False
    )
    made.add_argument("--input", required=True, help="a path that the cluster can reach, or the name of a table")
    made.add_argument("--output", required=True, type=Path, help="folder to write, on this machine")
    made.add_argument(
        "--format", help="parquet, orc, csv, tsv, text, delta, table (in a catalogue), or another format of Spark"
    )
    made.add_argument(
        "--conf", action="append", default=[], metavar="KEY=VALUE", help="a Spark setting, as spark.master=local[4]"
    )
    for role in cols.ROLES:
        made.add_argument(f"--{role}", metavar="COLUMN", help=f"column of the {role}, or none")
    made.add_argument("--items", metavar="FILE", help="table of items, on this machine")
    made.add_argument("--users", metavar="FILE", help="table of users, on this machine")
    made.add_argument("--ids", default="", metavar="KIND", help="integer or text; or by column, as user=integer")
    made.add_argument("--keep-na-ids", action="store_true", help="read NA, null and similar as ids")
    made.add_argument("--time-format", metavar="FORMAT", help="format of dates, such as '%%d/%%m/%%Y'")
    made.add_argument("--separator", help="separator of text (default: detected)")
    made.add_argument("--quote", default='"', choices=['"', "none"], help="quote character of text")
    made.add_argument("--only", action="append", default=[], metavar="COLUMN=VALUE[,...]", help="rows to read")
    made.add_argument("--on-bad-row", default="error", choices=["error", "skip"], help="stop, or skip it and report it")
    for field in dataclasses.fields(filters.Options):
        flag = f"--{field.name.replace('_', '-')}"
        if field.type == "bool" or field.type is bool:
            made.add_argument(flag, action="store_true", help="as for prepare")
        else:
            made.add_argument(flag, type=NUMBERS.get(field.name, str), help="as for prepare")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def run(argv: Sequence[str]) -> int:
    """Parses the flags and prepares the log. Returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        _prepare(arguments)
    except (UserError, OSError) as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"jaxrec.data.spark: {consoles.printable(str(error))}", file=sys.stderr)
        return 2
    return 0


def _prepare(arguments: argparse.Namespace) -> None:
    begun = time.monotonic()
    try:
        from jaxrec.data.spark.job import prepare
    except ImportError as error:
        raise UserError(f"Spark cannot be imported ({error}): {INSTALL}") from None
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    spark = _session(arguments.conf)
    chosen = {each.name: getattr(arguments, each.name) for each in dataclasses.fields(filters.Options)}
    names = ("format", "items", "users", "ids", "keep_na_ids", "time_format", "separator", "quote", "only")
    found, steps = prepare(
        spark,
        arguments.input,
        arguments.output,
        columns={role: getattr(arguments, role) for role in cols.ROLES},
        options=filters.Options(**chosen),
        skip_bad_rows=arguments.on_bad_row == "skip",
        say=say,
        **{name: getattr(arguments, name) for name in names},
    )
    summary.show(summary.facts(found), steps, {}, console)
    say(f"{arguments.output}: {len(found.items):,} rows written in {time.monotonic() - begun:.1f} s")
    say(f"train on it: --config.dataset={arguments.output}")


def _session(settings: Sequence[str]):
    """Returns the Spark session, from spark-submit or started here, with these settings."""
    from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]

    builder = SparkSession.builder.appName("jaxrec prepare")
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise UserError(f"--conf {setting}: write KEY=VALUE, such as spark.master=local[4]")
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # any error of Java or Spark, before there is a session
        why = str(error).strip().partition("\n")[0][:300]
        raise UserError(f"Spark does not start ({why}): {INSTALL}; --debug shows more") from error


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

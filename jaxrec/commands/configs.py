"""The command `configs`: lists the shipped configurations with their purpose and results."""

import argparse
import ast
from collections.abc import Mapping

from rich.table import Table

from jaxrec.config import recipes
from jaxrec.system import console as consoles


def configs(_arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Prints the table."""
    table = Table()
    for column in ("--config", "what for", "reached"):
        table.add_column(column, no_wrap=column == "--config")
    for path in recipes.shipped():
        table.add_row(path.stem, *map(consoles.printable, described(path.read_text())))
    console = consoles.make()
    console.print(table)
    console.print("jaxrec train --config NAME trains with one; jaxrec keys lists the keys")
    return 0


def described(text: str) -> tuple[str, str]:
    """Returns (purpose, results) from the docstring of a configuration file; "" where missing.

    The first line is the purpose, the second paragraph is commands, and the others are the results.
    """
    first, *others = [" ".join(each.split()) for each in (ast.get_docstring(ast.parse(text)) or "").split("\n\n")]
    return first, " ".join(others[1:])

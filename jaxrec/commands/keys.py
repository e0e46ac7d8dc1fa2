"""The command `keys`: lists the keys of a configuration, with their values, defaults and meanings."""

import argparse
from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from jaxrec.config import reference
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError


def keys(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Prints the keys that have all the given words in them.

    Raises:
        UserError: if none has.
    """
    found = reference.matching(arguments.words)
    if not found:
        raise UserError(
            f"no key has {' and '.join(arguments.words)} in its name, models or losses: without a word all are listed"
        )
    table = Table()
    for column in ("--config.", "default", "values", "meaning", "of"):
        table.add_column(column, no_wrap=column == "--config.")
    for key in found:
        row = key.name, key.default, key.values, key.meaning, ", ".join(key.of)
        table.add_row(*(escape(consoles.printable(text)) for text in row))
    consoles.make().print(table)
    return 0

"""The command `prepare`: reads interactions of any format into a prepared folder."""

import argparse
import inspect
import time
from collections.abc import Mapping

from jaxrec.api import logs
from jaxrec.data import splits
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError

LISTENING = ("data", "say", "progress", "stage")  # arguments of `logs.prepare` that aren't flags


def prepare(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Reads, filters, writes and reports the interactions.

    Raises:
        UserError: if this fails, or the output is closed, as by `head`; the message says whether the folder is written.
    """
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    names = [name for name in inspect.signature(logs.prepare).parameters if name not in LISTENING]
    options = {name: getattr(arguments, name) for name in names}
    begun, log = time.monotonic(), None
    try:
        with console.status("reading") as status:

            def progress(rows):
                rate = rows / max(time.monotonic() - begun, 1e-9)
                status.update(f"reading: {rows:,} rows, {rate:,.0f} a second")

            log = logs.prepare(arguments.input, **options, say=say, progress=progress, stage=status.update)
        log.show(console)
        if advised := splits.advice(log.interactions):
            say(advised)
        seconds = time.monotonic() - begun
        say(f"{arguments.output}: {len(log.interactions.items):,} rows written in {seconds:.1f} s")
        say(f"train on it: --config.dataset={arguments.output}")
    except BrokenPipeError:
        what = "is written all the same" if log is not None else "is not written: run the same command again"
        raise UserError(f"its output was closed before it had ended; {arguments.output} {what}") from None
    return 0

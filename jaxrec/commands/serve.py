"""The command `serve`: the HTTP service of a training."""

import argparse
from collections.abc import Mapping

from jaxrec.system.errors import UserError


def serve(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Serves until SIGTERM or Ctrl-C. Returns the exit status."""
    try:
        from jaxrec.serve import workers

        part = workers.part()
        if part is None and arguments.workers != 1:
            return workers.serve(arguments)
        from jaxrec.serve import server
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'jaxrec[serve]'") from error
    return server.serve(arguments, overrides, part)
